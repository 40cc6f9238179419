"""Readings to Kafka's `readings.raw`, each to its sensor's partition, as the gateway writes them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from schemas import registry, topics, wire
from schemas.datasets import Dataset
from schemas.errors import CityfeedError, WireError
from schemas.readings import Readings
from schemas.registry import Registration, Registry
from schemas.settings import Settings

KAFKA_TIMEOUT_S = 15.0
RECORD_READINGS = 5_000


class RawWriter:
    """Writes readings; what Kafka has acknowledged is safe. `last`: the newest acknowledged offset by partition."""

    def __init__(self, settings: Settings, producer: AIOKafkaProducer, partitions: int) -> None:
        self._topic = settings.kafka_topic_prefix + topics.RAW
        self._producer = producer
        self.partitions = partitions
        self.last: dict[int, int] = {}

    async def send(self, batch: Readings) -> "list[asyncio.Future[Any]]":
        """Hand a batch over, in the order of its rows for each sensor; each future is Kafka's word for a record."""
        of_sensor = np.array([topics.partition_of(*sensor, self.partitions) for sensor in batch.sensors])
        part = of_sensor[batch.sensor] if len(batch) else np.zeros(0, np.int64)
        sent = []
        for number in np.unique(part).tolist():
            rows = np.flatnonzero(part == number)
            for begin in range(0, len(rows), RECORD_READINGS):
                record = wire.Record("raw", batch.take(rows[begin : begin + RECORD_READINGS]))
                future = await self._producer.send(self._topic, wire.encode(record), partition=number)
                future.add_done_callback(self._acknowledged)
                sent.append(future)
        return sent

    def _acknowledged(self, future: "asyncio.Future[Any]") -> None:
        if not future.cancelled() and future.exception() is None:
            at = future.result()
            self.last[at.partition] = max(at.offset, self.last.get(at.partition, -1))

    async def send_bytes(
        self, topic: str, value: bytes, partition: int | None = None, key: bytes | None = None
    ) -> None:
        """Hand a record over as it is and wait for Kafka's word."""
        await self._producer.send_and_wait(topic, value, key=key, partition=partition)


@asynccontextmanager
async def raw_writer(settings: Settings) -> AsyncIterator[RawWriter]:
    """A writer while the block lasts. Raises `CityfeedError` where Kafka, or its topics, are not there."""
    topic = settings.kafka_topic_prefix + topics.RAW
    partitions = await _partitions(settings, topic)
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap, client_id="cityfeed-import", acks="all", enable_idempotence=True,
        compression_type="lz4", max_batch_size=1024 * 1024, max_request_size=4 * 1024 * 1024, linger_ms=5,
    )  # fmt: skip
    try:
        await producer.start()
        yield RawWriter(settings, producer, len(partitions))
    except KafkaError as e:
        raise CityfeedError(f"Kafka refused or lost records ({type(e).__name__}: {e})") from e
    finally:
        await producer.stop()


async def read_registry(settings: Settings, datasets: dict[str, Dataset]) -> Registry:
    """The registry as the topic `sensors` has it now. Raises `CityfeedError` where Kafka is not there."""
    topic = settings.kafka_topic_prefix + topics.SENSORS
    return registry.fold(datasets, [found async for found in _registrations(settings, topic)])


async def _registrations(settings: Settings, topic: str) -> AsyncIterator[Registration]:
    async for record in read_topic(settings, topic):
        if record.value is not None:
            with contextlib.suppress(WireError):  # every process alarms for it; here it tells nothing
                yield registry.decode(record.value)


async def read_topic(
    settings: Settings, topic: str, since_ms: int | None = None
) -> AsyncIterator[ConsumerRecord[bytes, bytes]]:
    """The records that a topic has now, or since a time (epoch ms). Raises `CityfeedError`."""
    partitions = await _partitions(settings, topic)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    try:
        await consumer.start()
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        await _seek(consumer, partitions, ends, since_ms)
        unread = {tp for tp in partitions if await consumer.position(tp) < ends[tp]}
        while unread:
            for tp, records in (await consumer.getmany(*unread, timeout_ms=500)).items():
                for record in records:
                    if record.offset < ends[tp]:
                        yield record
            # A compacted topic may end in offsets that are gone, so the position tells, not the last record.
            unread = {tp for tp in unread if await consumer.position(tp) < ends[tp]}
    except KafkaError as e:
        raise _away(settings, topic) from e
    finally:
        await consumer.stop()


async def _partitions(settings: Settings, topic: str) -> list[TopicPartition]:
    """A topic's partitions. Raises `CityfeedError` where Kafka is not there, or the topic."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
    try:
        async with asyncio.timeout(KAFKA_TIMEOUT_S):
            await admin.start()
            (described,) = await admin.describe_topics([topic])
    except (TimeoutError, KafkaError) as e:
        raise _away(settings, topic) from e
    finally:
        await admin.close()
    if not described["partitions"]:
        raise _away(settings, topic)
    return [TopicPartition(topic, part["partition"]) for part in described["partitions"]]


def _away(settings: Settings, topic: str) -> CityfeedError:
    return CityfeedError(
        f"Kafka at {settings.kafka_bootstrap} does not answer for the topic {topic!r}: the stack makes it when it"
        " starts (`cityfeed up`); CITYFEED_KAFKA_BOOTSTRAP names another Kafka"
    )


async def _seek(
    consumer: AIOKafkaConsumer, partitions: list[TopicPartition], ends: dict[TopicPartition, int], since_ms: int | None
) -> None:
    found = await consumer.offsets_for_times(dict.fromkeys(partitions, since_ms)) if since_ms is not None else {}
    for tp in partitions:
        if since_ms is None:
            await consumer.seek_to_beginning(tp)
        else:
            at = found.get(tp)
            consumer.seek(tp, ends[tp] if at is None else at.offset)
