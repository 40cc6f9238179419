"""How far an import came and what it refused, so that it can go on where it broke off.

In `<state folder>/imports/`: `<id>.json`, and `<id>.refused.csv` with a line for each row or value that was refused.
The id is made of the file (path, size, time of change), the map and the dataset: whatever changes of them is
another import. What is written here is behind Kafka's acknowledgement: rows after it may be sent again, and a
reading that comes again is dropped by the stream.
"""

import csv
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from deploy.imports.mapping import Mapping
from deploy.imports.source import Refused

REFUSED_COLUMNS = ("row", "reason", "detail", "text")


class Progress(msgspec.Struct):
    """What is behind us: number of the last row, readings sent, rows left out, empty cells, refused by reason.

    `refused_bytes` is how much of the refused rows' file belongs to it.
    """

    file: str
    row: int = 0
    done: int = 0
    readings: int = 0
    left_out: int = 0
    empty: int = 0
    refused: dict[str, int] = {}
    refused_bytes: int = 0
    finished: bool = False


class Journal:
    """The files of one import."""

    def __init__(self, folder: Path, file: Path, mapping: Mapping, dataset: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        status = file.stat()
        told = [str(file.resolve()), status.st_size, status.st_mtime_ns, msgspec.json.encode(mapping).decode(), dataset]
        number = hashlib.sha256(msgspec.json.encode(told)).hexdigest()[:16]
        self._path = folder / f"{number}.json"
        self.refused_path = folder / f"{number}.refused.csv"
        self.progress = Progress(str(file))
        if self._path.exists():
            self.progress = msgspec.json.decode(self._path.read_bytes(), type=Progress)
        if self.refused_path.exists():  # what came behind the last progress is read again
            os.truncate(self.refused_path, self.progress.refused_bytes)

    def forget(self) -> None:
        """Begin anew."""
        self.progress = Progress(self.progress.file)
        self.refused_path.unlink(missing_ok=True)
        self._path.unlink(missing_ok=True)

    def refuse(self, refused: Iterable[Refused]) -> int:
        """Write refused rows down; gives the size of their file then."""
        is_new = not self.refused_path.exists()
        with self.refused_path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            if is_new:
                writer.writerow(REFUSED_COLUMNS)
            writer.writerows((r.row, r.reason, r.detail, r.text) for r in refused)
        return self.refused_path.stat().st_size

    def save(self) -> None:
        """Make `progress` last; whole or not at all."""
        draft = self._path.with_suffix(".draft")
        draft.write_bytes(msgspec.json.encode(self.progress))
        draft.replace(self._path)
