"""Kafka's logs made anew, cut, and a database older than what it published: the stream goes on by itself, says what
was lost, and loses nothing that is still there.
"""

import asyncio
import concurrent.futures
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.errors import KafkaError, for_code

from schemas import published, wire
from schemas.readings import readings
from schemas.topics import RAW, TOPICS, group_name, topic_config
from schemas.wire import Record
from stream_processors.group_watch import divided
from tests.service_stack import ServiceStack

pytestmark = pytest.mark.timeout(240)

MINUTE = 60_000
T0 = 1_790_000_000_000 // 3_600_000 * 3_600_000
TAKES = {"clean": "readings.raw", "windows": "readings.clean"}
ROLES = tuple(TAKES)


class Log:
    """Raw records of one sensor straight into readings.raw, one reading each, minute after minute."""

    def __init__(self, stack: ServiceStack) -> None:
        self.stack = stack
        self.minutes = 0

    def make(self, *names: str) -> None:
        self._run(lambda: _make(self.stack, names or tuple(TOPICS)))

    def drop(self, *names: str) -> None:
        self._run(lambda: _drop(self.stack, names))

    def cut(self, name: str, before: int) -> None:
        """As retention does: the log begins at `before`."""
        self._run(lambda: _cut(self.stack, name, before))

    def append(self, n: int, first: int | None = None) -> None:
        first = self.minutes if first is None else first
        values = [
            wire.encode(Record("raw", readings(
                [("traffic", "a")], [("speed", "km/h")], sensor=[0], value=[float(minute % 90)],
                start=T0 + minute * MINUTE, period_s=60, received=T0 + (minute + 1) * MINUTE,
            )))
            for minute in range(first, first + n)
        ]  # fmt: skip
        self.minutes = max(self.minutes, first + n)
        self._run(lambda: _send(self.stack, values))

    @staticmethod
    def _run(make: Callable[[], Coroutine[Any, Any, None]]) -> None:
        with concurrent.futures.ThreadPoolExecutor(1) as thread:
            thread.submit(lambda: asyncio.run(make())).result()

    def restart(self, between: Callable[[], None]) -> None:
        """Both roles are ended, `between` happens, both start again."""
        for role in ROLES:
            if self.stack.is_running(role):
                self.stack.stop(role)
        between()
        self.stack.start(*ROLES)
        self.stack.wait_ready(*ROLES)

    def stored(self) -> int:
        return int(self.stack.query("SELECT count(*) FROM readings")[0][0])

    def wait_stored(self, n: int) -> None:
        self.stack.wait_until(lambda: self.stored() == n, f"{n} readings", timeout_s=60)

    def committed(self, role: str) -> int:
        """The raw offset that the role's group committed, -1 for none."""
        found: list[int] = []

        async def ask() -> None:
            settings = self.stack.settings
            group = group_name(settings.kafka_topic_prefix, role)
            admin = await _admin(self.stack)
            try:
                offsets = await admin.list_consumer_group_offsets(group)
            finally:
                await admin.close()
            found.append(max((at.offset for tp, at in offsets.items() if tp.topic.endswith(RAW)), default=-1))

        self._run(ask)
        return found[0]

    def lost_between(self) -> list[tuple[Any, ...]]:
        """Minutes since T0: what was received from when to when each gap lost; these records have no ticks."""
        minutes = f"((extract(epoch FROM {{}}) * 1000 - {T0}) / {MINUTE})::integer"
        return self.stack.query(
            f"SELECT {minutes.format('since')}, {minutes.format('until')} FROM log_gaps ORDER BY id"
        )

    def owned(self, role: str) -> int | None:
        """How many partitions the members of the role's group have; None while it divides them."""
        settings = self.stack.settings
        found: list[int | None] = []

        async def ask() -> None:
            name = group_name(settings.kafka_topic_prefix, role)
            state = await divided(settings.kafka_bootstrap, name, settings.kafka_topic_prefix + TAKES[role])
            found.append(None if state is None else len(state[1]))

        self._run(ask)
        return found[0]

    def gaps(self) -> list[tuple[Any, ...]]:
        return self.stack.query("SELECT topic, reason, log_epoch, first_lost, next_offset FROM log_gaps ORDER BY id")


