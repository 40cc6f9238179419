"""The role `windows` against tables and a Kafka in memory: what it does when nothing goes on."""

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from schemas import wire
from schemas.readings import readings
from schemas.wire import Record
from stream_processors import outbox, windows_role
from stream_processors.windows_role import WindowsRole
from tests.stream_processors.memory.world import METRICS, SETTINGS, STEP_MS, T0, World

PART = 0
MOST = 6  # readings of a flush


@contextlib.asynccontextmanager
async def role(**settings: Any) -> AsyncIterator[tuple[WindowsRole, World]]:
    """A role that owns a partition."""
    world = World()
    chosen = dataclasses.replace(SETTINGS, windows_flush_readings=MOST, **settings)
    with world.in_place_of_servers():
        made = WindowsRole(chosen, world.registry)
        assert await made.assign({PART: (0, 0)}) == {PART: 0}
        yield made, world


def record(number: int, steps: int = 2) -> bytes:
    """A clean record of one sensor's readings, the one after `number - 1`."""
    start = [T0 + (number * steps + i) * STEP_MS for i in range(steps)]
    batch = readings(
        [("lab", "a")], METRICS, sensor=[0] * steps, metric=[0] * steps, value=[float(number)] * steps, start=start,
        period_s=20, received=start[-1] + STEP_MS, rev=1, flag=1,
    )  # fmt: skip
    return wire.encode(Record("clean", batch, 0, number, number - 1))


async def turns() -> None:
    """Let every task go as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_who_waits_for_room_goes_on_after_a_commit_whose_answer_was_lost() -> None:
    """The queue is full when the connection is lost with a commit under way: the state is loaded anew, what it says
    was stored is not stored again, and there is room.
    """
    async with role() as (windows, world):
        taken = 0
        while windows._pending_readings < 2 * MOST:
            await windows.take(PART, taken, record(taken))
            taken += 1
        waits = asyncio.ensure_future(windows.take(PART, taken, record(taken)))
        await turns()
        assert not waits.done()
        world.database.loses_commit = True
        assert not await windows._work()
        await turns()
        assert not waits.done()  # nobody knows yet whether it was stored
        assert await windows._work()
        await waits
        assert await windows._work()
        assert [r.value for r in world.database.readings()] == [float(n) for n in range(taken + 1) for _ in (0, 1)]
        assert windows.committed() == {PART: taken + 1}


async def test_between_two_attempts_to_reach_the_database_there_is_a_pause() -> None:
    """Also when so much waits that a flush is due at once."""
    attempts = asyncio.Semaphore(0)

    async def nobody_there(*_: Any) -> None:
        attempts.release()
        raise psycopg.OperationalError("connection refused")

    async with role() as (windows, _):
        for number in range(MOST):
            await windows.take(PART, number, record(number, steps=1))
        await windows._disconnect()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows_role, "migrate", nobody_there)
        patch.setattr(windows_role, "_RETRY_S", 0.05)
        began = time.monotonic()
        running = asyncio.ensure_future(windows._run())
        async with asyncio.timeout(30):
            for _ in range(5):
                await attempts.acquire()
        assert time.monotonic() - began >= 4 * 0.05
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_what_kafka_does_not_take_is_bounded_in_the_table(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kafka gives readings and takes no rows: `windows` stores no more when so many wait, and says so; the log keeps
    what comes. When Kafka takes rows again, everything is stored and published.
    """
    monkeypatch.setattr(outbox, "MAX_QUEUED_BYTES", 3_000)
    async with role(outbox_rows=20) as (windows, world):
        world.kafka.refusals = 1_000_000
        publishing = asyncio.ensure_future(windows._outbox.run())
        number = 0
        while not windows._is_held_up():
            await windows.take(PART, number, record(number))
            assert await windows._work()
            await turns()
            number += 1
            assert number < 1_000
        stored, waiting = len(world.database.tables.readings), len(world.database.tables.outbox)
        assert stored and waiting
        while windows._pending_readings < 2 * MOST:
            await windows.take(PART, number, record(number))
            number += 1
        waits = asyncio.ensure_future(windows.take(PART, number, record(number)))
        for _ in range(3):
            assert await windows._work()
            await turns()
        assert not waits.done()
        assert (len(world.database.tables.readings), len(world.database.tables.outbox)) == (stored, waiting)
        assert sum("takes no published rows" in r.getMessage() for r in caplog.records) == 1
        world.kafka.refusals = 0
        while not waits.done() or windows._pending:
            assert await windows._work()
            await turns()
        assert len(world.database.tables.readings) == 2 * (number + 1)
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)
