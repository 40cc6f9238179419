"""Names and payload of the public MQTT outlet."""

import msgspec

from ingest_gateway.routes import match
from schemas.public_mqtt import PublicValue, datastream_id, observations_topic, public_topic
from schemas.topics import mqtt_meta_filter, mqtt_public_filters, mqtt_readings_filter


def test_the_outlets_topics_are_within_its_filter_and_none_of_the_gateways() -> None:
    topic = public_topic("cityfeed", "air-quality", "balcony", "pm25")
    assert topic == "cityfeed/public/v1/air-quality/balcony/pm25"
    values, observations = mqtt_public_filters("cityfeed")
    assert match(values, topic) is not None
    assert match(observations, observations_topic(datastream_id("air-quality", "balcony", "pm25"))) is not None
    for gateways in (mqtt_readings_filter("cityfeed"), mqtt_meta_filter("cityfeed")):
        assert match(gateways, topic) is None


def test_a_value_says_when_how_long_what_and_how_good() -> None:
    value = PublicValue("2026-01-01T00:00:00.000Z", 60, 7.1, "ug/m3", 1, 2)
    assert msgspec.json.encode(value) == (
        b'{"start":"2026-01-01T00:00:00.000Z","period_s":60,"value":7.1,"unit":"ug/m3","flag":1,"rev":2}'
    )
