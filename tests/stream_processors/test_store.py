"""The processors' SQL against a real PostgreSQL with TimescaleDB."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from schemas.errors import FencedError, PipelineError
from schemas.readings import Readings, readings
from schemas.settings import Settings
from stream_processors.aggregates import Aggregates, aggregate
from stream_processors.migrations import migrate
from stream_processors.series import join
from stream_processors.store import OutRecord, Store
from stream_processors.windows import Closed, gone_rows

TABLES = Path(__file__).parents[2] / "schemas" / "tables"
T0 = 1_800_000_000_000
DAY = 86_400_000


@pytest.fixture
async def schema(servers: Settings) -> AsyncIterator[str]:
    name = f"store_{uuid.uuid4().hex[:8]}"
    await migrate(servers.database_url, name)
    yield name
    async with await psycopg.AsyncConnection.connect(servers.database_url, autocommit=True) as conn:
        await conn.execute(f"DROP SCHEMA {name} CASCADE")


@pytest.fixture
async def store(servers: Settings, schema: str) -> AsyncIterator[Store]:
    opened = await Store.connect(servers.database_url, schema)
    yield opened
    await opened.close()


async def fetch(store: Store, query: str) -> list[tuple[Any, ...]]:
    rows = await store._conn.execute(query.encode())
    return await rows.fetchall()


def batch(starts: list[int], values: list[float], revs: int | list[int] = 1) -> Readings:
    return readings(
        [("traffic", "a")], [("speed", "km/h")], sensor=[0] * len(starts), value=values, start=np.array(starts) + T0,
        period_s=300, rev=revs, received=T0 + DAY,
    )  # fmt: skip


async def put(store: Store, what: Readings, series: int = 1) -> tuple[list[bool], list[bool], list[bool]]:
    n = len(what)
    columns = {"series": np.full(n, series), "part": np.zeros(n, int), "position": np.arange(n)}
    stored = await store.put_readings(join([what]) | columns)
    return stored.new.tolist(), stored.replaced.tolist(), stored.conflict.tolist()


async def test_new_readings_go_straight_in(store: Store) -> None:
    assert await put(store, batch([0, 300_000], [1.0, 2.0])) == ([True, True], [False, False], [False, False])
    assert await fetch(store, "SELECT value FROM readings ORDER BY start") == [(1.0,), (2.0,)]


async def test_repeats_are_told_from_new_ones_and_from_conflicts(store: Store) -> None:
    await put(store, batch([0, 1, 2], [1.0, float("nan"), 3.0]))
    found = await put(store, batch([0, 1, 2, 3], [1.0, float("nan"), 9.0, 4.0]))
    assert found == ([False, False, False, True], [False] * 4, [False, False, True, False])
    assert (await fetch(store, "SELECT count(*), sum(value) FILTER (WHERE value <> 'NaN') FROM readings")) == [(4, 8.0)]


async def test_a_higher_rev_takes_the_row_and_the_old_one_moves_to_the_history(store: Store) -> None:
    await put(store, batch([0], [1.0]))
    assert await put(store, batch([0], [2.0], 2)) == ([False], [True], [False])
    assert await put(store, batch([0], [1.0], 1)) == ([False], [False], [False])
    assert await fetch(store, "SELECT value, rev FROM readings") == [(2.0, 2)]
    assert await fetch(store, "SELECT value, rev, known_to = received FROM readings_history") == [(1.0, 1, True)]


async def test_several_occurrences_of_a_key_in_one_batch(store: Store) -> None:
    found = await put(store, batch([0, 0, 0, 5, 0], [1.0, 1.0, 2.0, 7.0, 3.0], [1, 1, 2, 1, 3]))
    assert found == ([True, False, False, True, False], [False, False, True, False, True], [False] * 5)
    assert await fetch(store, "SELECT value, rev FROM readings ORDER BY start") == [(3.0, 3), (7.0, 1)]
    assert await fetch(store, "SELECT value, rev FROM readings_history ORDER BY rev") == [(1.0, 1), (2.0, 2)]


async def test_places_of_mobile_readings(store: Store) -> None:
    moving = readings(
        [("air", "bus")], [("pm25", "ug/m3")], sensor=[0, 0], value=[1.0, 2.0], start=[T0, T0 + 1], received=T0,
        lon=[2.5, np.nan], lat=[48.1, np.nan],
    )  # fmt: skip
    await put(store, moving)
    assert await fetch(store, "SELECT lon, lat FROM reading_places") == [(2.5, 48.1)]


def windows(starts: list[int], values: list[float], span_s: int = 300, flag: int = 1) -> Aggregates:
    n = len(starts)
    return aggregate(
        np.arange(n), np.array(starts) + T0 + 900_000, 900_000, np.array(starts) + T0, np.full(n, span_s * 1000),
        np.array(values), np.full(n, flag), np.full(n, np.nan),
    )  # fmt: skip


async def put_windows(
    store: Store, starts: list[int], values: Aggregates, seq: int, expect_new: bool = True, origin: int = 0
) -> dict[int, int]:
    """The revs of what was stored or changed, by start."""
    n = len(starts)
    store.now_ms = T0 + seq
    closed = Closed(900, np.zeros(n, int), np.array(starts) + T0, values, np.full(n, origin))
    changed, rev = await store.put_windows(
        closed, np.full(n, 1), np.zeros(n, int), seq + np.arange(n), expect_new=expect_new
    )
    return {starts[i]: r for i, r in zip(changed.tolist(), rev.tolist(), strict=True)}


async def test_windows_revise_only_what_changed_and_keep_the_old_row(store: Store) -> None:
    starts = [0, 900_000]
    assert await put_windows(store, starts, windows(starts, [1.0, 2.0]), 1) == {0: 1, 900_000: 1}
    again = await put_windows(store, [*starts, 1_800_000], windows([*starts, 1_800_000], [1.0, 5.0, 6.0]), 3)
    assert again == {900_000: 2, 1_800_000: 1}
    rows = await fetch(store, "SELECT mean, rev, out_seq FROM windows ORDER BY start")
    assert rows == [(1.0, 1, 1), (5.0, 2, 4), (6.0, 1, 5)]
    assert await fetch(store, "SELECT mean, rev, known_to >= published FROM windows_history") == [(2.0, 1, True)]


async def test_partitions_count_on_their_own_so_equal_numbers_are_of_different_windows(store: Store) -> None:
    async def put_two(values: list[float]) -> tuple[list[int], list[int]]:
        closed = Closed(900, np.array([0, 1]), np.array([T0, T0]), windows([0, 900_000], values), np.zeros(2, int))
        changed, rev = await store.put_windows(
            closed, np.array([1, 2]), np.array([0, 1]), np.array([7, 7]), expect_new=False
        )
        return changed.tolist(), rev.tolist()

    assert await put_two([1.0, 2.0]) == ([0, 1], [1, 1])
    assert await put_two([1.0, 5.0]) == ([1], [2])


async def test_windows_without_values_or_without_a_known_span_have_nulls(store: Store) -> None:
    await put_windows(store, [0], windows([0], [1.0], flag=4), 1)
    await put_windows(store, [900_000], windows([900_000], [1.0], span_s=0), 2, expect_new=False)
    rows = await fetch(store, "SELECT n, n_expected, coverage, mean, complete FROM windows ORDER BY start")
    assert rows == [(0, 3, 0.0, None, False), (1, None, None, 1.0, False)]


async def test_a_window_that_is_gone_keeps_its_row_and_comes_back_with_the_next_rev(store: Store) -> None:
    async def take_away(start: int, seq: int) -> int:
        gone = gone_rows(np.array([0]), 900, np.array([start + T0]))
        changed, _ = await store.put_windows(gone, np.array([1]), np.array([0]), np.array([seq]), expect_new=False)
        return len(changed)

    await put_windows(store, [0], windows([0], [1.0]), 1)
    assert (await take_away(0, 2), await take_away(0, 3), await take_away(900_000, 4)) == (1, 0, 0)
    assert await fetch(store, "SELECT gone, n, mean, n_expected, rev FROM windows") == [(True, 0, None, None, 2)]
    assert await put_windows(store, [0], windows([0], [1.0]), 5) == {0: 3}
    assert await fetch(store, "SELECT gone, mean, rev FROM windows") == [(False, 1.0, 3)]
    assert await fetch(store, "SELECT gone, mean, rev FROM windows_history ORDER BY rev") == [
        (False, 1.0, 1), (True, None, 2),
    ]  # fmt: skip


async def test_a_live_reading_makes_an_imported_window_live(store: Store) -> None:
    await put_windows(store, [0], windows([0], [1.0]), 1, origin=1)
    assert await put_windows(store, [0], windows([0], [1.0]), 2, origin=0) == {0: 2}
    assert await fetch(store, "SELECT origin FROM windows") == [(0,)]


async def test_an_amendment_raises_the_rev_and_swallows_no_correction(store: Store) -> None:
    """
    sensor   rev 1             rev 2             rev 2 again
    rules          flag 3            (late)
    row      1     2           3     -           -
    """

    async def came(value: float, rev: int, source_rev: int, flag: int) -> tuple[list[bool], list[bool], list[bool]]:
        return await put(store, readings(
            [("traffic", "a")], [("speed", "km/h")], sensor=[0], value=[value], start=[T0], received=T0 + DAY,
            rev=rev, source_rev=source_rev, flag=flag,
        ))  # fmt: skip

    assert await came(1.0, 1, 1, 1) == ([True], [False], [False])
    assert await came(1.0, 2, 1, 3) == ([False], [True], [False])
    assert await came(1.0, 3, 1, 3) == ([False], [False], [False])  # says nothing new
    assert await came(5.0, 2, 2, 1) == ([False], [True], [False])
    assert await came(1.0, 3, 1, 4) == ([False], [False], [False])  # of a source_rev that is no more
    assert await came(5.0, 2, 2, 4) == ([False], [False], [False])  # a repeat, judged among other neighbours
    assert await came(6.0, 2, 2, 1) == ([False], [False], [True])
    assert await fetch(store, "SELECT value, rev, source_rev, flag FROM readings") == [(5.0, 3, 2, 1)]
    assert await fetch(store, "SELECT value, rev, source_rev, flag FROM readings_history ORDER BY rev") == [
        (1.0, 1, 1, 1), (1.0, 2, 1, 3),
    ]  # fmt: skip


async def test_an_amendment_of_a_row_that_was_amended_before_is_to_be_judged_again(store: Store) -> None:
    one = {"series": np.array([1]), "part": np.array([0]), "position": np.array([0])}

    async def amended(rev: int, flag: int) -> tuple[list[bool], list[bool]]:
        batch = readings(
            [("traffic", "a")], [("speed", "km/h")], sensor=[0], value=[1.0], start=[T0], received=T0,
            rev=rev, source_rev=1, flag=flag,
        )  # fmt: skip
        stored = await store.put_readings(join([batch]) | one)
        return stored.amended.tolist(), stored.unsure.tolist()

    assert await amended(1, 1) == ([False], [False])
    await store.put_judged({k: np.array([v]) for k, v in
                            {"series": 1, "start": T0, "flag": 3, "tests": 8, "rev": 2}.items()})  # fmt: skip
    assert await amended(2, 4) == ([False], [True])
    assert await amended(3, 4) == ([True], [False])
    rows = await fetch(
        store, "SELECT rev, flag FROM readings UNION ALL SELECT rev, flag FROM readings_history ORDER BY 1"
    )
    assert rows == [(1, 1), (2, 3), (3, 4)]


async def test_readings_around_a_range(store: Store) -> None:
    await put(store, batch(list(range(0, 100, 10)), [float(i) for i in range(10)]))
    await put(store, batch([45], [9.0]), series=2)
    found = await store.readings_around(
        np.array([1, 2]), np.array([40, 0]) + T0, np.array([60, 40]) + T0, np.array([1, 0])
    )
    of_first = found["start"][found["series"] == 1] - T0
    assert sorted(of_first.tolist()) == [20, 30, 40, 50, 60, 70]
    assert found["start"][found["series"] == 2].tolist() == [T0 + 45]


async def test_the_outbox_keeps_records_until_they_were_sent(store: Store) -> None:
    records = [OutRecord(0, 4, "windows", b"a"), OutRecord(0, 9, "windows", b"b"), OutRecord(1, 2, "index", b"c")]
    await store.put_outbox(records)
    assert await store.outbox_after(0, 0, 10) == records[:2]
    assert await store.outbox_after(0, 4, 10) == records[1:2]
    assert await store.outbox_after(0, 0, 1) == records[:1]
    await store.drop_outbox({0: 4, 1: 1})
    assert (await store.outbox_after(0, 0, 10), await store.outbox_after(1, 0, 10)) == (records[1:2], records[2:])
    assert await store.outbox_size([0]) == 1


async def test_a_new_owner_fences_the_old_one_out(servers: Settings, schema: str, store: Store) -> None:
    mine = await store.acquire([0, 1])
    other = await Store.connect(servers.database_url, schema)
    theirs = await other.acquire([1])
    assert theirs[1].epoch == mine[1].epoch + 1
    with pytest.raises((psycopg.Error, FencedError)):  # its backend was ended, too
        async with store.transaction(mine):
            pass
    async with other.transaction(theirs):
        await other.put_positions(theirs)
    await other.close()


async def test_an_older_epoch_can_not_commit(servers: Settings, schema: str, store: Store) -> None:
    mine = await store.acquire([0])
    async with await psycopg.AsyncConnection.connect(servers.database_url, autocommit=True) as conn:
        await conn.execute(f"UPDATE {schema}.positions SET epoch = epoch + 1")
    with pytest.raises(FencedError, match=r"partition\(s\) \[0\]"):
        async with store.transaction(mine):
            raise AssertionError("the fence is checked first")


async def test_an_owner_that_was_stopped_in_mid_transaction_does_not_block_the_next(
    servers: Settings, schema: str, store: Store
) -> None:
    mine = await store.acquire([0])
    entered = asyncio.Event()

    async def stopped() -> None:
        async with store.transaction(mine):
            entered.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(stopped())
    await entered.wait()
    other = await Store.connect(servers.database_url, schema)
    async with asyncio.timeout(10):
        theirs = await other.acquire([0])
    assert theirs[0].epoch == mine[0].epoch + 1
    task.cancel()
    with pytest.raises((psycopg.Error, asyncio.CancelledError)):
        await task
    await other.close()


async def test_positions_and_marks_survive(servers: Settings, schema: str, store: Store) -> None:
    positions = await store.acquire([3])
    positions[3].next_offset, positions[3].raw, positions[3].tick, positions[3].crc = 7, 6, T0, 12
    async with store.transaction(positions):
        await store.put_positions(positions)
        await store.put_marks([(3, 0, 11, 3600, T0, 5, 9), (3, 1, 11, 0, T0, 5, 0)])
        await store.put_marks([(3, 0, 11, 3600, T0, 6, 0)])
    other = await Store.connect(servers.database_url, schema)
    again = await other.acquire([3])
    assert (again[3].next_offset, again[3].raw, again[3].tick, again[3].crc) == (7, 6, T0, 12)
    assert sorted(await other.marks([3])) == [(3, 0, 11, 3600, T0, 5, 0), (3, 1, 11, 0, T0, 5, 0)]
    await other.drop_marks(0, np.array([3, 3]), np.array([11, 11]), np.array([3600, 0]), np.array([T0, T0]))
    assert await other.marks([3]) == [(3, 1, 11, 0, T0, 5, 0)]
    await other.close()


async def test_readings_between_and_the_newest(store: Store) -> None:
    await put(store, batch([0, DAY, 2 * DAY], [1.0, 2.0, 3.0]))
    await put(store, batch([5], [9.0]), series=2)
    newest = await store.newest([1, 2, 3])
    assert dict(zip(newest["series"].tolist(), newest["start"].tolist(), strict=True)) == {1: T0 + 2 * DAY, 2: T0 + 5}
    found = await store.readings_between(np.array([1, 2]), np.array([T0 + DAY, T0]), np.array([T0 + 2 * DAY, T0 + DAY]))
    assert sorted(found["value"].tolist()) == [2.0, 9.0]
    assert sorted(found["start"].tolist()) == [T0 + 5, T0 + DAY]


async def test_series_keys_are_stable(store: Store) -> None:
    keys = [("traffic", "a", "speed"), ("traffic", "b", "speed")]
    first = await store.add_series(keys)
    again = await store.add_series([("air", "x", "o3"), *keys])
    assert {key: again[key] for key in keys} == first
    assert await store.series() == again


async def test_migrations_run_once_and_refuse_a_changed_file(servers: Settings, schema: str, store: Store) -> None:
    await migrate(servers.database_url, schema)
    files = len([path for path in TABLES.iterdir() if path.suffix == ".sql"])
    assert await fetch(store, "SELECT count(*) FROM migrations") == [(files,)]
    await store._conn.execute("UPDATE migrations SET sha256 = 'other'")
    with pytest.raises(PipelineError, match="changed after it was applied"):
        await migrate(servers.database_url, schema)
    await store._conn.execute("INSERT INTO migrations VALUES ('9999_future.sql', '')")
    with pytest.raises(PipelineError, match="update cityfeed"):
        await migrate(servers.database_url, schema)
