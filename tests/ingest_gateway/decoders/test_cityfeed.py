"""cityfeed's own payloads."""

import math
from typing import Any

import pytest

from ingest_gateway.decoders import Context, Row
from ingest_gateway.decoders.cityfeed import decode
from schemas.city import Source, SourceMetric
from tests.ingest_gateway.decoders.payloads import RECEIVED, T0, as_bytes

HERE = Context("air-quality", "s1")


def rows_of(payload: Any, context: Context = HERE) -> list[Row]:
    rows, rejects = decode(payload if isinstance(payload, bytes) else as_bytes(payload), context, RECEIVED)
    assert rejects == []
    return rows


def values_of(payload: Any) -> dict[str, float]:
    return {row.metric: row.value for row in rows_of(payload)}


def test_one_object() -> None:
    (pm25, no2) = rows_of({"t": T0, "pm25": 7.1, "no2": 12})
    assert pm25[:7] == ("pm25", "", T0, -1, 7.1, 1, 0)
    assert math.isnan(pm25.lon)
    assert (no2.metric, no2.value, type(no2.value)) == ("no2", 12.0, float)


def test_an_array_of_objects() -> None:
    rows = rows_of([{"t": T0, "pm25": 7.1}, {"t": T0 + 1000, "pm25": 7.3}])
    assert [(row.start, row.value) for row in rows] == [(T0, 7.1), (T0 + 1000, 7.3)]


def test_one_object_per_metric() -> None:
    given = {"t": T0, "metric": "pm25", "value": 7.1, "unit": "ug/m3", "period_s": 60, "rev": 2}
    (row,) = rows_of(given)
    assert row[:6] == ("pm25", "ug/m3", T0, 60, 7.1, 2)
    assert [r.value for r in rows_of([given, given | {"value": 8}])] == [7.1, 8.0]


def test_all_that_may_go_with_it() -> None:
    (row,) = rows_of(
        {
            "t": T0,
            "pm25": 7.1,
            "unit": "mg/m3",
            "period_s": 3600,
            "rev": 3,
            "lon": -118.2,
            "lat": 34,
            "origin": "import",
        }
    )
    assert row == Row("pm25", "mg/m3", T0, 3600, 7.1, 3, 1, -118.2, 34.0)
    (pm25, co) = rows_of({"t": T0, "pm25": 7.1, "co": 0.2, "units": {"co": "[ppm]"}})
    assert (pm25.unit, co.unit) == ("", "[ppm]")


def test_null_is_no_value_and_no_mistake() -> None:
    assert values_of({"t": T0, "pm25": None, "no2": 12}) == {"no2": 12.0}
    assert rows_of({"t": T0, "pm25": None}) == []
    assert rows_of({"t": T0, "metric": "pm25", "value": None}) == []


def test_escaped_quotes_are_no_duplicates() -> None:
    """They take the slow road, which must find nothing."""
    payload = b'{"t": 1735689600000, "pm25": 7.1, "origin": "l\\u0069ve", "unit": "\\"\\""}'
    assert [row.unit for row in rows_of(payload)] == ['""']


@pytest.mark.parametrize(
    ("t", "start"),
    [
        (T0, T0),
        (float(T0), T0),
        ("2025-01-01T00:00:00Z", T0),
        ("2025-01-01t00:00:00z", T0),
        ("2025-01-01 00:00:00+00:00", T0),
        ("2024-12-31T16:00:00-08:00", T0),
        ("2025-01-01T05:30:00.250+05:30", T0 + 250),
        ("2025-01-01T00:00:00.123456789Z", T0 + 123),
        ("2025-01-01T00:00:00.9996Z", T0 + 999),
    ],
)
def test_times(t: Any, start: int) -> None:
    assert [row.start for row in rows_of({"t": t, "pm25": 1})] == [start]


