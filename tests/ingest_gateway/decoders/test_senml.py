"""SenML: the examples of RFC 8428, section 5.1, and its rules."""

from typing import Any

import pytest

from ingest_gateway.decoders import Context
from ingest_gateway.decoders.senml import decode, is_pack
from schemas.city import Source, SourceMetric
from tests.ingest_gateway.decoders.payloads import RECEIVED, T0, as_bytes

HERE = Context("air-quality", "s1")


def source(**of: Any) -> Context:
    return Context("air-quality", "s1", Source("a/+", "senml", "air-quality", "{1}", **of))


def resolved(pack: list[Any], context: Context = HERE) -> list[tuple[str, str, int, float]]:
    rows, rejects = decode(as_bytes(pack), context, RECEIVED)
    assert rejects == []
    return [(row.metric, row.unit, row.start, row.value) for row in rows]


# RFC 8428, 5.1.1
SINGLE = [{"n": "urn:dev:ow:10e2073a01080063", "u": "Cel", "v": 23.1}]
# 5.1.2
MULTIPLE = [
    {"bn": "urn:dev:ow:10e2073a01080063:", "n": "voltage", "u": "V", "v": 120.1},
    {"n": "current", "u": "A", "v": 1.2},
]
CURRENTS = [
    {"bn": "urn:dev:ow:10e2073a0108006:", "bt": 1.276020076001e09, "bu": "A", "bver": 5, "n": "voltage", "u": "V",
     "v": 120.1},
    {"n": "current", "t": -5, "v": 1.2},
    {"n": "current", "t": -4, "v": 1.3},
    {"n": "current", "t": -3, "v": 1.4},
    {"n": "current", "t": -2, "v": 1.5},
    {"n": "current", "t": -1, "v": 1.6},
    {"n": "current", "v": 1.7},
]  # fmt: skip
# 5.1.3, shortened
WEATHER = [
    {"bn": "urn:dev:ow:10e2073a01080063", "bt": 1.320067464e09, "bu": "%RH", "v": 20},
    {"u": "lon", "v": 24.30621},
    {"u": "lat", "v": 60.07965},
    {"t": 60, "v": 20.3},
]
# 5.1.5
COLLECTION = [
    {"bn": "2001:db8::2/", "bt": 1.320078429e09, "n": "temperature", "u": "Cel", "v": 27.2},
    {"n": "humidity", "u": "%RH", "v": 80},
]
# 5.1.4
KINDS = [
    {"bn": "urn:dev:ow:10e2073a01080063:", "bt": 1.5e9, "n": "temp", "u": "Cel", "v": 23.1},
    {"n": "label", "vs": "Machine Room"},
    {"n": "open", "vb": False},
    {"n": "nfc-reader", "vd": "aGkgCg"},
]


def test_a_single_datapoint_of_a_mapped_name() -> None:
    """It has no time: RFC 8428 means now, which is ours only where the source says so."""
    mapped = source(metrics={"urn:dev:ow:10e2073a01080063": "temperature"}, time="received")
    assert resolved(SINGLE, mapped) == [("temperature", "Cel", RECEIVED, 23.1)]
    rows, (reject,) = decode(as_bytes(SINGLE), source(metrics={"urn:dev:ow:10e2073a01080063": "temperature"}), RECEIVED)
    assert (rows, reject.reason) == ([], "t_missing")


def test_multiple_datapoints() -> None:
    assert resolved(MULTIPLE, source(time="received")) == [
        ("voltage", "V", RECEIVED, 120.1),
        ("current", "A", RECEIVED, 1.2),
    ]


def test_base_time_unit_and_name_hold_for_all_that_follow() -> None:
    ms = 1_276_020_076_001
    assert resolved(CURRENTS) == [
        ("voltage", "V", ms, 120.1),
        ("current", "A", ms - 5000, 1.2),
        ("current", "A", ms - 4000, 1.3),
        ("current", "A", ms - 3000, 1.4),
        ("current", "A", ms - 2000, 1.5),
        ("current", "A", ms - 1000, 1.6),
        ("current", "A", ms, 1.7),
    ]


