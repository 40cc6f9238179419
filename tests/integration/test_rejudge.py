"""Flags of readings that come in any order, through `clean` and a real database, end as if all had come in order."""

import random
from typing import Any

import numpy as np
import pytest

from schemas import published
from schemas.flags import Test
from schemas.readings import MAX_SOURCE_REV, Readings, readings
from schemas.settings import Settings
from schemas.wire import Record
from stream_processors.chain import Item
from stream_processors.clean import Cleaner
from stream_processors.flush import flush
from stream_processors.outbox import READ_RECORDS
from stream_processors.rejudge import rejudge
from stream_processors.remake import remake
from tests.integration.real_week import slices
from tests.integration.test_outbox import Process, seen, settings, until

__all__ = ["settings"]  # the fixture

READINGS = 400
Flags = dict[int, tuple[int, int]]  # start ms -> (flag, tests)


def real() -> list[tuple[int, float, int]]:
    """(start ms, mph, rev) of a real loop, with spikes and a flat line put in, and corrections up to the last one."""
    (loop, *_) = slices("traffic", rows=READINGS)
    dice = random.Random(4)
    rows = [(start, value if i % 37 else value + 70.0, 1) for i, (start, value) in enumerate(loop.readings)]
    rows[200:260] = [(start, 55.5, 1) for start, _, _ in rows[200:260]]
    corrected = [(start, value + 1.0, 2) for start, value, _ in dice.sample(rows, 20)]
    return rows + corrected + [(start, value + 2.0, MAX_SOURCE_REV) for start, value, _ in rows[:120:37]]


def raw(rows: list[tuple[int, float, int]]) -> Readings:
    start, value, rev = zip(*rows, strict=True)
    return readings(
        [("traffic", "a")], [("speed", "mph")], sensor=[0] * len(rows), value=value, start=start, period_s=300,
        received=max(start) + 300_000, rev=rev,
    )  # fmt: skip


def new_cleaner(process: Process) -> Cleaner:
    return Cleaner(process.owner.registry, prev_raw=-1, future_ms=10**12, horizon_ms=10**12)


def in_order(process: Process) -> Flags:
    """What `clean` says of the readings as they stand at the end, one after the other."""
    last = {start: (start, value, rev) for start, value, rev in sorted(real(), key=lambda row: row[2])}
    cleaner = new_cleaner(process)
    flags: Flags = {}
    for offset, start in enumerate(sorted(last)):
        batch = cleaner.clean([(offset, Record("raw", raw([last[start]])))])[0].record.readings
        flags |= {s: (f, t) for s, f, t in zip(batch.start.tolist(), batch.flag.tolist(), batch.tests.tolist(),
                                                strict=True)}  # fmt: skip
    return flags


async def through(process: Process, rows: list[tuple[int, float, int]], dice: random.Random) -> None:
    """In batches of any size; what is due is drained now and then."""
    cleaner, offset = new_cleaner(process), 0
    while rows:
        size = dice.choice((1, 3, 40))
        came, rows = rows[:size], rows[size:]
        record = cleaner.clean([(offset, Record("raw", raw(came)))])[0].record
        await flush(process.owner, process.store, [Item(0, offset, record, 1)])
        offset += 1
        if not dice.randrange(4):
            await rejudge(process.owner, process.store)
            await remake(process.owner, process.store)


async def drain(process: Process) -> None:
    for drained in (rejudge, remake):
        while process.owner.dirty.marks and process.owner.dirty.due(0, 1, 1 if drained is rejudge else 0):
            await drained(process.owner, process.store)


@pytest.mark.parametrize("order", ["as measured", "shuffled a little", "shuffled", "backwards"])
async def test_flags_end_as_if_all_had_come_in_order(settings: Settings, order: str) -> None:
    process = await Process(settings).start()
    rows, dice = real(), random.Random(order)
    if order == "shuffled":
        dice.shuffle(rows)
    elif order == "shuffled a little":
        rows.sort(key=lambda row: row[0] + dice.randrange(3_000_000))
    elif order == "backwards":
        rows.sort(reverse=True)
    async with process.publishing():
        await through(process, rows, dice)
        await drain(process)
        found = await process.store._conn.execute(
            "SELECT (extract(epoch FROM start) * 1000)::bigint, flag, tests, rev FROM readings"
        )
        stored = {start: (flag, tests, rev) for start, flag, tests, rev in await found.fetchall()}
        expected = in_order(process)
        assert {start: (flag, tests) for start, (flag, tests, _) in stored.items()} == expected
        fired = np.bitwise_or.reduce([tests for _, tests in expected.values()])
        assert fired & (Test.SPIKE_SUSPECT | Test.SPIKE_FAIL), "there is something to judge"
    assert await revs_grow(process)
    await process.store.close()


async def revs_grow(process: Process) -> bool:
    """No row in the history has a rev that is not below the one that stands."""
    rows = await process.store._conn.execute(
        "SELECT count(*) FILTER (WHERE h.rev >= r.rev), count(*) FROM readings r JOIN readings_history h"
        " USING (series, start)"
    )
    wrong, all_of_them = await rows.fetchone() or (0, 0)
    return wrong == 0 and all_of_them > 0


async def test_what_was_amended_is_published(settings: Settings) -> None:
    process = await Process(settings).start()
    rows = real()
    late = [rows.pop(37), rows.pop(150)]
    async with process.publishing():
        await through(process, rows + late, random.Random(1))
        await drain(process)
        for part, after in process.outbox.wanted():
            process.outbox.refill(part, await process.store.outbox_after(part, after, READ_RECORDS))
        await until(lambda: not process.outbox.waiting)
    amended: list[dict[str, Any]] = seen(settings, "readings.amended")
    assert set(amended[0]) == set(published.AMENDED)
    assert all(row["rev"] > row["source_rev"] for row in amended)
    numbers = [row["out_seq"] for row in amended]
    assert numbers == sorted(numbers)
    await process.store.close()
