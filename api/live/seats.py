"""How many live connections this process has, of each address and of each key; all ways into the live feed count."""

from collections import Counter

from api.live import metrics
from api.live.keys import Grant, Refusal
from api.live.messages import Close
from schemas.settings import Settings


class Seats:
    """The connections that are open."""

    def __init__(self) -> None:
        self.n = 0
        self.of_address: Counter[str] = Counter()
        self.of_key: Counter[str] = Counter()

    def refusal(self, address: str, settings: Settings) -> Refusal | None:
        """Why one more may not come from an address; None where it may."""
        if self.n >= settings.live_max_connections:
            return Refusal(Close.CAPACITY, "this process has all the connections that it takes; back off, with jitter")
        if 0 < settings.live_connections_per_address <= self.of_address[address]:
            return Refusal(Close.CONNECTION_LIMIT, "too many connections from this address")
        return None

    def opened(self, address: str) -> "Seat":
        """One more."""
        return Seat(self, address)


class Seat:
    """A connection's place among those of its address; with a key, among those of the key."""

    __slots__ = ("_counted", "_name", "_seats")

    def __init__(self, seats: Seats, address: str) -> None:
        self._seats = seats
        self._counted, self._name = seats.of_address, address
        self._counted[self._name] += 1
        seats.n += 1
        metrics.CONNECTIONS.inc()

    def take(self, grant: Grant) -> Refusal | None:
        """Sit down among those of a key instead; why not, where it has no more room."""
        if self._seats.of_key[grant.name] >= grant.key.connections:
            return Refusal(Close.CONNECTION_LIMIT, f"too many connections of the key {grant.name}"[:120])
        self._uncount()
        self._counted, self._name = self._seats.of_key, grant.name
        self._counted[self._name] += 1
        return None

    def leave(self) -> None:
        """The connection is over; to be called once."""
        self._uncount()
        self._seats.n -= 1
        metrics.CONNECTIONS.dec()

    def _uncount(self) -> None:
        self._counted[self._name] -= 1
        if not self._counted[self._name]:
            del self._counted[self._name]


seats = Seats()
"""Of this process."""
