"""The live feed on the whole chain: a sensor's message is heard by a websocket client, whatever dies in between."""

import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from api.live.messages import SUBPROTOCOL
from schemas.settings import Secret, Settings
from tests.integration.own_servers import OwnServers
from tests.service_stack import ServiceStack, port_block

pytestmark = pytest.mark.timeout(180)

PROTOCOL = Subprotocol(SUBPROTOCOL)
START = datetime(2026, 1, 1, tzinfo=UTC)
CHAIN = ("gateway", "clean", "windows", "api")


class Listener:
    """A client that hears in the background and keeps what it heard."""

    def __init__(self, settings: Any, **wanted: Any) -> None:
        self.messages: list[dict[str, Any]] = []
        self.heard_at: dict[tuple[str, str], float] = {}
        self.repeats = 0
        self._cleanup = ExitStack()
        self._socket: ClientConnection = self._cleanup.enter_context(
            connect(f"ws://127.0.0.1:{settings.api_port}/v1/live", subprotocols=[PROTOCOL], max_size=None)
        )
        self.say(type="hello")
        self.say(**({"type": "subscribe", "id": 1, "topic": "readings", "mode": "all"} | wanted))
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        self.until(lambda: self.of("subscribed") or self.of("error"))

    def say(self, **message: Any) -> None:
        self._socket.send(json.dumps(message))

    def _listen(self) -> None:
        try:
            for text in self._socket:
                message = json.loads(text)
                now = time.monotonic()
                if message["type"] == "data":
                    for row in message["d"]:
                        key = row["sensor"], row["start"]
                        self.repeats += key in self.heard_at
                        self.heard_at.setdefault(key, now)
                self.messages.append(message)
        except ConnectionClosed:
            pass

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [m for m in self.messages if m["type"] == kind]

    def rows(self, kind: str = "data") -> list[dict[str, Any]]:
        return [row for message in self.of(kind) for row in message["d"]]

    def until(self, is_so: Callable[[], object], timeout_s: float = 30.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not is_so():
            assert time.monotonic() < deadline, f"heard only {len(self.messages)} messages: {self.messages[-3:]}"
            time.sleep(0.01)

    def assert_no_gap(self) -> None:
        (subscribed,) = self.of("subscribed")
        seq = subscribed["seq"]
        for message in self.of("data"):
            assert message["seq"][0] == seq + 1, message
            seq = message["seq"][1]

    def close(self) -> None:
        self._cleanup.close()
        self._thread.join(5)


def listening(stack: ServiceStack, **wanted: Any) -> "closing[Listener]":
    return closing(Listener(stack.settings, **wanted))


def message(stack: ServiceStack, sensor: str, n: int, value: float | None = None) -> tuple[str, dict[str, Any]]:
    moment = START + timedelta(minutes=5 * n)
    speed = float(n % 100) if value is None else value
    return stack.mqtt_topic("traffic", sensor), {"t": moment.isoformat(), "speed": speed}


def metric(stack: ServiceStack, name: str) -> float:
    text = httpx.get(f"http://127.0.0.1:{stack.settings.api_port}/metrics").text
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(f"{name} "))


def test_a_reading_is_heard_once_by_all_and_as_the_newest_by_latest(stack: ServiceStack) -> None:
    stack.start(*CHAIN)
    stack.wait_ready()
    unregistered = {"metric": ["speed"], "sensor": ["s1", "s2"]}
    with (
        listening(stack, filter=unregistered) as everything,
        listening(stack, mode="latest", tick_ms=250, filter=unregistered) as latest,
    ):
        stack.publish_all(message(stack, sensor, n) for n in range(200) for sensor in ("s1", "s2", "s3"))
        everything.until(lambda: len(everything.rows()) >= 400)
        latest.until(lambda: len({r["sensor"] for r in latest.rows() if r["value"] == 99}) == 2)
        stack.publish_all([message(stack, "s1", 200, 999.0)])  # fails its checks: not for `latest`
        everything.until(lambda: len(everything.rows()) >= 401)
        everything.assert_no_gap()
        latest.assert_no_gap()
    assert everything.repeats == 0
    for sensor in ("s1", "s2"):
        values = [r["value"] for r in everything.rows() if r["sensor"] == sensor and r["flag"] == 1]
        assert values == [float(n % 100) for n in range(200)]
        starts = [r["start"] for r in latest.rows() if r["sensor"] == sensor]
        assert starts == sorted(starts)
    failed = everything.rows()[-1]
    assert (failed["flag"], failed["value"], failed["unit"]) == (4, 999.0, "km/h")
    (snapshot,) = [m for m in latest.of("snapshot")]
    assert snapshot["d"] == [] and snapshot["last"]
    with listening(stack, mode="latest", filter=unregistered) as later:
        later.until(lambda: later.of("snapshot"))
        newest = {r["sensor"]: (r["value"], r.get("newer_failed", "")[:16]) for r in later.rows("snapshot")}
    assert newest == {"s1": (99.0, "2026-01-01T16:40"), "s2": (99.0, "")}


