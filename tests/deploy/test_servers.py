"""The three servers are up, and the fixtures reach them."""

import asyncio

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.service_stack import ServiceStack


def test_database_has_timescaledb_and_the_tuned_settings(stack: ServiceStack) -> None:
    assert stack.query("SELECT extname FROM pg_extension WHERE extname = 'timescaledb'") == [("timescaledb",)]
    assert stack.query("SHOW timezone") == [("UTC",)]
    assert stack.query("SHOW synchronous_commit") == [("on",)]
    assert stack.query("SHOW timescaledb.telemetry_level") == [("off",)]


def test_kafka_keeps_records_and_makes_no_topics_by_itself(stack: ServiceStack) -> None:
    topic = stack.settings.kafka_topic_prefix + "things"

    async def produce() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=stack.settings.kafka_bootstrap)
        await admin.start()
        await admin.create_topics([NewTopic(topic, 2, 1)])
        await admin.close()
        producer = AIOKafkaProducer(bootstrap_servers=stack.settings.kafka_bootstrap, enable_idempotence=True)
        await producer.start()
        for number in range(10):
            await producer.send_and_wait(topic, str(number).encode(), partition=number % 2)
        await producer.stop()

    asyncio.run(produce())
    assert [record.value for record in stack.records("things")] == [
        b"0",
        b"2",
        b"4",
        b"6",
        b"8",
        b"1",
        b"3",
        b"5",
        b"7",
        b"9",
    ]
    assert stack.records("others") == []


def test_mosquitto_takes_messages(stack: ServiceStack) -> None:
    stack.publish_all((stack.mqtt_topic("traffic", f"s{n}"), {"t": n}) for n in range(500))
