"""What `clean` remembers of a partition, across restarts: a snapshot now and then, and the clean records after it.

    readings.clean   ...|<- duplicate_horizon_s ->|  repeats are told from these records, at most REPEATS_RECORDS
                              snapshot|.......last|  the rules of order: the snapshot, and the records after it

Snapshots go to the compacted topic `clean.memory`, each after the acknowledgement of the clean record up to which it
stands, in turn under two names, cut into pieces. One that was cut off by a crash is not whole, and the one before it
is taken.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec
from aiokafka import TopicPartition

from schemas import topics, wire
from schemas.errors import WireError
from schemas.settings import Settings
from stream_processors.clean import Cleaner
from stream_processors.log_reader import LogReader, reader

log = logging.getLogger(__name__)

EVERY_S = 30.0
PIECE_BYTES = 900_000
REPEATS_RECORDS = 5_000
"""Of a partition, so that a restart under load is a matter of seconds; older repeats are told by the database."""


class Piece(msgspec.Struct, frozen=True):
    """A part of a snapshot that stands for everything up to raw position `raw`, whose clean record is at `clean`."""

    v: int
    raw: int
    clean: int
    piece: int
    pieces: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Kept:
    """A snapshot with the name it is under; see `Piece`."""

    raw: int
    clean: int
    name: str
    data: bytes


NAMES = ("a", "b")
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Piece)


def cut(kept: Kept) -> list[tuple[bytes, bytes]]:
    """The records (key, value) of a snapshot."""
    pieces = [kept.data[at : at + PIECE_BYTES] for at in range(0, len(kept.data), PIECE_BYTES)] or [b""]
    return [
        (f"{kept.name}/{i}".encode(), _encoder.encode(Piece(1, kept.raw, kept.clean, i, len(pieces), data)))
        for i, data in enumerate(pieces)
    ]


def gather(records: Iterable[tuple[bytes | None, bytes | None]]) -> Kept | None:
    """The newest snapshot that is whole, of the records of a partition in their order."""
    found: dict[str, dict[int, Piece]] = {name: {} for name in NAMES}
    for key, value in records:
        name = (key or b"").decode(errors="replace").partition("/")[0]
        try:
            piece = _decoder.decode(value or b"")
        except (msgspec.DecodeError, ValueError):
            continue
        if name in found and piece.v == 1:
            found[name][piece.piece] = piece
    whole: list[Kept] = []
    for name, by_number in found.items():
        first = by_number.get(0)
        if first is None:
            continue
        pieces = [by_number.get(i) for i in range(first.pieces)]
        if all(piece is not None and piece.raw == first.raw for piece in pieces):
            data = b"".join(piece.data for piece in pieces if piece is not None)
            whole.append(Kept(first.raw, first.clean, name, data))
    return max(whole, key=lambda kept: kept.raw, default=None)


def following(before: Kept | None, raw: int, clean: int, data: bytes) -> Kept:
    """The snapshot after another: under the other name."""
    return Kept(raw, clean, NAMES[0] if before is None or before.name == NAMES[1] else NAMES[1], data)


async def load(logs: LogReader, settings: Settings, parts: Iterable[int]) -> dict[int, Kept]:
    """The snapshots of partitions."""
    topic = settings.kafka_topic_prefix + topics.CLEAN_MEMORY
    records = await logs.everything([TopicPartition(topic, part) for part in parts])
    found = {tp.partition: gather((record.key, record.value) for record in of) for tp, of in records.items()}
    return {part: kept for part, kept in found.items() if kept is not None}


async def remember(settings: Settings, cleaners: Mapping[int, Cleaner]) -> dict[int, Kept]:
    """Fill the memory of new cleaners; gives the snapshots that there were."""
    async with reader(settings) as logs:
        snapshots = await load(logs, settings, cleaners)
        clean = {part: TopicPartition(settings.kafka_topic_prefix + topics.CLEAN, part) for part in cleaners}
        ends = await logs.ends(clean.values())
        horizon = await logs.since(ends, settings.duplicate_horizon_s * 1000)
        starts: dict[TopicPartition, int] = {}
        in_order_from: dict[int, int] = {}
        for part, tp in clean.items():
            first, end = ends[tp]
            repeats_from = max(first, horizon.get(tp, end), end - REPEATS_RECORDS)
            kept = snapshots.get(part)
            # A snapshot of a log that was made anew since says nothing of this one.
            if kept is not None and first <= kept.clean + 1 <= end and cleaners[part].restore(kept.data):
                in_order_from[part] = kept.clean + 1
            else:
                in_order_from[part] = max(first, horizon.get(tp, end))
            starts[tp] = min(repeats_from, in_order_from[part])
        async for tp, record in logs.between(starts, {tp: end for tp, (_, end) in ends.items()}):
            in_order = record.offset >= in_order_from[tp.partition]
            try:
                cleaners[tp.partition].remember(wire.decode(record.value or b""), in_order=in_order)
            except WireError as e:
                log.error("readings.clean partition %d offset %d: %s", tp.partition, record.offset, e)
    return snapshots
