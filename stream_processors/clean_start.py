"""Where `clean` begins in a partition: after the chain's last record, which is held against the raw log."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas import topics, wire
from schemas.settings import Settings
from schemas.wire import Record
from stream_processors import metrics
from stream_processors.log_check import WORDS, Log, Reason, check, join, split
from stream_processors.log_reader import LogReader, reader

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Begin:
    """`last` is the position of the raw record cleaned last (-1: none), `next_offset` the raw offset to read from,
    `epoch` that of the raw log; `reason` says why records between are missing, where they are.
    """

    last: int
    next_offset: int
    epoch: int
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class Chain:
    """What readings.clean and the group say of a partition: the last clean record (None: there is none), whether there
    ever was one in this log, the raw offset that the group committed, the epoch of the newest snapshot.
    """

    last: Record | None
    was_written: bool
    committed: int | None
    epoch: int = 0


def expected(chain: Chain, first: int) -> int:
    """The raw offset that comes next, if the raw log is what it was.

    Retention may have emptied readings.clean while nothing came: then what the group committed says how far cleaning
    had come. A readings.clean that nothing was ever written to is new, and everything is cleaned for it.
    """
    if chain.last is not None:
        return split(chain.last.raw)[1] + 1
    return chain.committed if chain.was_written and chain.committed is not None else first


def begin(part: int, chain: Chain, raw: Log) -> Begin:
    """Where to begin; what was lost, or made anew, is said."""
    next_offset = expected(chain, raw.first)
    if chain.last is None:
        verdict = check(next_offset, None, raw)
        epoch = chain.epoch if chain.was_written else 0
        last = join(epoch, verdict.next_offset - 1) if verdict.next_offset else -1
        if not chain.was_written and (chain.committed or 0) > raw.first:
            log.error(
                "readings.clean partition %d was made anew: all of readings.raw from %d on is cleaned again for it",
                part, raw.first,
            )  # fmt: skip
    else:
        crc = chain.last.raw_crc
        verdict = check(next_offset, None if crc < 0 else crc, raw)
        last, epoch = chain.last.raw, split(chain.last.raw)[0] + verdict.is_new_log
    if verdict.reason is not None:
        log.error(
            "readings.raw partition %d [%d, %d), cleaned up to %d: %s; going on at %d",
            part, raw.first, raw.end, next_offset, WORDS[verdict.reason], verdict.next_offset,
        )  # fmt: skip
        metrics.LOG_GAPS.labels(topics.RAW, verdict.reason).inc()
    return Begin(last, verdict.next_offset, epoch, verdict.reason)


async def find(
    settings: Settings, raw_ends: Mapping[int, tuple[int, int]], epochs: Mapping[int, int]
) -> dict[int, Begin]:
    """Where to begin in each of these partitions of readings.raw ({partition: (first, next) offset in Kafka});
    `epochs` are those of the snapshots.
    """
    raw_topic = settings.kafka_topic_prefix + topics.RAW
    async with reader(settings) as logs:
        chains = await _chains(settings, logs, list(raw_ends), epochs)
        positions = {part: expected(chains[part], first) for part, (first, _) in raw_ends.items()}
        raw = await logs.logs(raw_topic, raw_ends, positions)
    return {part: begin(part, chains[part], raw[part]) for part in raw_ends}


async def _chains(settings: Settings, logs: LogReader, parts: list[int], epochs: Mapping[int, int]) -> dict[int, Chain]:
    clean = {part: TopicPartition(settings.kafka_topic_prefix + topics.CLEAN, part) for part in parts}
    ends = await logs.ends(clean.values())
    last = await logs.last(clean.values())
    empty = [part for part, tp in clean.items() if tp not in last]
    committed = await _committed(settings, empty) if empty else {}
    return {
        part: Chain(
            wire.decode(record.value or b"") if (record := last.get(tp)) else None,
            ends[tp][1] > 0,
            committed.get(part),
            epochs.get(part, 0),
        )
        for part, tp in clean.items()
    }


async def _committed(settings: Settings, parts: list[int]) -> dict[int, int | None]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap,
        group_id=topics.group_name(settings.kafka_topic_prefix, "clean"),
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        raw = {part: TopicPartition(settings.kafka_topic_prefix + topics.RAW, part) for part in parts}
        consumer.assign(list(raw.values()))
        return {part: await consumer.committed(tp) for part, tp in raw.items()}
    finally:
        await consumer.stop()
