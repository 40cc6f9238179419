"""The gateway between a real Mosquitto and a real Kafka."""

import json
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from deploy.local import probes
from deploy.local.stack import metrics_address
from schemas import dead_letters, registry, wire
from schemas.settings import Settings
from schemas.topics import TOPICS, partition_of
from tests.integration.own_servers import OwnServers
from tests.service_stack import ServiceStack, port_block

T0 = 1_735_689_600_000  # 2025-01-01T00:00:00Z


def payload(i: int) -> dict[str, Any]:
    return {"t": T0 + i * 1000, "pm25": float(i)}


def raw(stack: ServiceStack) -> list[tuple[int, wire.Record]]:
    """(partition, record) of all raw records that are not ticks."""
    decoded = [(r.partition, wire.decode(r.value)) for r in stack.records("readings.raw")]
    return [(partition, record) for partition, record in decoded if not record.tick]


def values(stack: ServiceStack) -> Counter[tuple[str, float]]:
    """How often each (sensor, value) is in the raw topic."""
    found: Counter[tuple[str, float]] = Counter()
    for _, record in raw(stack):
        r = record.readings
        found.update((r.sensors[s][1], float(v)) for s, v in zip(r.sensor, r.value, strict=True))
    return found


def metric(stack: ServiceStack, name: str) -> float:
    address = metrics_address(stack.settings, "gateway")
    assert address is not None
    _, text = probes.fetch(address, "/metrics")
    return probes.samples(text, name) or 0.0


def test_readings_come_as_raw_records_on_their_sensors_partition(stack: ServiceStack) -> None:
    stack.start("gateway")
    stack.wait_ready()
    messages = [(stack.mqtt_topic("air-quality", f"s{i % 7}"), payload(i)) for i in range(100)]
    before_ms = time.time_ns() // 1_000_000
    stack.publish_all(messages)
    stack.wait_until(lambda: sum(values(stack).values()) >= 100, "100 readings", every_s=0.3)
    assert values(stack) == Counter({(f"s{i % 7}", float(i)): 1 for i in range(100)})
    for partition, record in raw(stack):
        assert record.kind == "raw"
        readings = record.readings
        assert {partition_of(d, s, stack.settings.kafka_partitions) for d, s in readings.sensors} == {partition}
        assert readings.metrics == (("pm25", "ug/m3"),)
        assert (readings.start == T0 + readings.value * 1000).all()
        assert (readings.received >= before_ms).all()
        assert (readings.period_s == 60).all()
    topics = {name: len({r.partition for r in stack.records(name)}) for name in TOPICS}
    assert topics["readings.raw"] == stack.settings.kafka_partitions, "ticks go to every partition"


def test_ticks_carry_the_time_into_each_partition(make_stack: Callable[..., ServiceStack]) -> None:
    stack = make_stack(gateway_tick_ms=100)
    before_ms = time.time_ns() // 1_000_000
    stack.start("gateway")
    stack.wait_ready()
    ticks: dict[int, list[int]] = {}

    def five_each() -> bool:
        ticks.clear()
        for record in stack.records("readings.raw"):
            if tick := wire.decode(record.value).tick:
                ticks.setdefault(record.partition, []).append(tick)
        return len(ticks) == stack.settings.kafka_partitions and min(map(len, ticks.values())) >= 5

    stack.wait_until(five_each, "five ticks in each partition", every_s=0.3)
    for mine in ticks.values():
        assert mine == sorted(mine)
        assert before_ms <= mine[0] and mine[-1] <= time.time() * 1000


def test_what_cannot_be_decoded_is_kept_with_its_bytes_and_acknowledged(stack: ServiceStack) -> None:
    poison = b'{"t": 1735689600000, "pm25": NaN}\xff'
    topic = stack.mqtt_topic("air-quality", "s1")
    stack.start("gateway")
    stack.wait_ready()
    stack.publish_all(
        [
            (topic, poison),
            (topic, {"t": T0, "pm25": 7.1, "no2": "12"}),
            ("/".join([*topic.split("/")[:-1], "a b"]), b"{}"),
        ]
    )
    stack.wait_until(lambda: len(stack.records("dead-letters")) >= 3, "three dead letters", every_s=0.3)
    letters = [dead_letters.decode(r.value) for r in stack.records("dead-letters")]
    assert [letter.reason for letter in letters] == ["not_utf8", "value_type", "topic_sensor"]
    assert letters[0].payload == poison
    assert letters[0].topic == topic
    assert letters[0].source == "mqtt"
    assert values(stack) == Counter({("s1", 7.1): 1}), "the good metric lives"
    stack.wait_until(lambda: metric(stack, "cityfeed_gateway_unacknowledged_messages") == 0, "all is acknowledged")
    assert stack.stop("gateway") == 0
    stack.start("gateway")
    stack.wait_ready()
    time.sleep(0.5)
    assert len(stack.records("dead-letters")) == 3, "the broker has nothing to send again"


