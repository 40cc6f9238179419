"""OGC SensorThings 1.1 against its standard (OGC 18-088) on a real database: entities, paths, options, status codes.

sensor a   Old (exact) until the middle of the first day, then New (published on a grid of 10 km)
sensor b   registered at one place, no device; c: never registered; s: registered, silent
"""

import asyncio
import json
import math
import random
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import frost_sta_client as frost
import psycopg
import pytest
import shapely
import uvicorn
from fastapi import FastAPI

from api import places
from api.queries.sensorthings import geometry, run
from api.sensorthings.routes import ROOT
from api.times import rfc3339
from schemas.registry import Device, Registration, Series, Site
from schemas.settings import Settings
from stream_processors.migrations import migrate
from tests.api.city import app_without_servers, client_of
from tests.integration.history import DAY_0_MS, DAY_MS, History, Reading, three_days

NOON_MS = DAY_0_MS + DAY_MS // 2
SENSORS = [
    Registration(
        "traffic", "a", None, NOON_MS, Site("Old", -118.5, 34.0), Device("Acme", "X1"), {"speed": Series("mph")}
    ),
    Registration(
        "traffic",
        "a",
        NOON_MS,
        None,
        Site("New", -117.4321, 34.0123, 3.5, "freeway"),
        Device("Acme", "X2", "77"),
        {"speed": Series("mph")},
        10_000,
    ),
    Registration("traffic", "b", None, None, Site("Bend", -118.2, 34.1), demo=True),
    Registration(
        "traffic", "s", None, None, Site("Silent", -118.0, 33.9), series={"speed": Series(), "volume": Series()}
    ),
]
EXTRA = [
    Reading("traffic", "a", "speed", DAY_0_MS + 7, 0, math.nan, 9),
    Reading("traffic", "b", "speed", DAY_0_MS + 11, 0, 50.0, 4, 3),
]
COUNTS = {
    "Things": 6, "Locations": 4, "HistoricalLocations": 4, "Datastreams": 10, "Sensors": 3, "ObservedProperties": 3,
    "FeaturesOfInterest": 7,
}  # fmt: skip
"""b and s have no model, a has one: with air quality's that is three. c, z and air quality's a have no place."""

MANDATORY: dict[str, dict[str, type | tuple[type, ...]]] = {
    "Things": {"name": str, "description": str, "properties": dict},
    "Locations": {"name": str, "description": str, "encodingType": str, "location": dict},
    "HistoricalLocations": {"time": str},
    "Datastreams": {"name": str, "description": str, "observationType": str, "unitOfMeasurement": dict},
    "Sensors": {"name": str, "description": str, "encodingType": str, "metadata": str},
    "ObservedProperties": {"name": str, "definition": str, "description": str},
    "Observations": {
        "phenomenonTime": str, "resultTime": str, "result": (float, int, type(None)), "resultQuality": dict,
    },
    "FeaturesOfInterest": {"name": str, "description": str, "encodingType": str, "feature": dict},
}  # fmt: skip
"""OGC 18-088, tables 5 to 20."""

NAVIGATION = {
    "Things": {"Locations": "Locations", "HistoricalLocations": "HistoricalLocations", "Datastreams": "Datastreams"},
    "Locations": {"Things": "Things", "HistoricalLocations": "HistoricalLocations"},
    "HistoricalLocations": {"Thing": "Things", "Locations": "Locations"},
    "Datastreams": {
        "Thing": "Things", "Sensor": "Sensors",
        "ObservedProperty": "ObservedProperties", "Observations": "Observations",
    },
    "Sensors": {"Datastreams": "Datastreams"},
    "ObservedProperties": {"Datastreams": "Datastreams"},
    "Observations": {"Datastream": "Datastreams", "FeatureOfInterest": "FeaturesOfInterest"},
    "FeaturesOfInterest": {"Observations": "Observations"},
}  # fmt: skip

Get = Callable[..., Any]


@pytest.fixture(scope="module")
def database(servers: Settings) -> Iterator[Settings]:
    """A schema of this file alone, with the history above; tests only read."""
    schema = f"sta{uuid.uuid4().hex[:12]}"
    asyncio.run(migrate(str(servers.database_url), schema))
    options = f"-c search_path={schema},public"
    with psycopg.connect(str(servers.database_url), autocommit=True, options=options) as connection:
        try:
            history = History(connection)
            history.store([*three_days(1), *EXTRA])
            history.register(SENSORS)
            yield replace(servers, database_schema=schema)
        finally:
            connection.execute(f"DROP SCHEMA {schema} CASCADE".encode())


@pytest.fixture
async def app(database: Settings, tmp_path: Path) -> AsyncIterator[FastAPI]:
    app = app_without_servers(tmp_path, database_url=database.database_url, database_schema=database.database_schema)
    await app.state.cityfeed.pool.open(wait=True)
    yield app
    await app.state.cityfeed.pool.close()


@pytest.fixture
async def get(app: FastAPI) -> AsyncIterator[Get]:
    """Asks for an address below the root, or a whole one: its JSON."""
    async with client_of(app) as client:

        async def ask(path: str, status: int = 200) -> Any:
            got = await client.get(path if path.startswith("http") else f"{ROOT}/{path}")
            assert got.status_code == status, f"{path}: {got.text}"
            return got.json() if got.content else None

        yield ask


def readings() -> list[Reading]:
    return [*three_days(1), *EXTRA]


