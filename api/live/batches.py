"""What one Kafka record brought, as the hub takes it: rows of one topic, from one partition, numbered by their log.

A row's JSON is made when the first group wants it, and once for all of them. Batches wait in the ring for those who
come back, so they keep columns, not rows.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from api.live.messages import Row, encode, rfc3339
from schemas.readings import Array, Origin, Readings

Place = tuple[float, float]
"""(lon, lat) in degrees WGS 84."""

ORIGIN_NAMES: dict[int, Any] = {int(Origin.LIVE): "live", int(Origin.IMPORT): "import"}


class Batch(ABC):
    """n rows. `source` is the cursor's topic, `number` what a cursor says of the partition when it has them all.

    `series` is each row's index into the topic's keys, `start` epoch ms, `rev`, `flag` and `origin` as everywhere.
    """

    __slots__ = ("flag", "number", "origin", "partition", "rev", "series", "source", "start")

    def __init__(
        self, source: str, partition: int, number: int, series: Array, start: Array, rev: Array,
        flag: Array, origin: Array,
    ) -> None:  # fmt: skip
        self.source = source
        self.partition = partition
        self.number = number
        self.series = series
        self.start = start
        self.rev = rev
        self.flag = flag
        self.origin = origin

    def __len__(self) -> int:
        return len(self.series)

    @abstractmethod
    def row(self, i: int) -> bytes:
        """Row i as JSON."""

    @abstractmethod
    def place(self, i: int) -> Place | None:
        """Where row i is, as published."""

    def category(self, i: int) -> str:
        """What an index calls the row's value; empty for other topics."""
        return ""

    def mark(self, i: int) -> tuple[int, int]:
        """(number, within) of a cursor that has the rows before i and not the rest."""
        return self.number - 1, i

    def after(self, number: int, within: int) -> int:
        """The first row that a reader lacks whose cursor says (number, within)."""
        if number >= self.number:
            return len(self)
        return within if number == self.number - 1 else 0


class ReadingsBatch(Batch):
    """A record of `readings.clean`; its number is its position in the log."""

    __slots__ = ("_key", "_place", "_readings", "_rows")

    def __init__(
        self, readings: Readings, series: Array, partition: int, position: int,
        key: Callable[[int], tuple[str, str, str, str]], place: Callable[[Readings, int, int], Place | None],
    ) -> None:  # fmt: skip
        super().__init__(
            "readings", partition, position, series, readings.start, readings.rev, readings.flag, readings.origin
        )
        self._readings = readings
        self._rows: dict[int, bytes] = {}
        self._key = key
        self._place = place

    def row(self, i: int) -> bytes:
        found = self._rows.get(i)
        if found is None:
            found = self._rows[i] = self._encode(i)
        return found

    def _encode(self, i: int) -> bytes:
        r, value = self._readings, float(self._readings.value[i])
        return encode(
            Row(
                *self._key(int(self.series[i])), rfc3339(int(r.start[i])), int(r.period_s[i]),
                value if value == value else None, int(r.flag[i]), int(r.tests[i]), int(r.rev[i]),
                ORIGIN_NAMES[int(r.origin[i])], rfc3339(int(r.received[i])),
            )
        )  # fmt: skip

    def place(self, i: int) -> Place | None:
        return self._place(self._readings, i, int(self.series[i]))
