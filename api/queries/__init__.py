"""All SQL that the API runs.

pool      connections                 readings   a page's rows of readings
pages     paging through history      windows    the same of windows
series    names, places, positions          sensorthings/  OGC SensorThings: a request as one statement
"""
