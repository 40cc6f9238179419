"""The logs that the live feed follows, under the names that cursors have for them."""

from schemas import topics

EPOCH_BITS = 44

SOURCES = {
    "readings": topics.CLEAN, "amended": topics.AMENDED, "windows": topics.WINDOWS, "index": topics.INDEX,
}  # fmt: skip
"""Name in a cursor -> Kafka topic, without the prefix. Of `readings` a cursor says positions, of the others numbers."""


def position_of(log_epoch: int, offset: int) -> int:
    """One number that only grows, whatever becomes of the log; -1 before the first record."""
    return -1 if offset < 0 and not log_epoch else (log_epoch << EPOCH_BITS) + offset


def offset_of(position: int) -> int:
    """The offset in its log; -1 before the first record."""
    return -1 if position < 0 else position & ((1 << EPOCH_BITS) - 1)


def epoch_of(position: int) -> int:
    """Which log a position is of."""
    return max(position, 0) >> EPOCH_BITS


class Chain:
    """Whether a clean record follows the last one of its partition: each names the raw offset before its own."""

    def __init__(self) -> None:
        self._last: dict[int, int] = {}

    def expect(self, partition: int, raw: int) -> None:
        """The last raw offset that was taken."""
        self._last[partition] = raw

    def forget(self, partition: int) -> None:
        """Take whatever comes next."""
        self._last.pop(partition, None)

    def link(self, partition: int, raw: int, prev_raw: int) -> str:
        """`next`, `repeat` (was taken already: skip it) or `gap` (something is missing before it)."""
        last = self._last.get(partition)
        if last is not None and raw <= last:
            return "repeat"
        self._last[partition] = raw
        return "next" if last is None or prev_raw == last else "gap"