def moment(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def values(get: Get, path: str, between: Callable[[dict[str, Any]], None] = lambda page: None) -> list[Any]:
    """All pages of a collection."""
    found: list[Any] = []
    link: str | None = path
    while link:
        page = await get(link)
        between(page)
        found += page["value"]
        link = page.get("@iot.nextLink")
    return found


# --- Sensing Core: the service, entities, paths ----------------------------------------------------------------------


async def test_the_root_lists_the_collections_and_what_it_conforms_to(get: Get) -> None:
    root = await get("")
    assert {entry["name"]: entry["url"] for entry in root["value"]} == {
        name: f"http://city.example{ROOT}/{name}" for name in MANDATORY
    }
    conformance = root["serverSettings"]["conformance"]
    assert "http://www.opengis.net/spec/iot_sensing/1.1/req/datamodel" in conformance
    for entry in root["value"]:
        assert (await get(entry["url"] + "?$top=1"))["value"]


@pytest.mark.parametrize("plural", MANDATORY)
async def test_entities_have_what_the_standard_says(get: Get, plural: str) -> None:
    page = await get(f"{plural}?$count=true&$top=1000")
    assert page["@iot.count"] == len(page["value"]) == COUNTS.get(plural, len(readings()))
    for entity in page["value"][:12]:
        for name, kind in MANDATORY[plural].items():
            assert isinstance(entity[name], kind), (name, entity)
        assert isinstance(entity["@iot.id"], str if plural == "Observations" else int)
        links = {key.removesuffix("@iot.navigationLink") for key in entity if key.endswith("@iot.navigationLink")}
        assert links == set(NAVIGATION[plural])
        assert await get(entity["@iot.selfLink"]) == entity


@pytest.mark.parametrize("plural", MANDATORY)
async def test_every_link_leads_to_the_right_entities_and_back(get: Get, plural: str) -> None:
    for entity in (await get(f"{plural}?$top=4"))["value"]:
        for name, target in NAVIGATION[plural].items():
            found = await get(entity[f"{name}@iot.navigationLink"])
            many = name == target
            for neighbour in found["value"][:3] if many else [found]:
                assert f"/{target}(" in neighbour["@iot.selfLink"]
                assert {f"{n}@iot.navigationLink" for n in NAVIGATION[target]} <= set(neighbour)
            if many:
                refs = await get(entity[f"{name}@iot.navigationLink"] + "/$ref")
                assert refs["value"] == [{"@iot.selfLink": n["@iot.selfLink"]} for n in found["value"]]


@pytest.mark.parametrize("plural", MANDATORY)
async def test_every_property_has_an_address_and_a_bare_value(app: FastAPI, get: Get, plural: str) -> None:
    entity = (await get(f"{plural}?$top=1"))["value"][0]
    async with client_of(app) as client:
        for name, value in entity.items():
            if "@" in name:
                continue
            address = f"{entity['@iot.selfLink']}/{name}"
            got = await client.get(address)
            raw = await client.get(f"{address}/$value")
            if value is None:
                assert (got.status_code, raw.status_code, got.content) == (204, 204, b"")
            else:
                assert got.json() == {name: value}
                assert (raw.json() if isinstance(value, dict | int | float) else raw.text) == value
        for name, control in (("id", "@iot.id"), ("@iot.id", "@iot.id"), ("@iot.selfLink", "@iot.selfLink")):
            address = f"{entity['@iot.selfLink']}/{name}"
            assert (await client.get(address)).json() == {control: entity[control]}
            assert (await client.get(f"{address}/$value")).text == str(entity[control])
        assert (await client.get(f"{entity['@iot.selfLink']}/nothing")).status_code == 404


async def test_definitions_and_descriptions_of_ours_have_a_page(app: FastAPI, get: Get) -> None:
    async with client_of(app) as client:
        for plural, name in (("ObservedProperties", "definition"), ("Sensors", "metadata")):
            ours = [e[name] for e in (await get(plural))["value"] if e[name].startswith("http://city.example/")]
            assert ours
            for address in ours:
                assert (await client.get(address)).status_code in (200, 503), address
        assert (await client.get("/definitions/volume")).json()["unit"] == "{veh}"
        assert (await client.get("/definitions/nothing")).status_code == 404


async def test_paths_go_through_any_number_of_entities(get: Get) -> None:
    observation = (await get("Observations?$filter=Datastream/Thing/name eq 'New'&$top=1"))["value"][0]
    stream = await get(observation["Datastream@iot.navigationLink"])
    thing = await get(stream["Thing@iot.navigationLink"])
    path = f"Things({thing['@iot.id']})/Datastreams({stream['@iot.id']})/Observations('{observation['@iot.id']}')"
    assert await get(path) == observation
    assert (await get(f"{path}/Datastream/Thing/Datastreams({stream['@iot.id']})/name"))["name"] == stream["name"]
    assert (await get(f"{path}/FeatureOfInterest/feature/type"))["type"] == "Point"
    other = next(s for s in (await get("Datastreams"))["value"] if s["properties"]["sensor"] != "a")
    await get(f"Things({thing['@iot.id']})/Datastreams({other['@iot.id']})", 404)
    await get(f"Things({thing['@iot.id']})/Datastreams({other['@iot.id']})/Observations", 404)
    await get("Things(1)/Datastreams", 404)


async def test_observations_are_the_stored_readings(get: Get) -> None:
    streams = {s["@iot.id"]: s["properties"] for s in (await get("Datastreams"))["value"]}
    found = {}
    for o in await values(get, "Observations?$top=300"):
        about = streams[int(o["@iot.id"].partition("-")[0])]
        found[about["dataset"], about["sensor"], about["metric"], o["phenomenonTime"]] = (
            o["result"], o["resultTime"], o["resultQuality"]["flag"], o["resultQuality"]["tests"],
            o["parameters"]["rev"], o["parameters"]["origin"], o["parameters"]["received"],
        )  # fmt: skip
    expected = {}
    for r in readings():
        end = r.start + r.period_s * 1000
        time = moment(r.start) if r.period_s == 0 else f"{moment(r.start)}/{moment(end)}"
        names = {0: [], 2: ["gross-range-suspect"], 3: ["gross-range-fail", "gross-range-suspect"]}[r.tests]
        expected[r.dataset, r.sensor, r.metric, time] = (
            None if math.isnan(r.value) else r.value, moment(end), r.flag, names, r.rev, ("live", "import")[r.origin],
            moment(r.received),
        )  # fmt: skip
    assert found == expected


# --- places ----------------------------------------------------------------------------------------------------------


async def test_historical_locations_are_the_registrys_validities(get: Get) -> None:
    (thing,) = (await get("Things?$filter=name eq 'New'&$expand=Locations,HistoricalLocations($expand=Locations)"))[
        "value"
    ]
    found = sorted(thing["HistoricalLocations"], key=lambda h: str(h["time"]))
    assert [(h["time"], h["Locations"][0]["name"]) for h in found] == [
        ("1970-01-01T00:00:00.000Z", "Old"),
        (moment(NOON_MS), "New"),
    ]
    assert [location["name"] for location in thing["Locations"]] == ["New"]
    old = (await get("Locations?$filter=name eq 'Old'&$expand=Things"))["value"][0]
    assert old["Things"] == []  # nothing is there any more


async def test_the_feature_is_where_the_sensor_was_then(get: Get) -> None:
    path = "Observations?$filter=Datastream/properties/sensor eq 'a' and Datastream/properties/dataset eq 'traffic'"
    for o in await values(get, f"{path}&$expand=FeatureOfInterest&$top=500"):
        assert o["FeatureOfInterest"]["name"] == ("Old" if o["phenomenonTime"] < moment(NOON_MS) else "New")
    unplaced = (await get("Observations?$filter=Datastream/Thing/name eq 'c'&$top=1&$expand=FeatureOfInterest"))[
        "value"
    ][0]
    assert unplaced["FeatureOfInterest"]["feature"] == {"type": "Feature", "geometry": None, "properties": {}}
    new = (await get("FeaturesOfInterest?$filter=name eq 'New'&$expand=Observations($count=true;$top=0)"))["value"][0]
    expected = [r for r in readings() if r.dataset == "traffic" and r.sensor == "a" and r.start >= NOON_MS]
    assert new["Observations@iot.count"] == len(expected) > 0
    assert new["Observations"] == []


def test_public_places_in_sql_are_those_in_python(database: Settings) -> None:
    dice = random.Random(4)
    options = f"-c search_path={database.database_schema},public"
    with psycopg.connect(str(database.database_url), options=options) as connection:
        for _ in range(300):
            lon, lat, grid = dice.uniform(-180, 180), dice.uniform(-90, 90), dice.choice([0, 1, 100, 5_000, 1_000_000])
            expected = places.public_place(Registration("d", "s", site=Site("", lon, lat), public_precision_m=grid))
            row = connection.execute(
                "SELECT sta_public_lon(%(lon)s, lat, %(grid)s), lat FROM sta_public_lat(%(lat)s, %(grid)s) AS lat",
                {"lon": lon, "lat": lat, "grid": grid},
            ).fetchone()
            assert row == pytest.approx(expected, abs=1e-6), (lon, lat, grid)


async def test_an_exact_place_that_is_not_public_is_nowhere(get: Get) -> None:
    shown = [json.dumps(await get(f"{plural}?$top=1000")) for plural in MANDATORY]
    assert not [text for text in shown if "117.4321" in text or "34.0123" in text]
    near = "geo.distance({}, geography'POINT (-117.4321 34.0123)') lt 0.001"
    for plural, name in (("Locations", "location"), ("FeaturesOfInterest", "feature")):
        found = await get(f"{plural}?$filter={near.format(name)}")
        assert found["value"] == []


# --- $filter ---------------------------------------------------------------------------------------------------------

AROUND_OLD = "POLYGON ((-118.6 33.9, -118.4 33.9, -118.4 34.05, -118.6 34.05, -118.6 33.9))"
AROUND_BEND = "POLYGON ((-118.3 34, -118 34, -118 34.2, -118.3 34.2, -118.3 34))"
OBSERVATIONS: list[tuple[str, Callable[[Reading], bool]]] = [
    ("result gt 50", lambda r: r.value > 50),
    ("result ge 0 and result lt 10.5", lambda r: 0 <= r.value < 10.5),
    ("result le 0 or resultQuality/flag eq 3", lambda r: r.value <= 0 or r.flag == 3),
    ("not (result gt 50) and not (resultQuality/flag ne 1)", lambda r: not r.value > 50 and r.flag == 1),
    ("result eq null", lambda r: math.isnan(r.value)),
    ("result ne null and resultQuality/flag ge 4", lambda r: not math.isnan(r.value) and r.flag >= 4),
    ("result add 10 gt 100", lambda r: r.value + 10 > 100),
    ("2 mul result sub 5 le 20 and result gt -1", lambda r: 2 * r.value - 5 <= 20 and r.value > -1),
    ("result div 4 gt 20 and floor(result) mod 2 eq 0", lambda r: r.value / 4 > 20 and math.floor(r.value) % 2 == 0),
    ("-result gt 2", lambda r: -r.value > 2),
    (
        "floor(result) eq 42 or ceiling(result) eq 17",
        lambda r: r.value == r.value and (math.floor(r.value) == 42 or math.ceil(r.value) == 17),
    ),
    ("result gt '50'", lambda r: r.value > 50),
    ("resultTime ge {noon}", lambda r: r.start + r.period_s * 1000 >= NOON_MS),
    ("phenomenonTime ge {noon}", lambda r: r.start >= NOON_MS),
    ("phenomenonTime lt {noon}", lambda r: r.start + r.period_s * 1000 <= NOON_MS),
    (
        "phenomenonTime gt {noon} and phenomenonTime le {evening}",
        lambda r: r.start > NOON_MS and r.start + r.period_s * 1000 <= NOON_MS + DAY_MS // 4,
    ),
    ("phenomenonTime eq {noon}/{after}", lambda r: r.start == NOON_MS and r.period_s == 300),
    (
        "during(phenomenonTime,{noon}/{evening})",
        lambda r: r.start >= NOON_MS and r.start + r.period_s * 1000 <= NOON_MS + DAY_MS // 4,
    ),
    ("before(phenomenonTime,{noon})", lambda r: r.start + r.period_s * 1000 <= NOON_MS),
    ("resultTime gt {evening} sub duration'PT6H'", lambda r: r.start + r.period_s * 1000 > NOON_MS),
    (
        "hour(phenomenonTime) eq 13 and minute(phenomenonTime) eq 30",
        lambda r: (r.start // 3_600_000) % 24 == 13 and (r.start // 60_000) % 60 == 30,
    ),
    ("day(resultTime) eq 16", lambda r: datetime.fromtimestamp(r.start / 1000 + r.period_s, UTC).day == 16),
    ("date(phenomenonTime) eq 2026-11-15", lambda r: r.start < DAY_0_MS + DAY_MS),
    ("time(phenomenonTime) lt 01:00", lambda r: (r.start - DAY_0_MS) % DAY_MS < 3_600_000),
    ("fractionalseconds(phenomenonTime) gt 0", lambda r: r.start % 1000 > 0),
    ("parameters/origin eq 'import'", lambda r: r.origin == 1),
    ("Datastream/ObservedProperty/name eq 'Speed'", lambda r: r.metric == "speed"),
    (
        "Datastream/properties/dataset eq 'traffic' and Datastream/Thing/properties/sensor eq 'a'",
        lambda r: r.dataset == "traffic" and r.sensor == "a",
    ),
    (
        "Datastream/Thing/Locations/name eq 'New' and result gt 20",
        lambda r: r.dataset == "traffic" and r.sensor == "a" and r.value > 20,
    ),
    ("FeatureOfInterest/name eq 'Old'", lambda r: r.dataset == "traffic" and r.sensor == "a" and r.start < NOON_MS),
    (
        "st_within(FeatureOfInterest/feature, geography'" + AROUND_OLD + "')",
        lambda r: r.dataset == "traffic" and r.sensor == "a" and r.start < NOON_MS,
    ),
]


@pytest.mark.parametrize("text", [text for text, _ in OBSERVATIONS])
async def test_filters_choose_the_observations_that_python_chooses(get: Get, text: str) -> None:
    chosen = dict(OBSERVATIONS)[text]
    text = text.format(noon=rfc3339(NOON_MS), after=rfc3339(NOON_MS + 300_000), evening=rfc3339(NOON_MS + DAY_MS // 4))
    page = await get(f"Observations?$filter={quote(text)}&$count=true&$top=1000")
    expected = [r for r in readings() if chosen(r)]
    assert page["@iot.count"] == len(page["value"]) == len(expected)
    assert sorted(int(o["@iot.id"].partition("-")[2]) for o in page["value"]) == sorted(r.start for r in expected)
    assert 0 < len(expected) < len(readings())


ENTITIES: list[tuple[str, str, list[str]]] = [
    ("Things", "name eq 'New'", ["New"]),
    ("Things", "properties/demo eq true", ["Bend"]),
    ("Things", "properties/device/serial eq '77'", ["New"]),
    ("Things", "properties/height_m gt 3", ["New"]),
    ("Things", "properties/registered eq false and properties/dataset eq 'traffic'", ["c"]),
    ("Things", "Datastreams/Observations/result gt 50 and Datastreams/ObservedProperty/name eq 'PM2.5'", ["a", "z"]),
    ("Things", "Datastreams/Observations/id eq null", ["Silent"]),
    ("Things", "st_within(Locations/location, geography'" + AROUND_BEND + "')", ["Bend"]),
    ("Things", "HistoricalLocations/Locations/name eq 'Old'", ["New"]),
    ("Datastreams", "unitOfMeasurement/symbol eq 'ug/m3'", ["a: PM2.5", "z: PM2.5"]),
    ("Datastreams", "phenomenonTime eq null", ["Silent: Speed", "Silent: Volume"]),
    ("Datastreams", "startswith(Thing/name,'Be') and endswith(name,'Speed')", ["Bend: Speed"]),
    ("Datastreams", "Sensor/name eq 'Acme X2' and ObservedProperty/name eq 'Volume'", ["New: Volume"]),
    ("Locations", "geo.distance(location, geography'POINT (-118.5 34.1)') lt 0.2", ["Old"]),
    (
        "Locations",
        "geo.distance(location, geography'POINT (-118.5 34.1)') gt 0.2 and not startswith(name,'N')",
        ["Bend", "Silent"],
    ),
    ("Locations", "st_equals(location, geography'POINT (-118.2 34.1)')", ["Bend"]),
    ("Locations", "st_relate(location, geography'POINT (-118.2 34.1)', 'T********')", ["Bend"]),
    (
        "Locations",
        "st_contains(geography'POLYGON ((-119 33, -118.4 33, -118.4 35, -119 35, -119 33))', location)",
        ["Old"],
    ),
    ("Sensors", "properties/make eq 'Acme'", ["Acme X2"]),
    ("ObservedProperties", "Datastreams/Thing/name eq 'Silent'", ["Speed", "Volume"]),
    ("FeaturesOfInterest", "substringof('whose place', description) and name ne 'z'", ["a", "c"]),
]


@pytest.mark.parametrize(("plural", "text", "names"), ENTITIES)
async def test_filters_of_the_other_entities(get: Get, plural: str, text: str, names: list[str]) -> None:
    page = await get(f"{plural}?$filter={quote(text)}&$select=name&$orderby=name&$count=true")
    assert ([entity["name"] for entity in page["value"]], page["@iot.count"]) == (names, len(names))


@pytest.mark.parametrize(
    "text",
    [
        "substringof('b','abc')",
        "contains('abc','b')",
        "endswith('abc','c')",
        "startswith('a%c','a%')",
        "not startswith('abc','a%')",
        "length('abc') eq 3",
        "indexof('abc','c') eq 2",
        "indexof('abc','x') eq -1",
        "substring('abcde',1) eq 'bcde'",
        "substring('abcde',1,2) eq 'bc'",
        "tolower('AB') eq 'ab'",
        "toupper('ab') eq 'AB'",
        "trim(' a ') eq 'a'",
        "concat('a','b') eq 'ab'",
        "concat(concat('a',''''),'b') eq 'a''b'",
        "year(2026-11-16T08:09:10.5Z) eq 2026",
        "month(2026-11-16T08:09:10.5Z) eq 11",
        "second(2026-11-16T08:09:10.5Z) eq 10",
        "fractionalseconds(2026-11-16T08:09:10.5Z) eq 0.5",
        "totaloffsetminutes(2026-11-16T08:09:10+02:00) eq 0",
        "date(2026-11-16T23:30:00-02:00) eq 2026-11-17",
        "time(2026-11-16T08:09:10Z) eq 08:09:10",
        "mindatetime() lt now() and now() lt maxdatetime()",
        "round(2.5) eq 3 and round(-2.5) eq -3",
        "floor(-1.5) eq -2",
        "ceiling(1.2) eq 2",
        "7 div 2 eq 3.5",
        "7 mod 4 eq 3",
        "1 add 2 mul 3 eq 7",
        "(1 add 2) mul 3 eq 9",
        "now() add duration'P1D' gt now()",
        "geo.length(geography'LINESTRING (0 0, 3 4)') eq 5",
        "geo.distance(geography'POINT (0 0)', geography'POINT (3 4)') eq 5",
        "st_crosses(geography'LINESTRING (0 0, 2 2)', geography'LINESTRING (0 2, 2 0)')",
        "st_touches(geography'POINT (0 0)', geography'POLYGON ((0 0, 1 0, 1 1, 0 0))')",
        "st_overlaps(geography'POLYGON ((0 0, 2 0, 2 2, 0 2, 0 0))', geography'POLYGON ((1 1, 3 1, 3 3, 1 3, 1 1))')",
        "st_disjoint(geography'POINT (0 0)', geography'POINT (1 1)')",
        "geo.intersects(geography'POINT (0 0)', geography'SRID=4326;POINT (0 0)')",
    ],
)
async def test_functions(get: Get, text: str) -> None:
    everything = len((await get("Things?$select=id"))["value"])
    assert len((await get(f"Things?$select=id&$filter={quote(text)}"))["value"]) == everything
    assert (await get(f"Things?$select=id&$filter={quote(f'not ({text})')}"))["value"] == []


async def test_geometries_as_shapely_has_them(app: FastAPI, get: Get) -> None:
    async with app.state.cityfeed.pool.connection() as connection:
        stored = await run.stored_geometries(connection)
    dice = random.Random(3)
    for _ in range(12):
        lon, lat, r = dice.uniform(-119, -117), dice.uniform(33.5, 34.5), dice.uniform(0.05, 1)
        shape = shapely.Point(lon, lat).buffer(r, 3)
        for name in ("st_within", "st_intersects", "st_disjoint"):
            holds = geometry.apply(name, [stored.shapes["places"], shape], None)
            expected = {k for k, h in zip(stored.ids["places"], holds, strict=True) if h}
            text = quote(f"{name}(location, geography'{shape.wkt}')")
            assert {e["@iot.id"] for e in (await get(f"Locations?$select=id&$filter={text}"))["value"]} == expected


# --- $expand, $select, $orderby, pages -------------------------------------------------------------------------------


async def test_newest_observation_of_every_datastream_is_one_statement(
    get: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    fetch = run.fetch

    async def counted(connection: Any, statement: str, parameters: Any) -> Any:
        asked.append(statement)
        return await fetch(connection, statement, parameters)

    monkeypatch.setattr(run, "fetch", counted)
    path = "Datastreams?$expand=Observations($top=1;$orderby=phenomenonTime desc)&$top=100"
    page = await get(path)
    assert len(asked) == 2  # one for the beginnings of series, which are remembered
    assert await get(path) == page
    assert len(asked) <= 3
    newest = {}
    for r in readings():
        key = (r.dataset, r.sensor, r.metric)
        newest[key] = max(newest.get(key, 0), r.start)
    for stream in page["value"]:
        about = stream["properties"]
        found = [int(o["@iot.id"].partition("-")[2]) for o in stream["Observations"]]
        expected = newest.get((about["dataset"], about["sensor"], about["metric"]))
        assert found == ([] if expected is None else [expected])
        assert ("Observations@iot.nextLink" in stream) == (expected is not None)


async def test_an_answer_is_given_again_until_something_is_stored(
    database: Settings, get: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, fetch = [], run.fetch

    async def counted(connection: run.Connection, statement: str, values: Any) -> Any:
        asked.append(statement)
        return await fetch(connection, statement, values)

    monkeypatch.setattr(run, "fetch", counted)
    path = "Observations?$orderby=phenomenonTime desc&$top=1&$select=parameters"
    options = f"-c search_path={database.database_schema},public"
    with psycopg.connect(str(database.database_url), autocommit=True, options=options) as connection:
        before = await get(path)
        for _ in range(200):  # other tests write to the same server
            made = len(asked)
            assert await get(path) == before
            if len(asked) == made:
                break
        else:
            pytest.fail("the statement was asked every time")
        for step, rev in ((1, 2), (-1, 1)):
            connection.execute("UPDATE readings SET rev = rev + %s", (step,))
            assert (await get(path))["value"][0]["parameters"]["rev"] == rev


async def test_expansions_nest_with_options_and_their_next_link_gives_the_rest(get: Get) -> None:
    path = (
        "Things?$filter=name eq 'New'&$expand=Datastreams($orderby=name desc;$select=name,id;"
        "$expand=Observations($filter=result gt 50;$top=3;$count=true;$orderby=phenomenonTime desc),ObservedProperty),"
        "Locations"
    )
    (thing,) = (await get(path))["value"]
    assert [s["name"] for s in thing["Datastreams"]] == ["New: Volume", "New: Speed"]
    assert thing["Locations"][0]["name"] == "New"
    assert "Datastreams@iot.navigationLink" not in thing
    for stream in thing["Datastreams"]:
        assert set(stream) == {
            "name", "@iot.id", "ObservedProperty",
            "Observations", "Observations@iot.nextLink", "Observations@iot.count",
        }  # fmt: skip
        rest = await values(get, stream["Observations@iot.nextLink"])
        metric = stream["ObservedProperty"]["properties"]["metric"]
        expected = [
            r for r in readings() if (r.dataset, r.sensor, r.metric) == ("traffic", "a", metric) and r.value > 50
        ]
        found = [int(o["@iot.id"].partition("-")[2]) for o in stream["Observations"] + rest]
        assert found == sorted((r.start for r in expected), reverse=True)
        assert stream["Observations@iot.count"] == len(expected) > 3
    short = (await get("Things?$filter=name eq 'New'&$expand=Datastreams/ObservedProperty,Datastreams/Sensor"))[
        "value"
    ][0]
    assert {"ObservedProperty", "Sensor"} <= set(short["Datastreams"][0])
    assert "Datastreams@iot.nextLink" not in short


async def test_select(get: Get) -> None:
    page = await get("Datastreams?$select=name,unitOfMeasurement,Thing")
    assert {frozenset(entity) for entity in page["value"]} == {
        frozenset({"name", "unitOfMeasurement", "Thing@iot.navigationLink"})
    }
    both = (await get("Datastreams?$select=id,Thing&$expand=Thing($select=@iot.selfLink)&$top=1"))["value"][0]
    assert set(both) == {"@iot.id", "Thing@iot.navigationLink", "Thing"}
    assert set(both["Thing"]) == {"@iot.selfLink"}
    assert set(await get(f"Datastreams({both['@iot.id']})?$select=name")) == {"name"}
    whole = await get("Things?$expand=Locations")
    assert await get("Things?$select=*&$expand=Locations($select=name,*)") == whole


ORDERS: list[tuple[str, Callable[[dict[str, Any]], Any]]] = [
    ("result", lambda o: (o["result"] is None, o["result"] or 0)),
    ("result desc", lambda o: (o["result"] is not None, -(o["result"] or 0))),
    ("resultQuality/flag desc,result", lambda o: (-o["resultQuality"]["flag"], o["result"] is None, o["result"] or 0)),
    (
        "phenomenonTime desc,result asc",
        lambda o: (-int(o["@iot.id"].partition("-")[2]), o["result"] is None, o["result"] or 0),
    ),
    ("Datastream/name,phenomenonTime", lambda o: (o["Datastream"]["name"], o["phenomenonTime"])),
    (
        "date(phenomenonTime) desc,Datastream/Thing/name",
        lambda o: (-int(o["phenomenonTime"][:10].replace("-", "")), o["Datastream"]["Thing"]["name"]),
    ),
    (
        "resultTime sub phenomenonTime,parameters/origin",
        lambda o: ("/" in o["phenomenonTime"], o["parameters"]["origin"]),
    ),
]


@pytest.mark.parametrize("order", [order for order, _ in ORDERS])
async def test_pages_in_any_order_are_the_whole_without_repeats(get: Get, order: str) -> None:
    key = dict(ORDERS)[order]
    traffic = "Datastream/properties/dataset eq 'traffic'"
    path = f"Observations?$filter={traffic}&$orderby={order}&$expand=Datastream($expand=Thing)"
    sizes: list[int] = []
    found = await values(get, f"{path}&$top=97", lambda page: sizes.append(len(page["value"])))
    assert set(sizes[:-1]) == {97}
    assert len({o["@iot.id"] for o in found}) == len(found) == len([r for r in readings() if r.dataset == "traffic"])
    assert [key(o) for o in found] == sorted(key(o) for o in found)
    whole = await get(f"{path}&$top=10000")
    assert whole["value"] == found
    assert (await get(f"{path}&$top=50&$skip=120"))["value"] == found[120:170]


@pytest.mark.parametrize("plural", MANDATORY)
async def test_every_collection_pages_to_its_end(get: Get, plural: str) -> None:
    top = 200 if plural == "Observations" else 2
    found = await values(get, f"{plural}?$top={top}&$select=id")
    assert len({e["@iot.id"] for e in found}) == len(found) == COUNTS.get(plural, len(readings()))


async def test_count_top_and_skip(get: Get) -> None:
    assert "@iot.count" not in await get("Things")
    assert "@iot.count" not in await get("Things?$count=false")
    assert await get("Things?$top=0&$count=true") == {"@iot.count": 6, "value": []}
    assert await get("Things?$skip=6") == {"value": []}
    assert len((await get("Observations"))["value"]) == 100
    assert len((await get("Observations?$top=99999999"))["value"]) == len(readings())


@pytest.mark.parametrize("top", [1, 40, 1000])
async def test_newest_first_goes_on_beyond_the_newest_days(get: Get, top: int) -> None:
    (stream,) = (await get("Datastreams?$filter=name eq 'New: Speed'&$expand=Observations($top=1)"))["value"]
    expected = sorted(r.start for r in readings() if (r.dataset, r.sensor, r.metric) == ("traffic", "a", "speed"))
    assert expected[-1] - expected[0] > 3 * DAY_MS
    path = f"Datastreams({stream['@iot.id']})/Observations?$orderby=phenomenonTime desc&$select=id&$top={top}"
    first = [int(o["@iot.id"].partition("-")[2]) for o in (await get(path))["value"]]
    assert first == expected[::-1][:top]
    if top > 1:
        assert [int(o["@iot.id"].partition("-")[2]) for o in await values(get, path)] == expected[::-1]
    assert stream["phenomenonTime"].startswith(moment(expected[0]))
    assert stream["phenomenonTime"].endswith(moment(expected[-1] + 300_000))


async def test_a_page_at_any_depth_is_read_from_the_index(app: FastAPI, get: Get) -> None:
    stream = (await get("Datastreams?$filter=name eq 'New: Speed'"))["value"][0]["@iot.id"]
    for path in (
        f"Datastreams({stream})/Observations?$orderby=phenomenonTime desc&$top=5",
        f"Datastreams({stream})/Observations?$top=5",
    ):
        page = await get((await get(path))["@iot.nextLink"])
        statements: list[tuple[str, Any]] = []
        fetch = run.fetch

        async def kept(connection: Any, statement: str, parameters: Any) -> Any:
            statements.append((statement, parameters))  # noqa: B023
            return await fetch(connection, statement, parameters)  # noqa: B023

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(run, "fetch", kept)
            await get(page["@iot.nextLink"])
        ((statement, parameters),) = statements
        async with app.state.cityfeed.pool.connection() as connection:
            # Of so few rows a sort is cheap: asked is whether it can be done without.
            await connection.execute("SET enable_sort TO off; SET enable_bitmapscan TO off; SET enable_seqscan TO off")
            plan = await (await connection.execute(f"EXPLAIN {statement}".encode(), parameters)).fetchall()
        text = "\n".join(line for (line,) in plan)
        assert "Index" in text
        assert "Sort" not in text.replace("Sort Key", ""), text
        assert "Seq Scan on _hyper" not in text, text


# --- data arrays -----------------------------------------------------------------------------------------------------


async def test_data_array(get: Get) -> None:
    plain = await values(get, "Observations?$expand=Datastream($select=@iot.selfLink)&$top=500")
    expected: dict[str, list[Any]] = {}
    for o in plain:
        row = [
            o[n]
            for n in (
                "@iot.id",
                "phenomenonTime",
                "resultTime",
                "result",
                "resultQuality",
                "validTime",
                "parameters",
            )
        ]
        expected.setdefault(o["Datastream"]["@iot.selfLink"], []).append(row)
    found: dict[str, list[Any]] = {}
    for group in await values(get, "Observations?$resultFormat=dataArray&$top=500"):
        assert group["components"] == [
            "id",
            "phenomenonTime",
            "resultTime",
            "result",
            "resultQuality",
            "validTime",
            "parameters",
        ]
        assert group["dataArray@iot.count"] == len(group["dataArray"])
        found.setdefault(group["Datastream@iot.navigationLink"], []).extend(group["dataArray"])
    assert found == expected
    page = await get("Observations?$resultFormat=dataArray&$select=result,phenomenonTime&$top=1&$count=true")
    assert page["value"][0]["components"] == ["phenomenonTime", "result"]
    assert page["@iot.count"] == len(readings())
    assert "@iot.nextLink" in page


# --- status codes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status", "parameter"),
    [
        ("Nothing", 404, None),
        ("Things(1)", 404, None),
        ("Things('x')", 404, None),
        ("Observations('1-1')", 404, None),
        ("Observations('x')", 404, None),
        ("Observations('1-99999999999999999')", 404, None),
        ("Things?$filter=nme eq 'x'", 400, "$filter"),
        ("Things?$filter=name eq", 400, "$filter"),
        ("Things?$filter=name eq 5", 400, "$filter"),
        ("Things?$filter=name", 400, "$filter"),
        ("Things?$filter=lenght(name) eq 5", 400, "$filter"),
        ("Things?$filter=length(name,name) eq 5", 400, "$filter"),
        ("Things?$filter=Datastreams eq 5", 400, "$filter"),
        ("Things?$filter=name/x eq 5", 400, "$filter"),
        ("Locations?$filter=location eq 'x'", 400, "$filter"),
        ("Locations?$filter=st_within(location,'x')", 400, "$filter"),
        ("Locations?$filter=st_within(location,geography'POLYGON ((1 2))')", 400, "$filter"),
        ("Locations?$filter=st_relate(location,geography'POINT (1 2)','x')", 400, "$filter"),
        ("Locations?$filter=st_within(name,geography'POINT (1 2)')", 400, "$filter"),
        ("Locations?$filter=geo.distance(location,geography'POINT (nan 2)') lt 1", 400, "$filter"),
        ("Observations?$filter=result eq 1e308 mul 1e308", 400, "$filter"),
        ("Observations?$filter=result gt 'abc'", 400, "$filter"),
        ("Observations?$filter=resultTime gt 'abc'", 400, "$filter"),
        ("Observations?$filter=resultTime gt 5", 400, "$filter"),
        ("Observations?$filter=substring('abc',99999999999) eq ''", 400, "$filter"),
        ("Things?$orderby=nme", 400, "$orderby"),
        ("Things?$orderby=Datastreams/name", 400, "$orderby"),
        ("Locations?$orderby=location", 400, "$orderby"),
        ("Things?$select=nme", 400, "$select"),
        ("Things?$expand=nme", 400, "$expand"),
        ("Things?$expand=Datastreams($expand=nme)", 400, "$expand"),
        ("Things?$expand=" + "Datastreams($expand=Thing($expand=" * 5 + "Datastreams" + "))" * 5, 400, "$expand"),
        ("Things?$top=x", 400, "$top"),
        ("Things?$skip=-1", 400, "$skip"),
        ("Things?$count=1", 400, "$count"),
        ("Things?$skiptoken=x", 400, "$skiptoken"),
        ("Things?$search=x", 501, "$search"),
    ],
)
async def test_refusals_say_what_is_wrong(get: Get, path: str, status: int, parameter: str | None) -> None:
    problem = await get(path, status)
    assert problem["status"] == status
    assert problem["type"].startswith("/problems/")
    assert problem.get("parameter") == parameter
    assert problem["detail"]


async def test_what_looks_like_sql_is_a_text(get: Get) -> None:
    for text in ("'; DROP TABLE readings; --", "%(base)s", "{e}", "\\'; --", "%s %", "$1"):
        quoted = quote("'" + text.replace("'", "''") + "'", safe="")
        assert (await get(f"Things?$filter=name eq {quoted}"))["value"] == []
        assert (await get(f"Things?$filter=properties/{'a' * 40} eq {quoted}"))["value"] == []
        assert (
            await get(
                f"Things?$filter=not (name eq {quoted})&$top=1&$expand=Datastreams($filter=name ne {quoted};$top=1)"
            )
        )["value"]
    assert (await get("Observations?$count=true&$top=0"))["@iot.count"] == len(readings())


async def test_a_text_with_nul_is_refused_or_finds_nothing(app: FastAPI) -> None:
    async with client_of(app) as client:
        got = await client.get(f"{ROOT}/Things?$filter=name eq '%00'")
        assert got.status_code == 400


async def test_a_token_belongs_to_its_collection_filter_and_order(get: Get) -> None:
    token = (await get("Things?$top=1"))["@iot.nextLink"].partition("$skiptoken=")[2]
    assert (await get(f"Things?$top=2&$skiptoken={token}"))["value"]
    for path in ("Datastreams?", "Things?$orderby=name&", "Things?$filter=name ne 'x'&"):
        assert (await get(f"{path}$skiptoken={token}", 400))["type"] == "/problems/bad-cursor"


async def test_reading_only_and_validators(app: FastAPI) -> None:
    async with client_of(app) as client:
        for method in ("POST", "PATCH", "PUT", "DELETE"):
            got = await client.request(method, f"{ROOT}/Things", json={"name": "x"})
            assert (got.status_code, got.headers["content-type"]) == (405, "application/problem+json")
        got = await client.get(f"{ROOT}/Things")
        again = await client.get(f"{ROOT}/Things", headers={"if-none-match": got.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        head = await client.head(f"{ROOT}/Things")
        assert (head.status_code, head.content) == (200, b"")


async def test_without_the_database_it_says_so(tmp_path: Path) -> None:
    app = app_without_servers(tmp_path)
    await app.state.cityfeed.pool.open(wait=False)
    try:
        async with client_of(app) as client:
            got = await client.get(f"{ROOT}/Things")
    finally:
        await app.state.cityfeed.pool.close()
    assert (got.status_code, got.json()["type"]) == (503, "/problems/database-unavailable")
    assert "retry-after" in got.headers


# --- a client that others use ----------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_frost_sta_client_reads_us(app: FastAPI) -> None:
    """Fraunhofer's own client for FROST, over real HTTP."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="off", log_config=None))
    serving = asyncio.create_task(server.serve())
    try:
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        await asyncio.to_thread(_read_with_frost, f"http://127.0.0.1:{port}{ROOT}")
    finally:
        server.should_exit = True
        await serving


def _read_with_frost(url: str) -> None:
    service = frost.SensorThingsService(url)
    things = service.things().query().filter("name eq 'New'").expand("Datastreams,Locations").list().entities
    assert [thing.name for thing in things] == ["New"]
    thing = service.things().find(things[0].id)
    assert thing.properties["sensor"] == "a"
    streams = {s.name: s for s in thing.get_datastreams().query().list()}
    stream = streams["New: Speed"]
    assert stream.unit_of_measurement.symbol == "km/h"
    every = service.datastreams().find(stream.id).get_observations().query().top(50).list()
    results = [observation.result for observation in every]
    expected = [r for r in readings() if (r.dataset, r.sensor, r.metric) == ("traffic", "a", "speed")]
    assert len(results) == len(expected) > 100  # it followed the links
    one = service.observations().find(every.entities[0].id)
    expanded = service.observations().query().filter(f"id eq '{one.id}'").expand("Datastream,FeatureOfInterest").list()
    assert [(o.datastream.name, o.feature_of_interest.name) for o in expanded] == [("New: Speed", "Old")]
    for collection in (
        service.locations(), service.historical_locations(), service.sensors(), service.observed_properties(),
        service.features_of_interest(),
    ):  # fmt: skip
        assert len(list(collection.query().list())) > 1
