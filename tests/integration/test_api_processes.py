"""Two API processes on one port: both serve, a cursor of one is good on the other, and nobody misses a killed one."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cityfeed_client import Feed, Gap, Reset, Rows, State
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from api.live.messages import SUBPROTOCOL
from deploy.local import probes
from tests.service_stack import ServiceStack

pytestmark = pytest.mark.timeout(180)

START = datetime(2026, 1, 1, tzinfo=UTC)


def starts(numbers: range) -> list[str]:
    return [(START + timedelta(minutes=n)).strftime("%Y-%m-%dT%H:%M:%S.000Z") for n in numbers]


def send(stack: ServiceStack, numbers: range) -> None:
    topic = stack.mqtt_topic("air-quality", "balcony")
    stack.publish_all((topic, {"t": t, "period_s": 60, "pm25": 1.0}) for t in starts(numbers))


class Listener:
    """A program with the Python client, which keeps the starts it heard and the processes it heard them from."""

    def __init__(self, stack: ServiceStack, number: int) -> None:
        self.heard: list[str] = []
        self.nodes: list[str] = []
        self.told: list[str] = []
        self.feed = Feed(f"http://127.0.0.1:{stack.settings.api_port}", client=f"listener {number}")
        self.subscription = self.feed.subscribe("readings", mode="all", snapshot=False, sensor=["balcony"])
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        for event in self.feed:
            match event:
                case State(state="live", detail=node):
                    self.nodes.append(node)
                case Rows(rows=rows):
                    self.heard += [row["start"] for row in rows]
                case Reset() | Gap():
                    self.told.append(repr(event))

    def close(self) -> None:
        self.feed.close()
        self._thread.join(10)


def workers(stack: ServiceStack) -> list[int]:
    return [pid for pid in probes.family(stack.pid("api")) if pid != stack.pid("api")]


class Raw:
    """One connection, message by message."""

    def __init__(self, stack: ServiceStack, cleanup: ExitStack) -> None:
        url = f"ws://127.0.0.1:{stack.settings.api_port}/v1/live"
        self._socket: ClientConnection = cleanup.enter_context(
            connect(url, subprotocols=[Subprotocol(SUBPROTOCOL)], proxy=None)
        )
        self._socket.send(json.dumps({"type": "hello"}))
        self.node: str = self.hear("welcome")["node"]

    def subscribe(self, cursor: str | None = None) -> dict[str, Any]:
        wanted = {"topic": "readings", "mode": "all", "snapshot": False, "filter": {"sensor": ["balcony"]}}
        message = {"type": "subscribe", "id": 1} | wanted | ({"cursor": cursor} if cursor else {})
        self._socket.send(json.dumps(message))
        return self.hear("subscribed")

    def hear(self, kind: str) -> dict[str, Any]:
        while (message := json.loads(self._socket.recv(timeout=15)))["type"] != kind:
            pass
        found: dict[str, Any] = message
        return found


def one_of_each(stack: ServiceStack, cleanup: ExitStack) -> tuple[Raw, Raw]:
    first = Raw(stack, cleanup)
    for _ in range(18):  # of an address there are at most 20
        if (other := Raw(stack, cleanup)).node != first.node:
            return first, other
    raise AssertionError("all connections land on one process")


def test_two_processes_are_one_api_and_the_kill_of_one_is_missed_by_nobody(
    make_stack: Callable[..., ServiceStack],
) -> None:
    stack = make_stack(api_processes=2)
    stack.start("gateway", "clean", "windows", "api")
    stack.wait_ready("gateway", "clean", "windows", "api", timeout_s=90)
    pages = [probes.Address("127.0.0.1", stack.settings.api_metrics_port + n, "") for n in range(2)]
    stack.wait_until(lambda: all(probes.fetch(page, "/metrics")[0] == 200 for page in pages), "both show their metrics")

    with ExitStack() as cleanup:
        here, there = one_of_each(stack, cleanup)
        here.subscribe()
        send(stack, range(3))
        rows: list[dict[str, Any]] = []
        while len(rows) < 3:
            rows += (frame := here.hear("data"))["d"]
        send(stack, range(3, 5))
        assert there.subscribe(frame["cursor"])["recovered"] is True
        rows = []
        while len(rows) < 2:
            rows += there.hear("data")["d"]
        assert [row["start"] for row in rows] == starts(range(3, 5))

    listeners = [Listener(stack, number) for number in range(8)]
    try:
        stack.wait_until(lambda: all(x.subscription.cursor for x in listeners), "all are subscribed")
        while len({listener.nodes[0] for listener in listeners}) == 1:
            assert len(listeners) < 18, "all connections land on one process"
            listeners.append(added := Listener(stack, len(listeners)))
            stack.wait_until(lambda added=added: added.subscription.cursor, "one more is subscribed")
        send(stack, range(5, 10))
        stack.wait_until(lambda: all(len(x.heard) == 5 for x in listeners), "all have heard it")
        before = workers(stack)
        os.kill(before[0], signal.SIGKILL)
        send(stack, range(10, 15))
        stack.wait_until(lambda: all(len(x.heard) >= 10 for x in listeners), "all have come back", 60)
        stack.wait_until(lambda: len(set(workers(stack)) - set(before)) == 1, "another process took its place")
        send(stack, range(15, 20))
        stack.wait_until(lambda: all(len(x.heard) >= 15 for x in listeners), "and hear what comes", 60)
        time.sleep(0.5)
        for listener in listeners:
            assert listener.heard == starts(range(5, 20))
            assert listener.told == []
        assert any(len(listener.nodes) > 1 for listener in listeners)
    finally:
        for listener in listeners:
            listener.close()
    assert stack.stop("api") == 0
