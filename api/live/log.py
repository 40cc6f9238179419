"""Kafka's log, read back for a client that was away longer than the ring remembers."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition

from api.live.sources import SOURCES, offset_of
from schemas.settings import Settings

POLL_RECORDS = 500
TIME_SLACK_MS = 60_000
SILENCE_S = 10.0


@dataclass(frozen=True)
class Stretch:
    """Records of a partition, from offset `first` up to `end`, which is excluded."""

    source: str
    partition: int
    first: int
    end: int


@dataclass(frozen=True)
class LogRecord:
    """A record as the log has it."""

    source: str
    partition: int
    offset: int
    value: bytes


class Log:
    """Reads stretches of the log, with consumers of its own and no group."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def after(self, at: Mapping[str, Mapping[int, int]], made_ms: int) -> list[Stretch] | None:
        """What came after a cursor up to the log's end as it is now; None where the log does not have all of it.

        Of readings a cursor says the position. Of published rows it says a number, so they are looked for by the time
        of the cursor, `made_ms` (epoch ms), and what is read too much is skipped by its number. Raises `KafkaError`.
        """
        parts = {TopicPartition(self._name(s), p): (s, n) for s, numbers in at.items() for p, n in numbers.items()}
        async with self._consumer() as consumer:
            low = await consumer.beginning_offsets(list(parts))
            end = await consumer.end_offsets(list(parts))
            since = await consumer.offsets_for_times(dict.fromkeys(parts, max(0, made_ms - TIME_SLACK_MS)))
        found: list[Stretch] = []
        for tp, (source, number) in parts.items():
            if source == "readings":
                first = offset_of(number) + 1
                gone = first < low[tp]
                first = max(low[tp], first - 1)  # the record before says whether the next one is a repeat
            else:
                first = end[tp] if since[tp] is None else since[tp].offset
                gone = first == low[tp] > 0  # there may have been more of that time
            if gone:
                return None
            found.append(Stretch(source, tp.partition, first, max(first, end[tp])))
        return found

    async def read(self, stretches: Sequence[Stretch]) -> AsyncIterator[list[LogRecord]]:
        """The records of stretches, some at a time, each partition's in its order.

        Raises `KafkaError`, `TimeoutError`.
        """
        left = {TopicPartition(self._name(s.source), s.partition): s for s in stretches if s.first < s.end}
        if not left:
            return  # a consumer of nothing can't be stopped: aiokafka cancels whoever asks
        async with self._consumer() as consumer:
            consumer.assign(list(left))
            for tp, stretch in left.items():
                consumer.seek(tp, stretch.first)
            while left:
                async with asyncio.timeout(SILENCE_S):
                    while not (batches := await consumer.getmany(timeout_ms=500, max_records=POLL_RECORDS)):
                        pass
                found: list[LogRecord] = []
                for tp, records in batches.items():
                    if tp not in left:
                        continue
                    stretch = left[tp]
                    found += [
                        LogRecord(stretch.source, tp.partition, r.offset, r.value or b"")
                        for r in records
                        if r.offset < stretch.end
                    ]
                    if records and records[-1].offset + 1 >= stretch.end:
                        del left[tp]
                        consumer.pause(tp)
                yield found

    def _name(self, source: str) -> str:
        return self._settings.kafka_topic_prefix + SOURCES[source]

    @asynccontextmanager
    async def _consumer(self) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._settings.kafka_bootstrap,
            client_id="cityfeed-api-resume",
            enable_auto_commit=False,
            auto_offset_reset="none",
            max_partition_fetch_bytes=8 * 1024 * 1024,
        )
        await consumer.start()
        try:
            yield consumer
        finally:
            await consumer.stop()
