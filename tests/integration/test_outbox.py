"""Published rows, on a real Kafka and a real database: each is seen once, or again with the same number."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import psycopg
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from schemas import published
from schemas.city import read_city
from schemas.dead_letters import decode as decode_letter
from schemas.readings import readings
from schemas.registry import Registry
from schemas.settings import Settings
from schemas.topics import TOPICS
from schemas.wire import Record
from stream_processors import outbox
from stream_processors.chain import Item
from stream_processors.flush import flush
from stream_processors.migrations import migrate
from stream_processors.outbox import READ_RECORDS, Outbox
from stream_processors.owner import Owner
from stream_processors.remake import remake
from stream_processors.store import Store
from tests.integration.real_week import SAMPLE
from tests.service_stack import ServiceStack, unique_settings

MINUTE = 60_000
T0 = 1_800_000_000_000 // 3_600_000 * 3_600_000
SENSOR = ("traffic", "a")


@pytest.fixture
async def settings(servers: Settings, tmp_path: Any) -> AsyncIterator[Settings]:
    """Topics and tables of this test alone; one partition."""
    chosen = unique_settings(servers, f"outbox{uuid.uuid4().hex[:8]}", 0, tmp_path, kafka_partitions=1)
    await migrate(chosen.database_url, chosen.database_schema)
    admin = AIOKafkaAdminClient(bootstrap_servers=chosen.kafka_bootstrap)
    await admin.start()
    names = [chosen.kafka_topic_prefix + name for name in TOPICS]
    await admin.create_topics([NewTopic(name, 1, 1) for name in names])
    yield chosen
    await admin.delete_topics(names)
    await admin.close()
    async with await psycopg.AsyncConnection.connect(chosen.database_url, autocommit=True) as conn:
        await conn.execute(f"DROP SCHEMA {chosen.database_schema} CASCADE")


class Process:
    """What of a `windows` process owns partition 0; `publishing` is the part that a crash may cut off."""

    def __init__(self, settings: Settings) -> None:
        self.outbox = Outbox(settings)
        self.owner = Owner(settings, Registry(read_city(SAMPLE).datasets), self.outbox)
        self._settings = settings
        self._offset = 0

    async def start(self) -> "Process":
        self.store = await Store.connect(self._settings.database_url, self._settings.database_schema)
        await self.owner.load(self.store, await self.store.acquire([0]))
        return self

    start_ms = T0

    async def came(self, *minutes: int, value: float = 1.0, rev: int = 1, period_s: int = 60) -> None:
        """A clean record of one sensor's readings, flushed; due windows are made again."""
        batch = readings(
            [SENSOR], [("speed", "km/h")], sensor=[0] * len(minutes), value=[value] * len(minutes),
            start=T0 + np.array(minutes) * MINUTE, period_s=period_s, received=T0, rev=rev, flag=1,
        )  # fmt: skip
        position = self.owner.positions[0]
        record = Record("clean", batch, 0, (position.raw or 0) + 1, position.raw if position.raw is not None else -1)
        await flush(self.owner, self.store, [Item(0, position.next_offset, record, 1)])
        await remake(self.owner, self.store)
        for part, after in self.outbox.wanted():
            self.outbox.refill(part, await self.store.outbox_after(part, after, READ_RECORDS))

    @contextlib.asynccontextmanager
    async def publishing(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.outbox.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def sent_all(self) -> None:
        await until(lambda: self.outbox.sent()[0] >= self.owner.positions[0].out_seq - 200 and not self.outbox.waiting)


async def until(is_so: Callable[[], bool], timeout_s: float = 30.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not is_so():
            await asyncio.sleep(0.02)


def seen(settings: Settings, topic: str = "windows") -> list[dict[str, Any]]:
    """All rows of a topic, as they stand there."""
    rows: list[dict[str, Any]] = []
    for record in ServiceStack(settings, SAMPLE).records(topic):
        columns = published.decode(record.value).columns
        lists = {name: c.values() if isinstance(c, published.Texts) else c.tolist() for name, c in columns.items()}
        rows += [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
    return rows


def once(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a reader takes: rows above its last."""
    taken: list[dict[str, Any]] = []
    for row in rows:
        if not taken or row["out_seq"] > taken[-1]["out_seq"]:
            taken.append(row)
    return taken


async def every_version(store: Store) -> list[tuple[Any, ...]]:
    """(out_seq, width, start ms, n, mean, rev, gone) of all windows that were ever stored, in the order of numbers."""
    columns = "out_seq, width_s, (extract(epoch FROM start) * 1000)::bigint, n, mean, rev, gone"
    rows = await store._conn.execute(
        f"SELECT {columns} FROM windows UNION ALL SELECT {columns} FROM windows_history ORDER BY 1".encode()
    )
    return await rows.fetchall()


def as_stored(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    names = ("out_seq", "width_s", "start", "n", "mean", "rev", "gone")
    found = [tuple(row[name] for name in names) for row in rows]
    return [(*row[:4], None if row[4] != row[4] else row[4], row[5], bool(row[6])) for row in found]


async def test_new_and_revised_windows_are_published_as_they_are_stored(settings: Settings) -> None:
    process = await Process(settings).start()
    async with process.publishing():
        await process.came(*range(0, 30))
        await process.came(7, value=4.0, rev=2)
        await process.sent_all()
    rows = await asyncio.to_thread(seen, settings)
    assert {row["rev"] for row in rows} == {1, 2}
    assert rows == once(rows)
    assert as_stored(rows) == await every_version(process.store)
    assert {(row["dataset"], row["sensor"], row["metric"]) for row in rows} == {(*SENSOR, "speed")}
    assert all(row["published"] > 0 and row["complete"] == 1 and row["origin"] == 0 for row in rows)
    await process.came(31)  # the next transaction moves the pointer and empties the table
    assert await process.store.outbox_size([0]) == 0
    await process.store.close()


async def test_a_crash_between_commit_and_publish_loses_nothing(settings: Settings) -> None:
    dead = await Process(settings).start()
    await dead.came(*range(0, 40))
    await dead.came(3, value=9.0, rev=2)
    await dead.store.close()
    assert await asyncio.to_thread(seen, settings) == []
    process = await Process(settings).start()
    async with process.publishing():
        await process.came(40)
        await process.sent_all()
    rows = await asyncio.to_thread(seen, settings)
    assert len(rows) > 8
    assert as_stored(once(rows)) == await every_version(process.store)
    await process.store.close()


async def test_a_crash_between_publish_and_the_next_commit_repeats_with_the_same_numbers(settings: Settings) -> None:
    dead = await Process(settings).start()
    async with dead.publishing():
        await dead.came(*range(0, 40))
        await dead.sent_all()
    await dead.store.close()
    process = await Process(settings).start()
    async with process.publishing():
        await process.came(*range(40, 60))
        await process.sent_all()
    rows = await asyncio.to_thread(seen, settings)
    taken = once(rows)
    assert len(rows) > len(taken), "the rows came again"
    assert as_stored(taken) == await every_version(process.store)
    await process.store.close()


async def test_without_kafka_rows_are_stored_and_wait_in_the_table(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The memory holds only so much; the rest is read from the table when Kafka takes rows again."""
    monkeypatch.setattr(outbox, "MAX_QUEUED_BYTES", 3_000)
    process = await Process(settings).start()
    for first in range(0, 300, 20):
        await process.came(*range(first, first + 20))
    assert process.outbox._bytes < 6_000
    waiting = await process.store.outbox_size([0])
    assert waiting > process.outbox.waiting > 0
    numbered = {0: process.owner.positions[0].out_seq}
    assert process.outbox.backlog(numbered) > 0
    async with process.publishing():
        for minute in range(300, 340):
            await process.came(minute)
            await until(lambda: not process.outbox.waiting)
    assert process.outbox.backlog({0: process.owner.positions[0].out_seq}) == 0
    rows = await asyncio.to_thread(seen, settings)
    assert rows == once(rows)
    assert as_stored(rows) == await every_version(process.store)
    await process.store.close()


async def test_a_conflict_that_only_the_database_sees_reaches_the_dead_letters(settings: Settings) -> None:
    process = await Process(settings).start()
    await process.came(0, 1, 2)
    await process.came(1, 3, value=5.0)
    async with process.publishing():
        await process.sent_all()
    (record,) = await asyncio.to_thread(ServiceStack(settings, SAMPLE).records, "dead-letters")
    letter = decode_letter(record.value)
    assert (letter.reason, letter.partition, letter.offset, letter.row) == ("conflict", 0, 1, 0)
    assert b'"value":5.0' in letter.payload and letter.topic == settings.kafka_topic_prefix + "readings.clean"
    await process.store.close()
