"""Observations on MQTT; tests/integration/test_public_mqtt.py compares them with what SensorThings shows."""

import json

from cityfeed_client import Row

from deploy.public_mqtt.observations import message
from schemas.public_mqtt import datastream_id


def test_an_observation() -> None:
    row = Row(
        dataset="traffic", sensor="a", metric="speed", unit="km/h", start="2026-11-15T08:00:00.000Z", period_s=300,
        value=61.5, flag=3, tests=2, rev=2, origin="live", received="2026-11-15T08:05:01.000Z",
    )  # fmt: skip
    topic, payload = message(row, "http://city.example/sensorthings/v1.1")
    key = datastream_id("traffic", "a", "speed")
    assert topic.decode() == f"v1.1/Datastreams({key})/Observations"
    link = f"http://city.example/sensorthings/v1.1/Observations('{key}-1794729600000')"
    assert json.loads(payload) == {
        "@iot.id": f"{key}-1794729600000", "@iot.selfLink": link,
        "phenomenonTime": "2026-11-15T08:00:00.000Z/2026-11-15T08:05:00.000Z",
        "resultTime": "2026-11-15T08:05:00.000Z", "result": 61.5, "validTime": None,
        "resultQuality": {"scheme": "QARTOD", "flag": 3, "tests": ["gross-range-suspect"]},
        "parameters": {"rev": 2, "origin": "live", "received": "2026-11-15T08:05:01.000Z"},
        "Datastream@iot.navigationLink": f"{link}/Datastream",
        "FeatureOfInterest@iot.navigationLink": f"{link}/FeatureOfInterest",
    }  # fmt: skip
    row["period_s"] = 0
    assert json.loads(message(row, "")[1])["phenomenonTime"] == "2026-11-15T08:00:00.000Z"