def test_kills_of_clean_and_a_restart_of_the_gateway_cost_no_reading_and_repeat_none(stack: ServiceStack) -> None:
    stack.start(*CHAIN)
    stack.wait_ready()
    with listening(stack, filter={"sensor": ["s1"]}, snapshot=False) as client:
        for part in range(6):
            stack.publish_all(message(stack, "s1", n) for n in range(50 * part, 50 * part + 50))
            if part in (1, 3):
                stack.kill("clean", signal.SIGKILL)
                stack.start("clean")
            if part == 2:
                stack.stop("gateway")
                stack.start("gateway")
        client.until(lambda: len(client.heard_at) == 300, timeout_s=60)
        client.assert_no_gap()
    assert client.repeats == 0
    assert metric(stack, "cityfeed_tail_gaps_total") == metric(stack, "cityfeed_tail_bad_records_total") == 0


def test_an_api_that_starts_again_has_the_state_from_the_database_and_goes_on(stack: ServiceStack) -> None:
    stack.start("api")  # before there are topics and tables
    stack.start("gateway", "clean", "windows")
    stack.wait_ready()
    stack.publish_all(message(stack, f"s{n}", n) for n in range(50))
    stack.wait_until(lambda: stack.query("SELECT count(*) FROM readings") == [(50,)], "all readings are stored")
    stack.kill("api")
    stack.publish_all([message(stack, "s0", 60)])
    stack.start("api")
    stack.wait_ready("api")
    with listening(stack, filter={"dataset": ["traffic"], "metric": ["speed"]}, mode="latest", tick_ms=250) as client:
        client.until(lambda: any(m["last"] for m in client.of("snapshot")))
        state = {r["sensor"]: r["value"] for r in client.rows("snapshot")}
        assert {s: v for s, v in state.items() if s != "s0"} == {f"s{n}": float(n) for n in range(1, 50)}
        assert state["s0"] == 60.0
        stack.publish_all([message(stack, "s1", 61)])
        client.until(lambda: [r["value"] for r in client.rows() if r["sensor"] == "s1"] == [61.0])
    assert metric(stack, "cityfeed_tail_gaps_total") == 0
    assert stack.stop("api") == 0


