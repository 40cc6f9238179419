"""MQTT topics."""

import pytest

from ingest_gateway import routes
from ingest_gateway.decoders import DECODERS
from ingest_gateway.routes import Routes, match
from schemas.city import Source
from schemas.topics import partition_of

SOURCES = (
    Source("tele/+/SENSOR", "tasmota", "air-quality", "tasmota-{1}"),
    Source("site/+/dev/+/#", "zigbee2mqtt", "{1}", "{2}"),
)
ROUTES = Routes("cityfeed", ["air-quality", "traffic"], SOURCES, 8)


@pytest.mark.parametrize(
    ("pattern", "topic", "found"),
    [
        ("a/b", "a/b", ()),
        ("a/b", "a/b/c", None),
        ("a/b", "a", None),
        ("a/+", "a/b", ("b",)),
        ("a/+", "a/", ("",)),
        ("a/+", "a", None),
        ("a/+", "a/b/c", None),
        ("+/+", "a/b", ("a", "b")),
        ("+/b/+", "a/b/c", ("a", "c")),
        ("a/#", "a/b/c", ()),
        ("a/#", "a", ()),  # MQTT 5, 4.7.1.2: the parent too
        ("#", "a/b", ()),
        ("#", "$SYS/broker", None),
        ("+/broker", "$SYS/broker", None),
        ("$SYS/#", "$SYS/broker", ()),
    ],
)
def test_match(pattern: str, topic: str, found: tuple[str, ...] | None) -> None:
    assert match(pattern, topic) == found


def test_readings_and_registrations() -> None:
    route = ROUTES.of("cityfeed/v1/air-quality/s1")
    assert (route.kind, route.sensor, route.context.source) == ("readings", ("air-quality", "s1"), None)
    assert route.partition == partition_of("air-quality", "s1", 8)
    assert ROUTES.of("cityfeed/v1/air-quality/s1/meta").kind == "meta"


def test_sources_fill_in_what_plus_stands_for() -> None:
    route = ROUTES.of("tele/plug-7/SENSOR")
    assert route.sensor == ("air-quality", "tasmota-plug-7")
    assert route.decoder is DECODERS["tasmota"]
    assert ROUTES.of("site/traffic/dev/d9/state/x").sensor == ("traffic", "d9")


@pytest.mark.parametrize(
    ("topic", "reason"),
    [
        ("cityfeed/v1/Air/s1", "topic_dataset"),
        ("cityfeed/v1/live/s1", "topic_dataset"),
        ("cityfeed/v1//s1", "topic_dataset"),
        ("cityfeed/v1/noise/s1", "dataset_unknown"),
        ("cityfeed/v1/air-quality/", "topic_sensor"),
        ("cityfeed/v1/air-quality/a b", "topic_sensor"),
        ("cityfeed/v1/air-quality/ü", "topic_sensor"),
        ("cityfeed/v1/air-quality/" + "x" * 65, "topic_sensor"),
        ("tele/my plug/SENSOR", "topic_sensor"),
        ("cityfeed/v2/air-quality/s1", "topic_unknown"),
        ("other", "topic_unknown"),
    ],
)
def test_topics_that_are_refused(topic: str, reason: str) -> None:
    route = ROUTES.of(topic)
    assert route.kind == "refused"
    assert route.reject is not None
    assert route.reject.reason == reason
    assert topic in route.reject.detail


def test_what_is_subscribed() -> None:
    assert ROUTES.filters == ["cityfeed/v1/+/+", "cityfeed/v1/+/+/meta", "tele/+/SENSOR", "site/+/dev/+/#"]


def test_a_flood_of_topics_is_not_remembered_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "MAX_REMEMBERED", 10)
    few = Routes("cityfeed", ["air-quality"], (), 8)
    for i in range(100):
        assert few.of(f"cityfeed/v1/air-quality/s{i}").sensor == ("air-quality", f"s{i}")
    assert len(few._remembered) <= 10
