import re
from pathlib import Path

import msgspec
import pytest

from schemas.city import DECODER_NAMES, FILES, City, CityInfo, Source, SourceMetric, parse_city, read_city, read_files
from schemas.datasets import Dataset, Metric, Position, Privacy, shipped_files
from schemas.errors import CityFolderError
from schemas.readings import RESERVED_DATASETS
from schemas.registry import Registration, Site
from schemas.registry_files import COLUMNS

SAMPLE = Path(__file__).parents[2] / "deploy" / "sample_city"

CITY = """\
name = "Small Town"
time_zone = "Europe/Berlin"
bbox = [13.0, 52.3, 13.8, 52.7]
"""
SOURCES = """\
[[source]]
topic = "tele/+/SENSOR"
decoder = "tasmota"
dataset = "air-quality"
sensor = "tasmota-{1}"
time_zone = "Europe/Berlin"

[source.metrics]
"PMS5003.PM2\\\\.5" = "pm25"
"BME280.Pressure" = { metric = "pressure", unit = "hPa" }
"""


def problems(files: dict[str, str]) -> list[str]:
    """The problems of a city that is right but for these files."""
    with pytest.raises(CityFolderError) as caught:
        parse_city({"city.toml": CITY} | files)
    return caught.value.problems


def test_the_sample_city_parses() -> None:
    city = read_city(SAMPLE)
    assert city.info.name == "Los Angeles (sample)"
    assert city.info.time_zone == "America/Los_Angeles"
    assert set(city.datasets) == {"air-quality", "traffic"}
    assert city.datasets["traffic"].licence == "MIT", "the city's file wins over the shipped one"
    assert sum(r.dataset == "traffic" for r in city.registrations) == 207
    air = [r for r in city.registrations if r.dataset == "air-quality"]
    assert len(air) == 3 and all(r.demo for r in air), "their places are demonstration places"
    assert {source.decoder for source in city.sources} == {"tasmota", "zigbee2mqtt", "sensor-community"}


def test_every_sample_sensor_stands_in_the_city() -> None:
    city = read_city(SAMPLE)
    west, south, east, north = city.info.bbox
    for registration in city.registrations:
        lon, lat = registration.site.lon, registration.site.lat
        assert lon is not None and west <= lon <= east, registration
        assert lat is not None and south <= lat <= north, registration


def test_the_least_city() -> None:
    city = parse_city({"city.toml": CITY})
    assert city.info.languages == ("en",)
    assert (city.sources, city.registrations) == ((), ())
    assert {f"datasets/{name}.toml" for name in city.datasets} == set(shipped_files())


def test_csv_and_geojson_may_both_be_there() -> None:
    geojson = '{"features": [{"geometry": {"type": "Point", "coordinates": [13.1, 52.4]}, "properties": \
               {"dataset": "traffic", "sensor": "b"}}]}'
    city = parse_city({"city.toml": CITY, "sensors.csv": "dataset,sensor\ntraffic,a\n", "sensors.geojson": geojson})
    assert city.registrations == (Registration("traffic", "a"), Registration("traffic", "b", site=Site("", 13.1, 52.4)))


def test_fields_of_a_source() -> None:
    source: Source = parse_city({"city.toml": CITY, "sources.toml": SOURCES}).sources[0]
    assert source.metric_of("PMS5003.PM2\\.5") == SourceMetric("pm25")
    assert source.metric_of("BME280.Pressure") == SourceMetric("pressure", "hPa")
    assert source.metric_of("Wifi.RSSI") is None
    assert (source.time, source.stamp, source.period_s) == ("payload", "start", None)


def test_a_sensor_that_moved_is_no_repetition() -> None:
    csv = "dataset,sensor,lon,lat,valid_from\ntraffic,a,13.1,52.4,\ntraffic,a,13.2,52.4,2026-01-31T12:00:00Z\n"
    assert len(parse_city({"city.toml": CITY, "sensors.csv": csv}).registrations) == 2


def test_a_datasets_file_of_the_city_is_known_to_its_sensors() -> None:
    text = shipped_files()["datasets/traffic.toml"].replace('id = "traffic"', 'id = "bikes"')
    files = {"city.toml": CITY, "datasets/bikes.toml": text, "sensors.csv": "dataset,sensor\nbikes,a\n"}
    city: City = parse_city(files)
    assert set(city.datasets) == {"air-quality", "traffic", "bikes"}


