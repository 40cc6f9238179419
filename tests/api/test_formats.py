"""The formats, each read back with another reader."""

import csv
import io
import itertools
import json
import math
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import columns
from api.columns import Batch
from api.examples import DATASET, HISTORY_META, LATEST, LATEST_META, READING, SENSOR, WINDOW
from api.formats import FORMATS, choose
from api.rows import LatestValueRow, ReadingRow, SensorRow, WindowRow
from api.streams import PARQUET_GROUP_ROWS, Sheet
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


def as_table(name: str, body: bytes) -> Any:
    return pq.read_table(io.BytesIO(body)) if name == "parquet" else pa.ipc.open_stream(body).read_all()


@pytest.mark.parametrize("name", ["parquet", "arrow"])
def test_parquet_and_arrow_have_types(name: str) -> None:
    nothing = msgspec.structs.replace(READING, value=None, received=None, unit=None)
    table = as_table(name, FORMATS[name].write(ReadingRow, [READING, nothing], "http://next", HISTORY_META))
    assert table.column_names == list(ReadingRow.__struct_encode_fields__)
    assert table.schema.field("start").type == pa.timestamp("ms", "UTC")
    assert table.schema.field("value").type == pa.float64()
    assert table["received"].cast(pa.int64()).to_pylist() == [1_794_816_601_250, None]
    assert table["value"].to_pylist() == [72.4, None]
    assert table["sensor"].to_pylist() == ["716328", "716328"]
    assert json.loads(table.schema.metadata[b"cityfeed.next"]) == "http://next"
    assert as_table(name, FORMATS[name].write(ReadingRow, [], None, HISTORY_META)).num_rows == 0
    nested = as_table(name, FORMATS[name].write(SensorRow, [SENSOR], None, LATEST_META))
    assert json.loads(nested["device"].to_pylist()[0])["make"] == "Caltrans"


# -- streams --------------------------------------------------------------------------------------------

NAMES: dict[int, tuple[str, str, str | None]] = {7: ("a", "speed", "km/h"), 9: ('b,"', "pm25", None)}
DTYPE = [("series", "i4"), ("start", "i8"), ("period_s", "i4"), ("value", "f8"), ("flag", "i2"), ("tests", "i4"),
         ("rev", "i4"), ("origin", "i2"), ("received", "i8")]  # fmt: skip


def some_rows(n: int) -> Any:
    rows = np.zeros(n, DTYPE)
    at = np.arange(n)
    rows["series"], rows["start"], rows["period_s"] = np.where(at % 3, 7, 9), at * 1000, 60
    rows["value"], rows["flag"], rows["rev"] = np.where(at % 5, at / 7, np.nan), 1, 1
    rows["origin"], rows["received"] = at % 3 - 1, np.where(at % 4, at, -(1 << 62))
    return rows


def sheet() -> Sheet:
    return Sheet(ReadingRow, columns.READING, HISTORY_META, {"cityfeed.export": "x"})


def written(name: str, rows: Any, sizes: list[int]) -> bytes:
    stream, parts, at = FORMATS[name].stream(sheet()), [], 0
    parts.append(stream.begin())
    for size in sizes:
        parts.append(stream.rows(Batch("traffic", rows[at : at + size], NAMES)))
        at += size
    assert at == len(rows)
    parts.append(stream.end())
    return b"".join(parts)


@pytest.mark.parametrize("name", ["json", "ndjson", "csv"])
def test_a_stream_is_what_a_page_would_be(name: str) -> None:
    rows = some_rows(100)
    page = columns.structs(ReadingRow, columns.READING, Batch("traffic", rows, NAMES))
    assert written(name, rows, [1, 0, 40, 59]) == FORMATS[name].write(ReadingRow, page, None, HISTORY_META)
    assert written(name, rows[:0], []) == FORMATS[name].write(ReadingRow, [], None, HISTORY_META)
    assert (page[0].value, page[0].received, page[0].origin) == (None, None, "none")  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", FORMATS)
def test_a_streams_bytes_do_not_depend_on_its_batches(name: str) -> None:
    rows = some_rows(PARQUET_GROUP_ROWS + 5000)
    kind = columns.kind_of(ReadingRow, (*ReadingRow.__struct_encode_fields__, "lon", "lat"))

    def stream(sizes: list[int]) -> bytes:
        made = FORMATS[name].stream(Sheet(kind, columns.READING | columns.PLACE, HISTORY_META, {}))
        edges = np.cumsum([0, *sizes])
        parts = [made.rows(Batch("traffic", rows[a:b], NAMES)) for a, b in itertools.pairwise(edges)]
        return b"".join([made.begin() if not parts else b"", *parts, made.end()])

    assert stream([len(rows)]) == stream([1, 60_000, 5, 0, len(rows) - 60_006])


@pytest.mark.parametrize("name", ["parquet", "arrow"])
def test_columns_of_a_stream_are_those_of_a_page(name: str) -> None:
    rows = some_rows(PARQUET_GROUP_ROWS + 10)
    table = as_table(name, written(name, rows, [20_000, len(rows) - 20_000]))
    page = columns.structs(ReadingRow, columns.READING, Batch("traffic", rows, NAMES))
    assert table.equals(as_table(name, FORMATS[name].write(ReadingRow, page, None, HISTORY_META)))
    if name == "parquet":
        file = pq.ParquetFile(io.BytesIO(written(name, rows, [len(rows)])))
        assert [file.metadata.row_group(i).num_rows for i in range(2)] == [PARQUET_GROUP_ROWS, 10]
        assert file.metadata.metadata[b"cityfeed.rows"] == str(len(rows)).encode()
        assert file.metadata.metadata[b"cityfeed.export"] == b"x"


def test_geojson_of_history_keeps_rows_without_a_place() -> None:
    kind = columns.kind_of(ReadingRow, ("sensor", "value", "lon", "lat"))
    rows = [kind("a", 1.0, 2.0, 3.0), kind("b", 2.0, None, None)]
    features = json.loads(FORMATS["geojson"].write(kind, rows, None, HISTORY_META))["features"]
    assert features[0]["geometry"] == {"type": "Point", "coordinates": [2.0, 3.0]}
    assert features[1] == {"type": "Feature", "geometry": None, "properties": {"sensor": "b", "value": 2.0}}
