"""Stored positions held against Kafka's logs, when partitions are taken over."""

import logging
from collections.abc import Mapping
from dataclasses import replace

from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord

from schemas import published, topics, wire
from schemas.settings import Settings
from stream_processors import metrics
from stream_processors.chain import log_time
from stream_processors.log_check import WORDS, Log, check
from stream_processors.log_reader import LogReader, reader
from stream_processors.store import LogGap, Position, Store

log = logging.getLogger(__name__)


async def hold_against_logs(
    settings: Settings, store: Store, positions: dict[int, Position], clean_ends: Mapping[int, tuple[int, int]]
) -> None:
    """Move positions to where reading can go on, and keep what was lost in `log_gaps`, in one transaction.

    `clean_ends` are [first, next) of the partitions of readings.clean; they must be of now.
    """
    prefix = settings.kafka_topic_prefix
    of_rows = [TopicPartition(prefix + kind, part) for kind in published.KINDS for part in positions]
    async with reader(settings) as logs:
        clean = await logs.logs(prefix + topics.CLEAN, clean_ends, {p: at.next_offset for p, at in positions.items()})
        last_rows = await logs.last(of_rows)
        gaps = [gap for part, at in positions.items() if (gap := _check(part, at, clean[part]))]
        gaps = await _with_times(logs, prefix, gaps, clean)
    for tp, record in last_rows.items():
        if gap := _check_numbers(tp.topic.removeprefix(prefix), positions[tp.partition], record):
            gaps.append(gap)
    if gaps:
        async with store.transaction(positions):
            await store.put_log_gaps(gaps)
            await store.put_positions(positions)


def _check(part: int, position: Position, clean: Log) -> LogGap | None:
    verdict = check(position.next_offset, position.crc, clean)
    if verdict.reason is None:
        return None
    lost = position.next_offset
    log.error(
        "ALARM: readings.clean partition %d [%d, %d), stored up to %d: %s; going on at %d",
        part, clean.first, clean.end, lost, WORDS[verdict.reason], verdict.next_offset,
    )  # fmt: skip
    metrics.LOG_GAPS.labels(topics.CLEAN, verdict.reason).inc()
    position.log_epoch += verdict.is_new_log
    position.next_offset, position.raw, position.crc = verdict.next_offset, None, None
    return LogGap(topics.CLEAN, part, position.log_epoch, lost, verdict.next_offset, verdict.reason)


async def _with_times(logs: LogReader, prefix: str, gaps: list[LogGap], clean: Mapping[int, Log]) -> list[LogGap]:
    """Until when lost records had been received: the time of those that follow."""
    partitions = {TopicPartition(prefix + topics.CLEAN, gap.part): gap for gap in gaps}
    ahead = {tp: gap.next_offset for tp, gap in partitions.items() if gap.next_offset < clean[gap.part].end}
    following = await logs.first_from(ahead)
    times = {tp.partition: log_time(wire.decode(record.value or b"")) for tp, record in following.items()}
    return [replace(gap, until_ms=times.get(gap.part)) for gap in gaps]


def _check_numbers(topic: str, position: Position, last: ConsumerRecord) -> LogGap | None:
    """A database that was restored from a backup numbers rows again: above what readers have seen, or they would pass
    over them.
    """
    seen = int(max(published.decode(last.value or b"").columns["out_seq"]))  # type: ignore[arg-type]
    if seen <= position.out_seq:
        return None
    log.error(
        "ALARM: the topic %s partition %d has rows up to number %d, the database has given %d: it is older than what"
        " it published (restored?). Rows are numbered from there on",
        topic, last.partition, seen, position.out_seq,
    )  # fmt: skip
    metrics.LOG_GAPS.labels(topic, "restored").inc()
    lost, position.out_seq = position.out_seq + 1, seen
    return LogGap(topic, last.partition, position.log_epoch, lost, seen + 1, "restored")
