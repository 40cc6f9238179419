"""Flights: messages that were taken together, the records that hold them, and when they may be acknowledged."""

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple


class Out(NamedTuple):
    """A Kafka record to write."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes


class Flight:
    """Messages in receipt order and every record that has one of their rows or dead letters.

    The messages may be acknowledged when `pending` is empty: Kafka has all records. Nothing but the records is kept
    of the messages.
    """

    __slots__ = ("made_s", "messages", "payload_bytes", "pending", "receipts", "records")

    def __init__(
        self, records: list[Out], receipts: list[int], messages: int = 0, payload_bytes: int = 0, made_s: float = 0.0
    ) -> None:
        self.records = records
        self.receipts = receipts
        self.messages = messages
        self.payload_bytes = payload_bytes
        self.made_s = made_s
        self.pending = set(range(len(records)))

    def unsent(self) -> list[tuple[int, Out]]:
        """The records that Kafka has not acknowledged, with their index, in order."""
        return [(i, self.records[i]) for i in sorted(self.pending)]


class Ledger:
    """Flights in the order they were made. They leave in that order, so messages are acknowledged as received."""

    def __init__(self) -> None:
        self._flights: deque[Flight] = deque()

    def __len__(self) -> int:
        return len(self._flights)

    def __iter__(self) -> Iterator[Flight]:
        return iter(self._flights)

    @property
    def oldest(self) -> Flight | None:
        """The flight that all others wait for."""
        return self._flights[0] if self._flights else None

    def add(self, flight: Flight) -> None:
        """Take a flight in; it is the newest."""
        self._flights.append(flight)

    def settled(self) -> list[Flight]:
        """Remove and give the oldest flights that Kafka has as a whole, up to the first that it has not."""
        done: list[Flight] = []
        while self._flights and not self._flights[0].pending:
            done.append(self._flights.popleft())
        return done
