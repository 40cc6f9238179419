"""`Publisher` at a real Kafka that refuses."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from ingest_gateway.flights import Flight, Out
from ingest_gateway.publish import Publisher
from schemas.settings import Settings
from schemas.topics import RAW, TOPICS
from tests.service_stack import ServiceStack


@asynccontextmanager
async def admin_of(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


@asynccontextmanager
async def publishing(settings: Settings) -> AsyncIterator[tuple[Publisher, list[Flight]]]:
    settled: list[Flight] = []
    publisher = Publisher(settings, settled.append)
    running = asyncio.create_task(publisher.run())
    try:
        await asyncio.wait_for(publisher.connected.wait(), 20)
        yield publisher, settled
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


def flight(settings: Settings, *values: bytes) -> Flight:
    topic = settings.kafka_topic_prefix + RAW
    return Flight([Out(topic, i % settings.kafka_partitions, None, value) for i, value in enumerate(values)], [])


async def test_topics_are_made_as_their_table_says_and_flights_settle_in_order(stack: ServiceStack) -> None:
    settings = stack.settings
    async with publishing(settings) as (publisher, settled):
        flights = [flight(settings, b"%d" % i) for i in range(50)] + [Flight([], [])]
        for each in flights:
            publisher.submit(each)
        await asyncio.wait_for(publisher.drained(), 20)
        assert settled == flights
        async with admin_of(settings) as admin:
            names = [settings.kafka_topic_prefix + name for name in TOPICS]
            described = {t["topic"]: len(t["partitions"]) for t in await admin.describe_topics(names)}
            resources = [ConfigResource(ConfigResourceType.TOPIC, names[0])]
            (response,) = await admin.describe_configs(resources)
            config = {entry[0]: entry[1] for entry in response.resources[0][4]}
    wanted = [topic.partitions or settings.kafka_partitions for topic in TOPICS.values()]
    assert described == dict(zip(names, wanted, strict=True))
    assert config["message.timestamp.type"] == "LogAppendTime"
    assert config["retention.ms"] == str(settings.kafka_retention_h * 3_600_000)
    assert [record.value for record in stack.records(RAW)] == [b"%d" % i for i in range(50)]


async def test_a_producer_that_sticks_is_made_anew_and_nothing_is_lost(stack: ServiceStack) -> None:
    """
    flight    1 fits   2 is refused       3 fits
    Kafka     has      too large ...      out of order: the producer sticks
                       the limit is raised; 2 and 3 by a new producer; 2 settles before 3
    """
    settings = stack.settings
    name = settings.kafka_topic_prefix + RAW
    large = os.urandom(50_000)
    async with admin_of(settings) as admin:
        small = {"max.message.bytes": "2000"}
        await admin.create_topics([NewTopic(name, settings.kafka_partitions, 1, topic_configs=small)])
        async with publishing(settings) as (publisher, settled):
            flights = [flight(settings, b"first"), flight(settings, large), flight(settings, b"third")]
            publisher.submit(flights[0])
            await asyncio.wait_for(publisher.drained(), 20)
            publisher.submit(flights[1])
            await asyncio.sleep(1.0)
            publisher.submit(flights[2])
            await asyncio.sleep(1.0)
            assert settled == flights[:1], "what Kafka refuses is not acknowledged, nor what comes after it"
            raised = {"max.message.bytes": "4194304"}
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, raised)])
            await asyncio.wait_for(publisher.drained(), 20)
            assert settled == flights
    values = [record.value for record in stack.records(RAW)]
    assert set(values) == {b"first", large, b"third"}
