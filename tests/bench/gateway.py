"""The gateway alone: messages that wait in the broker's queue are drained on one core.

The queue is filled first, so that no publisher takes part: the gateway has processor 0 to itself, the broker and
Kafka share the other. Reference: a bare paho subscriber on the same queue, automatic acknowledgement, no Kafka.
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator

from deploy.replay.load import send
from deploy.replay.mqtt import Message
from deploy.replay.publisher import Broker, Publisher
from deploy.replay.simulator import PROFILES, Simulator, sample_week
from schemas.settings import Settings
from tests.bench.figure import Figure, counters, cpu_s, pin, pinned, wait
from tests.service_stack import ServiceStack

MESSAGES = 200_000
SENSORS = 1_000

SUBSCRIBER = """
import sys, time
import paho.mqtt.client as mqtt
host, port, client_id, topic, wanted = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5])
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=False)
seen, first = 0, 0.0
def on_connect(c, *_):
    c.subscribe(topic, 1)
def on_subscribe(*_):
    print("subscribed", flush=True)
    if wanted == 0:
        client.disconnect()
def on_message(c, u, m):
    global seen, first
    first = first or time.perf_counter()
    seen += 1
    if seen == wanted:
        c.disconnect()
client.on_connect, client.on_subscribe, client.on_message = on_connect, on_subscribe, on_message
client.connect(host, port)
client.loop_forever()
if wanted:
    print(seen / (time.perf_counter() - first), time.process_time() / seen * 1e6, flush=True)
"""


def measure(stack: ServiceStack) -> Iterator[Figure]:
    """Figures of the gateway; `stack` has nothing started."""
    settings = stack.settings
    reference_rate, reference_us = _reference(settings)
    rate, us = _ours(stack)
    ratio = rate / reference_rate
    yield Figure(
        "gateway, QoS 1, one reading a message, PUBACK after Kafka's", rate, "messages/s on one core",
        reference_rate, "bare paho subscriber, auto-ack, no Kafka", "at least 20,000, ratio at least 0.6",
        rate >= 20_000 and ratio >= 0.6, f"CPU us a message: {us:.1f}, reference {reference_us:.1f}",
    )  # fmt: skip


def generator(settings: Settings) -> Iterator[Figure]:
    """`cityfeed simulate` into the broker alone, on what two processors give."""

    async def run() -> float:
        profile = PROFILES["traffic"]
        now_ms = int(time.time() * 1000)
        city = Simulator(sample_week(profile), profile, SENSORS, 100_000.0, now_ms, prefix=f"generator-{now_ms}")
        async with Publisher(Broker.of(settings)) as publisher:
            return (await send(publisher, city, 5.0)).messages_per_s

    rate = asyncio.run(run())
    yield Figure(
        "load generator into the broker, QoS 1", rate, "messages/s", target="at least 30,000", met=rate >= 30_000
    )


def _messages(prefix: str) -> Iterator[Message]:
    now_ms = int(time.time() * 1000) - MESSAGES
    for i in range(MESSAGES):
        yield (f"{prefix}/v1/traffic/loop-{i % SENSORS}".encode(), b'{"t":%d,"speed":%.1f}' % (now_ms + i, 40 + i % 30))


def _fill(settings: Settings) -> None:
    async def publish() -> None:
        async with Publisher(Broker.of(settings)) as publisher:
            await publisher.publish(_messages(settings.mqtt_topic_prefix))
            await publisher.flush()

    asyncio.run(publish())


def _reference(settings: Settings) -> tuple[float, float]:
    """(messages/s, CPU us a message) of the bare subscriber."""
    words = [
        sys.executable, "-c", SUBSCRIBER, settings.mqtt_host, str(settings.mqtt_port),
        f"{settings.mqtt_client_id}-reference", f"{settings.mqtt_topic_prefix}/v1/+/+",
    ]  # fmt: skip
    subprocess.run([*words, "0"], check=True, stdout=subprocess.DEVNULL)  # its session exists from now on
    _fill(settings)
    with pinned(".cityfeed/test", {1}):
        process = subprocess.Popen([*words, str(MESSAGES)], stdout=subprocess.PIPE, text=True)
        pin(process.pid, {0})
        out, _ = process.communicate(timeout=120)
    rate, us = out.split()[-2:]
    return float(rate), float(us)


def _ours(stack: ServiceStack) -> tuple[float, float]:
    """The same of the gateway, from 10 % to 90 % of the queue."""
    port = stack.settings.gateway_metrics_port
    stack.start("gateway")
    stack.wait_ready("gateway")
    stack.stop("gateway")
    _fill(stack.settings)
    with pinned(".cityfeed/test", {1}):
        stack.start("gateway")
        pin(stack.pid("gateway"), {0})
        stack.wait_ready("gateway")

        def taken() -> float:
            return counters(port).get("cityfeed_gateway_messages_total", 0.0)

        wait(lambda: taken() >= MESSAGES * 0.1, 60, "a tenth of the queue")
        first, began, cpu = taken(), time.perf_counter(), cpu_s(stack.pid("gateway"))
        wait(lambda: taken() >= MESSAGES * 0.9, 60, "nine tenths of the queue")
        last, ended, cpu_after = taken(), time.perf_counter(), cpu_s(stack.pid("gateway"))
        wait(lambda: counters(port)["cityfeed_gateway_unacknowledged_messages"] == 0, 60, "acknowledged by Kafka")
    stack.stop("gateway")
    return (last - first) / (ended - began), (cpu_after - cpu) / (last - first) * 1e6
