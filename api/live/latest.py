"""The newest reading of every series, in columns in memory.

"Newest" is by measurement time, then `rev`; good, suspect and not evaluated readings count, imports like any other.
A failed reading never hides a good one: `newer_failed` says when there is one. Rows come from the tail of
`readings.clean` (`apply`, in the order of the log; repeats change nothing) and from the database (`load`, at any
time; it never replaces what the log said later).
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.flags import COUNTED
from schemas.readings import COLUMNS, Array, Readings
from schemas.wire import Record

NEVER = np.iinfo(np.int64).min
"""The `start` of a slot that holds nothing."""

FIELDS = ("start", "period_s", "value", "rev", "origin", "received", "flag", "tests")
ROW = np.dtype([(name, COLUMNS[name]) for name in FIELDS])

COUNTS = np.zeros(256, bool)
COUNTS[list(COUNTED)] = True
"""By flag: whether a reading with it can be the latest one."""

FEW = 64
"""Up to so many readings a loop costs less than numpy's calls."""

Rows = npt.NDArray[np.void]


class LatestRow(msgspec.Struct, frozen=True, gc=False):
    """The newest usable reading of a series; times are epoch ms UTC, `value` is None for NaN.

    `newer_failed` is the start of a newer reading that failed its checks or is missing (flag 4 or 9), else None.
    """

    dataset: str
    sensor: str
    metric: str
    unit: str
    start: int
    period_s: int
    value: float | None
    flag: int
    tests: int
    rev: int
    origin: int
    received: int
    newer_failed: int | None = None


