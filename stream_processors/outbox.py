"""Sends to Kafka what transactions left in table `outbox`, in order, until Kafka has it.

    transaction   rows, their numbers, the encoded records in `outbox`
    commit        `offer`: the same records, from memory; what does not fit stays in the table (`missing`)
    Kafka's word  `take_sent`: the next transaction moves `positions.published_seq` and deletes them there

On assignment nothing is in memory, so everything above `published_seq` is read from the table and sent again: after
a crash between commit and publish, and twice after one between publish and the next commit. Neither side waits for
the other: without Kafka rows are stored and wait, in the table; without the database there is nothing new to send.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from schemas.settings import Settings
from schemas.topics import TOPICS
from stream_processors import metrics
from stream_processors.store import OutRecord

log = logging.getLogger(__name__)

MAX_QUEUED_BYTES = 32 * 1024 * 1024
"""Most that waits in memory; what comes then is read from the table when there is room again."""
MAX_IN_FLIGHT = 256
READ_RECORDS = 100
"""Records that are read from the table at a time, of each partition."""
_RETRY_S = 1.0
_TIMEOUT_MS = 10_000
_STOP_S = 1.0


@dataclass(slots=True)
class _Part:
    """`queued`: the last number that is, or was, in memory; `sent`: the last that Kafka has; `missing`: the table may
    have more above `queued`.
    """

    queued: int
    sent: int
    missing: bool = True


class Outbox:
    """One producer for all partitions that a process holds; `run` must be running."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._parts: dict[int, _Part] = {}
        self._queue: deque[OutRecord] = deque()
        self._bytes = 0
        self._generation = 0
        self._wake = asyncio.Event()

    def own(self, published: dict[int, int]) -> None:
        """Begin anew with these partitions and what Kafka is known to have of each (`published_seq`)."""
        self._generation += 1
        self._parts = {part: _Part(seq, seq) for part, seq in published.items()}
        self._queue.clear()
        self._bytes = 0
        self._wake.set()

    def offer(self, records: Sequence[OutRecord]) -> None:
        """Take the records of a transaction that was committed, or leave them in the table."""
        for record in records:
            part = self._parts.get(record.part)
            if part is None:
                continue
            if part.missing or self.is_full:
                part.missing = True
                continue
            self._put(part, record)

    def wanted(self) -> list[tuple[int, int]]:
        """(partition, number) of those of which the table may have more, while there is room."""
        if self._bytes >= MAX_QUEUED_BYTES // 2:
            return []
        return [(number, part.queued) for number, part in self._parts.items() if part.missing]

    def refill(self, part: int, records: Sequence[OutRecord]) -> None:
        """Take what the table had above `wanted`'s number; fewer than `READ_RECORDS` were all."""
        mine = self._parts[part]
        for record in records:
            self._put(mine, record)
        mine.missing = len(records) >= READ_RECORDS

    def sent(self) -> dict[int, int]:
        """The last number of each partition that Kafka has acknowledged, with all before it."""
        return {number: part.sent for number, part in self._parts.items()}

    @property
    def is_full(self) -> bool:
        """Whether as much waits in memory as may: what is published now waits in the table."""
        return self._bytes >= MAX_QUEUED_BYTES

    def backlog(self, numbered: Mapping[int, int]) -> int:
        """At most how many rows Kafka does not have yet, by the last number that each partition has given."""
        if not self._queue and not any(part.missing for part in self._parts.values()):
            return 0  # numbers at the end may be of no row
        return sum(max(0, numbered.get(number, 0) - part.sent) for number, part in self._parts.items())

    @property
    def waiting(self) -> int:
        """How many records are in memory and not acknowledged."""
        return len(self._queue)

    def _put(self, part: _Part, record: OutRecord) -> None:
        part.queued = record.out_seq
        self._queue.append(record)
        self._bytes += len(record.value)
        self._wake.set()

    # -- Kafka ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Send, for ever. What a producer could not send the next one sends again, in order."""
        told = False
        while True:
            producer = self._producer()
            try:
                await producer.start()
                told = False
                await self._pump(producer)
            except (KafkaError, OSError, TimeoutError) as e:
                if not told:
                    log.warning("published rows wait in the database until Kafka takes them: %s", str(e) or repr(e))
                told = True
            finally:
                await _stop(producer)
            await asyncio.sleep(_RETRY_S)

    def _producer(self) -> AIOKafkaProducer:
        return AIOKafkaProducer(
            bootstrap_servers=self._settings.kafka_bootstrap,
            client_id="cityfeed-outbox",
            acks="all",
            enable_idempotence=True,
            max_batch_size=1024 * 1024,
            max_request_size=4 * 1024 * 1024,
            compression_type="lz4",
            request_timeout_ms=_TIMEOUT_MS,
        )

    async def _pump(self, producer: AIOKafkaProducer) -> None:
        """Send from the head of the queue on; raises what the first failed send raised, and forgets the others."""
        flying: deque[tuple[OutRecord, asyncio.Future[Any]]] = deque()
        generation = self._generation
        try:
            while True:
                if generation != self._generation:  # what is under way is of owners that are no more: repeats
                    await _settle(flying)
                    flying.clear()
                    generation = self._generation
                while len(flying) < min(len(self._queue), MAX_IN_FLIGHT):
                    record = self._queue[len(flying)]
                    flying.append((record, await self._send(producer, record)))
                    if generation != self._generation:
                        break
                else:
                    if flying:
                        await self._acknowledge(flying, generation)
                    else:
                        self._wake.clear()
                        if not self._queue:
                            await self._wake.wait()
        finally:
            for _, future in flying:
                if not future.cancel() and not future.cancelled():
                    future.exception()  # seen, and of no interest: all of them are sent again

    async def _send(self, producer: AIOKafkaProducer, record: OutRecord) -> asyncio.Future[Any]:
        partition = record.part if TOPICS[record.topic].partitions == 0 else 0
        topic = self._settings.kafka_topic_prefix + record.topic
        sent: asyncio.Future[Any] = await producer.send(topic, record.value, partition=partition)
        return sent

    async def _acknowledge(self, flying: "deque[tuple[OutRecord, asyncio.Future[Any]]]", generation: int) -> None:
        await flying[0][1]
        while flying and flying[0][1].done():
            record, future = flying.popleft()
            future.result()
            if generation == self._generation:
                self._queue.popleft()
                self._bytes -= len(record.value)
                self._parts[record.part].sent = record.out_seq
                metrics.PUBLISHED.labels(record.topic).inc()


async def _settle(flying: "deque[tuple[OutRecord, asyncio.Future[Any]]]") -> None:
    for _, future in flying:
        await future


async def _stop(producer: AIOKafkaProducer) -> None:
    # A task of its own, with a bound: `stop` waits until Kafka has everything, and Kafka may be away.
    task = asyncio.ensure_future(producer.stop())
    done, _ = await asyncio.wait([task], timeout=_STOP_S)
    if not done:
        task.cancel()
    for one in done:
        with contextlib.suppress(Exception):
            one.result()
