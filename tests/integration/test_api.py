"""The REST API on a real PostgreSQL with TimescaleDB, its rows compared with what Python makes of the same rows."""

import asyncio
import csv
import io
import itertools
import json
import math
import random
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psycopg
import pytest
from fastapi import FastAPI

from api.queries import pages, series
from api.times import as_datetime, parse_moment, rfc3339
from schemas.registry import Registration, Site
from schemas.settings import Secret, Settings
from stream_processors.migrations import migrate
from tests.api.city import NOW_MS, app_without_servers, client_of, hear, heard
from tests.integration.history import DAY_0_MS, DAY_MS, History, Reading, three_days
from tests.service_stack import ServiceStack

ALL_DAYS = f"from={rfc3339(DAY_0_MS)}&to={rfc3339(DAY_0_MS + 4 * DAY_MS)}"
ORIGINS = ("live", "import")


@pytest.fixture
async def database(servers: Settings) -> AsyncIterator[Settings]:
    """A schema of this test alone, with all tables."""
    schema = f"api{uuid.uuid4().hex[:12]}"
    await migrate(str(servers.database_url), schema)
    try:
        yield replace(servers, database_schema=schema)
    finally:
        async with await psycopg.AsyncConnection.connect(str(servers.database_url), autocommit=True) as connection:
            await connection.execute(f"DROP SCHEMA {schema} CASCADE".encode())


@pytest.fixture
def history(database: Settings) -> Iterator[History]:
    options = f"-c search_path={database.database_schema},public"
    with psycopg.connect(str(database.database_url), autocommit=True, options=options) as connection:
        yield History(connection)


@pytest.fixture
async def app(database: Settings, tmp_path: Path) -> AsyncIterator[FastAPI]:
    """The application with its pool open; its tail is not started."""
    app = app_without_servers(tmp_path, database_url=database.database_url, database_schema=database.database_schema)
    await app.state.cityfeed.pool.open(wait=True)
    yield app
    await app.state.cityfeed.pool.close()


async def get(app: FastAPI, path: str) -> Any:
    async with client_of(app) as client:
        got = await client.get(path)
    assert got.status_code == 200, got.text
    return got


async def read_through(
    app: FastAPI, path: str, between: Callable[[int], None] = lambda page: None
) -> tuple[list[dict[str, Any]], list[int]]:
    """All rows behind the `next` links, and how many each page had; `between` is called after each page."""
    rows: list[dict[str, Any]] = []
    sizes: list[int] = []
    url: str | None = path
    async with client_of(app) as client:
        while url:
            got = await client.get(url)
            assert got.status_code == 200, got.text
            body = got.json()
            assert got.headers.get("link") == (body["next"] and f'<{body["next"]}>; rel="next"')
            rows += body["data"]
            sizes.append(len(body["data"]))
            between(len(sizes))
            url = body["next"]
    return rows, sizes


def as_row(r: Reading) -> dict[str, Any]:
    """The row that the API must give for a reading."""
    return {
        "dataset": r.dataset, "sensor": r.sensor, "metric": r.metric,
        "unit": {"speed": "km/h", "volume": "{veh}", "pm25": "ug/m3"}.get(r.metric),
        "start": iso(r.start), "end": iso(r.start + r.period_s * 1000), "period_s": r.period_s,
        "value": None if math.isnan(r.value) else r.value, "flag": r.flag, "tests": r.tests, "rev": r.rev,
        "origin": ORIGINS[r.origin], "received": iso(r.received),
    }  # fmt: skip


