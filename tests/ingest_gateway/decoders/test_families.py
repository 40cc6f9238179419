"""The JSON of Tasmota, Zigbee2MQTT and Sensor.Community, as devices send it."""

from typing import Any

import pytest

from ingest_gateway.decoders import DECODERS, Context
from schemas.city import Source, SourceMetric
from tests.ingest_gateway.decoders.payloads import RECEIVED, as_bytes

TASMOTA = {
    "Time": "2025-01-01T00:00:00",
    "BME280": {"Temperature": 70.3, "Humidity": 40.1, "DewPoint": 45.2, "Pressure": 1013.2},
    "PMS5003": {"CF1": 4, "CF2.5": 7, "CF10": 7, "PM1": 4, "PM2.5": 7, "PM10": 8, "PB0.3": 900},
    "PressureUnit": "hPa",
    "TempUnit": "F",
}
ZIGBEE = {
    "battery": 97,
    "humidity": 40.12,
    "linkquality": 120,
    "temperature": 21.3,
    "voltage": 3000,
    "update": {"state": "idle"},
}
COMMUNITY = {
    "esp8266id": "123456",
    "software_version": "NRZ-2020-133",
    "sensordatavalues": [
        {"value_type": "SDS_P1", "value": "5.10"},
        {"value_type": "SDS_P2", "value": "2.40"},
        {"value_type": "BME280_temperature", "value": "-1.52"},
        {"value_type": "BME280_pressure", "value": "101325.00"},
        {"value_type": "signal", "value": "-71 dBm"},
    ],
}


def decoded(family: str, payload: Any, **of: Any) -> tuple[dict[str, tuple[str, float]], list[str]]:
    """({metric: (unit, value)}, reasons)"""
    context = Context("air-quality", "s1", Source("a/+", family, "air-quality", "{1}", **of))
    rows, rejects = DECODERS[family](as_bytes(payload), context, RECEIVED)
    assert len({row.start for row in rows}) <= 1
    return {row.metric: (row.unit, row.value) for row in rows}, [reject.reason for reject in rejects]


def starts(family: str, payload: Any, **of: Any) -> set[int]:
    context = Context("air-quality", "s1", Source("a/+", family, "air-quality", "{1}", **of))
    return {row.start for row in DECODERS[family](as_bytes(payload), context, RECEIVED)[0]}


def test_tasmota_by_the_names_of_its_drivers() -> None:
    assert decoded("tasmota", TASMOTA, time_zone="America/Los_Angeles") == (
        {
            "temperature": ("F", 70.3),
            "humidity": ("", 40.1),
            "dewpoint": ("F", 45.2),
            "pressure": ("hPa", 1013.2),
            "pm1": ("ug/m3", 4.0),
            "pm25": ("ug/m3", 7.0),
            "pm10": ("ug/m3", 8.0),
        },
        [],
    )
    assert starts("tasmota", TASMOTA, time_zone="America/Los_Angeles") == {1_735_689_600_000 + 8 * 3_600_000}


@pytest.mark.parametrize("path", ["PMS5003.PM2.5", "PMS5003.PM2\\.5"])
def test_tasmota_by_dotted_path(path: str) -> None:
    metrics = {path: SourceMetric("pm25", "ug/m3"), "BME280.Temperature": "temperature"}
    assert decoded("tasmota", TASMOTA, metrics=metrics, time="received") == (
        {"pm25": ("ug/m3", 7.0), "temperature": ("F", 70.3)},
        [],
    )


def test_tasmota_without_a_time_zone_says_what_to_do() -> None:
    assert decoded("tasmota", TASMOTA) == ({}, ["t_offset"])


def test_two_fields_of_one_metric_are_not_guessed_between() -> None:
    given = {"Time": "2025-01-01T00:00:00Z", "DS18B20-1": {"Temperature": 1.5}, "DS18B20-2": {"Temperature": 2.5}}
    values, reasons = decoded("tasmota", given)
    assert (values, reasons) == ({"temperature": ("", 1.5)}, ["metric_twice"])


def test_zigbee2mqtt_takes_what_is_named_like_a_quantity() -> None:
    values, reasons = decoded("zigbee2mqtt", ZIGBEE, time="received")
    assert values == {"battery": ("", 97.0), "humidity": ("", 40.12), "temperature": ("", 21.3)}
    assert reasons == []


@pytest.mark.parametrize("last_seen", ["2025-01-01T00:00:00Z", "2025-01-01T01:00:00+01:00", 1_735_689_600_000])
def test_zigbee2mqtt_last_seen(last_seen: Any) -> None:
    assert starts("zigbee2mqtt", ZIGBEE | {"last_seen": last_seen}) == {1_735_689_600_000}


def test_zigbee2mqtt_without_a_time_says_so() -> None:
    assert decoded("zigbee2mqtt", ZIGBEE) == ({}, ["t_missing"])


def test_zigbee2mqtt_of_a_switch_has_no_metric() -> None:
    assert decoded("zigbee2mqtt", {"state": "ON", "linkquality": 5}, time="received") == ({}, ["no_metric"])


def test_sensor_community_numbers_are_texts() -> None:
    assert decoded("sensor-community", COMMUNITY, time="received") == (
        {
            "pm10": ("ug/m3", 5.1),
            "pm25": ("ug/m3", 2.4),
            "temperature": ("Cel", -1.52),
            "pressure": ("Pa", 101325.0),
        },
        [],
    )


def test_sensor_community_timestamp_in_the_sources_zone() -> None:
    given = COMMUNITY | {"timestamp": "2025-01-01 00:00:00"}
    assert starts("sensor-community", given, time_zone="UTC") == {1_735_689_600_000}


@pytest.mark.parametrize("text", ["nan", "inf", "1e5", "1_000", " 5", "", "0x10", "٣"])
def test_sensor_community_takes_no_other_texts_for_numbers(text: str) -> None:
    given = {"sensordatavalues": [{"value_type": "SDS_P1", "value": text}, {"value_type": "SDS_P2", "value": "1.0"}]}
    assert decoded("sensor-community", given, time="received") == ({"pm25": ("ug/m3", 1.0)}, ["value_type"])


def test_sensor_community_entries_of_another_shape_are_refused_alone() -> None:
    given = {"sensordatavalues": [5, {"value_type": "SDS_P2", "value": "1.0"}, {"value_type": 3, "value": "1"}]}
    values, reasons = decoded("sensor-community", given, time="received")
    assert (values, reasons) == ({"pm25": ("ug/m3", 1.0)}, ["object_type", "object_type"])


def test_null_is_no_value() -> None:
    assert decoded("zigbee2mqtt", {"temperature": None, "humidity": 40}, time="received") == (
        {"humidity": ("", 40.0)},
        [],
    )


def test_deep_fields_are_not_looked_for() -> None:
    given: dict[str, Any] = {"temperature": 1}
    for _ in range(20):
        given = {"a": given}
    assert decoded("zigbee2mqtt", given, time="received") == ({}, ["no_metric"])
