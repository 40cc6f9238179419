"""Readers of public data sets, one file each: a folder or file as it was downloaded -> readings in time order.

To add a data set, add a file with a `READER` and a line here. Faults stay as they are in the file (sentinels,
duplicates, negative values, gaps): to find them is the chain's work. An empty cell is no reading.
"""

from pathlib import Path

from deploy.replay.readers import airnow, hanoi, metr_la, nab, sensortoolkit
from deploy.replay.readers.reader import Reader, in_time_order
from schemas.errors import CityfeedError

READERS: dict[str, Reader] = {
    reader.name: reader for reader in (metr_la.READER, sensortoolkit.READER, airnow.READER, hanoi.READER, nab.READER)
}

__all__ = ["READERS", "Reader", "in_time_order", "reader_for"]


def reader_for(path: Path, name: str = "") -> Reader:
    """The reader of that name, or the one whose files are at `path` (a folder or a file).

    Raises `CityfeedError` that lists the readers.
    """
    known = "; ".join(f"{r.name}: {', '.join(r.files)}" for r in READERS.values())
    if name:
        if name not in READERS:
            raise CityfeedError(f"there is no reader {name!r}; there are {known}")
        return READERS[name]
    if not path.exists():
        raise CityfeedError(f"{path} does not exist")
    for reader in READERS.values():
        if reader.find(path):
            return reader
    raise CityfeedError(f"{path} is of no known data set; name one with --reader. There are {known}")
