"""`/sensors` and one of them."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from fastapi import FastAPI

from schemas.quality import Quality, Spike
from schemas.registry import Series
from tests.api.city import NOW_MS, app_without_servers, client_of, hear, heard


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    app = app_without_servers(tmp_path)
    hear(app, heard("traffic", "stranger", "speed", "km/h", [NOW_MS]))
    hear(app, heard("traffic", "moved", "volume", "{veh}", [NOW_MS]))
    return app


async def get(app: FastAPI, path: str) -> Any:
    async with client_of(app) as client:
        got = await client.get(path)
    assert got.status_code == 200, got.text
    return got


async def test_all_sensors_registered_and_heard_of(app: FastAPI) -> None:
    rows = (await get(app, "/v1/traffic/sensors")).json()["data"]
    assert [r["sensor"] for r in rows] == ["coarse", "fiji", "homeless", "moved", "stranger"]
    assert [r["registered"] for r in rows] == [True, True, True, True, False]
    assert rows[4] | {"series": []} == {
        "dataset": "traffic", "sensor": "stranger", "name": None, "registered": False, "demo": False, "lon": None,
        "lat": None, "height_m": None, "surroundings": None, "public_precision_m": 0, "places": [], "series": [],
        "device": {"make": None, "model": None, "serial": None, "firmware": None, "owner": None},
    }  # fmt: skip


async def test_one_sensor_with_its_places_and_series(app: FastAPI) -> None:
    registry = app.state.cityfeed.registry
    *_, newest = registry.registrations("traffic", "moved")
    own = newest.series | {"volume": Series(quality=Quality(spike=Spike(suspect=90)))}
    registry.apply(msgspec.structs.replace(newest, series=own))
    (row,) = (await get(app, "/v1/traffic/sensors/moved")).json()["data"]
    assert (row["name"], row["lon"]) == ("New", -117.0)
    assert [(p["valid_from"], p["valid_to"], p["name"], p["lon"]) for p in row["places"]] == [
        (None, "2026-11-16T12:00:00.000Z", "Old", -118.5),
        ("2026-11-16T12:00:00.000Z", None, "New", -117.0),
    ]
    assert row["device"]["make"] == row["places"][0]["device"]["make"] == "Acme"
    assert row["series"] == [
        {
            "metric": "speed",
            "unit": "km/h",
            "source_unit": "[mi_i]/h",
            "period_s": 300,
            "cadence_s": 300,
            "quality": {},
        },
        {
            "metric": "volume",
            "unit": "{veh}",
            "source_unit": "{veh}",
            "period_s": 300,
            "cadence_s": 300,
            "quality": {"spike": {"suspect": 90, "method": "average"}},
        },
    ]


async def test_a_coarse_place_is_never_told_exactly(app: FastAPI) -> None:
    (row,) = (await get(app, "/v1/traffic/sensors/coarse")).json()["data"]
    assert row["public_precision_m"] == 10000
    assert "-118.4321" not in str(row)
    assert (row["lon"], row["lat"]) == (row["places"][0]["lon"], row["places"][0]["lat"])


async def test_filters_and_pages(app: FastAPI) -> None:
    async def ids(query: str) -> list[str]:
        return [r["sensor"] for r in (await get(app, f"/v1/traffic/sensors?{query}")).json()["data"]]

    assert await ids("metric=volume") == ["moved"]
    assert await ids("sensor=fiji&sensor=coarse&sensor=nobody") == ["coarse", "fiji"]
    assert await ids("bbox=170,-20,-170,-10") == ["fiji"]
    assert await ids("bbox=-119,33,-118,35") == ["coarse"]  # `moved` is not there any more
    page = (await get(app, "/v1/traffic/sensors?limit=3")).json()
    rest = (await get(app, page["next"])).json()
    assert [r["sensor"] for r in page["data"] + rest["data"]] == ["coarse", "fiji", "homeless", "moved", "stranger"]
    assert rest["next"] is None


async def test_geojson_and_csv(app: FastAPI) -> None:
    features = (await get(app, "/v1/traffic/sensors?format=geojson")).json()["features"]
    assert [f["properties"]["sensor"] for f in features] == ["coarse", "fiji", "moved"]
    text = (await get(app, "/v1/traffic/sensors?format=csv")).text
    assert text.startswith("dataset,sensor,name,registered,demo,lon,lat,")
    assert len(text.splitlines()) == 6
