"""The newest value of every series, and which of them are still to be published. Without I/O.

Bounded by the number of series: a value that waits is replaced by a newer one of its series, never queued behind it.
"""

import msgspec
from cityfeed_client import Row

from deploy.public_mqtt import observations
from schemas.public_mqtt import PublicValue, public_topic

Message = tuple[bytes, bytes]
"""(topic, payload)"""


class Newest:
    """`take` rows of the live feed, `give` messages to the broker; an older value never follows a newer one.

    `root` is the address of SensorThings.
    """

    def __init__(self, prefix: str, root: str) -> None:
        self._prefix = prefix
        self._root = root
        self._observed: dict[bytes, Row] = {}
        self._known: dict[bytes, tuple[str, int]] = {}
        self._payloads: dict[bytes, bytes] = {}
        self._waiting: dict[bytes, None] = {}

    def __len__(self) -> int:
        return len(self._known)

    @property
    def waiting(self) -> int:
        """How many series have a value that is not published yet."""
        return len(self._waiting)

    def take(self, rows: list[Row]) -> None:
        """Readings as they come; what is older than, or the same as, what is known of its series is passed over."""
        for row in rows:
            topic = public_topic(self._prefix, row["dataset"], row["sensor"], row["metric"]).encode()
            age = row["start"], row["rev"]  # RFC 3339 UTC of one length: the order of the text is that of time
            if age <= self._known.get(topic, ("", 0)):
                continue
            self._known[topic] = age
            value = PublicValue(row["start"], row["period_s"], row["value"], row.get("unit"), row["flag"], row["rev"])
            self._payloads[topic] = msgspec.json.encode(value)
            self._waiting[topic] = None
            self._observed[topic] = row

    def observations(self) -> list[Message]:
        """What is new, as SensorThings' Observations; each once, for they are events and no state."""
        rows, self._observed = self._observed, {}
        return [observations.message(row, self._root) for row in rows.values()]

    def again(self) -> None:
        """The broker may have lost everything, or had it and not said so: all values are to be published again."""
        self._waiting = dict.fromkeys(self._payloads)

    def give(self, most: int) -> list[Message]:
        """At most so many messages, which wait no longer; those that have waited longest come first."""
        topics = [topic for topic, _ in zip(self._waiting, range(most), strict=False)]
        for topic in topics:
            del self._waiting[topic]
        return [(topic, self._payloads[topic]) for topic in topics]