def test_a_name_that_is_no_metric_is_refused_record_by_record() -> None:
    rows, rejects = decode(as_bytes(WEATHER), HERE, RECEIVED)
    assert rows == []
    assert [(r.reason, r.row["index"]) for r in rejects] == [("metric_name", i) for i in range(4)]


def test_the_collection_of_a_gateway() -> None:
    ms = 1_320_078_429_000
    assert resolved(COLLECTION) == [("temperature", "Cel", ms, 27.2), ("humidity", "%RH", ms, 80.0)]


def test_values_that_are_no_numbers_are_refused_alone() -> None:
    rows, rejects = decode(as_bytes(KINDS), HERE, RECEIVED)
    assert [(row.metric, row.value) for row in rows] == [("temp", 23.1)]
    assert [r.reason for r in rejects] == ["value_type"] * 3


def test_the_base_value_is_added() -> None:
    pack = [{"bn": "x/", "bt": 1.5e9, "bv": 20, "n": "pm25", "v": 1.5}, {"n": "pm10", "v": -5}]
    assert [row[3] for row in resolved(pack)] == [21.5, 15.0]


def test_a_record_of_base_fields_only_is_no_reading() -> None:
    assert [row[0] for row in resolved([{"bn": "x/", "bt": 1.5e9, "bver": 10}, {"n": "pm25", "v": 1}])] == ["pm25"]


def test_relative_times_only_where_the_receive_time_counts() -> None:
    """Delivered again, such a message would mean another moment."""
    pack = [{"n": "pm25", "t": -10, "v": 1}, {"n": "pm25", "t": 0, "v": 2}]
    assert [row[2] for row in resolved(pack, source(time="received"))] == [RECEIVED - 10_000, RECEIVED]
    rows, rejects = decode(as_bytes(pack), HERE, RECEIVED)
    assert rows == []
    assert [r.reason for r in rejects] == ["t_relative"] * 2


def test_a_map_by_segment_leaves_the_rest_out() -> None:
    context = source(metrics={"voltage": SourceMetric("battery", "%")})
    rows, rejects = decode(as_bytes(CURRENTS), context, RECEIVED)
    assert rejects == []
    assert [row.metric for row in rows] == ["battery"]
    _, (reject,) = decode(as_bytes(CURRENTS), source(metrics={"power": "battery"}), RECEIVED)
    assert reject.reason == "no_metric"


@pytest.mark.parametrize(
    ("pack", "reason"),
    [
        ([{"n": "pm25", "bt": 1.5e9, "v": "7"}], "value_type"),
        ([{"n": "pm25", "bt": 1.5e9, "v": True}], "value_type"),
        ([{"n": "pm25", "bt": 1.5e9}], "value_missing"),
        ([{"n": "pm25", "bt": T0, "v": 7}], "t_range"),
        ([{"n": "pm25", "bt": 1.5e9, "t": "1", "v": 7}], "t_type"),
        ([{"n": "pm25", "bt": "1.5e9", "v": 7}], "senml_type"),
        ([{"bn": 5, "v": 7}], "senml_type"),
        ([{"n": "pm25", "u": 5, "v": 7}], "senml_type"),
        ([{"n": "pm25", "bver": 11, "bt": 1.5e9, "v": 7}], "senml_version"),
        ([{"n": "pm25", "bt": 1.5e9, "v": 7, "must_": 1}], "senml_label"),
        ([{"n": "pm25", "bt": 1.5e9, "bv": 1.7e308, "v": 1.7e308}], "value_range"),
        ([{"n": "pm25", "bt": 1.5e9, "v": 7}, 8], "object_type"),
    ],
)
def test_refused(pack: list[Any], reason: str) -> None:
    _, (reject,) = decode(as_bytes(pack), HERE, RECEIVED)
    assert reject.reason == reason


def test_what_tells_a_pack_from_our_own_array() -> None:
    assert is_pack(CURRENTS)
    assert is_pack(SINGLE)
    assert not is_pack([{"t": T0, "pm25": 1}])
    assert not is_pack([{"t": T0, "n": 5}])
