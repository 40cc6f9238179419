"""How a group of Kafka has divided a topic among its members."""

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment


async def divided(bootstrap: str, group: str, topic: str) -> tuple[set[int], set[int]] | None:
    """(partitions, owned): those that the topic has, none where there is no such topic, and those that members of the
    group have; None while the group divides them. Raises KafkaError.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        (described,) = await admin.describe_topics([topic])
        (answer,) = await admin.describe_consumer_groups([group])
    finally:
        await admin.close()
    ((_, _, state, *_, members),) = answer.groups
    if state != "Stable":
        return None
    owned: set[int] = set()
    for *_, given in members:
        if given:
            for name, parts in ConsumerProtocolMemberAssignment.decode(given).assignment:
                owned |= set(parts) if name == topic else set()
    return {partition["partition"] for partition in described["partitions"]}, owned
