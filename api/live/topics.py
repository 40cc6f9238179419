"""What the live feed knows of a topic besides its changes: its keys, and its state now, for snapshots.

A key is what a row is a new value of: (dataset, sensor, metric), for windows with their width too. Keys have dense
indices, so that the hub finds the groups that want one by a look into a list.
"""

from abc import ABC, abstractmethod

import msgspec

from api.live.batches import ORIGIN_NAMES, Batch, Place, ReadingsBatch
from api.live.filters import Wish
from api.live.latest import Latest, LatestRow
from api.live.messages import Row, encode, rfc3339
from api.places import public_place
from schemas import wire
from schemas.readings import Array, Readings
from schemas.registry import Registration, Registry, Site
from schemas.units import canonical_unit


class Topic(ABC):
    """A topic of the feed. `sources` are the cursor's topics that its rows come from."""

    name: str
    sources: tuple[str, ...]

    @abstractmethod
    def read(self, source: str, partition: int, number: int, value: bytes) -> Batch:
        """A record of a source as a batch. Raises `WireError`."""

    @abstractmethod
    def wants(self, wish: Wish, index: int) -> bool:
        """Whether a wish names the key with this index."""

    @abstractmethod
    def chosen(self, wish: Wish) -> list[int]:
        """The indices of the keys that a wish names, in the order of a snapshot."""

    @abstractmethod
    def now(self, wish: Wish, index: int) -> tuple[int, int, bytes] | None:
        """(start, rev, JSON) of a key's newest row; None where there is none that the wish wants."""

    @abstractmethod
    def newest_start(self, index: int) -> int:
        """The start (epoch ms) of a key's newest row; far in the past where there is none."""


class ReadingsTopic(Topic):
    """Readings: the state are latest values."""

    name = "readings"
    sources = ("readings", "amended")

    def __init__(self, latest: Latest, registry: Registry) -> None:
        self._latest = latest
        self._registry = registry

    def read(self, source: str, partition: int, number: int, value: bytes) -> Batch:
        return self.of(wire.decode(value).readings, partition, number)

    def take(self, readings: Readings) -> Array:
        """Readings into latest values, whatever log they are of; gives the series of each, (n,)."""
        return self._latest.take(readings)

    def series_of(self, readings: Readings) -> Array:
        """The series of each reading, (n,)."""
        return self._latest.series_of(readings)

    def batch(self, readings: Readings, series: Array, partition: int, position: int) -> Batch:
        """The readings of a record; `series` as `Latest.apply` gives it, (n,)."""
        return ReadingsBatch(readings, series, partition, position, self.key, self.place)

    def of(self, readings: Readings, partition: int = 0, position: int = 0) -> Batch:
        """Readings that latest values were not told of; without a position the batch says nothing of how far it is."""
        return self.batch(readings, self._latest.series_of(readings), partition, position)

    def unit(self, dataset: str, sensor: str, metric: str) -> str:
        """The unit that a series is published in."""
        found = canonical_unit(metric)
        return self._registry.rule(dataset, sensor, metric).unit if found is None else found

    def wants(self, wish: Wish, index: int) -> bool:
        return wish.wants_series(*self._latest.keys[index])

    def chosen(self, wish: Wish) -> list[int]:
        found: list[int] = []
        for dataset in sorted(wish.datasets or self._registry.datasets):
            found += self._latest.indices(dataset, wish.sensors or None, wish.metrics or None)
        return found

    def now(self, wish: Wish, index: int) -> tuple[int, int, bytes] | None:
        row = self._latest.row(index)
        if row is None or row.flag not in wish.flags or row.origin not in wish.origins:
            return None
        if wish.bbox is not None:
            place = public_place(self._registry.at(row.dataset, row.sensor, row.start))
            if not wish.wants_place(place):
                return None
        return row.start, row.rev, encode(row_of(row))

    def newest_start(self, index: int) -> int:
        return self._latest.newest_start(index)

    def key(self, index: int) -> tuple[str, str, str, str]:
        """(dataset, sensor, metric, unit)."""
        return (*self._latest.keys[index], self._latest.units[index])

    def place(self, readings: Readings, i: int, index: int) -> Place | None:
        """Where a reading is, for the public: its own place, else its sensor's at its time."""
        dataset, sensor, _ = self._latest.keys[index]
        known = self._registry.at(dataset, sensor, int(readings.start[i]))
        if readings.lon is not None and readings.lat is not None and readings.lon[i] == readings.lon[i]:
            site = Site(lon=float(readings.lon[i]), lat=float(readings.lat[i]))
            precision_m = known.public_precision_m if known else 0
            known = Registration(dataset, sensor, site=site, public_precision_m=precision_m)
        return public_place(known)


def row_of(row: LatestRow) -> Row:
    """A latest value as the feed tells it."""
    return Row(
        row.dataset, row.sensor, row.metric, row.unit, rfc3339(row.start), row.period_s, row.value, row.flag, row.tests,
        row.rev, ORIGIN_NAMES[row.origin], rfc3339(row.received),
        msgspec.UNSET if row.newer_failed is None else rfc3339(row.newer_failed),
    )  # fmt: skip
