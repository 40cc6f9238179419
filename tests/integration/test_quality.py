"""The data-quality report, on a real database."""

import csv
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from schemas.flags import Test
from schemas.registry import Registration, Site
from tests.api.city import NOW_MS
from tests.integration.history import DAY_0_MS, DAY_MS, History, Reading
from tests.integration.test_api import app, database, get, history, read_through, window

__all__ = ["app", "database", "history"]

RANGE = "from=2026-11-15T00:00:00Z&to=2026-11-18T00:00:00Z"
HOUR_MS = 3_600_000


def day_of(sensor: str, day: int = 0, **columns: Any) -> list[Reading]:
    """A day of speed, a reading each five minutes, received two seconds after its end."""
    starts = range(DAY_0_MS + day * DAY_MS, DAY_0_MS + (day + 1) * DAY_MS, 300_000)
    made = []
    for i, start in enumerate(starts):
        row = {"value": 50.0 + i % 7, "received": start + 302_000} | {
            name: column[i] if isinstance(column, list) else column for name, column in columns.items()
        }
        made.append(Reading("traffic", sensor, "speed", start, **row))
    return made


async def rows_of(app: FastAPI, query: str = RANGE) -> list[dict[str, Any]]:
    return list((await get(app, f"/v1/traffic/quality?{query}")).json()["data"])


async def test_completeness_lateness_flags_and_tests_by_day(app: FastAPI, history: History) -> None:
    flags = [4 if i < 29 else 3 if i < 58 else 1 for i in range(288)]
    tests = [int(Test.SPIKE_FAIL) if f == 4 else int(Test.FLAT_LINE_SUSPECT) if f == 3 else 0 for f in flags]
    history.store(day_of("a", flag=flags, tests=tests))
    history.store(day_of("a", day=2)[:144])
    first, silent, half = await rows_of(app)
    assert [row["start"][:10] for row in (first, silent, half)] == ["2026-11-15", "2026-11-16", "2026-11-17"]
    assert (first["n"], first["n_expected"], first["completeness"]) == (288, 288, 1.0)
    assert (first["lateness_p50_s"], first["lateness_p99_s"], first["score_timeliness"]) == (2.0, 2.0, 1.0)
    assert (first["fail"], first["suspect"], first["good"]) == pytest.approx((29 / 288, 29 / 288, 230 / 288))
    assert first["tests"] == {"spike-fail": 29, "flat-line-suspect": 29}
    assert first["score"] == pytest.approx(100 * (230 + 14.5) / 288, abs=0.1)
    assert (silent["n"], silent["n_expected"], silent["score"]) == (0, 288, 0.0), "no data is not no row"
    assert (half["completeness"], half["score"]) == (0.5, 50.0)


async def test_nothing_is_due_before_a_sensor_is_there_or_after_it_was_taken_away(
    app: FastAPI,
    history: History,
) -> None:
    for sensor in ("new", "gone"):
        history.store(day_of(sensor)[144:])
    taken_away = DAY_0_MS + DAY_MS + 6 * HOUR_MS
    app.state.cityfeed.registry.apply(Registration("traffic", "gone", None, taken_away, Site("", -118.2, 34.0)))
    rows = {(row["sensor"], row["start"][8:10]): (row["n"], row["n_expected"]) for row in await rows_of(app)}
    assert rows == {
        ("new", "15"): (144, 144), ("new", "16"): (0, 288), ("new", "17"): (0, 288),
        ("gone", "15"): (144, 144), ("gone", "16"): (0, 72),
    }  # fmt: skip


async def test_readings_that_say_their_period_come_as_often_as_that(app: FastAPI, history: History) -> None:
    """A series that nobody registered and that sends quarters of an hour is not one of five minutes with holes."""
    starts = range(DAY_0_MS, DAY_0_MS + DAY_MS, 900_000)
    history.store(Reading("traffic", "a", "speed", start, 900, 50.0 + start % 7) for start in starts)
    history.store([Reading("traffic", "a", "speed", DAY_0_MS + 60_000, 60, 50.0)])  # one that says otherwise
    history.store(day_of("b"))
    (a, b, silent, *_) = await rows_of(app)
    assert (a["n"], a["n_expected"], a["completeness"]) == (97, 96, 1.0)
    assert (b["n_expected"], b["completeness"]) == (288, 1.0)
    assert (silent["sensor"], silent["n"], silent["completeness"]) == ("a", 0, 0.0)