class Latest:
    """Latest values by a dense series index: `keys[index]` is (dataset, sensor, metric).

    Two slots a series, the newest usable reading and the one before it, so that a revision that fails the
    newest one gives the floor back to its predecessor.
    """

    def __init__(self) -> None:
        self.keys: list[tuple[str, str, str]] = []
        self.units: list[str] = []
        self.positions: dict[int, int] = {}
        """By partition: the position of the last record applied."""
        self.changes = 0
        """Grows with whatever may change a row."""
        self._index: dict[tuple[str, str, str], int] = {}
        self._of_dataset: dict[str, list[int]] = {}
        self._of_sensor: dict[tuple[str, str], list[int]] = {}
        self._newest = _empty(0)
        self._before = _empty(0)
        self._failed = np.zeros(0, np.int64)

    def __len__(self) -> int:
        return len(self.keys)

    def index(self, dataset: str, sensor: str, metric: str, unit: str = "") -> int:
        """The series' dense index; a series that was not known gets the next one. A `unit` given is kept."""
        key = (dataset, sensor, metric)
        found = self._index.get(key)
        if found is None:
            self.changes += 1
            found = self._index[key] = len(self.keys)
            self.keys.append(key)
            self.units.append(unit)
            self._of_dataset.setdefault(dataset, []).append(found)
            self._of_sensor.setdefault((dataset, sensor), []).append(found)
            if found >= len(self._failed):
                self._grow()
        elif unit and self.units[found] != unit:
            self.changes += 1
            self.units[found] = unit
        return found

    def series_of(self, readings: Readings) -> Array:
        """The series index of each reading, (n,) int64."""
        if len(readings) <= FEW:
            sensors, metrics = readings.sensors, readings.metrics
            pairs = zip(readings.sensor.tolist(), readings.metric.tolist(), strict=True)
            return np.array([self.index(*sensors[s], *metrics[m]) for s, m in pairs], np.int64)
        width = len(readings.metrics)
        codes, inverse = np.unique(readings.sensor.astype(np.int64) * width + readings.metric, return_inverse=True)
        found = [self.index(*readings.sensors[p // width], *readings.metrics[p % width]) for p in codes.tolist()]
        return np.array(found, np.int64)[inverse]

    def apply(self, record: Record, partition: int, position: int) -> Array:
        """Take a clean record in; gives the series index of each of its readings, (n,) int64."""
        self.positions[partition] = position
        return self.take(record.readings)

    def take(self, readings: Readings) -> Array:
        """Take readings in; gives the series index of each, (n,) int64."""
        if not len(readings):
            return np.zeros(0, np.int64)
        self.changes += 1
        series = self.series_of(readings)
        rows = np.empty(len(readings), ROW)
        for name in FIELDS:
            rows[name] = getattr(readings, name)
        for chosen in _rounds(series):
            self._take(series[chosen], rows[chosen])
        return series

    def load(self, rows: Iterable[LatestRow]) -> list[int]:
        """Take rows of the database in; gives the indices of the series whose newest reading they became."""
        found = list(rows)
        if not found:
            return []
        self.changes += 1
        series = np.array([self.index(row.dataset, row.sensor, row.metric, row.unit) for row in found], np.int64)
        values = np.array([_values(row) for row in found], ROW)
        known = self._newest[series]
        fresh = np.flatnonzero(values["start"] != self._failed[series])  # else the log has failed this very reading
        for chosen in _rounds(series[fresh]):
            self._take(series[fresh][chosen], values[fresh][chosen])
        failed = np.array([NEVER if row.newer_failed is None else row.newer_failed for row in found], np.int64)
        np.maximum.at(self._failed, series, failed)
        now = self._newest[series]
        changed = (now["start"] != known["start"]) | (now["rev"] != known["rev"])
        return [int(index) for index in np.unique(series[changed])]

    def row(self, index: int) -> LatestRow | None:
        """The newest usable reading of a series by its index, None where there is none."""
        return self.made(index, self._newest[index], int(self._failed[index]))

    def made(self, index: int, row: np.void, failed: int) -> LatestRow | None:
        """The same of what `columns` gave of it; in any thread."""
        start, period_s, value, rev, origin, received, flag, tests = row.item()
        if start == NEVER:
            return None
        return LatestRow(
            *self.keys[index], self.units[index], start, period_s, value if value == value else None, flag, tests,
            rev, origin, received, failed if failed > start else None,
        )  # fmt: skip

    def rows(
        self, dataset: str, sensors: Collection[str] | None = None, metrics: Collection[str] | None = None
    ) -> list[LatestRow]:
        """The newest readings of a dataset, ordered by sensor and metric; None means all of them."""
        found = (self.row(i) for i in self.indices(dataset, sensors, metrics))
        return [row for row in found if row is not None]

    def indices(
        self, dataset: str, sensors: Collection[str] | None = None, metrics: Collection[str] | None = None
    ) -> list[int]:
        """The series of a dataset by their indices, ordered by sensor and metric; None means all of them."""
        chosen = [i for i in self._chosen(dataset, sensors) if metrics is None or self.keys[i][2] in metrics]
        return sorted(chosen, key=self.keys.__getitem__)

    def newest_start(self, index: int) -> int:
        """The start of the newest usable reading of a series, `NEVER` where there is none."""
        return int(self._newest["start"][index])

    def order(self, dataset: str, metric: str = "") -> Array:
        """The indices (n,) of a dataset's series, ordered by sensor and metric, or of a metric's alone; they stay so
        until `len` grows.
        """
        return np.array(self.indices(dataset, None, {metric} if metric else None), np.int64)

    def columns(self, indices: Array) -> tuple[Rows, Array]:
        """Copies of the newest readings (n,) of series, `NEVER` where there is none, and of when newer ones failed."""
        return self._newest[indices], self._failed[indices]

    def _chosen(self, dataset: str, sensors: Collection[str] | None) -> Iterator[int]:
        if sensors is None:
            yield from self._of_dataset.get(dataset, ())
            return
        for sensor in set(sensors):
            yield from self._of_sensor.get((dataset, sensor), ())

    def _take(self, series: Array, rows: Rows) -> None:
        """Take in rows of different series; the rules are those of one row at a time."""
        newest, before = self._newest, self._before
        start, rev = rows["start"], rows["rev"]
        newest_start, before_start = newest["start"][series], before["start"][series]
        usable = COUNTS[rows["flag"]]
        if (usable & (start > newest_start) & (start > self._failed[series])).all():  # as it nearly always is
            before[series] = newest[series]
            newest[series] = rows
            return
        revised = (start == newest_start) & (rev > newest["rev"][series])
        second = (start > before_start) | ((start == before_start) & (rev > before["rev"][series]))
        newer = usable & (start > newest_start)
        older = usable & (start < newest_start) & second
        undone = ~usable & revised
        lost = ~usable & (start == before_start) & second

        before[series[newer]] = newest[series[newer]]
        newest[series[newer]] = rows[newer]
        newest[series[usable & revised]] = rows[usable & revised]
        before[series[older]] = rows[older]
        newest[series[undone]] = before[series[undone]]
        before["start"][series[undone | lost]] = NEVER

        failed = self._failed[series]
        failed = np.where(~usable & (start > failed), start, failed)
        self._failed[series] = np.where(usable & (start == failed), NEVER, failed)

    def _grow(self) -> None:
        more = max(1024, len(self._failed))
        self._newest = np.concatenate([self._newest, _empty(more)])
        self._before = np.concatenate([self._before, _empty(more)])
        self._failed = np.concatenate([self._failed, np.full(more, NEVER)])


def _empty(n: int) -> Rows:
    rows = np.zeros(n, ROW)
    rows["start"] = NEVER
    return rows


def _values(row: LatestRow) -> tuple[Any, ...]:
    return tuple(np.nan if (value := getattr(row, name)) is None else value for name in FIELDS)


def _rounds(series: Array) -> Iterator[Array]:
    """Index arrays that together hold every row once, no series twice in one, each series' rows in their order."""
    if len(series) <= FEW and len(set(series.tolist())) == len(series):
        yield np.arange(len(series))
        return
    order = np.argsort(series, kind="stable")
    ordered = series[order]
    first = np.ones(len(ordered), bool)
    first[1:] = ordered[1:] != ordered[:-1]
    if first.all():
        yield order
        return
    heads = np.flatnonzero(first)
    rank = np.arange(len(ordered)) - np.repeat(heads, np.diff(np.r_[heads, len(ordered)]))
    for k in range(int(rank.max()) + 1):
        yield order[rank == k]
