"""History from the archive: when days leave the database, no answer changes by a byte.

day        0        1        2        3        4  ...   8: now
           |<-- archive -->| (none)   |<-- database -->
"""

import asyncio
import dataclasses
import random
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from api.archive import move
from api.archive.main import once
from api.archive.store import Store
from api.queries.pool import connect
from api.times import as_datetime, rfc3339
from deploy.imports.convert import Converter
from deploy.imports.mapping import EXPORTED
from deploy.imports.source import Chunk
from deploy.imports.stored import archived_days
from schemas.city import read_city
from schemas.registry import Registration, Site, fold
from schemas.settings import Settings
from tests.api.city import NOW_MS, app_without_servers, client_of, make_settings
from tests.integration.history import DAY_0_MS, DAY_MS, History, Reading, three_days
from tests.integration.test_api import database, history, window
from tests.integration.test_archive import wrote
from tests.integration.test_exports import opened

__all__ = ["database", "history"]

HOUR_MS = 3_600_000
DAY_0 = DAY_0_MS // DAY_MS
ALL = f"from={rfc3339(DAY_0_MS - DAY_MS)}&to={rfc3339(NOW_MS)}"
AS_OF = rfc3339(DAY_0_MS + 7 * DAY_MS)


def keeping_six_days(database: Settings, tmp_path: Path, archive_url: str) -> Settings:
    """Six days stay in the database; live readings older than two days are refused."""
    folder = tmp_path / "city" / "datasets"
    folder.mkdir(parents=True)
    for name in ("traffic", "air-quality"):
        shipped = resources.files("schemas").joinpath(f"datasets/{name}.toml").read_text("utf-8")
        (folder / f"{name}.toml").write_text(shipped.replace("\nlateness_s", "\nrepair_horizon_s = 172800\nlateness_s"))
    made = make_settings(tmp_path, database_url=database.database_url, database_schema=database.database_schema)
    return dataclasses.replace(made, archive_url=archive_url, database_keep_days=6)


@pytest.fixture
def settings(database: Settings, tmp_path: Path) -> Settings:
    return keeping_six_days(database, tmp_path, f"file://{tmp_path}/archive")


@pytest.fixture
async def app(settings: Settings, tmp_path: Path) -> AsyncIterator[FastAPI]:
    names = ("database_url", "database_schema", "archive_url", "database_keep_days")
    async with opened(app_without_servers(tmp_path, **{name: getattr(settings, name) for name in names})) as made:
        yield made


