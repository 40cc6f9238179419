"""All SQL that the API runs.

pool      connections                 readings       a page's rows of readings
pages     paging through history      windows        the same of windows
series    names, places, positions    aggregates     those made on demand
copies    COPY in large pieces        exports        what is known of exports
                                      sensorthings/  OGC SensorThings: a request as one statement
"""
