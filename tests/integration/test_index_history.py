"""Index rows as pages and as files: one grammar, the same rows, and the state of any moment."""

import hashlib
import json
import random
from typing import Any

import msgspec
import numpy as np
import pytest
from fastapi import FastAPI

from api.formats import FORMATS
from api.times import as_datetime, rfc3339
from schemas.indices import us_aqi
from schemas.indices.overall import worst
from schemas.indices.stored import number
from schemas.registry import Registration, Site, fold
from tests.api.city import client_of
from tests.integration.history import DAY_0_MS, DAY_MS, History
from tests.integration.test_api import database, history, read_through
from tests.integration.test_exports import app, status_of, table

__all__ = ["app", "database", "history"]

HOUR_MS = 3_600_000
BASE = "/v1/air-quality"
RANGE = f"from={rfc3339(DAY_0_MS - DAY_MS)}&to={rfc3339(DAY_0_MS + 5 * DAY_MS)}"
COLUMNS = (
    "series, start, until, value, category, driver, source, edition, concentration, supplement, hours, expected,"
    " beyond, origin, rev, published, part, out_seq"
)


class Stored:
    """Writes index rows as `windows` does; each row's revisions are known with their times."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.revisions: dict[tuple[str, str, str, int], list[tuple[int, float]]] = {}

    def put(self, at_ms: int, rows: dict[tuple[str, str, str, int], float]) -> None:
        """One flush at a moment: (sensor, index, metric, start) -> concentration, nan for no data."""
        connection = self.history.connection
        with connection.transaction():
            for key, concentration in rows.items():
                self._put(at_ms, key, concentration)
            for part in self.history.next_offset:
                self.history.next_offset[part] += 1
            self.history._move_positions()

    def _put(self, at_ms: int, key: tuple[str, str, str, int], concentration: float) -> None:
        connection, (sensor, index, metric, start) = self.history.connection, key
        names = ("air-quality", sensor, index, metric)
        connection.execute(
            "INSERT INTO index_series (dataset, sensor, index, metric) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
            names,
        )
        (series,) = connection.execute(
            "SELECT id FROM index_series WHERE (dataset, sensor, index, metric) = (%s, %s, %s, %s)", names
        ).fetchone() or (0,)
        known = self.revisions.setdefault(key, [])
        if known:
            connection.execute(
                (
                    "WITH old AS (DELETE FROM indices WHERE (series, start) = (%s, %s) RETURNING *)"
                    f" INSERT INTO indices_history ({COLUMNS}, known_to) SELECT {COLUMNS}, %s FROM old"
                ).encode(),
                (series, as_datetime(start), as_datetime(at_ms)),
            )
        known.append((at_ms, concentration))
        part = self.history.part(sensor)
        connection.execute(
            f"INSERT INTO indices ({COLUMNS}) VALUES ({', '.join(['%s'] * 18)})".encode(),
            (
                series, as_datetime(start), as_datetime(start + HOUR_MS), *self.scored(metric, concentration, "2024"),
                number("pm25"), 2024, None if concentration != concentration else concentration, None, 12, 12, False, 0,
                len(known), as_datetime(at_ms), part, self.history.next_offset[part],
            ),
        )  # fmt: skip

    def scored(self, metric: str, concentration: float, edition: str) -> tuple[float | None, int, int]:
        """Value, category and driver."""
        made = us_aqi.score("pm25", np.array([concentration]), edition)
        value = float(made.value[0])
        return (None, -1, -1) if value != value else (value, int(made.category[0]), number("pm25"))

    def at(self, moment_ms: int) -> dict[tuple[str, str, str, int], tuple[int, float]]:
        """(rev, concentration) of what was known then."""
        known = {
            key: [(rev, value) for rev, (since, value) in enumerate(revisions, 1) if since <= moment_ms]
            for key, revisions in self.revisions.items()
        }
        return {key: found[-1] for key, found in known.items() if found}


@pytest.fixture
def stored(history: History) -> Stored:
    """Two days of hours of two sensors and indices; a part of them revised, twice, at known moments."""
    made, dice = Stored(history), random.Random(3)
    history.register([Registration("air-quality", "a", site=Site("", -118.25, 34))])
    hours = {
        (sensor, index, metric, DAY_0_MS + hour * HOUR_MS): round(dice.uniform(0, 80), 1)
        for sensor in ("a", "b")
        for index in ("nowcast", "eaqi")
        for metric in ("pm25", "overall")
        for hour in range(40)
        if dice.random() > 0.1
    }
    made.put(DAY_0_MS + 3 * DAY_MS, hours)
    for day in (4, 5):
        made.put(
            DAY_0_MS + day * DAY_MS, {key: dice.choice([9.1, float("nan")]) for key in dice.sample(list(hours), 40)}
        )
    return made


def said(rows: list[dict[str, Any]]) -> dict[tuple[str, str, str, str], tuple[int, float | None]]:
    return {(r["sensor"], r["index"], r["metric"], r["start"]): (r["rev"], r["concentration"]) for r in rows}


def expected(stored: Stored, moment_ms: int) -> dict[tuple[str, str, str, str], tuple[int, float | None]]:
    return {
        (*key[:3], rfc3339(key[3])): (rev, None if value != value else value)
        for key, (rev, value) in stored.at(moment_ms).items()
    }


@pytest.mark.parametrize("limit", [13, 10_000])
async def test_as_of_is_what_was_known_then(app: FastAPI, stored: Stored, limit: int) -> None:
    for days in (2.9, 3, 3.5, 4, 4.5, 5, 6):
        moment = DAY_0_MS + int(days * DAY_MS)
        rows, _ = await read_through(app, f"{BASE}/index?{RANGE}&limit={limit}&as_of={rfc3339(moment)}")
        assert said(rows) == expected(stored, moment), days
    rows, _ = await read_through(app, f"{BASE}/index?{RANGE}&limit={limit}")
    assert said(rows) == expected(stored, 2**52)


QUERIES = (
    "",
    "sensor=a&index=nowcast&lang=fr",
    "metric=overall&index=nowcast&table=2012",
    "bbox=-119,33,-118,35&fields=value,category,start,sensor",
    f"as_of={rfc3339(DAY_0_MS + 4 * DAY_MS)}&table=2012",
)


@pytest.mark.parametrize("query", QUERIES)
async def test_a_file_has_the_rows_of_the_pages(app: FastAPI, stored: Stored, query: str) -> None:
    rows, _ = await read_through(app, f"{BASE}/index?{RANGE}&limit=17&{query}")
    assert rows
    async with client_of(app) as client:
        for format in FORMATS:
            got = await client.get(f"{BASE}/export?of=index&format={format}&{RANGE}&{query}")
            assert got.status_code == 200, got.text
            made = table(format, got.content)
            numbers = [{k: str(v) if k == "table" else v for k, v in row.items()} for row in made]
            assert numbers == rows, format
            status = await status_of(app, got)
            assert (status["state"], status["rows"]) == ("complete", len(rows))
            assert status["sha256"] == hashlib.sha256(got.content).hexdigest()


async def test_geojson_has_places(app: FastAPI, stored: Stored) -> None:
    here = app.state.cityfeed
    here.registry = fold(here.city.datasets, [Registration("air-quality", "a", site=Site("", -118.25, 34))])
    async with client_of(app) as client:
        page = (await client.get(f"{BASE}/index?{RANGE}&format=geojson&limit=10000")).json()
        file = (await client.get(f"{BASE}/export?of=index&{RANGE}&format=geojson")).json()
    assert page["features"] == file["features"]
    places = {f["properties"]["sensor"]: f["geometry"] for f in page["features"]}
    assert places == {"a": {"type": "Point", "coordinates": [-118.25, 34]}, "b": None}


async def test_a_broken_file_goes_on_whatever_was_revised(app: FastAPI, stored: Stored) -> None:
    """Also by another table, whose overall rows are made of the pollutants' rows as they were."""
    async with client_of(app) as client:
        got = await client.get(f"{BASE}/export?of=index&format=ndjson&table=2012&{RANGE}")
        lines = got.content.splitlines(keepends=True)
        stored.put(DAY_0_MS + 7 * DAY_MS, dict.fromkeys(list(stored.revisions)[::3], 200.0))
        stored.put(DAY_0_MS + 7 * DAY_MS, {("c", "nowcast", "pm25", DAY_0_MS): 3.0})
        for after_row in (0, 1, len(lines) // 2, len(lines)):
            rest = await client.get(got.links["describedby"]["url"], params={"after_row": after_row})
            assert rest.content == b"".join(lines[after_row:])
    overall = [row for row in map(json.loads, lines) if row["metric"] == "overall" and row["index"] == "nowcast"]
    beside = {
        (row["sensor"], row["start"]): row["concentration"]
        for row in map(json.loads, lines)
        if row["metric"] == "pm25" and row["index"] == "nowcast"
    }
    for row in overall:
        concentration = beside.get((row["sensor"], row["start"]))
        parts = {} if concentration is None else {"pm25": us_aqi.score("pm25", np.array([concentration]), "2012")}
        value = worst(parts)[0].value[0] if parts else float("nan")
        assert row["value"] == (None if value != value else value)


async def test_what_can_not_be_exported_says_so(app: FastAPI, stored: Stored) -> None:
    async with client_of(app) as client:
        for path, parameter, word in (
            ("export?of=events", "of", "no events yet"),
            ("export?of=index&latest=true", "latest", "latest"),
            ("export?of=index&width=1h", "width", "width"),
            ("export?of=index&table=1066", "table", "1066"),
            ("export?of=index&index=eaqi&table=2012", "table", "eaqi has no table"),
            ("export?of=readings&index=nowcast", "index", "index"),
            (f"index?latest=true&as_of={rfc3339(DAY_0_MS)}", "latest", "those of now"),
        ):
            got = await client.get(f"{BASE}/{path}")
            assert (got.status_code, got.json()["parameter"]) == (400, parameter), got.text
            assert word in got.json()["detail"]


async def test_a_dataset_without_indices_has_no_rows(app: FastAPI, stored: Stored) -> None:
    """Its series have the numbers of others' indices."""
    for sensor in "abcdefgh":
        stored.history.series("traffic", sensor, "speed")
    datasets = app.state.cityfeed.city.datasets
    datasets["traffic"] = msgspec.structs.replace(datasets["traffic"], indices=())
    rows, _ = await read_through(app, f"/v1/traffic/index?{RANGE}")
    assert rows == []
    async with client_of(app) as client:
        assert (await client.get(f"/v1/traffic/export?of=index&{RANGE}&format=ndjson")).content == b""
