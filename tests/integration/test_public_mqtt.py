"""The public MQTT outlet on the whole chain: anybody may read the newest values, nobody may write them or read more."""

import json
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest

from schemas.public_mqtt import datastream_id, observations_topic
from schemas.settings import Settings
from tests.integration.own_servers import OwnServers
from tests.service_stack import ServiceStack, port_block

pytestmark = pytest.mark.timeout(180)

PREFIX = "cityfeed"  # the broker's rules are made for it
TOPIC = f"{PREFIX}/public/v1/air-quality/balcony/pm25"


class Reader:
    """An MQTT client that keeps what it hears: [(topic, retained, payload)]."""

    def __init__(self, port: int, *filters: str, websocket: bool = False, username: str = "") -> None:
        self.heard: list[tuple[str, bool, Any]] = []
        self._client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, transport="websockets" if websocket else "tcp", protocol=mqtt.MQTTv5
        )
        if username:
            self._client.username_pw_set(username)
        self._client.on_message = lambda _c, _u, m: self.heard.append((m.topic, m.retain, json.loads(m.payload)))
        self._client.on_connect = lambda c, *_: [c.subscribe(f, 1) for f in filters]
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def publish(self, topic: str, payload: Any) -> int:
        """Publish with QoS 0 or 1, whichever is taken, retained; the reason code of the acknowledgement, 0 for none."""
        reasons: list[int] = []
        self._client.on_publish = lambda _c, _u, _m, reason, _p: reasons.append(reason.value)
        message = self._client.publish(topic, json.dumps(payload), 1, retain=True)
        deadline = time.monotonic() + 10
        while not reasons and time.monotonic() < deadline:
            time.sleep(0.01)
        del message
        return reasons[0] if reasons else -1

    def of(self, topic: str) -> list[tuple[bool, Any]]:
        return [(retained, value) for name, retained, value in self.heard if name == topic]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def own(servers: Settings, tmp_path: Path) -> Iterator[OwnServers]:
    with port_block() as first, OwnServers(servers, first, tmp_path / "own", public=True) as running:
        running.start("mosquitto")
        yield running


@pytest.fixture
def city(own: OwnServers, make_stack: Callable[..., ServiceStack]) -> ServiceStack:
    """The chain on a broker of its own; Kafka and the database are shared."""
    names = ("mqtt_port", "mqtt_public_port", "mqtt_public_websocket_port", "mqtt_outlet_port")
    ports = {name: getattr(own.settings, name) for name in names}
    made = make_stack(mqtt_topic_prefix=PREFIX, **ports)
    made.start("gateway", "clean", "windows", "api", "outlet")
    made.wait_ready("gateway", "clean", "windows", "api", timeout_s=90)
    return made


