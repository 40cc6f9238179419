"""Makes the topics of `schemas.topics.TOPICS` where they are missing."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import errors
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from schemas.errors import PipelineError
from schemas.settings import Settings
from schemas.topics import TOPICS, topic_config


async def ensure_topics(settings: Settings) -> None:
    """Create what is missing; what is there stays as it is.

    Raises `PipelineError` where a topic has another number of partitions than the settings say: sensors would
    have two owners. Raises aiokafka's `KafkaError`s where Kafka can't be reached or refuses.
    """
    wanted = {settings.kafka_topic_prefix + t.name: t for t in TOPICS.values()}
    partitions = {name: t.partitions or settings.kafka_partitions for name, t in wanted.items()}
    async with _admin(settings) as admin:
        missing = wanted.keys() - set(await admin.list_topics())
        if missing:
            new = [
                NewTopic(
                    name,
                    partitions[name],
                    settings.kafka_replication,
                    topic_configs=topic_config(wanted[name], settings.kafka_retention_h),
                )
                for name in sorted(missing)
            ]
            response = await admin.create_topics(new)
            for name, code, *rest in response.topic_errors:
                error = errors.for_code(code)
                if error not in (errors.NoError, errors.TopicAlreadyExistsError):
                    raise error(f"{name}: {rest[0] if rest else error.__name__}")
        found: dict[str, int] = {}
        for _ in range(20):  # a new topic is not known everywhere at once
            found = {t["topic"]: len(t["partitions"]) for t in await admin.describe_topics(sorted(wanted))}
            if all(found.get(name) for name in wanted):
                break
            await asyncio.sleep(0.1)
    check_partitions(found, partitions)


def check_partitions(found: Mapping[str, int], wanted: Mapping[str, int]) -> None:
    """Compare partition counts by topic. Raises `PipelineError`, or `KafkaError` (try again) for one still unknown."""
    for name, count in wanted.items():
        if not found.get(name):
            raise errors.UnknownTopicOrPartitionError(name)
        if found[name] != count:
            raise PipelineError(
                f"Kafka's topic {name} has {found[name]} partitions, the settings say {count}. The number stays what "
                f"it was when the topic was made, for a sensor that moves would have two owners: set "
                f"CITYFEED_KAFKA_PARTITIONS={found[name]}, or start with empty topics"
            )


@asynccontextmanager
async def _admin(settings: Settings) -> AsyncIterator[Any]:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap, client_id="cityfeed-gateway")
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()
