"""Start a role: read the environment and the clock here, and nowhere else."""

import asyncio
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

import faust
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from prometheus_client import start_http_server

from schemas import topics
from schemas.city import read_city
from schemas.errors import CityfeedError
from schemas.registry import Registry
from schemas.settings import Settings, load
from stream_processors import faust_app
from stream_processors.clean_role import CleanRole
from stream_processors.registry_tail import RegistryTail
from stream_processors.windows_role import WindowsRole

ROLES = ("clean", "windows")

log = logging.getLogger("stream_processors")


def main() -> None:
    """Entry point; exits with 2 where the command line, the settings or the city folder are wrong."""
    role = sys.argv[1] if len(sys.argv) == 2 else ""
    if role not in ROLES:
        sys.exit(f"usage: python -m stream_processors {'|'.join(ROLES)}")
    try:
        settings = load(os.environ)
        city = read_city(Path(settings.city_dir))
    except CityfeedError as e:
        print(e, file=sys.stderr)
        sys.exit(2)
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for chatty in ("faust", "mode"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger("aiokafka").setLevel(
        logging.CRITICAL
    )  # it says twice a second that Kafka is away; we say it once
    asyncio.run(_wait_for_topics(settings))
    logging.getLogger("aiokafka").setLevel(logging.WARNING)
    faust_app.run(_app(role, settings, Registry(city.datasets, city.info.time_zone)), settings.log_level)


def _app(role: str, settings: Settings, registry: Registry) -> faust.App:
    worker: Any
    if role == "clean":
        worker, topic, port = (
            CleanRole(settings, registry, now_ms), topics.RAW, settings.clean_metrics_port
        )  # fmt: skip
    else:
        worker, topic, port = WindowsRole(settings, registry), topics.CLEAN, settings.windows_metrics_port
    tail: RegistryTail | None = None

    async def read_registry() -> None:
        nonlocal tail
        if tail is None:  # before it is read, a reading would get the dataset's period instead of its sensor's
            tail = RegistryTail(settings, registry, worker.register)
            await tail.start()

    app = faust_app.build(role, settings.kafka_topic_prefix + topic, worker, settings, read_registry)

    async def follow_registry() -> None:
        assert tail is not None
        log.info("%s ready", role)
        if port:
            start_http_server(port, addr=settings.metrics_host)
        try:
            await tail.run()
        finally:
            await tail.stop()

    app.task(follow_registry)
    return app


def now_ms() -> int:
    """The clock, epoch ms."""
    return time.time_ns() // 1_000_000


async def _wait_for_topics(settings: Settings) -> None:
    """Wait for Kafka and for the topics that the gateway makes; say once what is waited for."""
    wanted = {settings.kafka_topic_prefix + name for name in topics.TOPICS}
    said = ""
    while True:
        consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka_bootstrap)
        try:
            await consumer.start()
            missing = wanted - await consumer.topics()
            waiting = f"topics {', '.join(sorted(missing))}; the gateway makes them" if missing else ""
        except (KafkaError, OSError):
            waiting = f"Kafka at {settings.kafka_bootstrap} (CITYFEED_KAFKA_BOOTSTRAP)"
        finally:
            await consumer.stop()
        if not waiting:
            return
        if waiting != said:
            log.info("waiting for %s", waiting)
            said = waiting
        await asyncio.sleep(0.5)