def test_a_mistake_in_a_datasets_file_is_not_told_of_all_its_sensors_as_well() -> None:
    text = shipped_files()["datasets/traffic.toml"].replace('id = "traffic"', 'id = "Bikes"')
    found = problems({"datasets/bikes.toml": text, "sensors.csv": "dataset,sensor\nbikes,a\nbikes,b\n"})
    assert len(found) == 1 and found[0].startswith("datasets/bikes.toml:1: id 'Bikes' is reserved or not of the form")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('name = "Small Town"\n', "", "city.toml:1: name is missing; add it"),
        ("Europe/Berlin", "Europe/Berln", "city.toml:2: time_zone 'Europe/Berln' is not an IANA zone such as"),
        ("Europe/Berlin", "CEST", "city.toml:2: time_zone 'CEST' is not an IANA zone such as"),
        ("[13.0, 52.3, 13.8, 52.7]", "[52.3, 13.0, 52.7, 113.8]", "city.toml:3: bbox must be [minLon, minLat, maxLon"),
        ("[13.0, 52.3, 13.8, 52.7]", "[13.0, 52.3, 190, 52.7]", "city.toml:3: bbox must be [minLon, minLat, maxLon"),
        ("[13.0, 52.3, 13.8, 52.7]", "[13.0, 52.7, 13.8, 52.3]", "city.toml:3: bbox must be [minLon, minLat, maxLon"),
        ("[13.0, 52.3, 13.8, 52.7]", "[13.0, 52.3, 13.8]", "city.toml:3: bbox: expected `array` of length 4, got 3"),
        ("bbox", "units = { sped = 'km/h' }\nbbox", "city.toml:3: units: there is no quantity 'sped'"),
        ("bbox", "[units]\nspeed = 'Cel'\nbbox", "city.toml:1: bbox is missing; add it"),
        ("bbox", "units = { speed = 'Cel' }\nbbox", "city.toml:3: units: no conversion from 'Cel' to km/h for speed"),
        ("bbox", "timezone = 'x'\nbbox", "city.toml:3: timezone means nothing here; known are name, time_zone"),
        ('"Small Town"', '""', "city.toml:1: name is empty; say it"),
        ("bbox", "languages = ['english']\nbbox", "city.toml:3: languages are codes such as en or pt-BR, one at least"),
        ("bbox", "languages = []\nbbox", "city.toml:3: languages are codes such as en or pt-BR, one at least; not []"),
        ("bbox", "preferred_index = 'aqi'\nbbox", "city.toml:3: there is no index 'aqi'; there are us-aqi, nowcast"),
        ("bbox = [", "bbox = [[", "city.toml:4: not TOML: "),
    ],
)
def test_mistakes_in_city_toml(old: str, new: str, problem: str) -> None:
    assert any(p.startswith(problem) for p in problems({"city.toml": CITY.replace(old, new, 1)}))


def test_a_city_across_the_antimeridian_is_right() -> None:
    text = CITY.replace("[13.0, 52.3, 13.8, 52.7]", "[176.0, -20.0, -177.0, -15.0]")
    assert parse_city({"city.toml": text}).info.bbox == (176.0, -20.0, -177.0, -15.0)


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("tele/+/SENSOR", "tele/+x/SENSOR", 13, "topic 'tele/+x/SENSOR' is no MQTT filter: + and # stand for whole"),
        ("tele/+/SENSOR", "tele/#/+", 13, "topic 'tele/#/+' is no MQTT filter: # can only be the last level"),
        ("tele/+/SENSOR", "", 13, "topic '' is no MQTT filter: it is empty"),
        ('"tasmota"', '"tasmata"', 14, f"decoder 'tasmata' is none of {', '.join(DECODER_NAMES)}"),
        ('"air-quality"', '"air"', 15, "there is no dataset 'air'; there are air-quality, traffic"),
        ('"air-quality"', '"{2}"', 15, "dataset {2}: the topic 'tele/+/SENSOR' has 1 level(s) with +"),
        ("tasmota-{1}", "tasmota-{2}", 16, "sensor {2}: the topic 'tele/+/SENSOR' has 1 level(s) with +"),
        ("tasmota-{1}", "tasmota/{1}", 16, "sensor 'tasmota/{1}' must be of the form [A-Za-z0-9]"),
        ('sensor = "tasmota-{1}"\n', "", 12, "source[1].sensor is missing; add it"),
        ('time_zone = "Europe/Berlin"', 'time_zone = "Berlin"', 17, "time_zone 'Berlin' is not an IANA zone"),
        ('time_zone = "Europe/Berlin"', 'time = "now"', 17, "time is payload or received, not 'now'"),
        ('time_zone = "Europe/Berlin"', 'stamp = "middle"', 17, "stamp is start or end, not 'middle'"),
        ('time_zone = "Europe/Berlin"', "period_s = -1", 17, "source[1].period_s: expected `int` >= 0"),
        ('= "pm25"', '= "PM2.5"', 20, "there is no quantity 'PM2.5'; schemas/quantities.py lists them"),
        ('"hPa"', '"inHg"', 21, "BME280.Pressure: no conversion from 'inHg' to hPa for pressure; schemas/units.py"),
        ('metric = "pressure", ', "", 21, "source[1].metrics.BME280.Pressure.metric is missing"),
    ],
)
def test_mistakes_in_the_second_source_of_sources_toml(old: str, new: str, line: int, says: str) -> None:
    second = SOURCES.replace(old, new)
    assert second != SOURCES
    found = problems({"sources.toml": SOURCES + "\n" + second})
    assert len(found) == 1, found
    assert found[0].startswith(f"sources.toml:{line}: ")
    assert says in found[0]


