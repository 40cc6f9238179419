"""What two services must agree on: settings, names, records, wire format, tables, datasets, quantities, errors.

Nothing here imports a service. The only files read are those that ship in this package and the city
folder, once, at start (`datasets.py`, `city.py`).
"""
