"""A city's recorded weeks: the folder `data/` in a city folder, with `weeks.toml` that lists its files.

[[week]]
file = "traffic.csv.gz"                 header `sensor/metric,...`, then a row a step; an empty cell is no reading
dataset = "traffic"
origin = 2012-03-01T00:00:00-08:00      the moment of the first row: the beginning of its step
step_s = 300
"""

import gzip
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from deploy.replay.shift import WEEK_MS, newest_bin, phase_of, published_ms
from schemas.errors import CityfeedError


class WeekFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of weeks.toml."""

    file: str
    dataset: str
    origin: datetime
    step_s: int


class WeekFiles(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """weeks.toml."""

    week: tuple[WeekFile, ...]


@dataclass(frozen=True)
class Due:
    """Bins `first` to `last` (both included) of a sensor are to be published; `at_ms` is when the last one was due."""

    sensor: int
    first: int
    last: int
    at_ms: int


@dataclass(frozen=True)
class Week:
    """One recorded week. `values` is [step of the week, column], NaN where there is no reading.

    Column i is `columns[i]`, a pair (sensor, metric).
    """

    dataset: str
    origin_ms: int
    step_ms: int
    columns: tuple[tuple[str, str], ...]
    values: npt.NDArray[np.float64]

    @cached_property
    def sensors(self) -> tuple[str, ...]:
        """The sensors, in the order of their columns."""
        return tuple(dict.fromkeys(sensor for sensor, _ in self.columns))

    @cached_property
    def phases(self) -> tuple[float, ...]:
        """Each sensor's phase, in the order of `sensors`."""
        return tuple(phase_of(self.dataset, sensor) for sensor in self.sensors)

    @cached_property
    def _columns_of(self) -> tuple[tuple[tuple[int, str], ...], ...]:
        of: dict[str, list[tuple[int, str]]] = {sensor: [] for sensor in self.sensors}
        for i, (sensor, metric) in enumerate(self.columns):
            of[sensor].append((i, metric))
        return tuple(tuple(found) for found in of.values())

    def row(self, sensor: int, k: int) -> dict[str, Any]:
        """The reading of bin k (counted from the origin, without end) as a payload: `t` is the bin's start in ms.

        Without a metric, that is only `{"t": ...}`, where the sensor has a gap there.
        """
        values = self.values[k % len(self.values)]
        found = {m: v for i, m in self._columns_of[sensor] if (v := float(values[i])) == v}
        return {"t": self.origin_ms + k * self.step_ms, **found}

    def due(self, after_ms: int, until_ms: int) -> Iterator[Due]:
        """What is to be published in (after_ms, until_ms], one `Due` a sensor at most."""
        for sensor, phase in enumerate(self.phases):
            last = newest_bin(self.origin_ms, self.step_ms, phase, until_ms)
            first = newest_bin(self.origin_ms, self.step_ms, phase, after_ms) + 1
            if first <= last:
                yield Due(sensor, first, last, published_ms(self.origin_ms, self.step_ms, phase, last))

    def newest_ms(self, now_ms: int) -> dict[str, int]:
        """The start of each sensor's newest reading that is published by `now_ms`; sensors without any are left out."""
        found: dict[str, int] = {}
        for i, (sensor, phase) in enumerate(zip(self.sensors, self.phases, strict=True)):
            k = newest_bin(self.origin_ms, self.step_ms, phase, now_ms)
            row = next((row for back in range(len(self.values)) if len(row := self.row(i, k - back)) > 1), None)
            if row is not None:
                found[sensor] = row["t"]
        return found

    def next_ms(self, now_ms: int) -> int:
        """When the next reading is to be published, after `now_ms`."""
        return min(
            published_ms(self.origin_ms, self.step_ms, p, newest_bin(self.origin_ms, self.step_ms, p, now_ms) + 1)
            for p in self.phases
        )


def read_weeks(city_dir: Path) -> list[Week]:
    """The recorded weeks of a city folder; none where it has no `data/weeks.toml`.

    Raises `CityfeedError` for a file that is not as described above.
    """
    index = city_dir / "data" / "weeks.toml"
    if not index.is_file():
        return []
    try:
        files = msgspec.toml.decode(index.read_bytes(), type=WeekFiles)
        return [_read_week(index.parent / entry.file, entry) for entry in files.week]
    except (msgspec.DecodeError, ValueError, OSError) as e:
        raise CityfeedError(f"{index}: {e}") from e


def _read_week(path: Path, entry: WeekFile) -> Week:
    if entry.origin.tzinfo is None:
        raise ValueError(f"{entry.file}: origin needs an offset, such as 2012-03-01T00:00:00-08:00")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        columns = tuple(_column(name) for name in file.readline().strip().split(","))
        rows = [[float(cell) if cell else math.nan for cell in line.rstrip("\n").split(",")] for line in file]
    if bad := next((i for i, row in enumerate(rows, 2) if len(row) != len(columns)), None):
        raise ValueError(f"{entry.file}:{bad}: not {len(columns)} columns as in the header")
    values = np.array(rows)
    if len(values) * entry.step_s * 1000 != WEEK_MS:
        raise ValueError(f"{entry.file}: {len(values)} rows of {entry.step_s} s are not a week")
    origin_ms = int(entry.origin.timestamp()) * 1000
    return Week(entry.dataset, origin_ms, entry.step_s * 1000, columns, values)


def _column(name: str) -> tuple[str, str]:
    sensor, slash, metric = name.partition("/")
    if not slash:
        raise ValueError(f"column {name!r} is not sensor/metric")
    return sensor, metric
