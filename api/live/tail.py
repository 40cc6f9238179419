"""The tail of Kafka: every record of `readings.clean` and `sensors`, into latest values, hub and registry.

    1. positions   where the database ends (`positions`), or without it the end of the log less `LOOK_BACK`
    2. state       the newest reading of every series, from the database
    3. tail        every partition from its position on, no consumer group: each API process reads all

so that what 2 saw twice is the worst that happens. Without the database the feed goes on from Kafka alone, and 2
is done when it is back. Without Kafka, clients hear a `status`, and the tail goes on where it was.
"""

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import psycopg
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError

from api.live import metrics
from api.live.clock import Clock
from api.live.gather import Gather
from api.live.hub import Hub
from api.live.latest import Latest
from api.live.messages import Status, rfc3339
from api.live.rows_tail import RowsTail
from api.live.sources import SOURCES, Chain, position_of
from api.queries import published
from api.queries.latest import Stored, newest_readings, stored_positions
from api.queries.pool import Pool
from schemas import registry as registrations
from schemas import topics, wire
from schemas.errors import WireError
from schemas.registry import Registry
from schemas.settings import Settings

log = logging.getLogger(__name__)
Record: TypeAlias = "ConsumerRecord[bytes | None, bytes | None]"

LOOK_BACK_S = 900
LOOK_BACK_RECORDS = 20_000
"""Read again at the start, so that who comes back after a restart is served from the ring; and without the database,
the state that can be had.
"""
RETRY_S = 1.0
DATABASE_RETRY_S = 5.0
SILENCE_S = 5.0
POLL_MS = 1_000
POLL_RECORDS = 500


