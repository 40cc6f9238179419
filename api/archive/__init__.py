"""Closed days as files: a Parquet and a csv.gz per dataset and UTC day, in a folder or any store that fsspec knows.

store    where files and indexes are       job      writes the days that are closed, and again what late data changed
main     `python -m api.archive`         move     old days leave the database for the archive, and come back
past     history that is in the archive alone, read as if it were in the database
"""