@pytest.mark.parametrize(
    ("given", "reason", "says"),
    [
        ({"pm25": 7.1}, "t_missing", "1735689600000"),
        ({"t": None, "pm25": 7.1}, "t_missing", "is missing"),
        ({"t": 1735689600, "pm25": 7.1}, "t_seconds", "times 1000"),
        ({"t": 1735689600.5, "pm25": 7.1}, "t_type", "whole"),
        ({"t": 0, "pm25": 7.1}, "t_seconds", "seconds"),
        ({"t": -T0, "pm25": 7.1}, "t_range", "milliseconds"),
        ({"t": T0 * 1000, "pm25": 7.1}, "t_range", "milliseconds"),
        ({"t": 10**18, "pm25": 7.1}, "t_range", "milliseconds"),
        ({"t": 1e300, "pm25": 7.1}, "t_range", "milliseconds"),
        ({"t": True, "pm25": 7.1}, "t_type", "true"),
        ({"t": [T0], "pm25": 7.1}, "t_type", "an array"),
        ({"t": "2025-01-01T00:00:00", "pm25": 7.1}, "t_offset", "add Z"),
        ({"t": "2025-01-01", "pm25": 7.1}, "t_format", "RFC 3339"),
        ({"t": "2025-02-30T00:00:00Z", "pm25": 7.1}, "t_format", "RFC 3339"),
        ({"t": "2016-12-31T23:59:60Z", "pm25": 7.1}, "t_format", "RFC 3339"),
        ({"t": "yesterday", "pm25": 7.1}, "t_format", "RFC 3339"),
        ({"t": str(T0), "pm25": 7.1}, "t_format", "RFC 3339"),
        ({"t": "1066-10-14T09:00:00Z", "pm25": 7.1}, "t_range", "1973"),
        ({"t": "0001-01-01T00:00:00+23:59", "pm25": 7.1}, "t_range", "1973"),
        ({"t": T0, "pm25": 7.1, "period_s": -1}, "period", "period_s"),
        ({"t": T0, "pm25": 7.1, "period_s": 1.5}, "period", "whole seconds"),
        ({"t": T0, "pm25": 7.1, "rev": 0}, "rev", "from 1"),
        ({"t": T0, "pm25": 7.1, "rev": 2**30 + 1}, "rev", "from 1 to 1073741824"),
        ({"t": T0, "pm25": 7.1, "rev": True}, "rev", "true"),
        ({"t": T0, "pm25": 7.1, "origin": "history"}, "origin", "import"),
        ({"t": T0, "pm25": 7.1, "lon": 1}, "place", "both"),
        ({"t": T0, "pm25": 7.1, "lon": 200, "lat": 0}, "place", "180"),
        ({"t": T0, "pm25": 7.1, "lon": "1", "lat": 0}, "place", "degrees"),
        ({"t": T0, "pm25": 7.1, "no2": 1, "unit": "ug/m3"}, "unit", "units"),
        ({"t": T0, "pm25": 7.1, "units": ["ug/m3"]}, "unit", "object"),
        ({"t": T0}, "no_metric", "no metric"),
        ({"t": T0, "value": 7.1}, "metric_missing", "metric"),
        ({"t": T0, "metric": 25, "value": 7.1}, "metric_missing", "25"),
        ({"t": T0, "metric": "PM2.5", "value": 7.1}, "metric_name", "pm25"),
        ({"t": T0, "metric": "pm25"}, "value_missing", "pm25"),
        ({"t": T0, "metric": "pm25", "value": 7.1, "unit": 3}, "unit", "UCUM"),
        ([T0, {"t": T0, "pm25": 7.1}][:1], "object_type", "entry 0"),
    ],
)  # fmt: skip
def test_whole_objects_that_are_refused(given: Any, reason: str, says: str) -> None:
    rows, (reject,) = decode(as_bytes(given), HERE, RECEIVED)
    assert rows == []
    assert reject.reason == reason
    assert says in reject.detail


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("no2", "12", "value_type"),
        ("no2", "", "value_type"),
        ("no2", True, "value_type"),
        ("no2", False, "value_type"),
        ("no2", [12], "value_type"),
        ("no2", {"value": 12}, "value_type"),
        ("NO2", 12, "metric_name"),
        ("pm2_5", 12, "metric_name"),
        ("", 12, "metric_name"),
        ("x" * 33, 12, "metric_name"),
        ("pm2.5", 12, "metric_name"),
        ("no2\n", 12, "metric_name"),
    ],
)
def test_one_bad_metric_is_refused_alone(name: str, value: Any, reason: str) -> None:
    rows, (reject,) = decode(as_bytes({"t": T0, "pm25": 7.1, name: value, "o3": 30}), HERE, RECEIVED)
    assert [(row.metric, row.value) for row in rows] == [("pm25", 7.1), ("o3", 30.0)]
    assert reject.reason == reason
    assert reject.row["index"] == 0


