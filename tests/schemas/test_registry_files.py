import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from schemas.quality import Quality, Spike
from schemas.registry import Device, Registration, Series, Site
from schemas.registry_files import COLUMNS, parse_geojson, parse_sensors_csv

T = 1_769_860_800_000  # 2026-01-31T12:00:00Z


def csv_of(row: dict[str, str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([row, row.values()])
    return text.getvalue()


def feature(properties: dict[str, Any], coordinates: Any = (-118.25, 34.05)) -> dict[str, Any]:
    return {"type": "Feature", "geometry": {"type": "Point", "coordinates": coordinates}, "properties": properties}


def geojson(*features: Any) -> str:
    return json.dumps({"type": "FeatureCollection", "features": list(features)})


FULL = {
    "dataset": "air-quality", "sensor": "a-1", "name": "5th Street", "lon": "-118.25", "lat": "34.05",
    "height_m": "2.5", "surroundings": "roadside", "valid_from": "2026-01-31T12:00:00Z",
    "valid_to": "2026-02-01T00:00:00.001+01:00", "make": "M", "model": "N", "serial": "S", "firmware": "F",
    "owner": "O", "public_precision_m": "100", "demo": "true", "metrics": "pm25=µg/m³@60;no2=ug/m3@20Cel@3600;o3",
    "quality": '{"o3": {"spike": {"suspect": 9}}}',
}  # fmt: skip
FULL_MEANS = Registration(
    "air-quality", "a-1", T, 1_769_900_400_001, Site("5th Street", -118.25, 34.05, 2.5, "roadside"),
    Device("M", "N", "S", "F", "O"),
    {"pm25": Series("µg/m³", 60, 60), "no2": Series("ug/m3@20Cel", 3600, 3600),
     "o3": Series(quality=Quality(spike=Spike(suspect=9)))}, 100, True,
)  # fmt: skip


def test_a_row_with_everything() -> None:
    assert set(FULL) == set(COLUMNS)
    assert parse_sensors_csv(csv_of(FULL), "sensors.csv") == ([FULL_MEANS], [])


def test_a_feature_with_everything() -> None:
    properties: dict[str, Any] = {k: v for k, v in FULL.items() if k not in ("lon", "lat")}
    properties["quality"] = json.loads(properties["quality"])
    properties |= {"height_m": 2.5, "public_precision_m": 100, "demo": True, "opened_by": "the mayor", "owner": "O"}
    assert parse_geojson(geojson(feature(properties)), "f.geojson") == ([FULL_MEANS], [])


def test_a_row_with_what_is_needed_only() -> None:
    assert parse_sensors_csv("dataset,sensor\ntraffic,773869\n", "f") == ([Registration("traffic", "773869")], [])
    assert parse_geojson(geojson(feature({"dataset": "traffic", "sensor": 773869, "name": None}, [1, 2, 3])), "f") == (
        [Registration("traffic", "773869", site=Site(lon=1.0, lat=2.0))],
        [],
    )


def test_spaces_blank_lines_and_short_rows_do_no_harm() -> None:
    text = 'dataset,sensor,name,lon,lat\n\n  traffic , a ,"5th, corner ""B"""\ntraffic,b,,1,2\n'
    found, problems = parse_sensors_csv(text, "f")
    assert problems == []
    assert [(r.sensor, r.site.name) for r in found] == [("a", '5th, corner "B"'), ("b", "")]


def test_lines_that_end_as_on_windows() -> None:
    found, problems = parse_sensors_csv("dataset,sensor\r\ntraffic,a\r\ntraffic,b c\r\n", "f")
    assert [r.sensor for r in found] == ["a"]
    assert problems[0].startswith("f:3: sensor 'b c'")


def test_a_sensor_that_moved_has_two_rows() -> None:
    text = "dataset,sensor,lon,lat,valid_from\ntraffic,a,1,2,\ntraffic,a,3,4,2026-01-31T12:00:00Z\n"
    found, problems = parse_sensors_csv(text, "f")
    assert problems == []
    assert [(r.valid_from, r.site.lon) for r in found] == [(None, 1.0), (T, 3.0)]


@pytest.mark.parametrize("ms", [0, 1, 123, 999])
def test_times_are_exact_to_the_millisecond(ms: int) -> None:
    row = {"dataset": "traffic", "sensor": "a", "valid_from": f"2026-01-31T12:00:00.{ms:03}Z"}
    assert parse_sensors_csv(csv_of(row), "f")[0][0].valid_from == T + ms


@pytest.mark.parametrize(
    ("metrics", "series"),
    [
        ("speed", Series()),
        ("speed=mph", Series("mph")),
        ("speed=mph@300", Series("mph", 300, 300)),
        ("speed@20", Series(None, 20, 20)),
        ("speed@0", Series(None, 0, None)),  # an instant, as often as the dataset says
        (" speed=mph@300 ; ", Series("mph", 300, 300)),
    ],
)
def test_what_is_special_of_a_series(metrics: str, series: Series) -> None:
    found, problems = parse_sensors_csv(csv_of({"dataset": "traffic", "sensor": "a", "metrics": metrics}), "f")
    assert problems == []
    assert found[0].series == {"speed": series}


MISTAKES = [
    ({"dataset": "Traffic"}, "dataset 'Traffic' must be of the form [a-z0-9][a-z0-9-]{0,62}"),
    ({"dataset": ""}, "dataset '' must be of the form"),
    ({"sensor": "a/b"}, "sensor 'a/b' must be of the form [A-Za-z0-9]"),
    ({"sensor": ""}, "sensor '' must be of the form"),
    ({"lon": "181"}, "lon 181 is not between -180 and 180"),
    ({"lat": "-90.5"}, "lat -90.5 is not between -90 and 90"),
    ({"lat": "nan"}, "lat nan is not between -90 and 90"),
    ({"lon": "118 W"}, "lon '118 W' is not a number"),
    ({"height_m": "1e6"}, "height_m 1e6 is not between -500 and 9000"),
    ({"public_precision_m": "-1"}, "public_precision_m -1 is not between 0 and"),
    ({"valid_from": "yesterday"}, "valid_from 'yesterday' is not RFC 3339, such as 2026-01-31T00:00:00Z"),
    ({"valid_to": "2026-01-31T00:00:00"}, "needs an offset, such as 2026-01-31T00:00:00Z"),
    ({"valid_from": "2026-01-31"}, "needs an offset, such as 2026-01-31T00:00:00Z"),
    ({"valid_from": "2026-01-31T00:00:00Z", "valid_to": "2026-01-31T01:00:00+01:00"}, "must be after valid_from"),
    ({"demo": "yes"}, "demo is true or false, not 'yes'"),
    ({"metrics": "speed:mph"}, "metrics: 'speed:mph' is not metric[=unit][@period_s], such as speed=mph@300"),
    ({"metrics": "speed=@300"}, "is not metric[=unit][@period_s], such as speed=mph@300"),
    ({"metrics": "Speed"}, "is not metric[=unit][@period_s], such as speed=mph@300"),
    ({"metrics": "sped=mph"}, "metrics: there is no quantity 'sped'; schemas/quantities.py lists them"),
    ({"metrics": "speed=furlong@300"}, "metrics: no conversion from 'furlong' to km/h for speed; schemas/units.py"),
    ({"metrics": "speed=mph;speed@60"}, "metrics: speed is there twice"),
    ({"metrics": "speed@99999999999"}, "a period is at most 31622400 s"),
    ({"quality": "spike"}, 'quality is JSON such as {"pm25": {"spike": {"suspect": 80}}}'),
    ({"quality": '{"speed":{"spikes":{}}}'}, "spikes"),
]  # fmt: skip
GOOD = {"dataset": "traffic", "sensor": "a", "lon": "1", "lat": "2"}


@pytest.mark.parametrize(("wrong", "says"), MISTAKES)
def test_a_mistake_in_a_csv_has_file_line_and_remedy(wrong: dict[str, str], says: str) -> None:
    row = GOOD | wrong
    text = ",".join(row) + "\n" + ",".join((GOOD | dict.fromkeys(wrong, "") | GOOD).values()) + "\n" + csv_of(row)[
        csv_of(row).index("\n") + 1 :
    ]  # fmt: skip
    found, problems = parse_sensors_csv(text, "city/sensors.csv")
    assert found == [Registration("traffic", "a", site=Site(lon=1.0, lat=2.0))], "the other row is read"
    assert len(problems) == 1
    assert problems[0].startswith("city/sensors.csv:3: ")
    assert says in problems[0]


@pytest.mark.parametrize(("wrong", "says"), MISTAKES)
def test_the_same_mistake_in_geojson(wrong: dict[str, str], says: str) -> None:
    row = GOOD | wrong
    properties = {key: value for key, value in row.items() if key not in ("lon", "lat")}
    text = '{\n "type": "FeatureCollection",\n "features": [\n  ' + ",\n  ".join([
        json.dumps(feature({"dataset": "traffic", "sensor": "first"})),
        json.dumps(feature(properties, [row["lon"], row["lat"]])),
        json.dumps(feature({"dataset": "traffic", "sensor": "last"})),
    ]) + "\n ]\n}\n"  # fmt: skip
    found, problems = parse_geojson(text, "city/sensors.geojson")
    assert [r.sensor for r in found] == ["first", "last"]
    assert len(problems) == 1
    assert problems[0].startswith("city/sensors.geojson:5: ")
    assert says in problems[0]


@pytest.fixture
def usual_limit() -> Iterator[None]:
    """The csv module has one limit for the whole process, and other libraries lift it."""
    before = csv.field_size_limit(131_072)
    yield
    csv.field_size_limit(before)


@pytest.mark.usefixtures("usual_limit")
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "f:1: column 'dataset' is missing"),
        ("sensor\na\n", "f:1: column 'dataset' is missing"),
        ("dataset,sensor,latt\nd,a,1\n", "f:1: unknown column 'latt'; known are dataset, sensor, name, lon, lat"),
        ("dataset;sensor\nd;a\n", "f:1: column 'dataset' is missing"),
        ("dataset,sensor\nd,a\nd,b,more\n", "f:3: more fields than the header has; a field with commas goes in double"),
        ("dataset,sensor,lon,lat\nd,a,1,\n", "f:2: lon and lat go together"),
        ('dataset,sensor\nd,a\nd,"b\nd,c\n', "f:3: not CSV: unexpected end of data; a field with quotes"),
        ('dataset,sensor\nd,"a"b\n', "f:2: not CSV: "),
        ("dataset,sensor\nd," + "a" * 200_000 + "\n", "f:2: not CSV: field larger than field limit"),
    ],
)
def test_a_csv_that_is_none(text: str, problem: str) -> None:
    assert parse_sensors_csv(text, "f")[1][0].startswith(problem)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "f:1: not JSON: "),
        ('{\n"features": [\n}', "f:3: not JSON: "),
        ("[]", "f:1: not a GeoJSON FeatureCollection"),
        ('{"features": {}}', "f:1: not a GeoJSON FeatureCollection"),
        ('{"type": "Feature"}', "f:1: not a GeoJSON FeatureCollection"),
        ("[" * 100_000, "f:1: not GeoJSON: nested too deeply"),
    ],
)
def test_a_geojson_that_is_none(text: str, problem: str) -> None:
    found, problems = parse_geojson(text, "f")
    assert found == []
    assert problems[0].startswith(problem)


