"""Registrations by MQTT."""

from typing import Any

import pytest

from ingest_gateway.decoders import Context
from ingest_gateway.registrations import decode_registration
from schemas.datasets import parse_datasets, shipped_files
from schemas.quality import Spike
from schemas.readings import Reject
from schemas.registry import Device, Registration, Registry, Series, Site, decode, encode
from tests.ingest_gateway.decoders.payloads import RECEIVED, T0, as_bytes

HERE = Context("air-quality", "s1")


def test_all_fields() -> None:
    payload = as_bytes(
        {
            "valid_from": "2025-01-01T00:00:00Z",
            "valid_to": T0 + 86_400_000,
            "site": {"name": "5th Street", "lon": -118.24, "lat": 34, "height_m": 3, "surroundings": "roadside"},
            "device": {"make": "Acme", "model": "A1", "serial": "7", "firmware": "1.0", "owner": "city"},
            "series": {"pm25": {"period_s": 60, "unit": "ug/m3", "cadence_s": 60}},
            "public_precision_m": 100,
            "demo": True,
        }
    )
    assert decode_registration(payload, HERE, RECEIVED) == Registration(
        "air-quality",
        "s1",
        T0,
        T0 + 86_400_000,
        Site("5th Street", -118.24, 34.0, 3.0, "roadside"),
        Device("Acme", "A1", "7", "1.0", "city"),
        {"pm25": Series("ug/m3", 60, 60)},
        100,
        True,
    )


DATASET = parse_datasets(shipped_files())["air-quality"]


def test_a_sensor_brings_quality_parameters_of_its_own() -> None:
    given = {
        "series": {"pm25": {"quality": {"spike": {"suspect": 80, "method": "differential"}, "suspect": [-5, 900]}}}
    }
    made = decode_registration(as_bytes(given), HERE, RECEIVED, DATASET)
    assert isinstance(made, Registration)
    registry = Registry({"air-quality": DATASET})
    registry.apply(decode(encode(made)))  # as the topic carries it
    mine, others = (registry.rule("air-quality", sensor, "pm25").metric for sensor in ("s1", "s2"))
    assert mine.spike == Spike(suspect=80, method="differential") and mine.suspect == (-5, 900)
    assert mine.flat_line == others.flat_line is not None, "rule by rule"
    assert others == DATASET.metrics["pm25"]


@pytest.mark.parametrize(
    ("series", "says"),
    [
        ({"pm25": {"quality": {"spikes": {}}}}, "spikes"),
        ({"pm25": {"quality": {"spike": {"suspect": 80, "fail": 10}}}}, "below the fail limit, 10"),
        ({"pm25": {"quality": {"suspect": [-5, 9000]}}}, "quality of pm25: the suspect span must lie within"),
        ({"pm25": {"cadence_s": 600, "quality": {"flat_line": {"tolerance": 1, "fail_s": 900}}}}, "at least 1200 s"),
        ({"pm25": {"quality": {"detector": {}}}}, "occupancy"),
        ({"speed": {"quality": {"suspect": [0, 9]}}}, "quality of speed: the dataset has no such metric"),
    ],
)
def test_quality_parameters_that_cant_be_meant(series: Any, says: str) -> None:
    reject = decode_registration(as_bytes({"series": series}), HERE, RECEIVED, DATASET)
    assert isinstance(reject, Reject) and says in reject.detail


def test_an_empty_object_says_that_the_sensor_is_there() -> None:
    assert decode_registration(b"{}", HERE, RECEIVED) == Registration("air-quality", "s1")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([], "an object"),
        ({"site": {"name": "5th\x00Street"}}, "site.name has a control character"),
        ({"device": {"serial": "\x1b[31m"}}, "device.serial has a control character"),
        ({"dataset": "traffic"}, "unknown field dataset"),
        ({"sensor": "s2"}, "unknown field sensor"),
        ({"name": "x"}, "unknown field name"),
        ({"site": {"long": 1}}, "unknown field site.long; known are"),
        ({"device": {"vendor": "x"}}, "unknown field device.vendor"),
        ({"series": {"pm25": {"units": "x"}}}, "unknown field series.pm25.units"),
        ({"site": 5}, "site"),
        ({"site": {"lon": "1", "lat": 2}}, "site.lon"),
        ({"site": {"lon": 1}}, "go together"),
        ({"site": {"lon": 181, "lat": 0}}, "no place"),
        ({"valid_from": "2025-01-01"}, "RFC 3339"),
        ({"valid_from": 1735689600}, "seconds"),
        ({"valid_from": T0, "valid_to": T0}, "after"),
        ({"public_precision_m": -1}, "negative"),
        ({"series": {"PM": {}}}, "form"),
        ({"series": {"pm25": {"unit": "km/h"}}}, "no conversion"),
        ({"series": {"pm25": {"period_s": -1}}}, "period_s"),
        ({"demo": "yes"}, "demo"),
    ],
)
def test_mistakes(given: Any, says: str) -> None:
    reject = decode_registration(as_bytes(given), HERE, RECEIVED)
    assert isinstance(reject, Reject)
    assert reject.reason == "registration"
    assert says in reject.detail


def test_what_is_not_json_has_its_own_reason() -> None:
    reject = decode_registration(b"{", HERE, RECEIVED)
    assert isinstance(reject, Reject)
    assert reject.reason == "not_json"
