"""The role `clean`: raw records in, one clean record for each out, in order, on the same partition number.

Sends are idempotent and in order, at most `MAX_IN_FLIGHT` unacknowledged; then `take` waits, and with it Faust's
fetcher: nothing is dropped. The first failed send stops the process, for what came after it may not overtake it;
the next one reads where the chain of clean records ends and goes on there.
"""

import asyncio
import logging
import zlib
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from schemas import topics, wire
from schemas.dead_letters import DeadLetter
from schemas.dead_letters import encode as encode_letter
from schemas.errors import GapError, WireError
from schemas.readings import Reject
from schemas.registry import Registry
from schemas.settings import Settings
from stream_processors import clean_start, metrics
from stream_processors.clean import Cleaner
from stream_processors.clean_start import Begin
from stream_processors.log_check import Reason, join

log = logging.getLogger(__name__)

MAX_IN_FLIGHT = 2_000


class CleanRole:
    """Owns the partitions that Kafka's group gives it; see the module's docstring. `now_ms` reads the clock, for the
    time of dead letters only.
    """

    def __init__(self, settings: Settings, registry: Registry, now_ms: Callable[[], int]) -> None:
        self._settings = settings
        self._registry = registry
        self._now_ms = now_ms
        self._topic = settings.kafka_topic_prefix + topics.CLEAN
        self._raw_topic = settings.kafka_topic_prefix + topics.RAW
        self._letters_topic = settings.kafka_topic_prefix + topics.DEAD_LETTERS
        self._producer: AIOKafkaProducer | None = None
        self._cleaners: dict[int, Cleaner] = {}
        self._committed: dict[int, int] = {}
        self._next: dict[int, int] = {}  # raw offset that each partition gives next
        self._begin: dict[int, Begin] = {}
        self._gaps: dict[int, Reason] = {}  # to be said in the next clean record of a partition
        self._generation = 0
        self._in_flight: deque[tuple[int, int, list[asyncio.Future[Any]]]] = deque()
        self._changed = asyncio.Event()
        self._room = asyncio.Semaphore(MAX_IN_FLIGHT)

    # -- what Faust calls -----------------------------------------------------------------------------------

    async def assign(self, log_ends: Mapping[int, tuple[int, int]]) -> dict[int, int]:
        """Become the owner of these partitions of readings.raw ({partition: (first, next) offset in Kafka}).

        Gives the raw offset that each partition is to be read from: after the last clean record, or where the log goes
        on when it was made anew or cut (clean_start.py).
        """
        if self._producer is None:
            self._producer = await self._start_producer()
        cleaners = {
            part: Cleaner(
                self._registry,
                prev_raw=-1,
                future_ms=self._settings.future_tolerance_s * 1000,
                horizon_ms=self._settings.duplicate_horizon_s * 1000,
            )
            for part in log_ends
        }
        await self._remember(cleaners)
        self._begin = await clean_start.find(self._settings, log_ends)
        for part, begin in self._begin.items():
            cleaners[part].prev_raw = begin.last
        self._cleaners = cleaners
        self._next = {part: begin.next_offset for part, begin in self._begin.items()}
        self._gaps = {part: begin.reason for part, begin in self._begin.items() if begin.reason}
        self._committed = dict(self._next)
        return dict(self._next)

    async def revoke(self) -> None:
        """Wait for what is in flight (bounded), and give all partitions up."""
        self._cleaners = {}
        self._generation += 1
        try:
            async with asyncio.timeout(5):
                while self._in_flight:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            log.warning(
                "%d clean records are still in flight; the next owner reads how far they came", len(self._in_flight)
            )

    async def take(self, part: int, offset: int, value: bytes) -> None:
        """Clean one raw record and send it; waits while too many are in flight.

        Raises `GapError` for one that is not the next: the clean record would hide that some are missing.
        """
        generation = self._generation
        await self._room.acquire()
        cleaner = self._cleaners.get(part)
        if generation != self._generation or cleaner is None or offset < self._next[part] or self._producer is None:
            self._room.release()
            return
        if offset > self._next[part]:
            raise GapError(f"readings.raw partition {part} went from offset {self._next[part] - 1} to {offset}")
        self._next[part] = offset + 1
        waiting: list[asyncio.Future[Any]] = []
        position = join(self._begin[part].epoch, offset)
        try:
            cleaned = cleaner.clean(wire.decode(value), position)
            record, rejects = cleaned.record, cleaned.rejects
            metrics.CLEAN_REPEATS.inc(cleaned.repeats)
        except WireError as e:
            record, rejects = cleaner.poison(position), [Reject("not_a_record", str(e))]
            waiting.append(await self._send_letter(part, offset, -1, rejects[0], value))
        else:
            for row, reject in enumerate(rejects):
                waiting.append(await self._send_letter(part, offset, row, reject, msgspec.json.encode(reject.row)))
        for reject in rejects:
            metrics.CLEAN_REJECTS.labels(reject.reason).inc()
        if waiting:  # dead letters first: a record that follows says that they are safe
            await asyncio.gather(*waiting)
        record = replace(record, raw_crc=zlib.crc32(value), gap=self._gaps.pop(part, ""))
        sent = await self._producer.send(self._topic, wire.encode(record), partition=part)
        self._in_flight.append((part, offset, [sent]))
        self._changed.set()
        metrics.CLEAN_RECORDS.inc()
        metrics.CLEAN_READINGS.inc(len(record.readings))

    async def run(self) -> None:
        """Wait for the acknowledgements, in order. Raises what Kafka raises: the process stops."""
        while True:
            while not self._in_flight:
                self._changed.clear()
                await self._changed.wait()
            part, offset, futures = self._in_flight[0]
            await asyncio.gather(*futures)
            self._in_flight.popleft()
            self._room.release()
            if part in self._cleaners:
                self._committed[part] = max(self._committed.get(part, 0), offset + 1)
            self._changed.set()

    async def stop(self) -> None:
        """Send what is under way and end the producer."""
        await self.revoke()
        if self._producer is not None:
            await self._producer.stop()

    def register(self, _: object) -> None:
        """The registry changed."""
        for cleaner in self._cleaners.values():
            cleaner.forget_rules()

    def committed(self) -> dict[int, int]:
        """The next raw offset of each partition whose predecessors are all cleaned and acknowledged."""
        return dict(self._committed)

    def measure_lag(self, ends: Mapping[int, int]) -> None:
        """Set the lag gauge from the partitions' end offsets."""
        metrics.CLEAN_LAG.set(sum(max(0, ends.get(part, 0) - self._next[part]) for part in self._cleaners))

    # -- Kafka ----------------------------------------------------------------------------------------------

    async def _start_producer(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._settings.kafka_bootstrap,
            client_id="cityfeed-clean",
            acks="all",
            enable_idempotence=True,
            max_batch_size=1024 * 1024,
            max_request_size=4 * 1024 * 1024,
            compression_type="lz4",
            linger_ms=0,
        )
        await producer.start()
        return producer

    async def _send_letter(
        self, part: int, offset: int, row: int, reject: Reject, payload: bytes
    ) -> asyncio.Future[Any]:
        assert self._producer is not None
        letter = DeadLetter(
            "kafka", self._raw_topic, self._now_ms(), reject.reason, reject.detail, payload, part, offset, row
        )
        sent: asyncio.Future[Any] = await self._producer.send(self._letters_topic, encode_letter(letter))
        return sent

    async def _remember(self, cleaners: Mapping[int, Cleaner]) -> None:
        """Read the clean records of the last `duplicate_horizon_s`: the last one says how far cleaning came."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._settings.kafka_bootstrap, enable_auto_commit=False, auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            partitions = [TopicPartition(self._topic, part) for part in cleaners]
            consumer.assign(partitions)
            first, end = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
            last_ms = {tp: await _last_time_ms(consumer, tp, end[tp]) for tp in partitions if end[tp] > first[tp]}
            horizon = {tp: max(0, ms - self._settings.duplicate_horizon_s * 1000) for tp, ms in last_ms.items()}
            since = await consumer.offsets_for_times(horizon) if horizon else {}
            for tp in last_ms:
                found = since.get(tp)
                consumer.seek(tp, found.offset if found else end[tp] - 1)
            unread = set(last_ms)
            consumer.pause(*(set(partitions) - unread))
            while unread:
                for tp, records in (await consumer.getmany(timeout_ms=1000)).items():
                    for record in records:
                        if record.offset < end[tp]:
                            cleaners[tp.partition].remember(wire.decode(record.value))
                    if records and records[-1].offset >= end[tp] - 1:
                        unread.discard(tp)
        finally:
            await consumer.stop()


async def _last_time_ms(consumer: AIOKafkaConsumer, tp: TopicPartition, end: int) -> int:
    """When the last record of a partition was appended (epoch ms by the broker)."""
    consumer.seek(tp, end - 1)
    while True:
        records = (await consumer.getmany(tp, timeout_ms=1000)).get(tp, [])
        if records:
            return int(records[-1].timestamp)
