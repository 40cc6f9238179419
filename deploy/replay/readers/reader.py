"""What a reader is, and how its rows become readings in time order."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from schemas.errors import CityfeedError
from schemas.readings import Origin, Readings, readings

CHUNK_READINGS = 50_000


@dataclass(frozen=True)
class Reader:
    """A data set's reader: `parse` makes readings of the `files` (globs) of a folder, or of one such file.

    `dataset` is where its readings belong unless the caller says otherwise; `title` is for people.
    """

    name: str
    title: str
    dataset: str
    files: tuple[str, ...]
    parse: Callable[[Sequence[Path], str], Readings]

    def find(self, path: Path) -> list[Path]:
        """The files of this data set at `path` (a folder, or one of its files)."""
        if path.is_dir():
            return sorted({found for pattern in self.files for found in path.glob(pattern) if found.is_file()})
        return [path] if path.is_file() and any(path.match(pattern) for pattern in self.files) else []

    def read(self, path: Path, dataset: str = "", chunk: int = CHUNK_READINGS) -> Iterator[Readings]:
        """Readings in time order, `chunk` at a time; `received` is 0, `origin` import, `rev` 1.

        `path` is a folder with the data set's files, or any one file of its form. Raises `CityfeedError` where there
        is none, or a file is not of the form.
        """
        files = self.find(path) or ([path] if path.is_file() else [])
        if not files:
            raise CityfeedError(f"{path}: none of {', '.join(self.files)} there, which {self.name} reads")
        try:
            batch = self.parse(files, dataset or self.dataset)
        except (ValueError, KeyError, IndexError, StopIteration) as e:
            names = ", ".join(f.name for f in files)
            raise CityfeedError(f"{names}: not of the form that {self.name} reads: {type(e).__name__}: {e}") from e
        for at in range(0, len(batch), chunk):
            yield batch.take(np.arange(at, min(at + chunk, len(batch))))


@dataclass
class Rows:
    """Rows gathered one by one: `add(sensor, (metric, unit), start_ms, period_s, value)`."""

    dataset: str

    def __post_init__(self) -> None:
        self._sensors: dict[str, int] = {}
        self._metrics: dict[tuple[str, str], int] = {}
        self._rows: list[tuple[int, int, int, int, float]] = []

    def add(self, sensor: str, metric: tuple[str, str], start_ms: int, period_s: int, value: float) -> None:
        """Take a reading in."""
        s = self._sensors.setdefault(sensor, len(self._sensors))
        m = self._metrics.setdefault(metric, len(self._metrics))
        self._rows.append((s, m, start_ms, period_s, value))

    def readings(self) -> Readings:
        """All of them, in time order."""
        columns: list[Any] = list(zip(*self._rows, strict=True)) or [[]] * 5
        made = readings(
            tuple((self.dataset, s) for s in self._sensors), tuple(self._metrics), received=0, origin=Origin.IMPORT,
            sensor=columns[0], metric=columns[1], start=columns[2], period_s=columns[3], value=columns[4],
        )  # fmt: skip
        return in_time_order(made)


def in_time_order(batch: Readings) -> Readings:
    """The same readings by their start; what starts together stays in the order it had."""
    return batch.take(np.argsort(batch.start, kind="stable"))
