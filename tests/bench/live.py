"""The live feed's server against `websockets.broadcast`, both on processor 0, the clients on the other one.

Frames are those of the protocol with one reading each, and the reference sends messages of the same length. Bytes are
counted and divided by the frame's length: a client that parsed would be the limit.
"""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from deploy.local.tools import ROOT
from tests.bench.chain import LATENCY_RATE, LATENCY_SECONDS, simulate
from tests.bench.figure import Figure, wait
from tests.bench.live_clients import HANDSHAKE, Clients, payloads, text_frame
from tests.service_stack import ServiceStack

CLIENTS = 1_000
SECONDS = 6.0
SETTLE_S = 1.0


class Side:
    """A server of the bench in a process of its own."""

    def __init__(self, name: str, length: int = 0) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        words = [sys.executable, "-m", "tests.bench.live_side", name, str(self.port), str(length)]
        self.process = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.answer()

    def ask(self, **asked: Any) -> None:
        """Send a command; `answer` gives its answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """What the last command came to."""
        assert self.process.stdout is not None
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def rss_kb(self) -> int:
        """Resident memory."""
        self.ask(do="memory")
        return int(self.answer()["rss_kb"])


@contextmanager
def side(name: str, length: int = 0) -> Iterator[Side]:
    """A server, ended with the block."""
    made = Side(name, length)
    try:
        yield made
    finally:
        made.process.kill()
        made.process.wait()


def everything(i: int) -> list[str]:
    """Mode `all`."""
    return [_subscribe(mode="all", snapshot=False)]


def ticks(i: int) -> list[str]:
    """Mode `latest`, 250 ms."""
    return [_subscribe(mode="latest", tick_ms=250, snapshot=False)]


def _subscribe(**more: Any) -> str:
    return json.dumps({"type": "subscribe", "id": 1, "topic": "readings"} | more)


def frame_bytes() -> int:
    """The length of a data frame with one reading, on the wire."""
    with side("ours") as ours:
        clients = Clients(ours.port, 1, everything)
        clients.read(SETTLE_S)
        before = clients.received
        ours.ask(do="run", seconds=1, rate=10, sensors=1)
        clients.read(1.5)
        found = round((clients.received - before) / ours.answer()["sent"])
        clients.close()
    return found


def load(
    name: str, length: int, say: Callable[[int], list[str]], n: int = CLIENTS, stalled: int = 0, **run: Any
) -> dict[str, float]:
    """Clients under a load: bytes and seconds, CPU of the server, p99 from publish to client, memory."""
    with side(name, length - 4) as server:
        clients = Clients(server.port, n, say, hello=name == "ours")
        clients.read(SETTLE_S)
        clients.stall(stalled)
        clients.received, clients.latencies_ms = 0, []
        memory = server.rss_kb()
        server.ask(**{"do": "run", "seconds": SECONDS, "rate": 0, "sensors": 1} | run)
        seconds = clients.read(run.get("seconds", SECONDS))
        answer = server.answer()
        grown = server.rss_kb() - memory
        p99 = clients.p99_ms()
        received = clients.received
        clients.close()
    return {
        "bytes_per_s": received / seconds, "cpu": answer["cpu_s"] / answer["seconds"], "p99_ms": p99,
        "sent": answer["sent"], "seconds": seconds, "grown_kb": grown,
    }  # fmt: skip


def measure() -> Iterator[Figure]:
    """All figures of the server alone."""
    length = frame_bytes()
    yield from saturated(length)
    yield from steady(length)
    yield from conflated()
    yield from stalled(length)
    yield from idle()
    yield from reconnect()


def saturated(length: int) -> Iterator[Figure]:
    """As fast as it goes."""
    ours, theirs = load("ours", length, everything), load("websockets", length, everything)
    rate, reference = ours["bytes_per_s"] / length, theirs["bytes_per_s"] / length
    yield Figure(
        f"live: deliveries, {CLIENTS:,} clients, one reading a frame, saturated", rate, "deliveries/s on one core",
        reference, "websockets.broadcast", "at least 15 times", rate >= 15 * reference, f"frames of {length} bytes",
    )  # fmt: skip


def steady(length: int) -> Iterator[Figure]:
    """Ten readings a second to each."""
    ours = load("ours", length, everything, rate=10)
    theirs = load("websockets", length, everything, rate=10)
    yield Figure(
        "live: the same at 10,000 deliveries/s, CPU", ours["cpu"] * 100, "% of a core", theirs["cpu"] * 100,
        "websockets.broadcast", "at most the reference", ours["cpu"] <= theirs["cpu"],
    )  # fmt: skip
    yield Figure(
        "live: the same, p99", ours["p99_ms"], "ms", theirs["p99_ms"], "websockets.broadcast", "no worse",
        ours["p99_ms"] <= theirs["p99_ms"] + 1, "stamps have a millisecond",
    )  # fmt: skip


def conflated() -> Iterator[Figure]:
    """Ticks of 250 ms: many rows a frame."""
    rate, sensors = 3_600, 3_600
    found = load("ours", 0, ticks, rate=rate, sensors=sensors, at_once=100)
    row = 219  # bytes of a row of this load, with its comma
    delivered = min(found["bytes_per_s"] / row, found["sent"] * CLIENTS / found["seconds"])
    yield Figure(
        f"live: readings delivered, {CLIENTS:,} clients, ticks of 250 ms", delivered, "readings/s on one core",
        target="at least 3,000,000", met=delivered >= 3_000_000,
        note=f"{found['sent'] / found['seconds']:,.0f} readings/s published, CPU {found['cpu']:.0%}",
    )  # fmt: skip


def stalled(length: int) -> Iterator[Figure]:
    """2,000 clients, of which 100 do not read."""
    wanted: dict[str, Any] = {"n": 2_000, "rate": 20, "seconds": 60.0}
    alone = load("ours", length, everything, **wanted | {"seconds": 20.0})
    found = load("ours", length, everything, stalled=100, **wanted)
    yield Figure(
        "live: 2,000 clients, 100 of them not reading, p99 of the others", found["p99_ms"], "ms", alone["p99_ms"],
        "without them", "at most 1.5 times", found["p99_ms"] <= 1.5 * alone["p99_ms"] + 1,
    )  # fmt: skip
    grown = found["grown_kb"] / 1024
    yield Figure("live: the same, memory grown in 60 s", grown, "MB", target="under 50 MB", met=grown < 50)


def idle() -> Iterator[Figure]:
    """Memory of a connection that has a subscription and hears nothing."""
    n, found = 2_000, {}
    for name in ("ours", "websockets"):
        with side(name, 300) as server:
            warm = Clients(server.port, 50, everything, hello=name == "ours")
            warm.read(SETTLE_S)
            before = server.rss_kb()
            clients = Clients(server.port, n, everything, hello=name == "ours")
            clients.read(SETTLE_S)
            found[name] = (server.rss_kb() - before) / n
            clients.close()
            warm.close()
    yield Figure(
        "live: memory of an idle connection", found["ours"], "KB", found["websockets"], "websockets", "at most 25 KB",
        found["ours"] <= 25,
    )  # fmt: skip


def reconnect() -> Iterator[Figure]:
    """5,000 clients lose their connection and come back with their cursors within 5 s, while readings go on."""
    n = 5_000
    with side("ours") as server:
        cursors = _cursors(server, n)
        server.ask(do="run", seconds=40, rate=5, sensors=100)
        began = time.monotonic()
        clients = Clients(server.port, n, lambda i: [_subscribe(mode="all", snapshot=False, cursor=cursors[i])])
        connected_s = time.monotonic() - began
        heard = _Heard(clients, n)
        wait(lambda: heard.step() == n, 60, "all have what they missed")
        took_s = time.monotonic() - began
        clients.close()
    yield Figure(
        "live: 5,000 clients back with cursors, all resumed", took_s, "s", target="within 15 s, no gap, no repeat",
        met=took_s <= 15 and not heard.wrong,
        note=f"connected in {connected_s:.1f} s by one process; {heard.wrong} with a gap or a repeat",
    )  # fmt: skip


def chain(stack: ServiceStack) -> Iterator[Figure]:
    """From the sensor's publish through the whole chain to 500 clients, 2,000 readings/s, mode `all`.

    They are there before the load is, and offer compression as browsers do: a million readings/s are delivered.
    """
    clients = Clients(stack.settings.api_port, 500, everything, stamp="start", packed=True)
    load = simulate(stack, LATENCY_RATE, 1, LATENCY_SECONDS + 15)
    clients.read(10)  # until every sensor has been heard once: what is new costs more
    clients.latencies_ms, clients.received = [], 0
    seconds = clients.read(LATENCY_SECONDS)
    found = sorted(clients.latencies_ms)
    rate = clients.received / seconds / 1e6
    clients.close()
    load.wait(60)
    p50, p99 = found[len(found) // 2], found[int(len(found) * 0.99)]
    yield Figure(
        "live: publish to 500 clients at 2,000 readings/s, mode all, p50", p50, "ms", target="under 40 ms",
        met=p50 < 40,
        note=f"from the sensor's sending; {len(found)} readings of 5 clients looked at, {rate:.0f} MB/s to all",
    )  # fmt: skip
    yield Figure("live: the same, p99", p99, "ms", target="under 200 ms", met=p99 < 200)


def _cursors(server: Side, n: int) -> list[str]:
    """Cursors of a client that heard readings come; then some that nobody heard."""
    found: list[str] = []
    with socket.create_connection(("127.0.0.1", server.port)) as one:
        one.sendall(HANDSHAKE)
        while b"\r\n\r\n" not in one.recv(4096):
            pass
        one.sendall(text_frame('{"type":"hello"}') + text_frame(everything(0)[0]))
        server.ask(do="run", seconds=2, rate=20, sensors=100)
        buffer, end = bytearray(), time.monotonic() + 2.5
        one.settimeout(0.2)
        while time.monotonic() < end:
            try:
                buffer += one.recv(65_536)
            except TimeoutError:
                continue
            found += [m["cursor"] for p in payloads(buffer) if (m := json.loads(p))["type"] == "data"]
        server.answer()
    server.ask(do="run", seconds=1, rate=20, sensors=100)
    server.answer()
    return [found[i % len(found)] for i in range(n)]


class _Heard:
    """Whether each client was told `recovered` and heard numbers without a gap; a repeat would be a number twice."""

    def __init__(self, clients: Clients, n: int) -> None:
        self.wrong = 0
        self._clients = clients
        self._buffers = {fd: bytearray() for fd in clients.sockets}
        self._next: dict[int, int] = {}
        self._done: set[int] = set()
        self._last_minute: dict[int, str] = {}

    def step(self) -> int:
        """Read what is there; gives how many are back."""
        for fd, made in self._clients.sockets.items():
            if fd in self._done:
                continue
            try:
                self._buffers[fd] += made.recv(1 << 18)
            except BlockingIOError:
                continue
            for payload in payloads(self._buffers[fd]):
                self._take(fd, json.loads(payload))
        return len(self._done)

    def _take(self, fd: int, message: dict[str, Any]) -> None:
        if message["type"] == "subscribed":
            self.wrong += message["recovered"] is not True
            self._next[fd] = message["seq"] + 1
        elif message["type"] == "data":
            start = message["d"][0]["start"]
            self.wrong += message["seq"][0] != self._next[fd] or start <= self._last_minute.get(fd, "")
            self._next[fd], self._last_minute[fd] = message["seq"][1] + 1, message["d"][-1]["start"]
            if not message.get("replay"):
                self._done.add(fd)