def test_a_field_beside_metric_and_value_is_refused_alone() -> None:
    rows, (reject,) = decode(as_bytes({"t": T0, "metric": "pm25", "value": 7.1, "no2": 3}), HERE, RECEIVED)
    assert [row.metric for row in rows] == ["pm25"]
    assert (reject.reason, "no2" in reject.detail) == ("field_unknown", True)


def test_one_bad_entry_of_an_array_is_refused_alone() -> None:
    given = [{"t": T0, "pm25": 1}, 7, {"pm25": 2}, {"t": T0, "pm25": 3}]
    rows, rejects = decode(as_bytes(given), HERE, RECEIVED)
    assert [row.value for row in rows] == [1.0, 3.0]
    assert [(r.reason, r.row["index"]) for r in rejects] == [("object_type", 1), ("t_missing", 2)]


@pytest.mark.parametrize(
    "payload",
    [
        b'{"t": 1735689600000, "pm25": 1, "pm25": 2}',
        b'{"t": 1735689600000, "t": 1735689600001, "pm25": 2}',
        b'[{"t": 1735689600000, "pm25": 1}, {"t": 1735689600000, "pm25": 1, "pm25": 1}]',
        b'{"t": 1735689600000, "pm25": 1, "p\\u006d25": 2}',
        b'{"t": "2025-01-01T00:00:00Z", "pm25": 1, "pm25": "\\""}',
        b'{"t": 1735689600000, "pm25": 1, "units": {"pm25": "a", "pm25": "b"}}',
    ],
)
def test_duplicate_keys_are_refused(payload: bytes) -> None:
    """orjson alone would keep the last without a word."""
    rows, (reject,) = decode(payload, HERE, RECEIVED)
    assert (rows, reject.reason) == ([], "duplicate_key")


def test_senml_is_recognised_on_the_standard_topic() -> None:
    (row,) = rows_of([{"bn": "urn:dev:mac:1/", "bt": T0 / 1000, "n": "pm25", "u": "ug/m3", "v": 7.1}])
    assert row[:5] == ("pm25", "ug/m3", T0, -1, 7.1)


def source(**of: Any) -> Context:
    return Context("air-quality", "s1", Source("a/+", "cityfeed", "air-quality", "{1}", **of))


def test_a_source_may_name_metrics_and_units() -> None:
    context = source(metrics={"PM2,5": "pm25", "T": SourceMetric("temperature", "[degF]")})
    rows = rows_of({"t": T0, "PM2,5": 7.1, "T": 70, "rssi": -70}, context)
    assert [(row.metric, row.unit) for row in rows] == [("pm25", ""), ("temperature", "[degF]")]


def test_a_source_may_use_the_receive_time() -> None:
    assert [row.start for row in rows_of({"pm25": 1}, source(time="received"))] == [RECEIVED]


def test_a_source_may_stamp_the_end_of_its_period() -> None:
    assert rows_of({"t": T0, "pm25": 1}, source(stamp="end", period_s=3600))[0].start == T0 - 3_600_000
    assert rows_of({"t": T0, "pm25": 1, "period_s": 60}, source(stamp="end"))[0].start == T0 - 60_000
    _, (reject,) = decode(as_bytes({"t": T0, "pm25": 1}), source(stamp="end"), RECEIVED)
    assert reject.reason == "period_missing"
