"""The role `clean`: raw records in, one clean record for each out, in order, on the same partition number.

What comes while a batch is cleaned is cleaned together after it: one record alone when it is quiet, many when it is
not. Sends are idempotent and in order. At most `MAX_IN_FLIGHT` records wait or are unacknowledged; then `take` waits,
and with it Faust's fetcher: nothing is dropped. The first failed send stops the process, for what came after it may
not overtake it; the next one reads where the chain of clean records ends and goes on there.
"""

import asyncio
import itertools
import logging
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer

from schemas import topics, wire
from schemas.dead_letters import DeadLetter
from schemas.dead_letters import encode as encode_letter
from schemas.errors import GapError, WireError
from schemas.readings import Reject
from schemas.registry import Registry
from schemas.settings import Settings
from schemas.wire import Record
from stream_processors import clean_memory, clean_start, metrics
from stream_processors.clean import Cleaned, Cleaner
from stream_processors.clean_memory import Kept
from stream_processors.clean_start import Begin
from stream_processors.log_check import Reason, join, split

log = logging.getLogger(__name__)

MAX_IN_FLIGHT = 2_000
READINGS_TOGETHER = 8_000
"""Records of a partition are cleaned together until they have so many readings: more leave the processor's cache."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A raw record to be cleaned: an empty one where its bytes are none, and `poison` says why."""

    offset: int
    value: bytes
    record: Record
    poison: str


