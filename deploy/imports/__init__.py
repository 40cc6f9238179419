"""Files of history, CSV and Parquet, into readings: `cityfeed import` and `cityfeed qc`.

    source.py    the file, chunk by chunk, as columns of text with their line numbers
    mapping.py   map.toml: which column means what
    convert.py   pure: a chunk and a mapping in, readings and refused rows out
    journal.py   how far an import came, and what it refused
    raw.py       readings to Kafka's readings.raw, each to its sensor's partition

A reading from a file goes the same road as one from a sensor, with `origin` import.
"""