def test_city_with_mistakes() -> None:
    """A folder with a mistake of every kind: every one is told, with its file and its line, in one go."""
    traffic = shipped_files()["datasets/traffic.toml"]
    files = {
        "city.toml": 'title = "A"\nname = 4\ntime_zone = "Mars"\nbbox = [0, 9, 0, 1]\nunits = { pm25 = "Cel" }\n',
        "datasets/traffic.toml": traffic.replace("fail = [0, 250]", "fail = [250, 0]").replace('"{veh}"', '"cars"'),
        "datasets/bikes.toml": "id =\n",
        "datasets/noise.toml": traffic.replace("lateness_s = 300", "lateness_s = -1"),
        "sources.toml": SOURCES.replace("tasmota-{1}", "{3}").replace('"tasmota"', "5").replace('"hPa"', '"inHg"')
        + '[[source]]\ntopic = "a/#/b"\ndecoder = "none"\ndataset = "no-such"\nsensr = "x"\ntime = "later"\n',
        "sensors.csv": "dataset,sensor,lon,lat,metrics\n"
        "traffic,a,13.1,52.4,\n"
        "traffic,a b,13.1,52.4,\n"
        "traffic,c,13.1,,\n"
        "nowhere,d,13.1,52.4,\n"
        "bikes,e,13.1,52.4,\n"
        "traffic,f,13.1,52.4,speed=parsecs\n"
        "traffic,a,13.2,52.4,\n",
        "sensors.geojson": '{"features": [\n{"geometry": null},\n{"geometry": {"type": "Point", "coordinates": [1, 2]},'
        ' "properties": {"dataset": "traffic", "sensor": "a"}}\n]}',
    }
    found = problems(files)
    expected = {
        "city.toml:1": "title means nothing here",
        "city.toml:2": "name: expected `str`, got `int`",
        "city.toml:3": "time_zone 'Mars' is not an IANA zone",
        "city.toml:4": "bbox must be",
        "city.toml:5": "no conversion from 'Cel' to ug/m3 for pm25",
        "datasets/traffic.toml:28": "metrics.speed: fail must be [low, high]",
        "datasets/traffic.toml:38": "metrics.volume: no conversion from 'cars'",
        "datasets/bikes.toml:1": "not TOML",
        "datasets/noise.toml:1": "call the file traffic.toml",
        "datasets/noise.toml:14": "lateness_s must not be negative",
        "sources.toml:3": "source[0].decoder: expected `str`, got `int`",
        "sources.toml:5": "sensor {3}: the topic 'tele/+/SENSOR' has 1 level(s) with +",
        "sources.toml:10": "no conversion from 'inHg'",
        "sources.toml:12": "# can only be the last level",
        "sources.toml:13": "decoder 'none' is none of cityfeed",
        "sources.toml:14": "there is no dataset 'no-such'; there are air-quality, bikes, noise, traffic",
        "sources.toml:15": "source[1].sensr means nothing here",
        "sources.toml:11": "source[1].sensor is missing",
        "sources.toml:16": "time is payload or received",
        "sensors.csv:3": "sensor 'a b' must be of the form",
        "sensors.csv:4": "lon and lat go together",
        "sensors.csv:5": "there is no dataset 'nowhere'",
        "sensors.csv:7": "no conversion from 'parsecs' to km/h",
        "sensors.csv:8": "traffic/a is listed before, in sensors.csv, with the same valid_from",
        "sensors.geojson:2": "needs a geometry of type Point",
        "sensors.geojson:3": "traffic/a is listed before, in sensors.csv, with the same valid_from",
    }
    said = {re.match(r"[\w./]+:\d+", problem)[0]: problem for problem in found}  # type: ignore[index]
    assert {place: text for place, text in expected.items() if text not in said.get(place, "")} == {}
    assert len(found) == len(expected), found