@dataclass(frozen=True, slots=True)
class _Flight:
    """A clean record under way, and the memory up to it where that is to be kept."""

    part: int
    offset: int
    position: int
    sent: asyncio.Future[Any]
    snapshot: bytes | None


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
        self._kept: dict[int, Kept] = {}  # the newest snapshot of each partition
        self._snapshot_due_s: dict[int, float] = {}  # by the loop's time
        self._waiting: dict[int, list[_Waiting]] = {}  # by partition, in the log's order
        self._came = asyncio.Event()
        self._in_flight: deque[_Flight] = deque()
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
        self._kept = await clean_memory.remember(self._settings, cleaners)
        self._snapshot_due_s = dict.fromkeys(cleaners, asyncio.get_running_loop().time() + clean_memory.EVERY_S)
        self._begin = await clean_start.find(
            self._settings, log_ends, {part: split(kept.raw)[0] for part, kept in self._kept.items()}
        )
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
        for _ in itertools.chain.from_iterable(self._waiting.values()):
            self._room.release()
        self._waiting = {}
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
        """Take one raw record, to be cleaned in its turn; waits while too many are under way.

        Raises `GapError` for one that is not the next: the clean record would hide that some are missing.
        """
        generation = self._generation
        await self._room.acquire()
        if generation != self._generation or part not in self._cleaners or offset < self._next[part]:
            self._room.release()
            return
        if offset > self._next[part]:
            raise GapError(f"readings.raw partition {part} went from offset {self._next[part] - 1} to {offset}")
        self._next[part] = offset + 1
        try:
            waiting = _Waiting(offset, value, wire.decode(value), "")
        except WireError as e:
            waiting = _Waiting(offset, value, Record("raw"), str(e))
        self._waiting.setdefault(part, []).append(waiting)
        self._came.set()

    async def run(self) -> None:
        """Clean what comes and wait for the acknowledgements, for ever. Raises what Kafka raises: the process stops."""
        await asyncio.gather(self._clean_all(), self._acknowledge())

    async def _clean_all(self) -> None:
        while True:
            await self._came.wait()
            self._came.clear()
            while self._waiting:
                part = next(iter(self._waiting))
                waiting = self._waiting.pop(part)
                first = _first(waiting)
                if len(waiting) > first:  # behind the other partitions
                    self._waiting[part] = waiting[first:]
                await self._clean(part, waiting[:first])

    async def _clean(self, part: int, waiting: list[_Waiting]) -> None:
        """Clean records of a partition and send them, after the dead letters of what is refused."""
        generation, cleaner, producer = self._generation, self._cleaners[part], self._producer
        assert producer is not None
        epoch, gap = self._begin[part].epoch, self._gaps.pop(part, "")
        cleaned = cleaner.clean([(join(epoch, raw.offset), raw.record) for raw in waiting])
        snapshot = self._snapshot(part, cleaner)  # of all that is known now: it goes with the last of them
        letters = [
            self._letter(part, raw.offset, row, reject, payload)
            for raw, one in zip(waiting, cleaned, strict=True)
            for row, reject, payload in _refused(raw, one)
        ]
        if letters:  # first: a record that follows says that they are safe
            await asyncio.gather(*[await producer.send(self._letters_topic, encode_letter(one)) for one in letters])
        for i, (raw, one) in enumerate(zip(waiting, cleaned, strict=True)):
            if generation != self._generation:  # given up meanwhile: the next owner cleans the rest
                for _ in waiting[i:]:
                    self._room.release()
                return
            record = replace(one.record, raw_crc=zlib.crc32(raw.value), gap=gap if i == 0 else "")
            sent = await producer.send(self._topic, wire.encode(record), partition=part)
            kept = snapshot if i == len(waiting) - 1 else None
            self._in_flight.append(_Flight(part, raw.offset, record.raw, sent, kept))
            self._changed.set()
            metrics.CLEAN_REPEATS.inc(one.repeats)
            metrics.CLEAN_RECORDS.inc()
            metrics.CLEAN_READINGS.inc(len(record.readings))

    async def _acknowledge(self) -> None:
        while True:
            while not self._in_flight:
                self._changed.clear()
                await self._changed.wait()
            flight = self._in_flight[0]
            part, offset = flight.part, flight.offset
            acknowledged = await flight.sent
            if flight.snapshot is not None and part in self._cleaners:
                await self._keep(part, flight.position, acknowledged.offset, flight.snapshot)
            self._in_flight.popleft()
            self._room.release()
            if part in self._cleaners:
                self._committed[part] = max(self._committed.get(part, 0), offset + 1)
            self._changed.set()

    def _snapshot(self, part: int, cleaner: Cleaner) -> bytes | None:
        """The memory as it is now, if it is time to keep it."""
        now_s = asyncio.get_running_loop().time()
        if now_s < self._snapshot_due_s[part]:
            return None
        self._snapshot_due_s[part] = now_s + clean_memory.EVERY_S
        return cleaner.snapshot()

    async def _keep(self, part: int, raw: int, clean: int, snapshot: bytes) -> None:
        assert self._producer is not None
        self._kept[part] = kept = clean_memory.following(self._kept.get(part), raw, clean, snapshot)
        topic = self._settings.kafka_topic_prefix + topics.CLEAN_MEMORY
        sent = [await self._producer.send(topic, value, key, part) for key, value in clean_memory.cut(kept)]
        await asyncio.gather(*sent)

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

    def _letter(self, part: int, offset: int, row: int, reject: Reject, payload: bytes) -> DeadLetter:
        metrics.CLEAN_REJECTS.labels(reject.reason).inc()
        return DeadLetter(
            "kafka", self._raw_topic, self._now_ms(), reject.reason, reject.detail, payload, part, offset, row
        )


def _first(waiting: list[_Waiting]) -> int:
    """How many of them are cleaned together, one at least."""
    readings = itertools.accumulate(len(raw.record.readings) for raw in waiting)
    return max(1, sum(1 for _ in itertools.takewhile(lambda n: n <= READINGS_TOGETHER, readings)))


def _refused(raw: _Waiting, cleaned: Cleaned) -> Iterator[tuple[int, Reject, bytes]]:
    """What of a raw record goes to the dead letters: (row, why, bytes), row -1 for the record itself."""
    if raw.poison:
        yield -1, Reject("not_a_record", raw.poison), raw.value
    for row, reject in enumerate(cleaned.rejects):
        yield row, reject, msgspec.json.encode(reject.row)
