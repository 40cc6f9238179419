"""Reads the compacted topic `sensors` into the registry: to its end at start, then on and on."""

import asyncio
import logging
from collections.abc import Callable

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from schemas import topics
from schemas.errors import WireError
from schemas.registry import Registration, Registry, decode
from schemas.settings import Settings

log = logging.getLogger(__name__)

STOP_TIMEOUT_S = 1.0


class RegistryTail:
    """Keeps `registry` up to date; `changed` is called with each batch of registrations after they were applied."""

    def __init__(self, settings: Settings, registry: Registry, changed: Callable[[list[Registration]], None]) -> None:
        self._tp = TopicPartition(settings.kafka_topic_prefix + topics.SENSORS, 0)
        self._registry = registry
        self._changed = changed
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.kafka_bootstrap, enable_auto_commit=False, auto_offset_reset="earliest"
        )

    async def start(self) -> None:
        """Read to the end of the topic as it is now."""
        await self._consumer.start()
        self._consumer.assign([self._tp])
        await self._consumer.seek_to_beginning(self._tp)
        end = (await self._consumer.end_offsets([self._tp]))[self._tp]
        while await self._consumer.position(self._tp) < end:
            await self._read()

    async def run(self) -> None:
        """Go on reading, for ever; a broker that is away is waited for."""
        while True:
            try:
                await self._read()
            except KafkaError as e:
                log.warning("the topic %s can't be read, trying again: %s", self._tp.topic, e)
                await asyncio.sleep(1)

    async def stop(self) -> None:
        """End the consumer, with a bound on the time."""
        # A task of its own: while Kafka is away, aiokafka's stop raises the CancelledError of its own fetches.
        await asyncio.wait([asyncio.ensure_future(self._consumer.stop())], timeout=STOP_TIMEOUT_S)

    async def _read(self) -> None:
        found: list[Registration] = []
        for records in (await self._consumer.getmany(timeout_ms=1000)).values():
            for record in records:
                if record.value is None:
                    continue  # deleted keys: a registration ends by valid_to, not by forgetting it
                try:
                    found.append(decode(record.value))
                except WireError as e:
                    log.warning("%s offset %d: %s", self._tp.topic, record.offset, e)
        for registration in found:
            self._registry.apply(registration)
        if found:
            self._changed(found)
