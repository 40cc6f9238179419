"""A small city in a folder, an application on it without servers, and a client for it."""

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from api.app import make_app
from schemas.readings import Readings, readings
from schemas.settings import Secret, Settings
from schemas.wire import Record

NOW_MS = 1_795_392_000_000  # 2026-11-23T00:00:00Z

CITY = """
name = "Test"
time_zone = "UTC"
bbox = [-180, -90, 180, 90]
"""

# moved: two places. coarse: published on a grid of 10 km. fiji: beyond the antimeridian. homeless: no place.
SENSORS = """\
dataset,sensor,name,lon,lat,valid_from,valid_to,make,public_precision_m,demo,metrics
traffic,moved,Old,-118.5,34.0,,2026-11-16T12:00:00Z,Acme,,,speed=mph@300
traffic,moved,New,-117.0,34.0,2026-11-16T12:00:00Z,,Acme,,,speed=mph@300
traffic,coarse,Coarse,-118.4321,34.0567,,,,10000,,speed@300
traffic,fiji,Fiji,179.5,-17.0,,,,,true,speed@300
traffic,homeless,,,,,,,,,speed@300
air-quality,air1,Air,-118.2,34.05,,,,,,pm25@60
"""


def make_settings(folder: Path, **overrides: Any) -> Settings:
    """Settings of an application whose servers are not there (port 9 is nobody's)."""
    (folder / "city").mkdir(exist_ok=True)
    (folder / "city" / "city.toml").write_text(CITY)
    (folder / "city" / "sensors.csv").write_text(SENSORS)
    settings = Settings(
        city_dir=str(folder / "city"),
        state_dir=str(folder / "state"),
        database_url=Secret("postgresql://nobody@127.0.0.1:9/none"),
        kafka_bootstrap="127.0.0.1:9",
    )
    return dataclasses.replace(settings, **overrides)


def app_without_servers(folder: Path, **overrides: Any) -> FastAPI:
    """Its lifespan does not run: no database, no Kafka."""
    return make_app(make_settings(folder, **overrides), lambda: NOW_MS)


@asynccontextmanager
async def client_of(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client whose requests go straight into the application."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://city.example") as client:
        yield client


def hear(app: FastAPI, batch: Readings) -> None:
    """Let latest values take a batch in, as the tail does."""
    app.state.cityfeed.latest.apply(Record("clean", batch), 0, 1)


def heard(dataset: str, sensor: str, metric: str, unit: str, start: list[int], **columns: Any) -> Readings:
    """A batch of one series, received a second after each period of five minutes."""
    given: dict[str, Any] = {
        "sensor": 0, "value": [1.0] * len(start), "start": start, "period_s": 300, "flag": 1,
        "received": [t + 301_000 for t in start],
    }  # fmt: skip
    return readings([(dataset, sensor)], [(metric, unit)], **(given | columns))
