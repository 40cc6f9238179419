"""The topics of published rows, `windows` and `index`, and amendments of readings: batches and state.

Their rows come numbered (`out_seq`) from the database's owner of the partition, and may come twice after a restart:
the tail drops what is not above the last number. State is the newest row of each key, as JSON.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from api.live.batches import Batch, Place, ReadingsBatch
from api.live.filters import Wish
from api.live.messages import IndexRow, encode, rfc3339
from api.live.topics import ReadingsTopic, Topic
from api.places import public_place
from api.rows import WindowRow
from schemas import published
from schemas.flags import Flag
from schemas.published import Columns, Published, Texts
from schemas.readings import Array, readings
from schemas.registry import Registry
from schemas.windows import WIDTHS_S

LONG_AGO = np.iinfo(np.int64).min
WIDTH_NAMES = {seconds: name for name, seconds in WIDTHS_S.items()}
Key = tuple[str, str, str, "str | int"]
Lists = dict[str, list[Any]]


class Numbered(Batch):
    """A batch whose rows have numbers of their own, (n,) int64, growing."""

    __slots__ = ()
    numbers: Array

    def mark(self, i: int) -> tuple[int, int]:
        return int(self.numbers[i - 1] if i else self.numbers[0] - 1), 0

    def after(self, number: int, within: int) -> int:
        return int(np.searchsorted(self.numbers, number, "right"))


class AmendedBatch(Numbered, ReadingsBatch):
    """Readings that were judged again."""

    __slots__ = ("numbers",)


class RowsBatch(Numbered):
    """Rows of windows or indices."""

    __slots__ = ("_row", "categories", "numbers", "places")

    def __init__(
        self, source: str, partition: int, columns: Columns, series: Array, row: Callable[[int], bytes],
        places: Callable[[int], Place | None], categories: Sequence[str] | None,
    ) -> None:  # fmt: skip
        numbers = columns["out_seq"]
        flags = np.full(len(series), int(Flag.GOOD), np.uint8)
        start, rev, origin = columns["start"], columns["rev"], columns["origin"]
        super().__init__(source, partition, int(numbers[-1]), series, start, rev, flags, origin)  # type: ignore[arg-type, index]
        self.numbers = numbers  # type: ignore[assignment]
        self._row = row
        self.places = places
        self.categories = categories

    def row(self, i: int) -> bytes:
        return self._row(i)

    def place(self, i: int) -> Place | None:
        return self.places(i)

    def category(self, i: int) -> str:
        return self.categories[i] if self.categories is not None else ""


class RowsTopic(Topic):
    """State and batches of a topic whose Kafka topic carries `schemas.published` rows of its name."""

    def __init__(self, registry: Registry, unit: Callable[[str, str, str], str]) -> None:
        self.sources = (self.name,)
        self.keys: list[Key] = []
        self._registry = registry
        self._unit = unit
        self._index: dict[Key, int] = {}
        self._newest: dict[int, tuple[int, int, int, str, bytes | None]] = {}

    def read(self, source: str, partition: int, number: int, value: bytes) -> Batch:
        return self.batch(published.decode(value), partition)

    def batch(self, found: Published, partition: int) -> RowsBatch:
        """The rows of a record as a batch."""
        lists = {name: c.values() if isinstance(c, Texts) else c.tolist() for name, c in found.columns.items()}
        keys = self.keys_of(lists)
        series = np.array([self.index(key) for key in keys], np.int64)

        def place(i: int) -> Place | None:
            return public_place(self._registry.at(lists["dataset"][i], lists["sensor"][i], int(lists["start"][i])))

        return RowsBatch(
            self.name, partition, found.columns, series, lambda i: self.row(lists, i), place, lists.get("category")
        )

    def index(self, key: Key) -> int:
        """The index of a key; one that was not known gets the next one."""
        found = self._index.get(key)
        if found is None:
            found = self._index[key] = len(self.keys)
            self.keys.append(key)
        return found

    def apply(self, batch: RowsBatch, gone: Sequence[int] | None = None) -> None:
        """Take a batch into the state; a row that is gone leaves its key without one."""
        starts, revs, origins = batch.start.tolist(), batch.rev.tolist(), batch.origin.tolist()
        for i, index in enumerate(batch.series.tolist()):
            known = self._newest.get(index)
            if known is None or (starts[i], revs[i]) > known[:2]:
                row = None if gone is not None and gone[i] else batch.row(i)
                self._newest[index] = starts[i], revs[i], origins[i], batch.category(i), row

    def load(self, lists: Lists) -> None:
        """Take rows of the database into the state; columns as lists, named as in `schemas.published`."""
        categories = lists.get("category")
        for i, key in enumerate(self.keys_of(lists)):
            index = self.index(key)
            known = self._newest.get(index)
            start, rev = lists["start"][i], lists["rev"][i]
            if known is None or (start, rev) > known[:2]:
                category = categories[i] if categories else ""
                self._newest[index] = start, rev, lists["origin"][i], category, self.row(lists, i)

    def chosen(self, wish: Wish) -> list[int]:
        found = [index for index in self._newest if self.wants(wish, index)]
        return sorted(found, key=lambda index: tuple(map(str, self.keys[index])))

    def now(self, wish: Wish, index: int) -> tuple[int, int, bytes] | None:
        known = self._newest.get(index)
        if known is None or known[4] is None or known[2] not in wish.origins:
            return None
        start, rev, _, category, row = known
        if wish.categories and category not in wish.categories:
            return None
        dataset, sensor, *_ = self.keys[index]
        if wish.bbox is not None and not wish.wants_place(public_place(self._registry.at(dataset, sensor, start))):
            return None
        return start, rev, row  # type: ignore[return-value]

    def newest_start(self, index: int) -> int:
        known = self._newest.get(index)
        return LONG_AGO if known is None else known[0]

    def keys_of(self, lists: Lists) -> list[Key]:
        """The key of each row."""
        raise NotImplementedError

    def row(self, lists: Lists, i: int) -> bytes:
        """Row i as JSON."""
        raise NotImplementedError


class WindowsTopic(RowsTopic):
    """Windows: a key is (dataset, sensor, metric, width in seconds)."""

    name = "windows"

    def wants(self, wish: Wish, index: int) -> bool:
        dataset, sensor, metric, width_s = self.keys[index]
        return wish.wants_series(dataset, sensor, metric) and (not wish.widths or width_s in wish.widths)

    def keys_of(self, lists: Lists) -> list[Key]:
        return list(zip(lists["dataset"], lists["sensor"], lists["metric"], lists["width_s"], strict=True))

    def row(self, lists: Lists, i: int) -> bytes:
        dataset, sensor, metric, width_s = (lists[name][i] for name in ("dataset", "sensor", "metric", "width_s"))
        start, expected = lists["start"][i], lists["n_expected"][i]
        coverage, mean, low, high, std, p50, p95, first, last = (_number(lists[name][i]) for name in NUMBERS)
        complete, rev, stored = bool(lists["complete"][i]), lists["rev"][i], rfc3339(lists["published"][i])
        return encode(
            WindowRow(
                dataset, sensor, metric, self._unit(dataset, sensor, metric), WIDTH_NAMES.get(width_s, f"{width_s}s"),
                rfc3339(start), rfc3339(start + width_s * 1000), lists["n"][i], None if expected < 0 else expected,
                coverage, mean, low, high, std, p50, p95, first, last, complete, rev, stored,
            )
        )  # fmt: skip


NUMBERS = ("coverage", "mean", "min", "max", "std", "p50", "p95", "first", "last")


class IndexTopic(RowsTopic):
    """Indices: a key is (dataset, sensor, metric, index)."""

    name = "index"

    def wants(self, wish: Wish, index: int) -> bool:
        dataset, sensor, metric, name = self.keys[index]
        return wish.wants_series(dataset, sensor, metric) and (not wish.indices or name in wish.indices)

    def keys_of(self, lists: Lists) -> list[Key]:
        return list(zip(lists["dataset"], lists["sensor"], lists["metric"], lists["index"], strict=True))

    def row(self, lists: Lists, i: int) -> bytes:
        at = {name: column[i] for name, column in lists.items()}
        return encode(
            IndexRow(
                at["dataset"], at["sensor"], at["index"], at["metric"], at["table"], at["driver"] or None,
                at["source"] or None, at["category"], rfc3339(at["start"]), rfc3339(at["end"]), _number(at["value"]),
                _number(at["concentration"]), at["hours"], at["expected"], _number(at["coverage"]),
                bool(at["beyond"]), at["rev"], rfc3339(at["published"]),
            )
        )  # fmt: skip


def amended(topic: ReadingsTopic, found: Published, partition: int, apply: bool = False) -> AmendedBatch:
    """Amendments as a batch of readings; `apply`: and into latest values."""
    names: dict[tuple[str, str], int] = {}
    metrics: dict[tuple[str, str], int] = {}
    dataset, sensor, metric = (found.columns[name].values() for name in ("dataset", "sensor", "metric"))  # type: ignore[union-attr]
    of_sensor, of_metric = [], []
    for d, s, m in zip(dataset, sensor, metric, strict=True):
        of_sensor.append(names.setdefault((d, s), len(names)))
        of_metric.append(metrics.setdefault((m, topic.unit(d, s, m)), len(metrics)))
    columns = {name: found.columns[name] for name in FIELDS}
    made = readings(list(names), list(metrics), sensor=of_sensor, metric=of_metric, **columns)
    numbers: Any = found.columns["out_seq"]
    series = topic.take(made) if apply else topic.series_of(made)
    batch = AmendedBatch(made, series, partition, int(numbers[-1]), topic.key, topic.place)
    batch.source, batch.numbers = "amended", numbers
    return batch


FIELDS = ("start", "period_s", "value", "flag", "tests", "rev", "origin", "received")


def rows_above(found: Published, number: int) -> Published | None:
    """The rows whose number is above one; None where there are none."""
    numbers: Any = found.columns["out_seq"]
    first = int(np.searchsorted(numbers, number, "right"))
    if not first:
        return found
    if first == len(numbers):
        return None
    chosen = np.arange(first, len(numbers))
    return Published(
        found.kind, {n: c.take(chosen) if isinstance(c, Texts) else c[chosen] for n, c in found.columns.items()}
    )


def _number(value: float) -> float | None:
    return value if value == value else None