def iso(moment_ms: int) -> str:
    moment = datetime.fromtimestamp(moment_ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


HALF = rfc3339(DAY_0_MS + DAY_MS // 2)

FILTERS: list[tuple[str, Callable[[Reading], bool]]] = [
    ("", lambda r: True),
    ("sensor=a", lambda r: r.sensor == "a"),
    ("sensor=a&sensor=c", lambda r: r.sensor in "ac"),
    ("sensor=a&sensor=c&metric=volume", lambda r: r.sensor in "ac" and r.metric == "volume"),
    ("sensor=nobody", lambda r: False),
    ("flag=3&flag=4", lambda r: r.flag in (3, 4)),
    ("origin=import", lambda r: r.origin == 1),
    ("origin=import&origin=live&flag=2", lambda r: r.flag == 2),
]


@pytest.mark.parametrize("limit", [7, 100, 10_000])
async def test_pages_equal_what_is_stored(app: FastAPI, history: History, limit: int) -> None:
    history.store(three_days(1))
    for query, chosen in FILTERS:
        rows, sizes = await read_through(app, f"/v1/traffic/readings?{ALL_DAYS}&limit={limit}&{query}")
        assert rows == [as_row(r) for r in history.ordered() if r.dataset == "traffic" and chosen(r)]
        assert all(size == limit for size in sizes[:-1])


async def test_from_is_inclusive_and_to_exclusive(app: FastAPI, history: History) -> None:
    history.store(Reading("traffic", "a", "speed", DAY_0_MS + i * 300_000) for i in range(-3, 4))
    first, last = rfc3339(DAY_0_MS - 300_000), rfc3339(DAY_0_MS + 600_000)
    rows, _ = await read_through(app, f"/v1/traffic/readings?from={first}&to={last}")
    assert [row["start"] for row in rows] == [iso(DAY_0_MS + i * 300_000) for i in (-1, 0, 1)]
    local = quote("2026-11-15T01:00:00+01:00")
    rows, _ = await read_through(app, f"/v1/traffic/readings?from={local}&to={last}")
    assert rows[0]["start"] == iso(DAY_0_MS)


async def test_a_page_may_end_between_neighbouring_milliseconds(app: FastAPI, history: History) -> None:
    history.store(Reading("traffic", "a", "speed", DAY_0_MS + i, period_s=0) for i in (-1, 0, 1, 2))
    rows, sizes = await read_through(app, f"/v1/traffic/readings?from={rfc3339(DAY_0_MS - 1)}&to={HALF}&limit=1")
    assert rows == [as_row(r) for r in history.ordered()]
    assert sizes == [1, 1, 1, 1]


async def test_without_a_range_it_is_the_last_day_and_stays_it(app: FastAPI, history: History) -> None:
    history.store(Reading("traffic", "a", "speed", NOW_MS - i * 3_600_000) for i in range(1, 49))
    page = (await get(app, "/v1/traffic/readings?limit=5")).json()
    assert (page["meta"]["from"], page["meta"]["to"]) == (iso(NOW_MS - DAY_MS), iso(NOW_MS))
    app.state.cityfeed.now_ms = lambda: NOW_MS + 3_600_000
    rows, _ = await read_through(app, page["next"])
    assert len(page["data"]) + len(rows) == 24
    assert rows[-1]["start"] == iso(NOW_MS - 3_600_000)


@pytest.mark.parametrize("seed", range(3))
async def test_what_comes_while_one_pages_is_neither_repeated_nor_in_the_way(
    app: FastAPI, history: History, seed: int
) -> None:
    """Rows before and behind the reader, new series, revisions of both: the pages are the state at the first one."""
    dice = random.Random(seed)
    all_readings = three_days(seed)
    history.store(all_readings[::2])
    history.store(replace(r, rev=2, value=r.value + 1000) for r in all_readings[:100:4])
    at_first = [as_row(r) for r in history.ordered() if r.dataset == "traffic"]
    rest = all_readings[1::2]

    def write(page: int) -> None:
        some = [rest.pop() for _ in range(min(len(rest), 20))]
        known = dice.sample(sorted(history.stored.values(), key=repr), 20)
        history.store([*some, *(replace(r, rev=r.rev + 1, value=r.value + 1, flag=1) for r in known)])
        history.store([Reading("traffic", f"new{page}", "speed", DAY_0_MS + DAY_MS + page)])

    rows, sizes = await read_through(app, f"/v1/traffic/readings?{ALL_DAYS}&limit=40", write)
    assert len(sizes) > 5
    assert rows == at_first
    rows, _ = await read_through(app, f"/v1/traffic/readings?{ALL_DAYS}&limit=40")
    assert rows == [as_row(r) for r in history.ordered() if r.dataset == "traffic"]
    assert rows != at_first


async def test_a_partition_that_comes_while_one_pages_is_left_out(app: FastAPI, history: History) -> None:
    history.connection.execute("DELETE FROM positions")
    history.next_offset = {0: 0}
    history.store(Reading("traffic", "d", "speed", DAY_0_MS + i * 300_000) for i in range(10))  # ord("d") % 4 is 0

    def write(page: int) -> None:
        history.next_offset[1] = history.next_offset.get(1, 0)
        history.store([Reading("traffic", "e", "speed", DAY_0_MS + 1000 + page)])

    rows, _ = await read_through(app, f"/v1/traffic/readings?{ALL_DAYS}&limit=4", write)
    assert [row["sensor"] for row in rows] == ["d"] * 10


async def test_a_new_log_epoch_is_above_the_old_one(app: FastAPI, history: History) -> None:
    history.store([Reading("traffic", "d", "speed", DAY_0_MS)])
    history.connection.execute("UPDATE positions SET log_epoch = 1, next_offset = 0")
    assert len((await get(app, f"/v1/traffic/readings?{ALL_DAYS}")).json()["data"]) == 1
    history.connection.execute("UPDATE readings SET position = (1::bigint << 44)")
    assert len((await get(app, f"/v1/traffic/readings?{ALL_DAYS}")).json()["data"]) == 0
    history.connection.execute("UPDATE positions SET next_offset = 1")
    assert len((await get(app, f"/v1/traffic/readings?{ALL_DAYS}")).json()["data"]) == 1


async def test_a_page_that_finds_little_is_short_and_goes_on(
    app: FastAPI, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sensor with a reading a month: the work of a page is bounded, none of the readings is lost."""
    history.store(Reading("traffic", "a", "speed", DAY_0_MS - day * DAY_MS) for day in range(0, 400, 30))
    history.store(Reading("traffic", "b", "speed", DAY_0_MS - day * DAY_MS) for day in range(0, 400))
    monkeypatch.setattr(pages, "DAYS_PER_STATEMENT", 7)
    monkeypatch.setattr(pages, "PAIRS_PER_PAGE", 50)
    path = "/v1/traffic/readings?from=2020-01-01T00:00:00Z&to=2027-01-01T00:00:00Z&sensor=a"
    rows, sizes = await read_through(app, path)
    assert rows == [as_row(r) for r in history.ordered() if r.sensor == "a"]
    assert len(sizes) > 5
    rows, _ = await read_through(app, path.replace("sensor=a", "limit=1000"))
    assert rows == [as_row(r) for r in history.ordered()]


async def test_a_missing_value_is_null(app: FastAPI, history: History) -> None:
    history.store([Reading("traffic", "a", "speed", DAY_0_MS, value=math.nan, flag=9)])
    (row,) = (await get(app, f"/v1/traffic/readings?{ALL_DAYS}")).json()["data"]
    assert (row["value"], row["flag"]) == (None, 9)
    text = (await get(app, f"/v1/traffic/readings?{ALL_DAYS}&format=csv")).text
    assert ",300,,9,0,1,live," in text


async def test_formats_say_the_same(app: FastAPI, history: History) -> None:
    history.store(three_days(2))
    for path in (f"/v1/traffic/readings?{ALL_DAYS}", f"/v1/traffic/windows?{ALL_DAYS}&width=5m"):
        rows = (await get(app, f"{path}&limit=300")).json()["data"]
        assert len(rows) == 300
        lines = (await get(app, f"{path}&limit=300&format=ndjson")).text.splitlines()
        assert [json.loads(line) for line in lines] == rows
        got = await get(app, f"{path}&limit=300&format=csv")
        table = list(csv.DictReader(io.StringIO(got.text)))
        assert [list(row) for row in table] == [list(row) for row in rows]
        for read, row in zip(table, rows, strict=True):
            assert all(as_csv(row[name]) == text for name, text in read.items())
        assert 'rel="next"' in got.headers["link"]


def as_csv(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


# -- places ---------------------------------------------------------------------------------------------

WEST, EAST, FIJI = "-119,33,-118,35", "-118,33,-116,35", "170,-20,-170,-10"


async def test_a_box_goes_by_the_place_at_the_readings_time(app: FastAPI, history: History) -> None:
    """`moved` is in the west until noon, then in the east; `retired` is nowhere after noon."""
    noon = DAY_0_MS + DAY_MS // 2
    history.register([
        Registration("traffic", "moved", None, noon, Site("", -118.5, 34)),
        Registration("traffic", "moved", noon, None, Site("", -117.0, 34)),
        Registration("traffic", "retired", None, noon, Site("", -117.5, 34)),
        Registration("traffic", "fiji", site=Site("", 179.5, -17)),
        Registration("traffic", "tonga", site=Site("", -175.2, -17)),
        Registration("traffic", "homeless"),
    ])  # fmt: skip
    sensors = ("moved", "retired", "fiji", "tonga", "homeless", "unregistered")
    history.store(
        Reading("traffic", s, "speed", DAY_0_MS + h * 3_600_000) for s in sensors for h in (0, 11, 12, 23, 25)
    )

    async def found(box: str) -> dict[str, list[int]]:
        rows, _ = await read_through(app, f"/v1/traffic/readings?{ALL_DAYS}&limit=3&bbox={box}")
        hours: dict[str, list[int]] = {}
        for row in rows:
            hours.setdefault(row["sensor"], []).append((parse_moment(row["start"]) - DAY_0_MS) // 3_600_000)
        return hours

    assert await found(WEST) == {"moved": [0, 11]}
    assert await found(EAST) == {"moved": [12, 23, 25], "retired": [0, 11]}
    assert await found(FIJI) == {"fiji": [0, 11, 12, 23, 25], "tonga": [0, 11, 12, 23, 25]}
    assert await found("-119,33,-116,35") == {"moved": [0, 11, 12, 23, 25], "retired": [0, 11]}
    assert await found("0,0,1,1") == {}
    assert set(await found("-180,-90,180,90")) == {"moved", "retired", "fiji", "tonga"}


async def test_a_mobile_sensor_is_where_its_readings_say(app: FastAPI, history: History) -> None:
    history.register([Registration("traffic", "bus", site=Site("depot", -118.5, 34))])
    history.store(Reading("traffic", sensor, "speed", DAY_0_MS + i) for sensor in ("bus", "tram") for i in range(4))
    for sensor, i, lon, lat in (("bus", 1, -117.0, 34), ("bus", 2, 179, -17), ("tram", 0, -117, 34), ("tram", 1, 0, 0)):
        history.connection.execute(
            "INSERT INTO reading_places VALUES (%s, %s, %s, %s)",
            (history.series("traffic", sensor, "speed"), as_datetime(DAY_0_MS + i), lon, lat),
        )

    async def found(box: str) -> list[tuple[str, int]]:
        rows, _ = await read_through(app, f"/v1/traffic/readings?{ALL_DAYS}&limit=1&bbox={box}")
        return [(row["sensor"], parse_moment(row["start"]) - DAY_0_MS) for row in rows]

    assert await found(WEST) == [("bus", 0), ("bus", 3)]  # those without a place of their own
    assert await found(EAST) == [("bus", 1), ("tram", 0)]
    assert await found(FIJI) == [("bus", 2)]


# -- windows --------------------------------------------------------------------------------------------


def window(sensor: str, start: int, width_s: int = 3600, metric: str = "speed", **columns: Any) -> dict[str, Any]:
    made = {
        "dataset": "traffic", "sensor": sensor, "metric": metric, "width_s": width_s, "start": as_datetime(start),
        "n": 11, "n_expected": 12, "coverage": 11 / 12, "mean": 50.5, "min": 1.0, "max": 99.0, "std": 3.25,
        "p50": 50.0, "p95": 98.5, "first": 2.0, "last": 3.0, "total": 555.5, "m2": 1.0, "weighted": 0.0,
        "weight": 0.0, "complete": True, "rev": 1, "published": as_datetime(start + width_s * 1000 + 1234),
    }  # fmt: skip
    return made | columns


def as_window_row(w: dict[str, Any], width: str) -> dict[str, Any]:
    start, published = parse_moment(w["start"].isoformat()), parse_moment(w["published"].isoformat())
    names = ("n", "n_expected", "coverage", "mean", "min", "max", "std", "p50", "p95", "first", "last")
    return (
        {k: w[k] for k in ("dataset", "sensor", "metric")}
        | {"unit": "km/h", "width": width, "start": iso(start), "end": iso(start + w["width_s"] * 1000)}
        | {k: w[k] for k in (*names, "complete", "rev")}
        | {"published": iso(published)}
    )


async def test_windows_come_in_pages_and_stay_as_they_were(app: FastAPI, history: History) -> None:
    hours = [window(s, DAY_0_MS + h * 3_600_000, mean=h + 0.5) for s in ("b", "a") for h in range(60)]
    days = [window("a", DAY_0_MS + d * DAY_MS, DAY_MS // 1000) for d in range(3)]
    history.publish([*hours, *days])

    def day_sensor_start(w: dict[str, Any]) -> tuple[Any, int, Any]:
        return w["start"].date(), history.series("traffic", w["sensor"], "speed"), w["start"]

    expected = [as_window_row(w, "1h") for w in sorted(hours, key=day_sensor_start)]

    def revise(page: int) -> None:
        history.publish([window("a", DAY_0_MS + h * 3_600_000, mean=-1.0, rev=page + 1) for h in range(0, 60, 7)])
        history.publish([window("c", DAY_0_MS + page * 3_600_000)])

    rows, sizes = await read_through(app, f"/v1/traffic/windows?width=1h&{ALL_DAYS}&limit=11", revise)
    assert rows == expected
    assert sizes[0] == 11
    rows, _ = await read_through(app, f"/v1/traffic/windows?width=1h&{ALL_DAYS}&sensor=a")
    assert {row["mean"] for row in rows if row["rev"] > 1} == {-1.0}
    rows, _ = await read_through(app, f"/v1/traffic/windows?width=1d&{ALL_DAYS}")
    assert rows == [as_window_row(w, "1d") for w in days]


@pytest.mark.parametrize("sensors", [("a",), ("a", "b")])
async def test_a_long_stretch_of_windows_is_what_its_days_are(
    app: FastAPI, history: History, sensors: tuple[str, ...]
) -> None:
    """Days with all their windows are read in one go; where some lack, readings may be windows themselves."""
    hours = {(s, day, hour) for s in sensors for day in range(40) for hour in range(24)}
    themselves = {("a", 17, 6)} | {("a", 30, hour) for hour in range(24)}
    absent = {("a", 17, 5), ("a", 17, 7)} | {(s, day, 3) for s in sensors for day in (9, 10, 39)}

    def at(day: int, hour: int) -> int:
        return DAY_0_MS + day * DAY_MS + hour * 3_600_000

    history.store([Reading("traffic", s, "speed", at(*t), period_s=3600) for s, *t in sorted(themselves)])
    history.publish([window(s, at(*t)) for s, *t in sorted(hours - themselves - absent)])
    history.publish([window("a", at(20, 12), mean=7.0, rev=2)])
    chosen = "&".join(f"sensor={s}" for s in sensors)

    async def read(
        first: int, end: int, limit: int, then: Callable[[int], None] = lambda page: None
    ) -> list[dict[str, Any]]:
        between = f"from={iso(at(first, 0))}&to={iso(at(end, 0))}"
        return (await read_through(app, f"/v1/traffic/windows?width=1h&{chosen}&{between}&limit={limit}", then))[0]

    days = [row for day in range(40) for row in await read(day, day + 1, 1000)]
    assert len(days) == len(hours - absent)
    for limit in (90, 1000, 10_000):
        assert await read(-5, 45, limit) == days

    parts = ((0, 16), (5, 25), (11, 29), (18, 30), (18, 45))  # with few days that are not full
    for first, end in parts:
        rows = await read(first, end, 10_000)
        assert len(rows) == sum(first <= day < end for _, day, _ in hours - absent)
        assert all(row in days for row in rows)
    revisions = itertools.count(5)

    def revise(page: int) -> None:
        rev = next(revisions)
        history.publish([window("a", at(day, 11), mean=-1.0, rev=rev) for day in (3, 12, 25, 33, 38)])

    for first, end in parts:
        expected = await read(first, end, 10_000)
        assert await read(first, end, 250, revise) == expected  # in every page as it was at the first


async def test_days_with_chunks_are_those_of_the_view(app: FastAPI, history: History) -> None:
    history.store([Reading("traffic", "a", "speed", DAY_0_MS + d * DAY_MS) for d in (-30_000, -3000, 0, 1, 17)])
    history.publish([window("a", DAY_0_MS + d * DAY_MS) for d in (-200, 40)])
    view = (
        "SELECT DISTINCT day FROM timescaledb_information.chunks CROSS JOIN LATERAL generate_series("
        "(extract(epoch FROM range_start) / 86400)::bigint, (extract(epoch FROM range_end) / 86400)::bigint - 1) day"
        " WHERE hypertable_schema = current_schema() AND hypertable_name = ANY(%s) AND range_end > %s"
        " AND range_start <= %s ORDER BY 1"
    )
    async with app.state.cityfeed.pool.connection() as connection:
        for tables in (["readings"], ["windows"], ["readings", "windows"]):
            for first, last in ((-40_000, 50), (-2000, 1), (0, 0)):
                bounds = as_datetime(DAY_0_MS + first * DAY_MS), as_datetime(DAY_0_MS + last * DAY_MS)
                expected = history.connection.execute(view.encode(), (tables, *bounds)).fetchall()
                assert await series.chunk_days(connection, tables, *bounds) == [day for (day,) in expected]
                assert expected or first == 0


async def test_what_a_window_does_not_know_is_null(app: FastAPI, history: History) -> None:
    nothing = dict.fromkeys(("n_expected", "coverage", "mean", "min", "max", "std", "p50", "p95", "first", "last"))
    history.publish([window("a", DAY_0_MS, n=0, complete=False, **nothing)])
    (row,) = (await get(app, f"/v1/traffic/windows?{ALL_DAYS}")).json()["data"]
    assert {name for name, value in row.items() if value is None} == set(nothing)
    assert (row["n"], row["complete"]) == (0, False)


async def test_a_reading_as_wide_as_the_window_is_the_window(app: FastAPI, history: History) -> None:
    at = DAY_0_MS + 3_600_000
    history.store([
        Reading("traffic", "a", "speed", at, value=61.5, rev=2, received=at + 305_000),
        Reading("traffic", "a", "speed", at + 300_000, value=-5.0, flag=4, received=at + 605_000),
        Reading("traffic", "b", "speed", at, period_s=60, value=1.0),  # its five minutes are a row of their own
    ])  # fmt: skip
    history.publish([window("b", at, 300, n=5, mean=2.5)])
    itself, failed, stored = (await get(app, f"/v1/traffic/windows?width=5m&{ALL_DAYS}")).json()["data"]
    assert (stored["sensor"], stored["n"], stored["mean"]) == ("b", 5, 2.5)
    assert itself == {
        "dataset": "traffic", "sensor": "a", "metric": "speed", "unit": "km/h", "width": "5m", "start": iso(at),
        "end": iso(at + 300_000), "n": 1, "n_expected": 1, "coverage": 1.0, "mean": 61.5, "min": 61.5, "max": 61.5,
        "std": 0.0, "p50": 61.5, "p95": 61.5, "first": 61.5, "last": 61.5, "complete": True, "rev": 2,
        "published": iso(at + 305_000),
    }  # fmt: skip
    assert (failed["n"], failed["coverage"], failed["mean"], failed["std"]) == (0, 0.0, None, None)
    assert failed["complete"] is False
    assert (await get(app, f"/v1/traffic/windows?width=1h&{ALL_DAYS}")).json()["data"] == []


@pytest.mark.parametrize(("width", "days"), [("5m", 1), ("1h", 7), ("1d", 31)])
async def test_wider_windows_look_further_back(app: FastAPI, history: History, width: str, days: int) -> None:
    meta = (await get(app, f"/v1/traffic/windows?width={width}")).json()["meta"]
    assert meta["from"] == iso(NOW_MS - days * DAY_MS)


async def test_a_cursor_goes_with_its_query(app: FastAPI, history: History) -> None:
    history.store(three_days(3))
    link = (await get(app, f"/v1/traffic/readings?{ALL_DAYS}&limit=5&sensor=a")).json()["next"]
    cursor = httpx.URL(link).params["cursor"]
    async with client_of(app) as client:
        for path, status in (
            (f"readings?cursor={cursor}&sensor=a", 200),
            (f"readings?cursor={cursor}&sensor=a&limit=9&format=csv", 200),
            (f"readings?cursor={cursor}", 400),
            (f"readings?cursor={cursor}&sensor=b", 400),
            (f"readings?cursor={cursor}&sensor=a&from={HALF}", 400),
            (f"windows?cursor={cursor}&sensor=a", 400),
            (f"latest?cursor={cursor}&sensor=a", 400),
            (f"readings?cursor={cursor[:-2]}AA&sensor=a", 400),
            (f"readings?cursor=A{cursor[1:]}&sensor=a", 400),
        ):
            got = await client.get(f"/v1/traffic/{path}")
            assert got.status_code == status, path
            assert status == 200 or got.json()["type"] == "/problems/bad-cursor"


# -- the database away ----------------------------------------------------------------------------------


class Door:
    """A port that leads to another one, until it is shut."""

    def __init__(self, target: str, port: int) -> None:
        self._target = target, port
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        assert self._server
        self._server.close()
        for writer in self._open:
            writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        beyond_reader, beyond_writer = await asyncio.open_connection(*self._target)
        self._open |= {writer, beyond_writer}
        await asyncio.gather(_pump(reader, beyond_writer), _pump(beyond_reader, writer))
        self._open -= {writer, beyond_writer}


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def test_without_the_database_latest_goes_on_and_history_comes_back(
    database: Settings, history: History, tmp_path: Path
) -> None:
    history.store([Reading("traffic", "moved", "speed", NOW_MS - 600_000)])
    real = psycopg.conninfo.conninfo_to_dict(str(database.database_url))
    door = Door(str(real["host"]), int(real.get("port", 5432)))
    await door.open()
    url = psycopg.conninfo.make_conninfo(str(database.database_url), port=str(door.port))
    app = app_without_servers(tmp_path, database_url=Secret(url), database_schema=database.database_schema)
    hear(app, heard("traffic", "moved", "speed", "km/h", [NOW_MS - 310_000]))
    pool = app.state.cityfeed.pool
    await pool.open(wait=False)
    try:
        async with client_of(app) as client:
            assert len((await client.get("/v1/traffic/readings")).json()["data"]) == 1
            await door.shut()
            for _ in range(2):
                for path in ("/v1/traffic/readings", "/v1/traffic/windows"):
                    got = await client.get(path)
                    assert (got.status_code, got.headers["retry-after"]) == (503, "5")
                    assert got.json()["type"] == "/problems/database-unavailable"
                assert (await client.get("/v1/traffic/latest")).json()["data"][0]["sensor"] == "moved"
                assert (await client.get("/v1/traffic/sensors")).status_code == 200
                assert (await client.get("/ready")).json()["parts"]["database"] == {"ready": False}
                assert (await client.get("/health")).status_code == 200
            await door.open()
            async with asyncio.timeout(15):
                while (await client.get("/v1/traffic/readings")).status_code != 200:
                    await asyncio.sleep(0.1)
            assert (await client.get("/ready")).json()["parts"]["database"] == {"ready": True}
    finally:
        await pool.close()
        await door.shut()


async def test_connections_that_the_server_closed_are_made_anew(app: FastAPI, history: History) -> None:
    """No request has to find out that its connection is gone: PostgreSQL was started again, and the API was idle."""
    history.store([Reading("traffic", "a", "speed", DAY_0_MS)])
    pool = app.state.cityfeed.pool
    async with pool.connection() as first, pool.connection() as second:
        closed = [first.info.backend_pid, second.info.backend_pid]
    history.connection.execute("SELECT pg_terminate_backend(pid, 10000) FROM unnest(%s::integer[]) AS pid", (closed,))
    for _ in closed:
        assert len((await get(app, f"/v1/traffic/readings?{ALL_DAYS}")).json()["data"]) == 1


async def test_before_the_tables_are_made_history_is_503(servers: Settings, tmp_path: Path) -> None:
    app = app_without_servers(tmp_path, database_url=servers.database_url, database_schema="there_is_none")
    await app.state.cityfeed.pool.open(wait=True)
    try:
        async with client_of(app) as client:
            assert (await client.get("/v1/traffic/readings")).status_code == 503
            assert (await client.get("/ready")).json()["parts"]["database"] == {"ready": False}
    finally:
        await app.state.cityfeed.pool.close()


# -- as a process ---------------------------------------------------------------------------------------


def test_what_is_published_can_be_read(stack: ServiceStack) -> None:
    """Sensor to REST page, through every service: five-minute readings, and an hour of them."""
    base = f"http://127.0.0.1:{stack.settings.api_port}"
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=3)
    at = [hour + timedelta(minutes=5 * i) for i in range(26)]
    stack.start("gateway", "clean", "windows", "api")
    stack.wait_ready()
    topic = stack.mqtt_topic("traffic", "loop-1")
    stack.publish_all((topic, {"t": moment.isoformat(), "speed": 60.0 + i}) for i, moment in enumerate(at))

    def rows(path: str) -> list[dict[str, Any]]:
        got = httpx.get(f"{base}/v1/traffic/{path}")
        assert got.status_code == 200, got.text
        found: list[dict[str, Any]] = got.json()["data"]
        return found

    stack.wait_until(lambda: len(rows("readings?sensor=loop-1")) == len(at), "all readings are in the history")
    assert [row["value"] for row in rows("readings?sensor=loop-1")] == [60.0 + i for i in range(26)]
    stack.wait_until(lambda: rows("latest?sensor=loop-1"), "the tail has it")
    (latest,) = rows("latest?sensor=loop-1")
    assert (latest["value"], latest["start"]) == (85.0, at[-1].isoformat(timespec="milliseconds")[:-6] + "Z")
    stack.wait_until(lambda: len(rows("windows?width=1h&sensor=loop-1")) == 2, "two hours are closed")
    first = rows("windows?width=1h&sensor=loop-1")[0]
    assert (first["n"], first["n_expected"], first["coverage"], first["mean"]) == (12, 12, 1.0, 65.5)
    assert len(rows("windows?width=5m&sensor=loop-1")) == 26
    with httpx.stream("HEAD", f"{base}/v1/traffic/readings") as head:
        assert int(head.headers["content-length"]) > 0
    assert stack.stop("api") == 0
    assert stack.log("api").count(f"api ready on {base}") == 1
