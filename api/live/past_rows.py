"""Stored windows and index rows as the live feed tells them, for who comes back later than Kafka remembers."""

from collections.abc import Mapping

from api.live.batches import Batch
from api.live.filters import Wish
from api.live.past import FIRST_SLICE_MS, LONGEST_SLICE_MS, SLICE_ROWS
from api.live.published import RowsTopic
from api.queries import published
from api.queries.pool import Pool

LATE_MS = 600_000
"""So much earlier than a cursor's time is looked: gateway, processors and database each have a clock."""


class PastRows:
    """Reads, slice by slice of the time they were published in, the rows numbered above `after` and up to `until`."""

    def __init__(
        self, topic: RowsTopic, pool: Pool, wish: Wish, after: Mapping[int, int], until: Mapping[int, int],
        made_ms: int, now_ms: int,
    ) -> None:  # fmt: skip
        self.done = False
        self._topic = topic
        self._pool = pool
        self._wish = wish
        self._after = after
        self._until = until
        self._low_ms = max(0, made_ms - LATE_MS)
        self._end_ms = now_ms + LATE_MS
        self._slice_ms = FIRST_SLICE_MS

    async def read(self) -> list[Batch]:
        """The next slice; `done` when it was the last. Raises `psycopg.Error`."""
        async with self._pool.connection() as connection:
            while True:
                high_ms = self._low_ms + self._slice_ms
                limit = SLICE_ROWS if self._slice_ms > 1 else None  # one millisecond is read whole
                found = await published.since(
                    connection, self._topic.name, self._wish, self._after, self._until, self._low_ms, high_ms, limit
                )
                if found is not None:
                    break
                self._slice_ms = max(1, self._slice_ms // 4)
        if sum(len(rows) for _, rows in found) < SLICE_ROWS // 4:
            self._slice_ms = min(LONGEST_SLICE_MS, self._slice_ms * 2)
        self._low_ms, self.done = high_ms, high_ms >= self._end_ms
        return [self._topic.batch(rows, partition) for partition, rows in found]