class Tail:
    """Reads Kafka for this process, from `start` until `stop`."""

    def __init__(self, settings: Settings, registry: Registry, latest: Latest, hub: Hub) -> None:
        self._settings = settings
        self._registry = registry
        self._latest = latest
        self._hub = hub
        self._clean = settings.kafka_topic_prefix + topics.CLEAN
        self._sources = {settings.kafka_topic_prefix + t: s for s, t in SOURCES.items() if s != "readings"}
        self._rows = RowsTail(hub)
        self._sensors = settings.kafka_topic_prefix + topics.SENSORS
        self._next: dict[TopicPartition, int] = {}
        self._chain = Chain()
        self._log_epoch: dict[int, int] = {}
        self._known: dict[int, int] = {}  # by partition: what is before this offset, the database told at the start
        self._following: set[TopicPartition] = set()
        self._goal: dict[TopicPartition, int] | None = None
        self._heard: dict[int, tuple[int, int]] = {}
        self._behind: dict[TopicPartition, int] = {}
        self._silent = False
        self._lost = False
        self._tasks: list[asyncio.Task[None]] = []
        self._gather = Gather(hub.flush, self._failed)
        self.failed: Callable[[BaseException], None] = lambda error: None
        """Called when the tail can't go on: the process is to end."""

    async def start(self, pool: Pool) -> None:
        """Start reading; returns at once, `ready` tells when what was in the log at the start has been read."""
        clock = Clock(self._settings, self._hub, self)
        self._tasks = [asyncio.create_task(self._run(pool)), *clock.start()]
        for task in self._tasks:
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """These tasks run for ever: one that ends has failed, and a feed that stands still must not look alive."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(error)

    def _failed(self, error: BaseException) -> None:
        log.critical("the live feed failed", exc_info=error)
        self.failed(error)

    async def stop(self) -> None:
        """Stop reading."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        self._gather.stop()

    @property
    def ready(self) -> bool:
        """Whether all that was in the log at the start has been read."""
        return self._goal is not None and not self._goal

    @property
    def lag_ms(self) -> int:
        """How late the newest record of the slowest partition was; while none come, how old it is.

        The gateway's ticks come every `gateway_tick_ms`, so silence for twice as long counts.
        """
        now_ms = _now_ms()
        slack_ms = 2 * self._settings.gateway_tick_ms
        lags = ((at if now_ms - at < slack_ms else now_ms) - stamp for stamp, at in self._heard.values())
        return max(0, max(lags, default=0))

    def check_silence(self) -> None:
        """Tell clients when nothing comes any more, and when it comes again. To be called every second."""
        if not self._heard:
            return
        stamp, at = max(self._heard.values(), key=lambda heard: heard[1])
        silent = _now_ms() - at > 1000 * SILENCE_S + self._settings.gateway_tick_ms
        if silent != self._silent:
            self._silent = silent
            problem = f"nothing came for {SILENCE_S:g} s" if silent else None
            log.warning("%s", problem) if silent else log.info("readings come again")
            self._hub.tell(Status("readings", rfc3339(stamp), problem))

    # -- the database -------------------------------------------------------------------------------

    async def _run(self, pool: Pool) -> None:
        stored: dict[int, Stored] | None = None
        filling: asyncio.Task[None] | None = None
        try:
            stored = await self._fill(pool, 3.0)
        except (psycopg.Error, OSError) as e:
            log.warning("the live feed starts without the database (%s); it fills up when the database is back", e)
            filling = asyncio.create_task(self._fill_later(pool))
        try:
            while True:
                try:
                    await self._consume(stored)
                except (NoOffsetForPartitionError, OffsetOutOfRangeError) as e:
                    self._log_broke(e)
                except (KafkaError, OSError) as e:
                    if not self._lost:
                        log.warning("waiting for Kafka at %s: %s", self._settings.kafka_bootstrap, e)
                    self._lost = True
                await asyncio.sleep(RETRY_S)
        finally:
            if filling is not None:
                filling.cancel()

    async def _fill(self, pool: Pool, timeout_s: float) -> dict[int, Stored]:
        """Positions first, then the state, so that the state covers at least the positions."""
        async with pool.connection(timeout=timeout_s) as connection:
            stored = await stored_positions(connection)
            rows = await newest_readings(connection, self._registry)
            state = {topic: await published.newest(connection, topic.name) for topic in self._hub.numbered}
        for topic, columns in state.items():
            topic.load(columns)
        self._hub.refresh("readings", self._latest.load(rows))
        return stored

    async def _fill_later(self, pool: Pool) -> None:
        while True:
            await asyncio.sleep(DATABASE_RETRY_S)
            with contextlib.suppress(psycopg.Error, OSError):
                await self._fill(pool, DATABASE_RETRY_S)
                log.info("the database is back; latest values are complete")
                return

    # -- Kafka --------------------------------------------------------------------------------------

    async def _consume(self, stored: dict[int, Stored] | None) -> None:
        partitions = await self._partitions()
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._settings.kafka_bootstrap,
            client_id="cityfeed-api",
            enable_auto_commit=False,
            auto_offset_reset="none",
            max_partition_fetch_bytes=8 * 1024 * 1024,
            metadata_max_age_ms=30_000,
        )
        try:
            await consumer.start()
            consumer.assign(partitions)
            await self._seek(consumer, partitions, stored)
            self._lost = False
            while True:
                batches = await consumer.getmany(timeout_ms=POLL_MS, max_records=POLL_RECORDS)
                for partition, records in batches.items():
                    self._take(partition, records)
                    self._note_time(partition, records, consumer.highwater(partition))
                self._gather.soon()
                await asyncio.sleep(0)  # a backlog must not keep the API from its clients
        finally:
            await consumer.stop()

    async def _partitions(self) -> list[TopicPartition]:
        """All partitions of our topics; waits for the gateway to make them."""
        names = [self._sensors, self._clean, *self._sources]
        admin = AIOKafkaAdminClient(bootstrap_servers=self._settings.kafka_bootstrap)
        try:
            await admin.start()
            for attempt in itertools.count():
                found = {t["topic"]: t["partitions"] for t in await admin.describe_topics(names)}
                if all(found.get(name) for name in names):
                    return [TopicPartition(name, part["partition"]) for name in names for part in found[name]]
                if attempt == 0:
                    log.info("waiting for the gateway to make the topics %s", ", ".join(names))
                await asyncio.sleep(RETRY_S)
        finally:
            await admin.close()
        raise AssertionError("unreachable")

    async def _seek(
        self, consumer: AIOKafkaConsumer, partitions: list[TopicPartition], stored: dict[int, Stored] | None
    ) -> None:
        low = await consumer.beginning_offsets(partitions)
        end = await consumer.end_offsets(partitions)
        back = await self._looking_back(consumer, partitions, end) if self._goal is None else {}
        for tp in partitions:
            if tp not in self._next and tp.topic == self._clean:
                self._first_position(tp, None if stored is None else stored.get(tp.partition), back.get(tp, low[tp]))
            if tp.topic == self._clean and self._known.get(tp.partition, 0) > end[tp]:
                self._forget(tp, f"the database knows more than the log's {end[tp]} records", recreated=True)
                self._known[tp.partition] = 0
            if tp.topic in self._sources and tp not in self._next:
                self._next[tp] = max(low[tp], min(back.get(tp, low[tp]), end[tp] - 1))  # the last one, to know a number
                self._rows.begin(self._sources[tp.topic], tp.partition, self._next[tp], end[tp], low[tp])
            at = self._next.get(tp, low[tp])
            if not low[tp] <= at <= end[tp]:
                self._forget(tp, f"position {at} is outside the log [{low[tp]}, {end[tp]}]", at > end[tp])
                at = low[tp]
            if tp.topic == self._clean and tp not in self._following:
                self._following.add(tp)
                position = self._position(tp.partition, at - 1)
                self._hub.ring.begin("readings", tp.partition, position)
                self._hub.moved("readings", tp.partition, position)
            self._next[tp] = at
            consumer.seek(tp, at)
        if self._goal is None:
            self._goal = {tp: end[tp] for tp in partitions if self._next[tp] < end[tp]}

    def _first_position(self, tp: TopicPartition, stored: Stored | None, back: int) -> None:
        if stored is None:
            self._next[tp] = back
            return
        self._log_epoch[tp.partition] = stored.log_epoch
        self._next[tp] = min(back, stored.next_offset)
        self._known[tp.partition] = stored.next_offset

    async def _looking_back(
        self, consumer: AIOKafkaConsumer, partitions: list[TopicPartition], end: dict[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        since_ms = _now_ms() - 1000 * LOOK_BACK_S
        found = await consumer.offsets_for_times({tp: since_ms for tp in partitions if tp.topic != self._sensors})
        return {
            tp: max(at.offset if at is not None else end[tp], end[tp] - LOOK_BACK_RECORDS, 0)
            for tp, at in found.items()
        }

    def _log_broke(self, error: KafkaError) -> None:
        for tp in list(self._next):
            if tp.topic == self._clean:
                self._forget(tp, str(error), recreated=False)
                del self._next[tp]

    def _forget(self, tp: TopicPartition, why: str, recreated: bool) -> None:
        """The log is not the one we knew, or lost what we had not read: a gap, never in silence."""
        log.error("ALARM: %s[%d]: readings are missing from the live feed: %s", tp.topic, tp.partition, why)
        metrics.TAIL_GAPS.inc()
        self._chain.forget(tp.partition)
        self._following.discard(tp)
        if recreated:
            self._log_epoch[tp.partition] = self._log_epoch.get(tp.partition, 0) + 1

    def _take(self, tp: TopicPartition, records: Iterable[Record]) -> None:
        for record in records:
            if tp.topic == self._clean:
                self._take_readings(tp.partition, record.offset, record.value or b"")
            elif tp.topic in self._sources:
                self._rows.take(self._sources[tp.topic], tp.partition, record.offset, record.value or b"")
            elif record.value is not None:
                self._take_registration(record.offset, record.value)
            self._next[tp] = record.offset + 1
        if self._goal and tp in self._goal and self._next[tp] >= self._goal[tp]:
            del self._goal[tp]
            if not self._goal:
                log.info("the live feed has caught up with Kafka; %d series are known", len(self._latest))

    def _take_readings(self, partition: int, offset: int, value: bytes) -> None:
        try:
            record = wire.decode(value)
        except WireError as e:
            log.error("ALARM: %s[%d]@%d: %s", self._clean, partition, offset, e)
            metrics.TAIL_BAD_RECORDS.inc()
            return
        match self._chain.link(partition, record.raw, record.prev_raw):
            case "repeat":
                metrics.TAIL_REPEATS.inc()
                return
            case "gap":
                log.error(
                    "ALARM: %s[%d]@%d: records are missing before raw %d",
                    self._clean, partition, offset, record.raw,
                )  # fmt: skip
                metrics.TAIL_GAPS.inc()
        position = self._position(partition, offset)
        series = self._latest.apply(record, partition, position)
        batch = self._hub.readings.batch(record.readings, series, partition, position)
        if offset < self._known.get(partition, 0):
            self._hub.keep(batch, value)
        else:
            self._hub.publish(batch, value)
        n = len(record.readings)
        stamp = record.tick if not n else int(record.readings.received.max())
        if stamp > 0:
            self._heard[partition] = stamp, _now_ms()
        metrics.TAIL_RECORDS.inc()
        metrics.TAIL_READINGS.inc(n)

    def _note_time(self, tp: TopicPartition, records: Sequence[Record], high: int | None) -> None:
        """How far all logs have been read, in time; until the first catching up is over, nobody knows.

        Readings tell the time by themselves; a log of published rows holds it up while more of it is to be read.
        """
        if high is not None and self._next[tp] < high and tp.topic in self._sources:
            self._behind[tp] = records[-1].timestamp
        else:
            self._behind.pop(tp, None)
        if self.ready and self._heard:
            self._hub.log_ms = min(*(stamp for stamp, _ in self._heard.values()), *self._behind.values(), _now_ms())

    def _take_registration(self, offset: int, value: bytes) -> None:
        try:
            self._registry.apply(registrations.decode(value))
        except WireError as e:
            log.error("ALARM: %s@%d: %s", self._sensors, offset, e)
            metrics.TAIL_BAD_RECORDS.inc()

    def _position(self, partition: int, offset: int) -> int:
        return position_of(self._log_epoch.get(partition, 0), offset)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
