"""`python -m deploy.public_mqtt`: reads the environment, listens to the live feed, publishes.

One publisher at a time: a second one on this machine stands by until the first has ended, and the broker knows one
client of its name. It begins when the API has caught up with Kafka, so its first values are no older than any that
was published before; from then on it publishes nothing older than what it knows, whatever the feed comes back with.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from cityfeed_client import AsyncFeed, CityfeedClientError, State

from deploy.local import probes, stack
from deploy.public_mqtt.newest import Newest
from deploy.replay.publisher import Broker, Publisher
from schemas.errors import CityfeedError
from schemas.settings import Settings, load

log = logging.getLogger("deploy.public_mqtt")

CLIENT_ID = "cityfeed-public"
WINDOW = 1_000
"""Messages that the broker has not acknowledged; what comes meanwhile is conflated."""
BATCH = 500
TICK_MS = 250
READY_EVERY_S = 0.5
BROKER_PATIENCE_S = 30.0


async def run(settings: Settings) -> None:
    """Until cancelled. Raises `CityfeedError` and `CityfeedClientError` where trying again cannot help."""
    site = settings.api_public_url.rstrip("/") or f"http://{stack.api_address(settings)}"
    newest, changed = Newest(settings.mqtt_topic_prefix, f"{site}/sensorthings/v1.1"), asyncio.Event()
    broker = Broker(settings.mqtt_outlet_host, settings.mqtt_outlet_port)
    await _api_ready(settings)
    publisher = Publisher(broker, WINDOW, BROKER_PATIENCE_S, CLIENT_ID, forgets=True)
    async with publisher, asyncio.TaskGroup() as tasks:
        print(f"public MQTT: publishing to {broker.host}:{broker.port}", flush=True)
        tasks.create_task(_listen(settings, newest, changed))
        tasks.create_task(_publish(publisher, newest, changed))


async def _api_ready(settings: Settings) -> None:
    """Wait until the API knows all that was in Kafka when it started; it may be without the database."""
    address = stack.api_address(settings)
    said = False
    while not (await asyncio.to_thread(probes.tail_is_ready, address)):
        if not said:
            log.info("waiting for the API at %s", address)
            said = True
        await asyncio.sleep(READY_EVERY_S)


async def _listen(settings: Settings, newest: Newest, changed: asyncio.Event) -> None:
    async with AsyncFeed(f"http://{stack.api_address(settings)}", client="public MQTT") as feed:
        await feed.subscribe("readings", mode="latest", tick_ms=TICK_MS)
        async for event in feed:
            if isinstance(event, State) and event.state == "waiting":
                log.warning("the live feed: %s; again in %.1f s", event.detail, event.wait_s)
            if event.rows:
                newest.take(event.rows)
                changed.set()


async def _publish(publisher: Publisher, newest: Newest, changed: asyncio.Event) -> None:
    reconnections = publisher.reconnections
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await changed.wait()
        changed.clear()
        if publisher.reconnections != reconnections:
            reconnections = publisher.reconnections
            log.warning("the broker was away; publishing all %d values again", len(newest))
            newest.again()
        while newest.waiting and publisher.reconnections == reconnections:
            await publisher.publish(newest.give(min(BATCH, max(1, publisher.session.room))), retain=True)
        await publisher.publish(newest.observations())


@contextlib.contextmanager
def only_one(settings: Settings) -> Iterator[None]:
    """Within the block this is the only outlet of the state folder; waits while there is another."""
    folder = Path(settings.state_dir)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "public-mqtt.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.warning("another outlet runs here; standing by")
            while True:
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                time.sleep(0.2)
        yield


def main() -> None:
    """Until SIGTERM or Ctrl-C. One line and exit code 1 for what trying again cannot help."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        settings = load(os.environ)
        logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        if not settings.mqtt_outlet_port:
            raise CityfeedError("public MQTT is switched off: CITYFEED_MQTT_OUTLET_PORT is 0")
        with only_one(settings):
            asyncio.run(run(settings))
    except* (CityfeedError, CityfeedClientError) as group:
        sys.exit(f"public MQTT: {group.exceptions[0]}")
