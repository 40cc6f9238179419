"""The registry as others fill it, from a real Kafka."""

import asyncio
import dataclasses
from contextlib import suppress

from ingest_gateway.flights import Flight
from ingest_gateway.intake import registration_record
from ingest_gateway.publish import Publisher
from ingest_gateway.registry_tail import RegistryTail
from schemas.registry import Registration, Registry, Series
from tests.service_stack import ServiceStack


def unit_of(registry: Registry, sensor: str) -> str:
    return registry.rule("air-quality", sensor, "pm25").unit


async def test_it_has_all_that_was_registered_and_takes_what_comes(stack: ServiceStack) -> None:
    settings = stack.settings

    def flight(sensor: str) -> Flight:
        series = {"pm25": Series("mg/m3")}
        return Flight(
            [registration_record(Registration("air-quality", sensor, series=series), settings.kafka_topic_prefix)], []
        )

    registry = Registry({})
    publisher = Publisher(settings, lambda flight: None)
    tail = RegistryTail(settings, registry)
    tasks = [asyncio.create_task(publisher.run())]
    try:
        publisher.submit(flight("s1"))
        await asyncio.wait_for(publisher.drained(), 20)
        await asyncio.wait_for(tail.start(), 20)
        assert (unit_of(registry, "s1"), unit_of(registry, "s2")) == ("mg/m3", "")
        tasks.append(asyncio.create_task(tail.run()))
        publisher.submit(flight("s2"))
        async with asyncio.timeout(20):
            while unit_of(registry, "s2") != "mg/m3":
                await asyncio.sleep(0.05)
    finally:
        await tail.stop()
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def test_while_kafka_is_away_it_waits_and_can_be_ended(stack: ServiceStack) -> None:
    settings = dataclasses.replace(stack.settings, kafka_bootstrap="127.0.0.1:9")  # the discard port: nobody is there
    tail = RegistryTail(settings, Registry({}))
    starting = asyncio.create_task(tail.start())
    await asyncio.sleep(1.5)
    assert not starting.done()
    starting.cancel()
    with suppress(asyncio.CancelledError):
        await starting
    await asyncio.wait_for(tail.stop(), 5)
