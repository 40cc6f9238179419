"""The quality rules of the stream over a file: what `cityfeed qc` does."""