@pytest.fixture
def reader(own: OwnServers) -> Iterator[Callable[..., Reader]]:
    made: list[Reader] = []

    def make(port: int, *filters: str, **options: Any) -> Reader:
        made.append(Reader(port, *filters, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def now_ms(minutes_ago: int) -> int:
    return (time.time_ns() // 60_000_000_000 - minutes_ago) * 60_000


def test_everybody_reads_the_newest_and_nobody_writes(
    city: ServiceStack, own: OwnServers, reader: Callable[..., Reader]
) -> None:
    settings = own.settings
    everything = reader(settings.mqtt_public_port, "#", "$SYS/#", f"{PREFIX}/v1/#")
    city.publish("air-quality", "balcony", {"t": now_ms(5), "period_s": 60, "pm25": 7.1})
    city.wait_until(lambda: everything.of(TOPIC), "the first value is public")
    ((_, value),) = everything.of(TOPIC)
    assert (value["value"], value["unit"], value["flag"], value["rev"], value["period_s"]) == (7.1, "ug/m3", 1, 1, 60)

    late = reader(settings.mqtt_public_websocket_port, f"{PREFIX}/public/#", websocket=True)
    city.wait_until(lambda: late.of(TOPIC), "a retained value greets who comes later, also by websocket")
    assert late.of(TOPIC) == [(True, value)]
    city.publish("air-quality", "balcony", {"t": now_ms(7), "period_s": 60, "pm25": 1.0})  # late: not the newest
    city.publish("air-quality", "balcony", {"t": now_ms(4), "period_s": 60, "pm25": 8.2})
    city.publish("air-quality", "balcony", {"t": now_ms(4), "period_s": 60, "pm25": 8.4, "rev": 2})
    city.wait_until(lambda: late.of(TOPIC)[-1][1]["value"] == 8.4, "the correction is public")
    assert [v["value"] for _, v in late.of(TOPIC)] in ([7.1, 8.4], [7.1, 8.2, 8.4])

    # nobody writes: readers, sensors with and without a user name; and what is not public is not read
    forged = {"value": 999.0}
    refused = 0x87  # not authorized
    assert late.publish(TOPIC, forged) in (refused, -1)
    for username in ("", "DVES_USER"):
        sensor = reader(settings.mqtt_port, f"{PREFIX}/public/#", username=username)
        assert sensor.publish(TOPIC, forged) == refused
        assert sensor.publish(f"{PREFIX}/v1/air-quality/own", {"t": now_ms(3), "pm25": 3.0}) in (0, 0x10)
        assert not sensor.heard
    time.sleep(1.0)
    heard = {topic for topic, _, _ in everything.heard}
    assert heard and all(topic.startswith((f"{PREFIX}/public/v1/", "v1.1/Datastreams(")) for topic in heard)
    assert not any(value == forged for _, _, value in [*everything.heard, *late.heard])


def test_observations_are_those_that_sensorthings_shows(
    city: ServiceStack, own: OwnServers, reader: Callable[..., Reader]
) -> None:
    topic = observations_topic(datastream_id("air-quality", "balcony", "pm25"))
    listener = reader(own.settings.mqtt_public_port, topic)
    city.publish("air-quality", "balcony", {"t": now_ms(5), "period_s": 60, "pm25": 7.1})
    city.wait_until(lambda: listener.of(topic), "the observation is public")
    ((retained, observation),) = listener.of(topic)
    assert not retained
    city.wait_until(lambda: city.query("SELECT count(*) FROM readings")[0][0] == 1, "it is stored")
    with urllib.request.urlopen(observation["@iot.selfLink"], timeout=10) as answer:
        assert json.load(answer) == observation
    service = observation["@iot.selfLink"].partition("/Observations(")[0]
    with urllib.request.urlopen(service, timeout=10) as answer:
        (offered,) = [value for name, value in json.load(answer)["serverSettings"].items() if "mqtt" in name]
    assert f"mqtt://127.0.0.1:{own.settings.mqtt_public_port}" in offered["endpoints"]


def test_kills_bring_nothing_old_and_end_with_the_newest(
    city: ServiceStack, own: OwnServers, reader: Callable[..., Reader]
) -> None:
    listener = reader(own.settings.mqtt_public_port, f"{PREFIX}/public/#")
    newest = 30

    def say(value: float) -> None:
        nonlocal newest
        newest -= 1
        city.publish("air-quality", "balcony", {"t": now_ms(newest), "period_s": 60, "pm25": value})

    def is_public(value: float) -> bool:
        return any(v["value"] == value for _, v in listener.of(TOPIC))

    say(1.0)
    city.wait_until(lambda: is_public(1.0), "the first value")
    city.kill("outlet")
    say(2.0)
    city.start("outlet")
    city.wait_until(lambda: is_public(2.0), "what came while the outlet was away")
    city.kill("api")
    say(3.0)
    city.start("api")
    city.wait_until(lambda: is_public(3.0), "what came while the API was away", 60)
    own.stop("mosquitto", signal.SIGKILL)
    own.start("mosquitto")
    say(4.0)
    city.wait_until(lambda: is_public(4.0), "the outlet and the readers come back to the broker", 60)
    starts = [value["start"] for _, value in listener.of(TOPIC)]
    assert starts == sorted(starts)
    fresh = reader(own.settings.mqtt_public_port, f"{PREFIX}/public/#")
    city.wait_until(lambda: fresh.of(TOPIC), "the newest is retained")
    assert fresh.of(TOPIC)[0][1]["value"] == 4.0

    # a second outlet stands by until the first has ended
    second = ServiceStack(city.settings, city.folder / "second")
    second.folder.mkdir()
    second.start("outlet")
    second.wait_until(lambda: "standing by" in second.log("outlet"), "the second one stands by")
    assert "publishing" not in second.log("outlet")
    city.stop("outlet")
    second.wait_until(lambda: "publishing" in second.log("outlet"), "the second one takes over")
    assert second.stop("outlet") == 0