class Door:
    """A port of our own that lets through to the database once it is open."""

    def __init__(self, database_url: str) -> None:
        known = psycopg.conninfo.conninfo_to_dict(database_url)
        self._behind = str(known["host"]), int(known["port"] or 5432)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets = [self._listener]
        self.url = Secret(psycopg.conninfo.make_conninfo(database_url, port=str(self._listener.getsockname()[1])))
        self.open = threading.Event()
        self._serving = threading.Thread(target=self._serve, daemon=True)
        self._serving.start()

    def _serve(self) -> None:
        while True:
            try:
                inner, _ = self._listener.accept()
            except OSError:
                return
            if not self.open.is_set():
                inner.close()
                continue
            outer = socket.create_connection(self._behind)
            self._sockets += [inner, outer]
            for pair in ((inner, outer), (outer, inner)):
                threading.Thread(target=self._copy, args=pair, daemon=True).start()

    @staticmethod
    def _copy(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for one in self._sockets:
            one.close()
        self._serving.join(5)


@pytest.fixture
def door(servers: Settings) -> Iterator[Door]:
    with closing(Door(str(servers.database_url))) as made:
        yield made


def test_without_the_database_the_feed_goes_on_and_it_fills_up_later(door: Door, make_stack: Any) -> None:
    stack: ServiceStack = make_stack()
    stack.start("gateway", "clean", "windows")
    stack.wait_ready()
    stack.publish_all(message(stack, f"s{n}", n) for n in range(10))
    stack.wait_until(lambda: stack.query("SELECT count(*) FROM readings") == [(10,)], "all readings are stored")
    second: ServiceStack = make_stack(
        database_url=door.url,
        database_schema=stack.settings.database_schema,
        kafka_topic_prefix=stack.settings.kafka_topic_prefix,
    )
    second.start("api")
    base = f"http://127.0.0.1:{second.settings.api_port}"
    try:
        second.wait_until(lambda: tail_ready(base), "the tail has caught up without the database")
        wanted = {"dataset": ["traffic"], "metric": ["speed"]}
        with listening(second, filter=wanted, mode="latest", tick_ms=250) as client:
            client.until(lambda: client.of("snapshot"))
            # All of it is still within what is read back from Kafka.
            assert len([r for r in client.rows("snapshot") if r["sensor"].startswith("s")]) == 10
            stack.publish_all([message(stack, "s1", 20)])
            client.until(lambda: [r["value"] for r in client.rows() if r["sensor"] == "s1"] == [20.0])
            # A reading that only the database has, as if Kafka had forgotten it.
            stack.query("INSERT INTO series (dataset, sensor, metric) VALUES ('traffic', 'old', 'speed') RETURNING id")
            stack.query(
                "INSERT INTO readings SELECT id, '2025-12-01Z', 300, 42, 1, 0, 1, 0, '2025-12-01Z', 0, 0 FROM series"
                " WHERE sensor = 'old' RETURNING series"
            )
            door.open.set()
            client.until(lambda: [r["value"] for r in client.rows() if r["sensor"] == "old"] == [42.0])
    finally:
        door.open.set()


def tail_ready(base: str) -> bool:
    try:
        return bool(httpx.get(f"{base}/ready").json()["parts"]["tail"]["ready"])
    except (httpx.HTTPError, KeyError):
        return False


@pytest.fixture
def own_servers(servers: Settings, tmp_path: Path) -> Iterator[OwnServers]:
    with port_block() as first_port, OwnServers(servers, first_port, tmp_path / "own") as own:
        own.start("kafka", "mosquitto")
        yield own


def test_kafka_away_and_back(own_servers: OwnServers, make_stack: Any) -> None:
    known = own_servers.settings
    stack: ServiceStack = make_stack(mqtt_port=known.mqtt_port, kafka_bootstrap=known.kafka_bootstrap)
    stack.start(*CHAIN)
    stack.wait_ready()
    with listening(stack, filter={"sensor": ["s1"]}) as client:
        stack.publish_all(message(stack, "s1", n) for n in range(10))
        client.until(lambda: len(client.heard_at) == 10)
        own_servers.stop("kafka", signal.SIGKILL)
        client.until(lambda: any(m["last_error"] for m in client.of("status")))
        own_servers.start("kafka")
        stack.publish_all(message(stack, "s1", n) for n in range(10, 20))
        client.until(lambda: len(client.heard_at) == 20, timeout_s=60)
        client.until(lambda: client.of("status")[-1]["last_error"] is None)
        client.assert_no_gap()
    assert client.repeats == 0
    assert metric(stack, "cityfeed_tail_gaps_total") == 0


def test_publish_to_client_takes_milliseconds(stack: ServiceStack) -> None:
    """Not the benchmark: a bound so wide that only a sleep on the way would break it."""
    stack.start(*CHAIN)
    stack.wait_ready()
    with listening(stack, filter={"sensor": ["s1"]}, snapshot=False) as client:
        taken: list[float] = []
        for n in range(30):
            topic, body = message(stack, "s1", n)
            key = "s1", body["t"].replace("+00:00", ".000Z")
            sent = time.monotonic()
            stack.publish_all([(topic, body)])
            client.until(lambda key=key: key in client.heard_at)  # type: ignore[misc]
            taken.append(client.heard_at[key] - sent)
    assert min(taken) < 0.25, taken
