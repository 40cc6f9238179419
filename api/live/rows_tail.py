"""The tail of the topics with published rows: windows, indices, amended readings, into their state and the hub."""

import logging

from api.live import metrics
from api.live.batches import Batch
from api.live.hub import Hub
from api.live.published import RowsTopic, amended, rows_above
from schemas import published
from schemas.errors import WireError
from schemas.published import Published

log = logging.getLogger(__name__)


class RowsTail:
    """Takes records of `source` (a name in `sources.SOURCES`), each partition's in its order."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._before: dict[tuple[str, int], int] = {}

    def begin(self, source: str, partition: int, first: int, end: int, low: int) -> None:
        """A log is read from offset `first` on; what is before `end` was there already, and is for those who come back
        only.
        """
        self._before[source, partition] = end
        if first == low == 0:
            self._hub.ring.begin(source, partition, 0)
            self._hub.moved(source, partition, 0)

    def take(self, source: str, partition: int, offset: int, value: bytes) -> None:
        """The next record."""
        try:
            found = published.decode(value)
        except WireError as e:
            log.error("ALARM: %s[%d]@%d: %s", source, partition, offset, e)
            metrics.TAIL_BAD_RECORDS.inc()
            return
        known = self._hub.at[source].get(partition)
        if known is None:
            first = int(found.columns["out_seq"][0])  # type: ignore[index]
            self._hub.ring.begin(source, partition, first - 1)
        elif (rest := rows_above(found, known)) is None:
            metrics.TAIL_REPEATS.inc()
            return
        else:
            found = rest
        batch = self._batch(source, partition, found)
        if offset < self._before.get((source, partition), 0):
            self._hub.keep(batch, value)
        else:
            self._hub.publish(batch, value)

    def _batch(self, source: str, partition: int, found: Published) -> Batch:
        topic = self._hub.topics.get(source)
        if not isinstance(topic, RowsTopic):
            return amended(self._hub.readings, found, partition, apply=True)
        batch = topic.batch(found, partition)
        gone = found.columns.get("gone")
        topic.apply(batch, None if gone is None else gone.tolist())  # type: ignore[union-attr]
        return batch
