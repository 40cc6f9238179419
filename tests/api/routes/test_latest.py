"""`/latest`, from memory."""

from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from tests.api.city import NOW_MS, app_without_servers, client_of, hear, heard

MIN_MS = 60_000


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    app = app_without_servers(tmp_path)
    for sensor, minutes_ago in (("moved", 10), ("fiji", 20), ("coarse", 5), ("homeless", 7), ("stranger", 8)):
        hear(app, heard("traffic", sensor, "speed", "km/h", [NOW_MS - minutes_ago * MIN_MS], value=[50.0]))
    hear(app, heard("traffic", "moved", "volume", "{veh}", [NOW_MS - 10 * MIN_MS], value=[12.0], origin=1))
    hear(app, heard("air-quality", "air1", "pm25", "ug/m3", [NOW_MS - MIN_MS], period_s=60, value=[7.1]))
    return app


async def get(app: FastAPI, query: str = "", dataset: str = "traffic") -> Any:
    async with client_of(app) as client:
        return await client.get(f"/v1/{dataset}/latest{query}")


async def data(app: FastAPI, query: str = "") -> list[dict[str, Any]]:
    got = await get(app, query)
    assert got.status_code == 200, got.text
    rows: list[dict[str, Any]] = got.json()["data"]
    return rows


async def test_a_row_says_all(app: FastAPI) -> None:
    (row,) = await data(app, "?sensor=moved&metric=speed")
    assert row == {
        "dataset": "traffic", "sensor": "moved", "metric": "speed", "unit": "km/h",
        "start": "2026-11-22T23:50:00.000Z", "end": "2026-11-22T23:55:00.000Z", "period_s": 300, "value": 50.0,
        "flag": 1, "tests": 0, "rev": 1, "origin": "live", "received": "2026-11-22T23:55:01.000Z",
        "age_s": 300.0, "newer_failed": None, "lon": -117.0, "lat": 34.0, "registered": True, "demo": False,
    }  # fmt: skip


async def test_all_of_a_dataset_by_sensor_and_metric(app: FastAPI) -> None:
    rows = await data(app)
    assert [(r["sensor"], r["metric"]) for r in rows] == [
        ("coarse", "speed"), ("fiji", "speed"), ("homeless", "speed"), ("moved", "speed"), ("moved", "volume"),
        ("stranger", "speed"),
    ]  # fmt: skip
    assert {r["origin"] for r in rows if r["metric"] == "volume"} == {"import"}


async def test_the_newest_by_measurement_time_and_a_newer_failed_one(app: FastAPI) -> None:
    hear(app, heard("traffic", "moved", "speed", "km/h", [NOW_MS - 60 * MIN_MS], value=[99.0]))  # late: not newest
    (row,) = await data(app, "?sensor=moved&metric=speed")
    assert (row["value"], row["newer_failed"]) == (50.0, None)
    hear(app, heard("traffic", "moved", "speed", "km/h", [NOW_MS - 5 * MIN_MS], value=[-1.0], flag=4))
    (row,) = await data(app, "?sensor=moved&metric=speed")
    assert (row["value"], row["newer_failed"]) == (50.0, "2026-11-22T23:55:00.000Z")
    hear(app, heard("traffic", "moved", "speed", "km/h", [NOW_MS - 4 * MIN_MS], value=[200.0], flag=3))
    (row,) = await data(app, "?sensor=moved&metric=speed")
    assert (row["value"], row["flag"], row["newer_failed"]) == (200.0, 3, None)


async def test_places_marks_and_precision(app: FastAPI) -> None:
    by_sensor = {r["sensor"]: r for r in await data(app, "?metric=speed")}
    assert by_sensor["fiji"]["demo"] is True
    assert (by_sensor["homeless"]["lon"], by_sensor["homeless"]["registered"]) == (None, True)
    assert (by_sensor["stranger"]["lon"], by_sensor["stranger"]["registered"]) == (None, False)
    coarse = by_sensor["coarse"]
    assert coarse["lon"] != -118.4321
    assert abs(coarse["lon"] + 118.4321) < 0.1


@pytest.mark.parametrize(
    ("box", "sensors"),
    [
        ("-117.1,33,-116.9,35", ["moved"]),
        ("-118.6,33.9,-118.3,34.1", ["coarse"]),  # where `moved` was before
        ("170,-20,-170,-10", ["fiji"]),
        ("-180,-90,180,90", ["coarse", "fiji", "moved"]),
        ("0,0,1,1", []),
    ],
)
async def test_a_box_leaves_out_what_has_no_place(app: FastAPI, box: str, sensors: list[str]) -> None:
    assert [r["sensor"] for r in await data(app, f"?metric=speed&bbox={box}")] == sensors


async def test_filters(app: FastAPI) -> None:
    assert len(await data(app, "?sensor=moved&sensor=fiji")) == 3
    assert len(await data(app, "?sensor=moved&sensor=fiji&metric=volume")) == 1
    assert await data(app, "?sensor=nobody") == []


async def test_pages(app: FastAPI) -> None:
    everything = await data(app)
    url, seen = "/v1/traffic/latest?limit=4", []
    async with client_of(app) as client:
        while url:
            page = (await client.get(url)).json()
            seen.append(page["data"])
            url = page["next"]
    assert [len(rows) for rows in seen] == [4, 2]
    assert [row for rows in seen for row in rows] == everything


async def test_a_page_that_ends_exactly_has_no_next(app: FastAPI) -> None:
    got = await get(app, "?limit=6")
    assert got.json()["next"] is None
    assert "link" not in got.headers


async def test_geojson(app: FastAPI) -> None:
    got = await get(app, "?format=geojson&metric=speed")
    assert got.headers["content-type"] == "application/geo+json"
    assert [f["properties"]["sensor"] for f in got.json()["features"]] == ["coarse", "fiji", "moved"]


async def test_the_age_counts_from_the_end_of_the_period(app: FastAPI) -> None:
    (row,) = (await get(app, dataset="air-quality")).json()["data"]
    assert row["age_s"] == 0.0
    assert row["end"] == "2026-11-23T00:00:00.000Z"