def test_registrations_of_the_city_and_of_meta_messages_are_on_the_sensors_topic(stack: ServiceStack) -> None:
    stack.start("gateway")
    stack.wait_ready()
    meta = stack.mqtt_topic("air-quality", "s1") + "/meta"
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.connect(stack.settings.mqtt_host, stack.settings.mqtt_port)
    client.loop_start()
    site = {"name": "5th Street", "lon": -118.24, "lat": 34.05}
    try:
        message = {"valid_from": "2026-01-01T00:00:00Z", "site": site}
        client.publish(meta, json.dumps(message), 1, retain=True).wait_for_publish(10)
        client.publish(meta, json.dumps({"site": {"lon": 1}}), 1).wait_for_publish(10)
        wanted = "air-quality/s1@1767225600000"
        stack.wait_until(
            lambda: any(r.key == wanted.encode() for r in stack.records("sensors")), "the registration", every_s=0.3
        )
    finally:
        client.publish(meta, b"", 1, retain=True).wait_for_publish(10)
        client.disconnect()
        client.loop_stop()
    newest = {r.key: registry.decode(r.value) for r in stack.records("sensors")}
    assert newest[wanted.encode()].site.name == "5th Street"
    assert len(newest) > 200, "the sample city's own registrations"
    stack.wait_until(lambda: stack.records("dead-letters"), "the bad registration", every_s=0.3)
    (letter,) = [dead_letters.decode(r.value) for r in stack.records("dead-letters")]
    assert letter.reason == "registration"
    assert "lon and lat go together" in letter.detail


@pytest.mark.parametrize("version", ["3.1.1", "5"])
@pytest.mark.parametrize("qos", [0, 1])
def test_both_protocols_and_both_qualities_of_service(
    make_stack: Callable[..., ServiceStack], version: str, qos: int
) -> None:
    stack = make_stack(mqtt_version=version)
    stack.start("gateway")
    stack.wait_ready()
    stack.publish_all([(stack.mqtt_topic("air-quality", "s1"), payload(i)) for i in range(50)], qos)
    stack.wait_until(lambda: sum(values(stack).values()) >= 50, "50 readings", every_s=0.3)
    assert values(stack) == Counter({("s1", float(i)): 1 for i in range(50)})


@pytest.mark.parametrize("version", ["3.1.1", "5"])
def test_killed_in_mid_stream_nothing_is_lost(make_stack: Callable[..., ServiceStack], version: str) -> None:
    """SIGKILL while messages flow: what was not acknowledged comes again from the broker."""
    stack = make_stack(mqtt_version=version)
    stack.start("gateway")
    stack.wait_ready()
    n = 20_000
    topics = [stack.mqtt_topic("air-quality", f"s{i}") for i in range(50)]
    sender = mqtt.Client(CallbackAPIVersion.VERSION2)
    sender.max_inflight_messages_set(2000)
    sender.connect(stack.settings.mqtt_host, stack.settings.mqtt_port)
    sender.loop_start()
    try:
        sent = []
        for i in range(n):
            sent.append(sender.publish(topics[i % 50], json.dumps(payload(i)), 1))
            if i == n // 2:
                stack.wait_until(lambda: metric(stack, "cityfeed_gateway_messages_total") > 1000, "it flows")
                assert stack.kill("gateway") == -signal.SIGKILL
                stack.start("gateway")
        for message in sent:
            message.wait_for_publish(60)
    finally:
        sender.disconnect()
        sender.loop_stop()
    stack.wait_ready()
    expected = {(f"s{i % 50}", float(i)) for i in range(n)}
    stack.wait_until(lambda: len(values(stack)) >= n, f"all {n} readings", every_s=1.0)
    found = values(stack)
    assert found.keys() == expected
    assert sum(found.values()) - n < stack.settings.gateway_unacknowledged_messages, "only the unacknowledged repeat"


def test_sigterm_drains(stack: ServiceStack) -> None:
    """What the gateway took before the signal is in Kafka, acknowledged, and not sent again."""
    stack.start("gateway")
    stack.wait_ready()
    stack.publish_all([(stack.mqtt_topic("air-quality", "s1"), payload(i)) for i in range(2000)])
    started = time.monotonic()
    assert stack.stop("gateway") == 0
    assert time.monotonic() - started < 10, "containers are killed after ten seconds"
    stack.start("gateway")
    stack.wait_ready()
    stack.wait_until(lambda: len(values(stack)) == 2000, "all readings", every_s=0.3)
    assert set(values(stack).values()) == {1}