@pytest.mark.parametrize(
    "wrong",
    [
        None, 5, "a", [], {}, {"geometry": None, "properties": {}}, {"geometry": {"type": "Point"}, "properties": {}},
        {"geometry": {"type": "Point", "coordinates": [1]}, "properties": {}},
        {"geometry": {"type": "LineString", "coordinates": [[1, 2], [3, 4]]}, "properties": {}},
        {"geometry": {"type": "Point", "coordinates": [1, 2]}, "properties": None},
    ],
)  # fmt: skip
def test_a_feature_that_is_no_point(wrong: Any) -> None:
    text = geojson(wrong, feature({"dataset": "d", "sensor": "s"}))
    found, problems = parse_geojson(text, "f")
    assert [r.sensor for r in found] == ["s"]
    assert problems == ["f:1: the feature needs a geometry of type Point, and properties"]


def test_what_a_check_says_gets_its_line_too() -> None:
    def check(registration: Registration) -> list[str]:
        return ["no b here", "nor there"] if registration.sensor == "b" else []

    assert parse_sensors_csv("dataset,sensor\nd,a\nd,b\n", "f", check)[1] == ["f:3: no b here", "f:3: nor there"]
    text = geojson(feature({"dataset": "d", "sensor": "a"}), feature({"dataset": "d", "sensor": "b"}))
    assert parse_geojson(text, "f", check)[1] == ["f:1: no b here", "f:1: nor there"]


def test_a_text_with_a_control_character_is_refused() -> None:
    wrong = feature({"dataset": "d", "sensor": "s", "name": "5th\x00Street"})
    assert parse_geojson(geojson(wrong), "f") == ([], ["f:1: site.name has a control character"])
