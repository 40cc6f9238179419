"""The formats, each read back with another reader."""

import csv
import io
import json
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.examples import DATASET, HISTORY_META, LATEST, LATEST_META, READING, SENSOR, WINDOW
from api.formats import FORMATS, choose
from api.rows import LatestValueRow, ReadingRow, SensorRow, WindowRow
from schemas.errors import RequestError

ALL = ("json", "ndjson", "csv", "geojson")
TABLE = ("json", "ndjson", "csv")


@pytest.mark.parametrize(
    ("accept", "format"),
    [
        ("", "json"),
        ("*/*", "json"),
        ("application/json", "json"),
        ("text/csv", "csv"),
        ("TEXT/CSV; charset=utf-8", "csv"),
        ("text/*", "csv"),
        ("application/geo+json", "geojson"),
        ("application/x-ndjson, application/json;q=0.5", "ndjson"),
        ("application/json;q=0.4, text/csv;q=0.5", "csv"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "json"),  # a browser
        ("application/json;q=0, */*", "ndjson"),
        ("nonsense", "json"),
    ],
)
def test_accept_chooses(accept: str, format: str) -> None:
    assert choose(None, accept, ALL) == format


def test_format_wins_over_accept() -> None:
    assert choose("csv", "application/json", TABLE) == "csv"


@pytest.mark.parametrize("accept", ["image/png", "application/json;q=0", "text/csv;q=oops", "application/geo+json"])
def test_what_can_not_be_written_is_406(accept: str) -> None:
    with pytest.raises(RequestError) as refused:
        choose(None, accept, TABLE)
    assert (refused.value.status, refused.value.kind) == (406, "not-acceptable")
    assert "text/csv" in str(refused.value.remedy)


def test_an_unknown_format_names_the_nearest() -> None:
    with pytest.raises(RequestError, match="Did you mean 'geojson'") as refused:
        choose("geo-json", "", ALL)
    assert (refused.value.status, refused.value.parameter) == (400, "format")
    with pytest.raises(RequestError, match="'geojson'"):
        choose("geojson", "", TABLE)


@given(st.text(max_size=60))
def test_any_accept_is_read(accept: str) -> None:
    try:
        assert choose(None, accept, ALL) in ALL
    except RequestError as e:
        assert e.status == 406


def test_json_has_data_next_meta() -> None:
    body = json.loads(FORMATS["json"].write(ReadingRow, [READING], "http://x/?a=1", HISTORY_META))
    assert list(body) == ["data", "next", "meta"]
    assert body["data"] == [msgspec.to_builtins(READING)]
    assert body["next"] == "http://x/?a=1"
    assert body["meta"]["from"] == HISTORY_META.from_
    assert json.loads(FORMATS["json"].write(ReadingRow, [], None, HISTORY_META))["data"] == []


def test_json_of_what_is_not_a_number_is_null() -> None:
    row = msgspec.structs.replace(READING, value=math.nan)
    assert json.loads(FORMATS["json"].write(ReadingRow, [row], None, HISTORY_META))["data"][0]["value"] is None


def test_ndjson_is_a_row_a_line() -> None:
    body = FORMATS["ndjson"].write(ReadingRow, [READING, READING], None, HISTORY_META)
    assert body.endswith(b"\n")
    assert [json.loads(line) for line in body.splitlines()] == [msgspec.to_builtins(READING)] * 2
    assert FORMATS["ndjson"].write(ReadingRow, [], None, HISTORY_META) == b""


def read_csv(body: bytes) -> list[dict[str, str]]:
    assert b"\r" not in body
    return list(csv.DictReader(io.StringIO(body.decode(), newline="")))


def test_csv_has_the_names_of_json() -> None:
    (row,) = read_csv(FORMATS["csv"].write(WindowRow, [WINDOW], None, HISTORY_META))
    assert list(row) == list(msgspec.to_builtins(WINDOW))
    assert row["mean"] == "71.3"
    assert row["complete"] == "true"
    assert row["published"] == "2026-11-16T09:05:01.004Z"


def test_csv_of_nothing_is_the_header() -> None:
    assert FORMATS["csv"].write(ReadingRow, [], None, HISTORY_META).decode() == (
        "dataset,sensor,metric,unit,start,end,period_s,value,flag,tests,rev,origin,received\n"
    )


def test_csv_null_is_empty_and_columns_may_begin_with_it() -> None:
    rows = [
        msgspec.structs.replace(WINDOW, n_expected=None, mean=None),
        msgspec.structs.replace(WINDOW, complete=False, mean=0.1 + 0.2),
    ]
    first, second = read_csv(FORMATS["csv"].write(WindowRow, rows, None, HISTORY_META))
    assert (first["n_expected"], first["mean"], first["complete"]) == ("", "", "true")
    assert (second["n_expected"], second["mean"], second["complete"]) == ("12", "0.30000000000000004", "false")


def test_csv_of_lists_is_json_in_a_field() -> None:
    (row,) = read_csv(FORMATS["csv"].write(SensorRow, [SENSOR], None, LATEST_META))
    assert json.loads(row["series"]) == msgspec.to_builtins(SENSOR.series)
    assert json.loads(row["device"])["make"] == "Caltrans"
    assert row["registered"] == "true"
    (row,) = read_csv(FORMATS["csv"].write(type(DATASET), [DATASET], None, LATEST_META))
    assert json.loads(row["links"])["self"] == DATASET.links["self"]


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.none() | st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(st.tuples(TEXTS, VALUES), min_size=1, max_size=5))
def test_csv_and_json_say_the_same(given_rows: list[tuple[str, float | None]]) -> None:
    rows = [msgspec.structs.replace(READING, sensor=sensor, value=value) for sensor, value in given_rows]
    text = FORMATS["csv"].write(ReadingRow, rows, None, HISTORY_META).decode()
    table = list(csv.DictReader(io.StringIO(text, newline="")))
    data = json.loads(FORMATS["json"].write(ReadingRow, rows, None, HISTORY_META))["data"]
    assert [(r["sensor"], float(r["value"]) if r["value"] else None) for r in table] == [
        (r["sensor"], r["value"]) for r in data
    ]


def test_geojson_has_what_has_a_place() -> None:
    homeless = msgspec.structs.replace(LATEST, lon=None, lat=None)
    body = json.loads(FORMATS["geojson"].write(LatestValueRow, [LATEST, homeless], "http://next", LATEST_META))
    assert body["type"] == "FeatureCollection"
    assert body["next"] == "http://next"
    (feature,) = body["features"]
    assert feature["geometry"] == {"type": "Point", "coordinates": [-118.2437, 34.0522]}
    assert feature["properties"]["value"] == 72.4
    assert "lon" not in feature["properties"]