def test_another_number_of_partitions_is_one_clear_line(make_stack: Callable[..., ServiceStack]) -> None:
    stack = make_stack()
    stack.start("gateway")
    stack.wait_ready()
    stack.stop("gateway")
    stack.settings = type(stack.settings)(**{**vars(stack.settings), "kafka_partitions": 5})
    stack.start("gateway")
    deadline = time.monotonic() + 20
    while stack.is_running("gateway") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert stack.kill("gateway") == 1
    assert re.search(r"has 4 partitions, the settings say 5.*CITYFEED_KAFKA_PARTITIONS=4", stack.log("gateway"))
    assert "Traceback" not in stack.log("gateway")


# -- outages, on servers of their own ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own_servers(servers: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServers]:
    folder = tmp_path_factory.mktemp("servers")
    with port_block() as first_port, OwnServers(servers, first_port, folder) as own:
        own.start("mosquitto", "kafka")
        yield own


@pytest.fixture
def own_stack(own_servers: OwnServers, make_stack: Callable[..., ServiceStack]) -> ServiceStack:
    own = own_servers.settings
    stack = make_stack(
        mqtt_port=own.mqtt_port, kafka_bootstrap=own.kafka_bootstrap, gateway_unacknowledged_messages=500
    )
    stack.start("gateway")
    stack.wait_ready()
    return stack


def test_kafka_away_means_no_acknowledgement_bounded_memory_and_no_loss(
    own_servers: OwnServers, own_stack: ServiceStack
) -> None:
    stack = own_stack
    topics = [stack.mqtt_topic("air-quality", f"s{i}") for i in range(10)]
    stack.publish_all([(topics[i % 10], payload(i)) for i in range(1000)])
    stack.wait_until(lambda: metric(stack, "cityfeed_gateway_messages_total") >= 1000, "the first 1000")
    own_servers.stop("kafka")
    stack.publish_all([(topics[i % 10], payload(i)) for i in range(1000, 5000)])
    stack.wait_until(lambda: "waiting for Kafka" in stack.log("gateway"), "it says so")
    stack.wait_until(lambda: metric(stack, "cityfeed_gateway_unacknowledged_messages") >= 500, "its bound is reached")
    time.sleep(5)  # and it takes no more
    unacknowledged = metric(stack, "cityfeed_gateway_unacknowledged_messages")
    assert 500 <= unacknowledged < 500 + 10, "it stops reading at its bound"
    own_servers.start("kafka")
    stack.wait_until(
        lambda: (
            metric(stack, "cityfeed_gateway_messages_total") >= 5000
            and metric(stack, "cityfeed_gateway_unacknowledged_messages") == 0
        ),
        "all is acknowledged again",
    )
    found = values(stack)
    assert found.keys() == {(f"s{i % 10}", float(i)) for i in range(5000)}
    assert stack.log("gateway").count("waiting for Kafka") == 1, "one line an outage"


def test_sigterm_while_kafka_is_away_leaves_the_messages_with_the_broker(
    own_servers: OwnServers, own_stack: ServiceStack
) -> None:
    stack = own_stack
    own_servers.stop("kafka", signal.SIGKILL)
    stack.publish_all([(stack.mqtt_topic("air-quality", "s1"), payload(i)) for i in range(800)])
    started = time.monotonic()
    assert stack.stop("gateway") == 0
    assert time.monotonic() - started < 10, "containers are killed after ten seconds"
    own_servers.start("kafka")
    stack.start("gateway")
    stack.wait_ready()
    stack.wait_until(lambda: len(values(stack)) == 800, "all readings", every_s=0.3)


def test_the_broker_away_is_never_fatal(own_servers: OwnServers, own_stack: ServiceStack) -> None:
    stack = own_stack
    own_servers.stop("mosquitto")
    stack.wait_until(lambda: "waiting for MQTT" in stack.log("gateway"), "it notices")
    time.sleep(2)  # some tries, of which it says nothing
    own_servers.start("mosquitto")
    stack.wait_until(lambda: stack.log("gateway").count("connected to MQTT") >= 2, "it has connected again")
    stack.publish_all([(stack.mqtt_topic("air-quality", "s1"), payload(i)) for i in range(100)])
    stack.wait_until(lambda: len(values(stack)) == 100, "all readings", every_s=0.3)
    assert stack.log("gateway").count("waiting for MQTT") == 1, "one line an outage"
