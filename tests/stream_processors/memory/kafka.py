"""Kafka in memory: logs that are appended to, producers whose sends may hang, consumers without a group."""

import asyncio
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError


@dataclass(frozen=True)
class Logged:
    """A record, with what the processors and the checker read of aiokafka's."""

    topic: str
    partition: int
    offset: int
    value: bytes
    timestamp: int


class MemoryKafka:
    """The broker; `now_ms` stamps what is appended. Sends to a topic in `held` wait for their producer's release."""

    def __init__(self) -> None:
        self.logs: dict[TopicPartition, list[Logged]] = defaultdict(list)
        self.held: set[str] = set()
        self.producers: list[MemoryProducer] = []
        self.is_killing = False  # whose task ends now was killed: what it had not sent is not sent
        self.refusals = 0  # so many sends to come are refused
        self.now_ms = 0

    def append(self, topic: str, partition: int, value: bytes) -> Logged:
        """Add a record at the end of a log."""
        log = self.logs[TopicPartition(topic, partition)]
        log.append(Logged(topic, partition, len(log), value, self.now_ms))
        return log[-1]

    def all(self, topic: str) -> list[Logged]:
        """All records of a topic, partition by partition."""
        found = [(tp.partition, log) for tp, log in self.logs.items() if tp.topic == topic]
        return [record for _, log in sorted(found) for record in log]

    def producer(self, **_: Any) -> "MemoryProducer":
        """In the place of `AIOKafkaProducer`."""
        self.producers.append(MemoryProducer(self))
        return self.producers[-1]

    def hold(self, *topics: str) -> None:
        """Let sends to these topics wait, and what waits for others go."""
        self.held = set(topics)
        for producer in self.producers:
            if not any(topic in self.held for _, topic, _, _ in producer.waiting):
                producer.release(len(producer.waiting))

    def consumer(self, *_: Any, **__: Any) -> "MemoryConsumer":
        """In the place of `AIOKafkaConsumer`."""
        return MemoryConsumer(self)


class MemoryProducer:
    """Idempotent and in order: of what waits, a part from the front is appended, or nothing."""

    def __init__(self, kafka: MemoryKafka) -> None:
        self._kafka = kafka
        self.waiting: deque[tuple[asyncio.Future[Any], str, int, bytes]] = deque()

    async def start(self) -> None:
        """Nothing to do."""

    async def stop(self) -> None:
        """What waits is sent, as aiokafka does."""
        if not self._kafka.is_killing:
            self.release(len(self.waiting))
        self._kafka.producers.remove(self)

    async def send(
        self, topic: str, value: bytes, key: bytes | None = None, partition: int | None = None, **_: Any
    ) -> "asyncio.Future[Any]":
        """A future of the appended record."""
        if self._kafka.refusals:
            self._kafka.refusals -= 1
            raise KafkaConnectionError("refused on purpose")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.waiting.append((future, topic, partition or 0, value))
        if topic not in self._kafka.held:
            self.release(len(self.waiting))
        await asyncio.sleep(0)
        return future

    async def send_and_wait(self, *args: Any, **named: Any) -> Any:
        """Send, and wait for the record."""
        return await (await self.send(*args, **named))

    async def flush(self) -> None:
        """What waits is sent."""
        self.release(len(self.waiting))

    def release(self, number: int) -> None:
        """Append so many of what waits."""
        for _ in range(min(number, len(self.waiting))):
            future, topic, partition, value = self.waiting.popleft()
            record = self._kafka.append(topic, partition, value)
            if not future.done():
                future.set_result(record)


class MemoryConsumer:
    """Reads logs from where it is told to."""

    def __init__(self, kafka: MemoryKafka) -> None:
        self._kafka = kafka
        self._next: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()

    async def start(self) -> None:
        """Nothing to do."""

    async def stop(self) -> None:
        """Nothing to do."""

    def assign(self, partitions: list[TopicPartition]) -> None:
        """Read these from the beginning."""
        self._next = dict.fromkeys(partitions, 0)
        self._paused.clear()

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Go to an offset."""
        self._next[partition] = offset

    def pause(self, *partitions: TopicPartition) -> None:
        """Leave these out."""
        self._paused |= set(partitions)

    async def seek_to_beginning(self, *partitions: TopicPartition) -> None:
        """Go to the beginning."""
        self._next |= dict.fromkeys(partitions or self._next, 0)

    async def position(self, partition: TopicPartition) -> int:
        """The next offset."""
        return self._next[partition]

    async def committed(self, partition: TopicPartition) -> int | None:
        """Groups commit hints only: none here."""
        return None

    async def beginning_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        """0: nothing is ever deleted."""
        return dict.fromkeys(partitions, 0)

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        """How long the logs are."""
        return {tp: len(self._kafka.logs[tp]) for tp in partitions}

    async def offsets_for_times(self, times: dict[TopicPartition, int]) -> dict[TopicPartition, Any]:
        """The first record of each at or after a time, None where there is none."""
        found: dict[TopicPartition, Any] = {}
        for tp, since_ms in times.items():
            found[tp] = next((r for r in self._kafka.logs[tp] if r.timestamp >= since_ms), None)
        return found

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> dict[TopicPartition, list[Logged]]:
        """What there is from the position on."""
        await asyncio.sleep(0)
        found: dict[TopicPartition, list[Logged]] = {}
        left = max_records or 1_000_000
        for tp in partitions or tuple(self._next):
            records = self._kafka.logs[tp][self._next[tp] :][:left]
            if tp not in self._paused and records:
                found[tp] = records
                left -= len(records)
                self._next[tp] = records[-1].offset + 1
            if not left:
                break
        return found
