"""The ring: the newest records of every log that the feed follows, for clients that come back.

Records are kept as their bytes, the smallest form they have; who comes back first pays for reading them again.
Bounded in bytes: the oldest record goes, whatever log it is of, and `floor` says how far each log has been dropped.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Mapping
from heapq import merge
from typing import NamedTuple

ENTRY_BYTES = 250
"""What an entry costs besides its record (objects and list slots), rounded up."""


class Entry(NamedTuple):
    """A record: `arrival` orders all of them, `number` those of a log (what a cursor says when it has it)."""

    arrival: int
    number: int
    source: str
    partition: int
    value: bytes


class _Log:
    def __init__(self, floor: int) -> None:
        self.floor = floor
        self.entries: list[Entry] = []
        self.head = 0

    def since(self, number: int) -> Iterator[Entry]:
        first = bisect_right(self.entries, number, lo=self.head, key=lambda entry: entry.number)
        return (self.entries[i] for i in range(first, len(self.entries)))

    def drop(self) -> None:
        self.floor = self.entries[self.head].number
        self.entries[self.head] = self.entries[self.head]._replace(value=b"")
        self.head += 1
        if self.head > 1000 and self.head * 2 > len(self.entries):
            del self.entries[: self.head]
            self.head = 0


class Ring:
    """The newest records of all logs, at most `most_bytes` of them. A log is (source, partition)."""

    def __init__(self, most_bytes: int) -> None:
        self.arrivals = 0
        self.bytes = 0
        self._most_bytes = most_bytes
        self._logs: dict[tuple[str, int], _Log] = {}
        self._order: deque[tuple[str, int]] = deque()

    def begin(self, source: str, partition: int, number: int) -> None:
        """A log is followed from behind `number` on; what was kept of it is forgotten."""
        key = source, partition
        old = self._logs.get(key)
        if old is not None:
            while old.head < len(old.entries):
                self.bytes -= len(old.entries[old.head].value) + ENTRY_BYTES
                old.drop()
            self._order = deque(other for other in self._order if other != key)
        self._logs[key] = _Log(number)

    def add(self, source: str, partition: int, number: int, value: bytes) -> None:
        """The next record of a log."""
        log = self._logs.get((source, partition))
        if log is None:
            log = self._logs[source, partition] = _Log(number - 1)
        self.arrivals += 1
        log.entries.append(Entry(self.arrivals, number, source, partition, value))
        self._order.append((source, partition))
        self.bytes += len(value) + ENTRY_BYTES
        while self.bytes > self._most_bytes:
            oldest = self._logs[self._order.popleft()]
            self.bytes -= len(oldest.entries[oldest.head].value) + ENTRY_BYTES
            oldest.drop()

    def floors(self, source: str) -> dict[int, int]:
        """By partition: what a cursor must say at least for the ring to have all the rest."""
        return {partition: log.floor for (name, partition), log in self._logs.items() if name == source}

    def covers(self, at: Mapping[str, Mapping[int, int]]) -> bool:
        """Whether everything after these numbers is here, for each source that they name."""
        return all(
            numbers.get(partition, -1) >= floor
            for source, numbers in at.items()
            for partition, floor in self.floors(source).items()
        )

    def since(self, at: Mapping[str, Mapping[int, int]]) -> Iterator[Entry]:
        """What came after these numbers of the sources that they name, in the order it came."""
        logs = (
            log.since(at[source].get(partition, -1)) for (source, partition), log in self._logs.items() if source in at
        )
        return merge(*logs)
