"""Whether a Kafka log is still the one that was read up to a position. Pure.

    [first ......... next_offset - 1 | next_offset ......... end)
                     the record before the position: known by its CRC-32

A log that was made anew (a new volume, a broker that lost its last writes) may be shorter than the position, or longer:
then the record before the position is another one. Either is a new log, read from its beginning, and positions go on
in the next epoch, so that they only grow. A log that begins after the position lost what lay between. Nothing is
passed over in silence, and nothing starts again at an end by itself.
"""

from dataclasses import dataclass
from enum import StrEnum

EPOCH_BITS = 44
_OFFSET = (1 << EPOCH_BITS) - 1


class Reason(StrEnum):
    """What was found wrong."""

    RETENTION = "retention"  # the log begins after the position
    SHORTER = "shorter"  # it ends before it
    UNLIKE = "unlike"  # the record before the position is another one
    HOLE = "hole"  # there is no record at the position, but there are later ones


WORDS = {
    Reason.RETENTION: "records between were deleted before they were read: the outage was longer than"
    " CITYFEED_KAFKA_RETENTION_H",
    Reason.SHORTER: "the log is shorter than what was read from it: it was made anew",
    Reason.UNLIKE: "the record before the position is not the one that was read: the log was made anew",
    Reason.HOLE: "the log has a hole: no record at the position, but later ones",
}


@dataclass(frozen=True, slots=True)
class Log:
    """A partition as Kafka has it: offsets [first, end), the CRC-32 of the record before the position (None: there is
    none), and the offset of the first record at or after the position (None: none).
    """

    first: int
    end: int
    crc: int | None = None
    following: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Where to read on, and what is wrong (None: nothing)."""

    next_offset: int
    reason: Reason | None = None

    @property
    def is_new_log(self) -> bool:
        """Positions go on in the next epoch."""
        return self.reason in (Reason.SHORTER, Reason.UNLIKE)


def check(next_offset: int, crc: int | None, log: Log) -> Verdict:
    """Hold a position against the log. `crc` None: the record before it is not known, and not compared."""
    if next_offset > log.end:
        return Verdict(log.first, Reason.SHORTER)
    if next_offset < log.first:
        return Verdict(log.first, Reason.RETENTION)
    if next_offset > log.first and crc is not None and crc != log.crc:
        return Verdict(log.first, Reason.UNLIKE)
    if log.following is not None and log.following > next_offset:
        return Verdict(log.following, Reason.HOLE)
    return Verdict(next_offset)


def join(epoch: int, offset: int) -> int:
    """A position: one number that only grows."""
    return epoch << EPOCH_BITS | offset


def split(position: int) -> tuple[int, int]:
    """(epoch, offset) of a position that is not below 0."""
    return position >> EPOCH_BITS, position & _OFFSET
