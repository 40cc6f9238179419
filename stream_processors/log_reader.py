"""Single records out of Kafka's logs, as they are on assignment."""

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator, Iterable, Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from schemas.settings import Settings
from stream_processors.log_check import Log

TIMEOUT_S = 20.0

Records = dict[TopicPartition, ConsumerRecord]


@contextlib.asynccontextmanager
async def reader(settings: Settings) -> AsyncIterator["LogReader"]:
    """A consumer without a group."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap,
        enable_auto_commit=False,
        auto_offset_reset="none",
        max_partition_fetch_bytes=4 * 1024 * 1024,
    )
    await consumer.start()
    try:
        yield LogReader(consumer)
    finally:
        await consumer.stop()


class LogReader:
    """Raises `TimeoutError` where Kafka does not answer."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self.consumer = consumer

    async def ends(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        """(first, next) offset of each partition."""
        wanted = list(partitions)
        self.consumer.assign(wanted)
        first, end = await self.consumer.beginning_offsets(wanted), await self.consumer.end_offsets(wanted)
        return {tp: (first[tp], end[tp]) for tp in wanted}

    async def first_from(self, offsets: Mapping[TopicPartition, int]) -> Records:
        """The first record at or after each of these offsets, which must lie in their logs."""
        found: Records = {}
        unread = dict(offsets)
        if not unread:
            return found
        self.consumer.assign(list(unread))
        for tp, offset in unread.items():
            self.consumer.seek(tp, offset)
        async with asyncio.timeout(TIMEOUT_S):
            while unread:
                for tp, records in (await self.consumer.getmany(*unread, timeout_ms=500, max_records=1)).items():
                    if records and tp in unread and records[0].offset >= unread[tp]:
                        found[tp] = records[0]
                        del unread[tp]
        return found

    async def between(
        self, starts: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> AsyncIterator[tuple[TopicPartition, ConsumerRecord]]:
        """Every record of [start, end) of these partitions, each partition in its order."""
        unread = {tp: start for tp, start in starts.items() if start < ends[tp]}
        if not unread:
            return
        self.consumer.assign(list(unread))
        for tp, start in unread.items():
            self.consumer.seek(tp, start)
        silent_ms = 0
        while unread:
            batches = await self.consumer.getmany(*unread, timeout_ms=500)
            silent_ms = 0 if batches else silent_ms + 500
            if silent_ms > TIMEOUT_S * 1000:
                raise TimeoutError(f"Kafka does not give {', '.join(f'{tp.topic}[{tp.partition}]' for tp in unread)}")
            for tp, records in batches.items():
                for record in records:
                    if record.offset < ends[tp]:
                        yield tp, record
            for tp in list(unread):
                if await self.consumer.position(tp) >= ends[tp]:
                    del unread[tp]

    async def everything(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, list[ConsumerRecord]]:
        """All records of small topics."""
        ends = await self.ends(partitions)
        found: dict[TopicPartition, list[ConsumerRecord]] = {tp: [] for tp in ends}
        starts, limits = {tp: first for tp, (first, _) in ends.items()}, {tp: end for tp, (_, end) in ends.items()}
        async for tp, record in self.between(starts, limits):
            found[tp].append(record)
        return found

    async def since(self, ends: Mapping[TopicPartition, tuple[int, int]], back_ms: int) -> dict[TopicPartition, int]:
        """The offset of the first record that was appended at most `back_ms` before the last one."""
        last = await self.first_from({tp: end - 1 for tp, (first, end) in ends.items() if end > first})
        if not last:
            return {}
        self.consumer.assign(list(last))
        found = await self.consumer.offsets_for_times({tp: max(0, r.timestamp - back_ms) for tp, r in last.items()})
        return {tp: at.offset for tp, at in found.items() if at is not None}

    async def last(self, partitions: Iterable[TopicPartition]) -> Records:
        """The last record of each partition that has one."""
        ends = await self.ends(partitions)
        return await self.first_from({tp: end - 1 for tp, (first, end) in ends.items() if end > first})

    async def logs(
        self, topic: str, ends: Mapping[int, tuple[int, int]], positions: Mapping[int, int]
    ) -> dict[int, Log]:
        """What `check` needs to know of partitions, whose offsets are [first, end), at these positions."""
        inside = {p: n for p, n in positions.items() if ends[p][0] < n <= ends[p][1]}
        before = await self.first_from({TopicPartition(topic, p): n - 1 for p, n in inside.items()})
        ahead = {p: n for p, n in positions.items() if ends[p][0] <= n < ends[p][1]}
        following = await self.first_from({TopicPartition(topic, p): n for p, n in ahead.items()})
        logs: dict[int, Log] = {}
        for part, (first, end) in ends.items():
            tp = TopicPartition(topic, part)
            record, next_one = before.get(tp), following.get(tp)
            is_it = record is not None and record.offset == positions[part] - 1
            logs[part] = Log(first, end, crc(record) if is_it else None, next_one.offset if next_one else None)
        return logs


def crc(record: ConsumerRecord | None) -> int | None:
    """CRC-32 of a record's value."""
    return None if record is None else zlib.crc32(record.value or b"")