async def _admin(stack: ServiceStack) -> AIOKafkaAdminClient:
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.settings.kafka_bootstrap)
    await admin.start()
    return admin


async def _make(stack: ServiceStack, names: tuple[str, ...]) -> None:
    prefix = stack.settings.kafka_topic_prefix
    admin = await _admin(stack)
    try:
        for _ in range(100):  # a deleted topic takes a moment to be gone
            wanted = [NewTopic(prefix + name, 1, 1, topic_configs=topic_config(TOPICS[name], 168)) for name in names]
            response = await admin.create_topics(wanted)
            codes = {code for _, code, *_ in response.topic_errors}
            if codes == {0}:
                return
            names = tuple(t.removeprefix(prefix) for t, code, *_ in response.topic_errors if code)
            await asyncio.sleep(0.1)
        raise KafkaError(f"{names}: {codes} {for_code(codes.pop())}")
    finally:
        await admin.close()


async def _drop(stack: ServiceStack, names: tuple[str, ...]) -> None:
    admin = await _admin(stack)
    try:
        await admin.delete_topics([stack.settings.kafka_topic_prefix + name for name in names])
    finally:
        await admin.close()


async def _cut(stack: ServiceStack, name: str, before: int) -> None:
    admin = await _admin(stack)
    try:
        tp = TopicPartition(stack.settings.kafka_topic_prefix + name, 0)
        await admin.delete_records({tp: RecordsToDelete(before_offset=before)})
    finally:
        await admin.close()


async def _send(stack: ServiceStack, values: list[bytes]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=stack.settings.kafka_bootstrap)
    await producer.start()
    try:
        topic = stack.settings.kafka_topic_prefix + "readings.raw"
        for future in [await producer.send(topic, value, partition=0) for value in values]:
            await future
    finally:
        await producer.stop()


@pytest.fixture
def log(make_stack: Any) -> Iterator[Log]:
    """Both roles run, and have stored 30 readings."""
    made = Log(make_stack(kafka_partitions=1))
    made.make()
    made.append(30)
    made.stack.start(*ROLES)
    made.stack.wait_ready(*ROLES)
    made.wait_stored(30)
    yield made


def assert_windows_are_whole(log: Log, minutes: int) -> None:
    """Each five minutes that are over has its five readings."""
    whole = (minutes - 6) // 5
    log.stack.wait_until(
        lambda: log.stack.query("SELECT count(*) FROM windows WHERE width_s = 300 AND n = 5")[0][0] >= whole,
        f"{whole} windows of five minutes",
    )


@pytest.mark.parametrize("records", [5, 60], ids=["shorter", "longer"])
def test_readings_raw_made_anew(log: Log, records: int) -> None:
    def anew() -> None:
        log.drop("readings.raw")
        log.make("readings.raw")
        log.append(records)

    log.restart(anew)
    log.wait_stored(30 + records)
    reason = "shorter" if records == 5 else "unlike"
    assert log.gaps() == [("readings.raw", reason, 1, 30, 0)]
    clean = [wire.decode(record.value) for record in log.stack.records("readings.clean")]
    assert [c.raw for c in clean] == [*range(30), *(1 << 44 | i for i in range(records))]
    assert [c.prev_raw for c in clean[1:]] == [c.raw for c in clean[:-1]]
    log.restart(lambda: log.append(10))
    log.wait_stored(40 + records)
    assert len(log.gaps()) == 1, "it is said once"
    assert_windows_are_whole(log, 40 + records)


@pytest.mark.parametrize("more", [0, 60], ids=["shorter", "longer"])
def test_readings_clean_made_anew_is_made_again_from_readings_raw(log: Log, more: int) -> None:
    def anew() -> None:
        log.drop("readings.clean")
        log.make("readings.clean")
        log.append(more + 1)

    log.restart(anew)
    log.append(5)
    log.wait_stored(36 + more)
    # Made again from the same raw records it may be the same log, byte by byte, before windows looks: then nothing is
    # wrong with it. If windows looks earlier, it is shorter.
    assert [gap[:3] for gap in log.gaps()] in ([], [("readings.clean", "shorter", 1)])
    assert log.stack.query("SELECT log_epoch FROM positions") == [(len(log.gaps()),)]
    assert log.stack.query("SELECT max(rev) FROM readings") == [(1,)]
    assert_windows_are_whole(log, 36 + more)


