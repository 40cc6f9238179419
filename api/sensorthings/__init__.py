"""OGC SensorThings API 1.1, part 1 (OGC 18-088), the reading side, at /sensorthings/v1.1.

paths    resource paths in steps              syntax   query options: text to a tree by grammar, and back by unparse
asked    options against what a path is of    about    names, units, definitions: not in the database
reader   a request answered                   routes   the addresses

The entities and their SQL: api/queries/sensorthings/.
"""
