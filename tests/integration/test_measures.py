"""Traffic measures on a real PostgreSQL with TimescaleDB."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from fastapi import FastAPI

from api.params import WIDTHS
from api.times import rfc3339
from schemas.sections import Part, Section
from tests.api.city import NOW_MS, client_of, hear, heard
from tests.integration.history import History, Reading
from tests.integration.test_api import app, database, get, history, window  # noqa: F401  (fixtures)

QUARTER_MS, HOUR_MS, DAY_MS = 900_000, 3_600_000, 86_400_000
NEWEST = NOW_MS // QUARTER_MS * QUARTER_MS - QUARTER_MS
SECTION = Section("north", "North", "traffic", (Part("a", 2.0), Part("b", 1.0)), 90)


@pytest.fixture(autouse=True)
def sections(app: FastAPI) -> None:  # noqa: F811
    here = app.state.cityfeed
    city = here.city
    here.city = type(city)(city.info, city.datasets, city.sources, city.registrations, (SECTION,))


def quarters(sensor: str, speeds: dict[int, float], volume: float) -> Iterator[dict[str, Any]]:
    """Windows of speed and volume, by how many quarters before the newest."""
    for back, speed in speeds.items():
        start = NEWEST - back * QUARTER_MS
        yield window(sensor, start, 900, mean=speed)
        yield window(sensor, start, 900, "volume", mean=volume / 3, total=volume)


async def test_measures_of_sections_and_of_single_sensors(app: FastAPI, history: History) -> None:  # noqa: F811
    history.publish([
        *quarters("a", {0: 100.0, 1: 40.0}, 100), *quarters("b", {0: 50.0, 1: 40.0}, 300), *quarters("c", {0: 80.0}, 10)
    ])  # fmt: skip
    span = f"from={rfc3339(NEWEST - HOUR_MS)}&to={rfc3339(NEWEST + QUARTER_MS)}"
    rows = (await get(app, f"/v1/traffic/measures?{span}")).json()["data"]
    assert [(row["section"], row["start"]) for row in rows] == [
        ("north", rfc3339(NEWEST - QUARTER_MS)), ("c", rfc3339(NEWEST)), ("north", rfc3339(NEWEST)),
    ]  # fmt: skip
    assert (rows[2]["speed"], rows[2]["volume"], rows[2]["free_flow_source"]) == (62.5, 400, "limit")
    assert rows[2]["congested"] is True  # 0.69 of the limit, and congested before
    one = (await get(app, f"/v1/traffic/measures?{span}&section=c&fields=section,speed&format=csv")).text
    assert one == "section,speed\nc,80.0\n"


async def test_a_reading_as_wide_as_the_window_is_one(app: FastAPI, history: History) -> None:  # noqa: F811
    """Detectors that send each five minutes have no stored windows of five minutes; nor have hourly ones of hours."""
    five = NEWEST + 600_000
    rows = [Reading("traffic", "c", "speed", five - i * 300_000, value=80.0 - i, received=NOW_MS) for i in range(3)]
    rows[1] = replace(rows[1], flag=4)
    rows += [Reading("traffic", "c", "volume", five, value=12.0, received=NOW_MS)]
    hour = NEWEST // HOUR_MS * HOUR_MS - HOUR_MS
    hours = [Reading("traffic", "d", "speed", hour - i * HOUR_MS, 3600, 100.0, received=NOW_MS) for i in range(7 * 24)]
    history.store(rows + hours)
    span = f"from={rfc3339(NEWEST - 2 * HOUR_MS)}&to={rfc3339(NOW_MS)}"
    url = f"/v1/traffic/measures?{span}&sensor=c&sensor=d&fields=section,start,speed,volume,free_flow"
    assert [tuple(row.values()) for row in (await get(app, f"{url}&width=5m")).json()["data"]] == [
        ("c", rfc3339(five - 600_000), 78.0, None, None), ("c", rfc3339(five), 80.0, 12.0, None),
    ]  # fmt: skip
    found = (await get(app, f"{url}&width=1h")).json()["data"]
    assert {(row["section"], row["speed"], row["free_flow"]) for row in found} == {("d", 100.0, 100.0)}
    assert (await get(app, f"{url}&width=15m")).json()["data"] == []
    latest = (await get(app, "/v1/traffic/measures?latest=true&width=5m&sensor=c")).json()["data"]
    assert [(row["start"], row["speed"], row["volume"]) for row in latest] == [(rfc3339(five), 80.0, 12.0)]


async def test_pages_are_all_rows(app: FastAPI, history: History) -> None:  # noqa: F811
    history.publish(quarters("a", {i: 60.0 + i for i in range(10)}, 100))
    span = f"from={rfc3339(NEWEST - DAY_MS)}&to={rfc3339(NEWEST + QUARTER_MS)}"
    whole = (await get(app, f"/v1/traffic/measures?{span}")).json()["data"]
    paged: list[dict[str, Any]] = []
    url: str | None = f"/v1/traffic/measures?{span}&limit=3"
    while url:
        body = (await get(app, url)).json()
        paged, url = paged + body["data"], body["next"]
    assert len(whole) == 10
    assert paged == whole


async def test_free_flow_is_learned_from_off_peak_hours(app: FastAPI, history: History) -> None:  # noqa: F811
    """Peak hours are slow, and do not count; nor do those of a sensor with too few."""
    zone = ZoneInfo(app.state.cityfeed.city.info.time_zone)
    hours = []
    for back in range(1, 8 * 24):
        start = NEWEST // HOUR_MS * HOUR_MS - back * HOUR_MS
        local = datetime.fromtimestamp(start / 1000, zone)
        off_peak = 6 <= local.hour < 22 if local.weekday() >= 5 else 9 <= local.hour < 16 or 19 <= local.hour < 22
        hours.append(window("a", start, mean=110.0 if off_peak else 20.0, complete=True))
    history.publish([*hours, *quarters("a", {0: 55.0}, 10)])
    (row,) = (await get(app, "/v1/traffic/measures?latest=true&sensor=a&sensor=b")).json()["data"]
    assert (row["speed"], row["sensors"]) == (55, 1)
    assert row["free_flow"] == pytest.approx(3 / (2 / 110 + 1 / 90))


async def test_the_newest_of_each_section_or_when_it_was_heard(app: FastAPI, history: History) -> None:  # noqa: F811
    history.publish([*quarters("a", {0: 100.0}, 10), *quarters("c", {40: 80.0}, 10)])
    rows = (await get(app, "/v1/traffic/measures?latest=true")).json()["data"]
    by_section = {row["section"]: row for row in rows}
    assert by_section["north"]["stale"] is False
    assert by_section["north"]["age_s"] == (NOW_MS - NEWEST - QUARTER_MS) / 1000
    silent = by_section["c"]
    assert (silent["stale"], silent["speed"], silent["start"]) == (True, None, rfc3339(NEWEST - 40 * QUARTER_MS))


@pytest.mark.parametrize("width", ["5m", "15m", "1h"])
async def test_who_is_heard_is_not_stale_while_its_newest_window_is_open(
    app: FastAPI,  # noqa: F811
    history: History,  # noqa: F811
    width: str,
) -> None:
    """At a full hour the window that ends now is open, for late readings; the one before is the newest. A reading of
    five minutes is a window of five, and not late.
    """
    width_s = WIDTHS[width].seconds
    newest = {name: NOW_MS - 2 * width_s * 1000 for name in ("a", "b", "c")} | {"silent": NOW_MS - 9 * HOUR_MS}
    history.publish([window(name, start, width_s, mean=70.0) for name, start in newest.items()])
    history.store([Reading("traffic", "new", "speed", NOW_MS - 420_000)])
    for name in ("a", "c", "new"):
        hear(app, heard("traffic", name, "speed", "km/h", [NOW_MS - 420_000]))
    hear(app, heard("traffic", "silent", "speed", "km/h", [NOW_MS - 3 * HOUR_MS]))
    rows = (await get(app, f"/v1/traffic/measures?latest=true&width={width}")).json()["data"]
    assert {row["section"]: (row["stale"], row["speed"]) for row in rows} == {
        "north": (False, pytest.approx(70.0)), "c": (False, 70.0), "silent": (True, None),
        "new": (False, 1.0 if width == "5m" else None),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("query", "parameter"),
    [("width=1d", "width"), ("fields=sped", "fields"), ("from=2026-01-01T00:00:00Z&to=2026-02-01T00:00:00Z", "from")],
)
async def test_what_can_not_be_answered_is_refused(app: FastAPI, query: str, parameter: str) -> None:  # noqa: F811
    async with client_of(app) as client:
        got = await client.get(f"/v1/traffic/measures?{query}")
    assert (got.status_code, got.json()["parameter"]) == (400, parameter)
