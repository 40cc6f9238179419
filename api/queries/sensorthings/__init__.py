"""OGC SensorThings in SQL.

entities   what the eight entities are: relations, properties, navigation      geometry   st_ and geo. functions
filters    an option's tree to an expression with parameters                   statements a request to one statement
"""