async def test_imports_say_nothing_of_lateness(app: FastAPI, history: History) -> None:
    history.store(day_of("a", origin=1, received=NOW_MS))
    (row, *_) = await rows_of(app)
    assert (row["lateness_p50_s"], row["lateness_p99_s"], row["score_timeliness"]) == (None, None, None)
    assert row["score"] == 100.0


async def test_pages_and_tables_have_the_same_rows(app: FastAPI, history: History) -> None:
    for sensor in ("b", "a"):
        history.store(day_of(sensor)[:10] + day_of(sensor, day=1)[:5])
    whole = await rows_of(app)
    assert [(row["start"][:10], row["sensor"]) for row in whole][:4] == [
        ("2026-11-15", "a"), ("2026-11-15", "b"), ("2026-11-16", "a"), ("2026-11-16", "b"),
    ]  # fmt: skip
    paged, sizes = await read_through(app, f"/v1/traffic/quality?{RANGE}&limit=4")
    assert (paged, sizes) == (whole, [4, 2])
    text = (await get(app, f"/v1/traffic/quality?{RANGE}&format=csv&sensor=a")).text
    assert [row["n"] for row in csv.DictReader(text.splitlines())] == ["10", "5", "0"]


async def test_a_sensor_that_changes_its_unit_is_seen_by_its_neighbours(
    app: FastAPI, history: History, tmp_path: Path
) -> None:
    """
    hour      0 ............ 11 | 12 ........... 23
    bad       100 km/h          | 27.8: it sends m/s now
    others    96 to 104
    """
    sensors = {"bad": 34.001, "n1": 34.0, "n2": 34.002, "n3": 34.003, "far": 34.5}
    registry = app.state.cityfeed.registry

    for i, (sensor, lat) in enumerate(sensors.items()):
        registry.apply(Registration("traffic", sensor, site=Site(lon=-118.0, lat=lat)))
        history.store(day_of(sensor))
        mean = [27.8 if sensor == "bad" and hour >= 12 else 96.0 + 2 * i for hour in range(24)]
        history.publish([window(sensor, DAY_0_MS + h * HOUR_MS, mean=mean[h], n=12) for h in range(24)])
    first_day = {row["sensor"]: row for row in await rows_of(app) if row["start"].startswith("2026-11-15")}
    bad, good, far = (first_day[sensor] for sensor in ("bad", "n1", "far"))
    assert (bad["neighbour_hours"], bad["neighbour_hours_suspect"], bad["score_agreement"]) == (24, 12, 0.5)
    assert (good["neighbour_hours"], good["neighbour_hours_suspect"], good["score"]) == (24, 0, 100.0)
    assert (far["neighbour_hours"], far["score_agreement"]) == (None, None) or far["neighbour_hours"] == 0
    assert bad["score"] == 50.0


async def test_a_metric_that_is_not_compared_has_no_agreement(app: FastAPI, history: History) -> None:
    start = DAY_0_MS
    history.store([Reading("traffic", "a", "volume", start, value=5.0, received=start + 300_500)])
    (row, *_) = await rows_of(app)
    assert (row["neighbour_hours"], row["neighbour_hours_suspect"]) == (None, None)


async def test_a_detectors_health_goes_by_its_occupancy_and_volume(app: FastAPI, history: History) -> None:
    starts = range(DAY_0_MS, DAY_0_MS + DAY_MS, 300_000)
    for sensor, share in (("fine", [0.1 + 0.01 * (i % 9) for i in range(288)]), ("stuck", [0.15] * 288)):
        for metric, value in (("occupancy", share), ("volume", [60.0] * 288)):
            history.store(
                Reading("traffic", sensor, metric, start, value=value[i], received=start + 301_000)
                for i, start in enumerate(starts)
            )
    history.store(day_of("speed-only"))
    first = {(r["sensor"], r["metric"]): r["detector"] for r in await rows_of(app) if r["n"]}
    assert first == {
        ("fine", "occupancy"): "good", ("fine", "volume"): "good", ("stuck", "occupancy"): "constant",
        ("stuck", "volume"): "constant", ("speed-only", "speed"): None,
    }  # fmt: skip


async def test_the_dataset_links_to_its_report(app: FastAPI) -> None:
    (row,) = (await get(app, "/v1/traffic")).json()["data"]
    assert row["links"]["quality"].endswith("/v1/traffic/quality")
    (await get(app, "/v1/traffic/quality")).json()
