"""The whole chain on this machine's processors, with the load generator: sustained rates, and latency to a client."""

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime

import websockets

from deploy.local import stack as local_stack
from deploy.local.tools import ROOT
from tests.bench.figure import Figure, counters, cpu_s, wait
from tests.service_stack import ServiceStack

SECONDS = 60
DRAIN_S = 5.0  # what is under way when the load ends must be stored by then, or the lag was growing
SENSORS = 5_000
LATENCY_RATE = 2_000
LATENCY_SECONDS = 20


def rates(stack: ServiceStack) -> Iterator[Figure]:
    """15,000 one-reading messages/s, and 60,000 readings/s in messages of ten, for a minute each.

    A little more is sent than is asked for, so that the start of the load generator does not count against us.
    """
    for name, rate, per_message, wanted in (
        ("whole chain, one reading a message", 15_500, 1, 15_000),
        ("whole chain, ten readings a message", 6_200, 10, 60_000),
    ):
        before = _stored(stack)
        load = simulate(stack, rate, per_message, SECONDS)
        lags: list[float] = []
        wait(lambda before=before: _stored(stack) > before, 30, "the first reading")  # type: ignore[misc]
        began = time.monotonic()
        while load.poll() is None:
            time.sleep(1.0)
            lags.append(_lag(stack))
        sent_s = time.monotonic() - began
        sent = rate * per_message * SECONDS
        while _stored(stack) - before < sent and time.monotonic() - began < sent_s + 120:
            time.sleep(0.1)
        drained_s = time.monotonic() - began - sent_s
        stored = _stored(stack) - before
        early, late = statistics.fmean(lags[5:25]), statistics.fmean(lags[-20:])
        achieved = stored / (sent_s + drained_s)
        yield Figure(
            name, achieved, "readings/s stored", None, "", f"at least {wanted:,} for 60 s, no growing lag",
            achieved >= wanted and drained_s <= DRAIN_S and stored >= sent,
            f"sent in {sent_s:.1f} s, all {stored} stored {drained_s:.1f} s later;"
            f" lag in records early {early:.0f}, late {late:.0f}; CPU {_cpu(stack)}",
        )  # fmt: skip


def latency(stack: ServiceStack) -> Iterator[Figure]:
    """From the sensor's publish to a websocket client, 2,000 messages/s."""
    load = simulate(stack, LATENCY_RATE, 1, LATENCY_SECONDS + 12)
    time.sleep(10)  # until every sensor has been heard once: what is new costs more
    found = sorted(asyncio.run(_listen(stack, LATENCY_SECONDS)))
    load.wait(60)
    p50, p99 = found[len(found) // 2], found[int(len(found) * 0.99)]
    note = f"{len(found)} readings, the newest stamp is when the sensor sent"
    yield Figure(
        "sensor publish to websocket client, 2,000 messages/s, p50",
        p50,
        "ms",
        target="under 60 ms",
        met=p50 < 60,
        note=note,
    )
    yield Figure("the same, p99", p99, "ms", target="under 300 ms", met=p99 < 300)


async def _listen(stack: ServiceStack, seconds: float) -> list[float]:
    address = f"ws://127.0.0.1:{stack.settings.api_port}/v1/live"
    found: list[float] = []
    async with websockets.connect(
        address, subprotocols=[websockets.Subprotocol("cityfeed.v1.json")], max_size=None
    ) as socket:
        await socket.send(json.dumps({"type": "hello", "client": "bench"}))
        wanted = {"id": 1, "topic": "readings", "mode": "all", "snapshot": False, "filter": {"dataset": ["traffic"]}}
        await socket.send(json.dumps({"type": "subscribe", **wanted}))
        end = time.time() + seconds
        while time.time() < end:
            message = json.loads(await socket.recv())
            now = time.time()
            if message["type"] == "data":
                found += [(now - datetime.fromisoformat(row["start"]).timestamp()) * 1000 for row in message["d"]]
    return found


def simulate(stack: ServiceStack, rate: int, per_message: int, seconds: int) -> "subprocess.Popen[bytes]":
    """The load generator, started."""
    words = ["simulate", "-n", str(SENSORS), "-r", str(rate), "-k", str(per_message), "--duration", str(seconds)]
    return subprocess.Popen(
        [sys.executable, "-c", "from deploy.cli import main; main()", *words], cwd=ROOT,
        env=local_stack.environment(stack.settings) | {"PATH": ""}, stdout=subprocess.DEVNULL,
    )  # fmt: skip


def _stored(stack: ServiceStack) -> int:
    return int(counters(stack.settings.windows_metrics_port).get("cityfeed_windows_readings_total", 0))


def _lag(stack: ServiceStack) -> float:
    clean = counters(stack.settings.clean_metrics_port).get("cityfeed_clean_lag_records", 0)
    return clean + counters(stack.settings.windows_metrics_port).get("cityfeed_windows_lag_records", 0)


def _cpu(stack: ServiceStack) -> str:
    return ", ".join(f"{name} {cpu_s(stack.pid(name)):.0f} s" for name in ("gateway", "clean", "windows", "api"))
