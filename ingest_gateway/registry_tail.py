"""Reads the compacted topic `sensors`: what was registered by others (`cityfeed sensors import`, another gateway)."""

import asyncio
import logging

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from schemas import topics
from schemas.errors import WireError
from schemas.registry import Registry, decode
from schemas.settings import Settings

log = logging.getLogger(__name__)

RETRY_S = 1.0
STOP_TIMEOUT_S = 1.0


class RegistryTail:
    """Keeps `registry` up to date with the topic. Kafka being away is waited for."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings = settings
        self._tp = TopicPartition(settings.kafka_topic_prefix + topics.SENSORS, 0)
        self._registry = registry
        self._consumer: AIOKafkaConsumer | None = None

    async def start(self) -> None:
        """Read to the end of the topic as it is now."""
        while True:
            try:
                self._consumer = consumer = AIOKafkaConsumer(
                    bootstrap_servers=self._settings.kafka_bootstrap,
                    enable_auto_commit=False,
                    auto_offset_reset="earliest",
                )
                await consumer.start()
                consumer.assign([self._tp])
                await consumer.seek_to_beginning(self._tp)
                end = (await consumer.end_offsets([self._tp]))[self._tp]
                while await consumer.position(self._tp) < end:
                    await self._read(consumer)
                return
            except (KafkaError, OSError) as e:
                log.warning("the topic %s can't be read yet, trying again: %s", self._tp.topic, e)
                await self.stop()
                await asyncio.sleep(RETRY_S)

    async def run(self) -> None:
        """Go on reading, for ever."""
        while self._consumer is not None:
            try:
                await self._read(self._consumer)
            except KafkaError as e:
                log.warning("the topic %s can't be read, trying again: %s", self._tp.topic, e)
                await asyncio.sleep(RETRY_S)

    async def stop(self) -> None:
        """End the consumer, with a bound on the time."""
        consumer, self._consumer = self._consumer, None
        if consumer is None:
            return
        # A task of its own: while Kafka is away, aiokafka's stop raises the CancelledError of its own fetches.
        stopping = asyncio.ensure_future(consumer.stop())
        await asyncio.wait([stopping], timeout=STOP_TIMEOUT_S)
        if not stopping.cancel() and not stopping.cancelled():
            stopping.exception()  # seen, and of no interest any more

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        for records in (await consumer.getmany(timeout_ms=1000)).values():
            for record in records:
                if record.value is None:
                    continue  # a deleted key: a registration ends by valid_to, not by forgetting it
                try:
                    self._registry.apply(decode(record.value))
                except WireError as e:
                    log.warning("%s offset %d: %s", self._tp.topic, record.offset, e)
