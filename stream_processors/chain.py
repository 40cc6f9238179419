"""The chain of clean records: which of those that came are the next ones. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from schemas.errors import GapError
from schemas.wire import Record
from stream_processors.store import Position


@dataclass(frozen=True, slots=True)
class Item:
    """A record of readings.clean where it stood; `crc` is the CRC-32 of its bytes."""

    part: int
    offset: int
    record: Record
    crc: int


@dataclass(frozen=True, slots=True)
class Followed:
    """The records with readings that are to be stored, those before which raw records are missing, positions and
    ticks after all, and how many were repeats.
    """

    accepted: list[Item]
    gaps: list[Item]
    positions: dict[int, Position]
    ticks: dict[int, int]
    repeats: int


def follow(items: Iterable[Item], positions: Mapping[int, Position], ticks: Mapping[int, int]) -> Followed:
    """The records that follow the chain.

    A record is the next one when its `prev_raw` is the raw offset of our last; one whose raw offset is not above it
    is a repeat. Raises `GapError` for one that leaves records out.
    """
    after = {part: position.copy() for part, position in positions.items()}
    time = dict(ticks)
    accepted: list[Item] = []
    gaps: list[Item] = []
    repeats = 0
    for item in items:
        position, record = after[item.part], item.record
        if item.offset < position.next_offset:
            continue  # Faust read from an older commit
        position.next_offset, position.crc = item.offset + 1, item.crc
        if position.raw is not None and record.raw <= position.raw:
            repeats += 1
            continue
        if position.raw is not None and record.prev_raw != position.raw:
            raise GapError(
                f"readings.clean partition {item.part} offset {item.offset} follows raw {record.prev_raw}, but the"
                f" last one stored is raw {position.raw}: records between are missing. Nothing more is stored from"
                " this partition until someone looks."
            )
        position.raw = record.raw
        if record.gap:
            gaps.append(item)
        if record.tick:
            # Not the maximum: after a gateway's clock was ahead for a while, time goes on from where it is.
            time[item.part] = position.tick = record.tick
        if len(record.readings):
            accepted.append(item)
    return Followed(accepted, gaps, after, time, repeats)


def log_time(record: Record) -> int | None:
    """When a record was received, in epoch ms: its tick, or the first of its readings; None: it has neither."""
    return record.tick or (int(record.readings.received.min()) if len(record.readings) else None)