@pytest.fixture
def stored(history: History) -> History:
    """Three days of two datasets, some readings revised, one sensor that moves about, one that sends hours."""
    dice = random.Random(7)
    readings = three_days(7)
    history.store(readings)
    history.store(replace(r, rev=2, value=r.value + 1) for r in dice.sample(readings, 60))
    history.store(replace(r, rev=3, value=float("nan"), flag=9) for r in dice.sample(readings, 20))
    history.store(
        Reading("traffic", "hourly", "speed", DAY_0_MS + i * HOUR_MS, 3600, float(i)) for i in range(96) if i % 7
    )
    history.register([Registration("traffic", "a", site=Site("", -118.5, 34)), Registration("traffic", "hourly")])
    for r in readings:
        if r.sensor == "c":
            history.connection.execute(
                "INSERT INTO reading_places VALUES (%s, %s, %s, 34) ON CONFLICT DO NOTHING",
                (history.series("traffic", "c", r.metric), as_datetime(r.start), dice.choice((-118.5, -110.0))),
            )
    hours = {(r.sensor, r.start // HOUR_MS) for r in readings if r.metric == "speed" and r.sensor in ("a", "b")}
    history.publish([window(sensor, hour * HOUR_MS, mean=hour % 100 + 0.5) for sensor, hour in sorted(hours)])
    wrote(history)
    return history


QUERIES = (
    "readings?limit=10000",
    "readings?limit=97",
    "readings?limit=50&sensor=a&sensor=c&metric=volume&flag=1&flag=3&fields=start,value,rev",
    "readings?limit=200&origin=import",
    "readings?bbox=-119,33,-118,35&limit=100",
    f"readings?as_of={AS_OF}&limit=150",
    "readings?as_of=2026-11-17T00:00:00Z",
    "readings?gaps=show&sensor=a&metric=speed&limit=300",
    "readings?format=geojson&limit=500",
    "windows?width=1h&limit=100",
    "windows?width=1h&sensor=hourly",
    "windows?width=1h&gaps=show&sensor=a&metric=speed",
    "windows?width=5m&limit=100",
    "windows?width=1d&tz=America/Los_Angeles&agg=mean,n,p95",
    "windows?width=1w&group=metric",
    f"windows?width=1mo&group=area&as_of={AS_OF}",
    "windows?width=1h&group=metric&limit=60",
    "quality?limit=20",
)
EXPORTS = (
    "of=readings&format=csv", "of=readings&format=parquet", "of=readings&format=ndjson&gaps=show&sensor=a",
    "of=readings&format=geojson", "of=windows&width=1h&format=csv&gaps=show", "of=windows&width=1h&format=arrow",
    f"of=windows&width=1d&tz=Asia/Tokyo&format=csv&as_of={AS_OF}",
)  # fmt: skip


async def pages(app: FastAPI, query: str, after_first: Any = None) -> list[str]:
    """All pages' rows; `after_first` is called between the first page and the second."""
    found: list[str] = []
    url: str | None = f"/v1/traffic/{query}&{ALL}"
    async with client_of(app) as client:
        while url:
            got = await client.get(url)
            assert got.status_code == 200, got.text
            found.append(got.text.partition(',"next":')[0])
            url = got.json()["next"]
            if len(found) == 1 and after_first is not None:
                await after_first()
    return found


async def file(app: FastAPI, query: str) -> httpx.Response:
    async with client_of(app) as client:
        got = await client.get(f"/v1/traffic/export?{query}&{ALL}")
    assert got.status_code == 200, got.text
    return got


def rows_of(format: str, got: httpx.Response) -> Any:
    """Parquet and Arrow files name their export: without that."""
    import io

    import polars as pl

    if format in ("parquet", "arrow"):
        read = pl.read_parquet if format == "parquet" else pl.read_ipc_stream
        return read(io.BytesIO(got.content)).write_csv()
    return got.content


async def move_days(settings: Settings) -> list[str]:
    return await once(settings, None, NOW_MS)


def days_in_database(history: History) -> dict[int, int]:
    rows = history.connection.execute(
        f"SELECT floor(extract(epoch FROM start) / 86400)::bigint - {DAY_0}, count(*) FROM readings GROUP BY 1"
    )
    return dict(rows.fetchall())


async def test_no_answer_changes_when_days_leave_the_database(
    app: FastAPI, settings: Settings, stored: History
) -> None:
    before = {query: await pages(app, query) for query in QUERIES}
    files = {query: rows_of(query.split("format=")[1].split("&")[0], await file(app, query)) for query in EXPORTS}
    there = days_in_database(stored)
    lines = await move_days(settings)
    assert [line for line in lines if "alone" in line] == [
        f"2026-11-{15 + day}: {there[day]} rows are in the archive alone now" for day in (0, 1)
    ]
    left = days_in_database(stored)
    n_series = stored.connection.execute("SELECT count(*) FROM series").fetchone()
    assert left[3] == there[3] and n_series
    assert sum(left.get(day, 0) for day in (0, 1)) <= n_series[0], "the first reading of each series stays"
    for query in QUERIES:
        assert await pages(app, query) == before[query], query
    for query in EXPORTS:
        assert rows_of(query.split("format=")[1].split("&")[0], await file(app, query)) == files[query], query
    assert [line for line in await move_days(settings) if "alone" in line] == []


async def test_sensorthings_says_since_when_it_has_observations(
    app: FastAPI, settings: Settings, stored: History
) -> None:
    root = "/sensorthings/v1.1"
    paths = (
        "Observations?$count=true&$top=2", "Datastreams?$expand=Observations($top=1)",
        "Things?$expand=Datastreams($top=1)",
        "Things?$filter=Datastreams/Observations/result gt 5", "Observations?$resultFormat=dataArray&$top=1",
    )  # fmt: skip
    async with client_of(app) as client:
        for path in paths:
            assert "cityfeed" not in (await client.get(f"{root}/{path}")).text
        await move_days(settings)
        app.state.sensorthings._look_again = datetime.min.replace(tzinfo=UTC)
        for path in paths:
            got = (await client.get(f"{root}/{path}")).json()
            said = None if "Datastreams($top=1)" in path else "2026-11-17T00:00:00.000Z"
            assert got.get("@cityfeed.observationsSince") == said, path
        since = f"{root}/Observations?$count=true&$top=0&$filter=phenomenonTime ge 2026-11-17T00:00:00Z"
        count = (await client.get(since)).json()["@iot.count"]
    assert count == sum(r.start >= DAY_0_MS + 2 * DAY_MS for r in stored.stored.values())


@pytest.mark.parametrize("query", [QUERIES[1], QUERIES[5], QUERIES[9], QUERIES[16]])
async def test_days_may_leave_between_two_pages(app: FastAPI, settings: Settings, stored: History, query: str) -> None:
    before = await pages(app, query)
    assert len(before) > 2

    async def moved() -> None:
        await move_days(settings)

    assert await pages(app, query, moved) == before


async def test_an_export_goes_on_when_its_days_have_left(app: FastAPI, settings: Settings, stored: History) -> None:
    """Also in front of a reading that was revised after it was taken, before its day left."""
    got = await file(app, "of=readings&format=ndjson")
    lines = got.content.splitlines(keepends=True)
    old = next(r for r in stored.stored.values() if r.dataset == "traffic" and r.start < DAY_0_MS + DAY_MS)
    stored.store([replace(old, rev=old.rev + 1, value=-99.0, flag=1)])
    stored.store([Reading("traffic", "late", "speed", DAY_0_MS + 3)])
    wrote(stored)
    await move_days(settings)
    assert b"-99.0" in (await file(app, "of=readings&format=ndjson")).content
    async with client_of(app) as client:
        for after_row in (0, 1, 150, len(lines) // 2, len(lines) - 1, len(lines)):
            rest = await client.get(got.links["describedby"]["url"], params={"after_row": after_row})
            assert rest.content == b"".join(lines[after_row:]), after_row


async def test_pages_read_while_days_leave(app: FastAPI, settings: Settings, stored: History) -> None:
    """Nobody sees a day that is neither here nor there."""
    before = await pages(app, QUERIES[1])
    ended = asyncio.Event()

    async def read() -> int:
        n = 0
        while not ended.is_set():
            assert await pages(app, QUERIES[1]) == before
            n += 1
        return n

    readers = [asyncio.ensure_future(read()) for _ in range(3)]
    await asyncio.sleep(0.2)
    for _ in range(20):
        lines = await move_days(settings)
        if 1 not in {day for day, n in days_in_database(stored).items() if n > 30}:
            break
    else:
        pytest.fail(f"readers keep the mover away for ever: {lines}")
    ended.set()
    assert min(await asyncio.gather(*readers)) > 0


async def test_what_is_not_whole_in_the_archive_stays(
    app: FastAPI, settings: Settings, stored: History, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = await pages(app, QUERIES[0])
    without = dataclasses.replace(settings, database_keep_days=0)
    await move_days(without)
    files = sorted((tmp_path / "archive" / "traffic").glob("**/15.r1*.parquet"))
    assert [f.name for f in files] == ["15.r1.log.parquet", "15.r1.parquet"]
    for damaged in files:
        whole = damaged.read_bytes()
        damaged.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        lines = [line for line in await move_days(settings) if "alone" in line]
        assert not any("2026-11-15" in line for line in lines), "the damaged day stays"
        assert "SHA-256 is another one" in caplog.text
        damaged.write_bytes(whole)
    assert await pages(app, QUERIES[0]) == before
    assert any("2026-11-15" in line for line in await move_days(settings))
    files[1].unlink()
    async with client_of(app) as client:
        refused = await client.get(f"/v1/traffic/{QUERIES[0]}&{ALL}")
        assert (refused.status_code, refused.json()["type"]) == (503, "/problems/archive-unavailable")
        younger = await client.get(f"/v1/traffic/readings?from={rfc3339(DAY_0_MS + 2 * DAY_MS)}&to={rfc3339(NOW_MS)}")
        assert younger.status_code == 200


async def test_nothing_leaves_that_live_readings_may_still_change(
    settings: Settings, stored: History, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    there = days_in_database(stored)
    path = tmp_path / "city" / "datasets" / "traffic.toml"
    text = path.read_text()
    path.write_text(text.replace("repair_horizon_s = 172800", "repair_horizon_s = 0"))
    await move_days(settings)
    assert days_in_database(stored) == there and "repair_horizon_s" in caplog.text
    path.write_text(text.replace("repair_horizon_s = 172800", f"repair_horizon_s = {90 * 86_400}"))
    await move_days(settings)
    assert days_in_database(stored) == there


async def test_a_day_comes_back_and_takes_corrections(app: FastAPI, settings: Settings, stored: History) -> None:
    there = days_in_database(stored)
    before = await pages(app, QUERIES[0])
    await move_days(settings)
    assert await archived_days(settings, "traffic") == {DAY_0, DAY_0 + 1}
    refused = importing(settings, await archived_days(settings, "traffic"))
    assert [(r.row, r.reason) for r in refused] == [(1, "archived")]
    async with connect(settings, "test") as connection:
        for dataset in ("traffic", "air-quality"):
            await move.bring_back(connection, Store(settings), dataset, DAY_0)
    assert days_in_database(stored)[0] == there[0]
    assert await pages(app, QUERIES[0]) == before
    assert importing(settings, await archived_days(settings, "traffic")) == []
    stored.store([Reading("traffic", "a", "speed", DAY_0_MS + 1234, value=5.5)])
    wrote(stored)
    lines = await move_days(settings)
    assert any("traffic 2026-11-15 revision 2" in line for line in lines)
    assert days_in_database(stored)[0] == there[0] + 1, "for a week it stays"


def importing(settings: Settings, archived: Iterable[int]) -> list[Any]:
    """What an import of a reading of the first day refuses."""
    columns = {
        "sensor": ["a"], "metric": ["speed"], "start": [rfc3339(DAY_0_MS)], "value": ["1.5"], "unit": ["km/h"],
        "period_s": ["300"], "rev": ["1"],
    }  # fmt: skip
    registry = fold(read_city(Path(settings.city_dir)).datasets, ())
    return Converter(EXPORTED, "traffic", registry, 0, archived).convert(chunk(columns), NOW_MS).refused


def chunk(columns: dict[str, list[str]]) -> Chunk:
    return Chunk(columns, [1], 1, 1)


async def test_late_imports_beside_the_archive_are_seen(app: FastAPI, settings: Settings, stored: History) -> None:
    """What came all the same (a letter sent again) stands beside the archive's rows, a higher rev in their place."""
    await move_days(settings)
    old = next(r for r in stored.stored.values() if r.sensor == "b" and r.start < DAY_0_MS + DAY_MS)
    stored.stored.pop((old.dataset, old.sensor, old.metric, old.start))
    stored.connection.execute("DELETE FROM readings WHERE start = %s", (as_datetime(old.start),))
    stored.store(
        [replace(old, rev=9, value=-1.25, flag=1), Reading("traffic", "b", "speed", DAY_0_MS + 77, value=-2.5)]
    )
    (page,) = await pages(app, "readings?limit=10000&sensor=b")
    assert '"value":-1.25' in page and '"value":-2.5' in page