# --- files -----------------------------------------------------------------------------------------------------


def test_the_files_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "city.toml").write_text("\ufeff" + CITY, "utf-8")
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "b.toml").write_text("b")
    (tmp_path / "datasets" / "notes.txt").write_text("not read")
    (tmp_path / "sensors.csv").write_text("dataset,sensor\n")
    (tmp_path / "README.md").write_text("not read")
    assert read_files(tmp_path) == {
        "city.toml": CITY, "sensors.csv": "dataset,sensor\n", "datasets/b.toml": "b"
    }  # fmt: skip
    assert "city.toml" in FILES and "sensors.geojson" in FILES


@pytest.mark.parametrize("folder", ["", "no/such/folder"])
def test_a_folder_without_city_toml(tmp_path: Path, folder: str) -> None:
    with pytest.raises(CityFolderError, match=r"city\.toml is missing; CITYFEED_CITY_DIR names the city folder"):
        read_city(tmp_path / folder)


def test_every_file_that_is_not_utf8_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "city.toml").write_text(CITY)
    (tmp_path / "sensors.csv").write_bytes("dataset,sensor,name\ntraffic,a,Straße\n".encode("latin-1"))
    (tmp_path / "sources.toml").write_bytes(b"\xff")
    with pytest.raises(CityFolderError) as caught:
        read_city(tmp_path)
    assert caught.value.problems == [
        "sources.toml:1: not UTF-8; save it as UTF-8",
        "sensors.csv:2: not UTF-8; save it as UTF-8",
    ]


def test_a_folder_in_a_files_place_is_told_and_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "city.toml").write_text(CITY)
    (tmp_path / "datasets" / "noise.toml").mkdir(parents=True)
    with pytest.raises(CityFolderError) as caught:
        read_city(tmp_path)
    assert caught.value.problems == ["datasets/noise.toml: not a file; take it away, or write the file"]


# --- docs/city-folder.md -----------------------------------------------------------------------------------------

DOCS = (Path(__file__).parents[2] / "docs" / "city-folder.md").read_text("utf-8")


def files_of_docs() -> dict[str, str]:
    """The files that docs/city-folder.md shows; the first line of a block says its name, but in JSON."""
    files: dict[str, str] = {}
    for kind, text in re.findall(r"^```(\w+)\n(.*?)^```", DOCS, re.MULTILINE | re.DOTALL):
        if kind == "json":
            files["sensors.geojson"] = text
        else:
            first, _, rest = text.partition("\n")
            files[first.removeprefix("# ")] = rest if kind == "csv" else text
    return files


def test_the_folder_that_the_docs_show_is_right() -> None:
    files = files_of_docs()
    assert set(files) == {*FILES, "datasets/noise.toml"}
    city = parse_city(files)
    assert set(city.datasets) == {"air-quality", "noise", "traffic"}
    assert [r.sensor for r in city.registrations] == ["loop-1", "a-1", "a-1", "balcony-7", "n-1", "loop-2"]
    assert city.registrations[1].series["no2"].unit == "ug/m3@20Cel"


TABLES = {(Dataset, field) for field in ("metrics", "privacy", "sensors", "position")} | {(Source, "metrics")}


@pytest.mark.parametrize("kind", [CityInfo, Dataset, Metric, Position, Privacy, Source, SourceMetric])
def test_the_docs_show_every_field(kind: type[msgspec.Struct]) -> None:
    for field in kind.__struct_fields__:
        if (kind, field) not in TABLES:
            assert re.search(rf"\b{field} = ", DOCS), f"{kind.__name__}.{field}"
    assert all(table in DOCS for table in ("[metrics.", "[privacy]", "[sensors.", "[position]", "[source.metrics]"))


def test_the_docs_tell_every_column_every_decoder_and_every_reserved_word() -> None:
    assert set(COLUMNS) <= set(re.findall(r"`(\w+)`", DOCS))
    assert all(name in DOCS for name in DECODER_NAMES)
    assert all(word in DOCS for word in RESERVED_DATASETS)