def test_kafkas_volume_made_anew(log: Log) -> None:
    def anew() -> None:
        log.drop(*TOPICS)
        log.make()
        log.append(40)

    log.restart(anew)
    log.wait_stored(70)
    (gap,) = log.gaps()
    assert gap[0] == "readings.clean" and gap[2] == 1
    assert_windows_are_whole(log, 70)
    published = log.stack.query("SELECT published_seq > 0, published_seq <= out_seq FROM positions")
    assert published == [(True, True)]


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "not-killed"])
def test_topics_made_anew_under_processes_that_run(log: Log, killed: bool) -> None:
    """While the topics are gone the group's leader hands out nothing. Kafka keeps that for a member of the same
    instance that is back soon, and would leave it without partitions for ever; one that is not killed sees that
    nobody has them, and ends.
    """
    log.drop(*TOPICS)
    log.stack.wait_until(lambda: all(log.owned(role) == 0 for role in ROLES), "nothing is assigned")
    for role in ROLES:
        if killed and log.stack.is_running(role):
            log.stack.kill(role)
    log.make()
    log.append(40)

    deadline = time.monotonic() + 150
    while log.stored() != 70:  # not `wait_until`: that takes the end of a process for a failure
        assert time.monotonic() < deadline, log.stack.logs()
        for role in ROLES:
            log.stack.reap(role)
            if not log.stack.is_running(role):
                log.stack.start(role)  # as supervisord does
        time.sleep(0.05)


def test_records_that_retention_took_before_they_were_read(log: Log) -> None:
    def cut() -> None:
        log.append(20)
        log.cut("readings.raw", 40)

    log.restart(cut)
    log.wait_stored(40)
    assert log.gaps() == [("readings.raw", "retention", 0, 30, 40)]
    assert log.lost_between() == [(None, 41)], "minute 40 was received when it was over"
    (before, after) = [wire.decode(record.value) for record in log.stack.records("readings.clean")][29:31]
    assert (after.prev_raw, after.raw, after.gap) == (before.raw, 40, "retention")


def test_clean_records_that_retention_took_before_they_were_stored(log: Log) -> None:
    log.stack.stop("windows")
    log.append(20)
    log.stack.wait_until(lambda: len(log.stack.records("readings.clean")) == 50, "50 clean records")
    log.cut("readings.clean", 45)
    log.stack.start("windows")
    log.wait_stored(35)
    assert log.gaps() == [("readings.clean", "retention", 0, 30, 45)]
    assert log.lost_between() == [(None, 46)]
    log.append(5)
    log.wait_stored(40)


def test_readings_clean_emptied_by_retention_goes_on_where_the_group_was(log: Log) -> None:
    log.stack.wait_until(lambda: log.committed("clean") == 30, "the group's offset, which is written every 2 s")
    log.stack.stop("clean")
    log.cut("readings.clean", 30)
    log.append(10)
    log.stack.start("clean")
    log.wait_stored(40)
    assert log.gaps() == []
    assert [wire.decode(record.value).raw for record in log.stack.records("readings.clean")] == list(range(30, 40))


def test_a_database_older_than_what_it_published_numbers_above_it(log: Log) -> None:
    """
    published   1 ... n        rows of the database that is no more
    restored    0              rows are made again, and must not be taken for repeats
    """
    log.stack.wait_until(lambda: log.stack.query("SELECT published_seq FROM positions")[0][0] > 0, "published rows")
    schema = log.stack.settings.database_schema

    def lost() -> None:
        with log.stack.connect() as connection:
            connection.execute(f'DROP SCHEMA "{schema}" CASCADE'.encode())

    seen = len(log.stack.records("windows"))
    log.restart(lost)
    log.append(10)
    log.wait_stored(40)
    assert [gap[:2] for gap in log.gaps()] == [("windows", "restored")]
    log.stack.wait_until(lambda: len(log.stack.records("windows")) > seen, "published rows")
    numbers: list[Any] = [published.decode(record.value).columns["out_seq"] for record in log.stack.records("windows")]
    flat = [int(n) for column in numbers for n in column]
    assert flat == sorted(set(flat))
