"""`MqttSource` at a real Mosquitto: order, receipts, pauses, and what comes again."""

import asyncio
import dataclasses
import functools
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from ingest_gateway import mqtt_source
from ingest_gateway.mqtt_source import BulkClient, MqttSource, PlainClient
from schemas.settings import Settings
from tests.service_stack import ServiceStack

Message = tuple[str, bytes, int | None, bool]


@pytest.fixture(params=["3.1.1", "5"])
def settings(request: pytest.FixtureRequest, servers: Settings) -> Settings:
    name = f"t{uuid.uuid4().hex[:12]}"
    return dataclasses.replace(servers, mqtt_client_id=name, mqtt_topic_prefix=name, mqtt_version=request.param)


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[tuple[MqttSource, list[Message]]]:
    got: list[Message] = []
    source = MqttSource(settings, [f"{settings.mqtt_topic_prefix}/#"], lambda *message: got.append(message))
    running = asyncio.create_task(source.run())
    try:
        await asyncio.wait_for(source.ready.wait(), 30)
        yield source, got
        # A client that comes back at once takes the session over, and Mosquitto drops what it had not read of us. It
        # reads and answers in order.
        mark = source._client.publish(f"mark-{settings.mqtt_client_id}", b"", 1)
        await until(mark.is_published, "the broker has read what was acknowledged")
    finally:
        await source.close()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def until(is_so: Callable[[], bool], what: str, timeout_s: float = 30) -> None:
    for _ in range(int(timeout_s / 0.02)):
        if is_so():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"not within {timeout_s} s: {what}")


async def publish(settings: Settings, n: int, first: int = 0, qos: int = 1) -> None:
    stack = ServiceStack.__new__(ServiceStack)
    stack.settings = settings
    topic = f"{settings.mqtt_topic_prefix}/a"
    await asyncio.to_thread(stack.publish_all, [(topic, b"%d" % i) for i in range(first, first + n)], qos)


def numbers(got: list[Message]) -> list[int]:
    return [int(payload) for _, payload, _, _ in got]


def receipts(got: list[Message]) -> list[int]:
    return [receipt for _, _, receipt, _ in got if receipt is not None]


@pytest.mark.parametrize("kind", [BulkClient, PlainClient])
async def test_messages_come_in_order_and_once_acknowledged_never_again(
    settings: Settings, kind: type[PlainClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt_source, "bulk_is_possible", lambda: kind is BulkClient)
    async with connected(settings) as (source, got):
        assert type(source._client) is kind
        await publish(settings, 1000)
        await until(lambda: len(got) == 1000, "1000 messages")
        assert numbers(got) == list(range(1000))
        assert all(topic == f"{settings.mqtt_topic_prefix}/a" for topic, _, _, _ in got)
        assert len(set(receipts(got))) == 1000
        source.acknowledge(receipts(got)[:900])
    async with connected(settings) as (source, got):
        await until(lambda: len(got) >= 100, "the 100 that were not acknowledged")
        await asyncio.sleep(0.2)
        assert numbers(got) == list(range(900, 1000))
        source.acknowledge(receipts(got))
    async with connected(settings) as (source, got):
        await asyncio.sleep(0.3)
        assert got == []


async def test_quality_of_service_0_needs_no_acknowledgement(settings: Settings) -> None:
    async with connected(settings) as (_, got):
        await publish(settings, 100, qos=0)
        await until(lambda: len(got) == 100, "100 messages")
        assert receipts(got) == []


async def test_while_paused_messages_stay_with_the_broker(settings: Settings) -> None:
    async with connected(settings) as (source, got):
        await publish(settings, 10)
        await until(lambda: len(got) == 10, "10 messages")
        source.pause()
        source.acknowledge(receipts(got))
        await publish(settings, 500, first=10)
        await asyncio.sleep(0.3)
        assert len(got) == 10
        source.resume()
        await until(lambda: len(got) == 510, "the rest")
        assert numbers(got) == list(range(510))
        source.acknowledge(receipts(got)[10:])


async def test_a_pause_in_mid_packet_loses_nothing(settings: Settings) -> None:
    """Paused by `take` itself, as the gateway does at its bound."""
    async with connected(settings) as (source, got):

        def take_one(*message: Any) -> None:
            got.append(message)
            source.pause()

        source._take = take_one
        await publish(settings, 50)
        for n in range(1, 51):
            await until(functools.partial(lambda wanted: len(got) == wanted, n), f"message {n}")
            await asyncio.sleep(0)
            assert len(got) == n, "one message a resume"
            source.resume()
        assert numbers(got) == list(range(50))


async def test_receipts_of_an_older_connection_mean_nothing(settings: Settings) -> None:
    """
    ours       take 1-20         lost    take 1-20 again    acknowledge the old 20: no effect
    another           same client id, so the broker drops us
    """
    async with connected(settings) as (source, got):
        await publish(settings, 20)
        await until(lambda: len(got) == 20, "20 messages")
        old = receipts(got)
        got.clear()
        protocol = mqtt.MQTTv5 if settings.mqtt_version == "5" else mqtt.MQTTv311
        clean = None if settings.mqtt_version == "5" else False
        other = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            settings.mqtt_client_id,
            clean,
            protocol=protocol,
            manual_ack=True,
            reconnect_on_failure=False,
        )
        started: dict[str, Any] = {}
        if settings.mqtt_version == "5":
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = 60
            started = {"clean_start": False, "properties": properties}
        await asyncio.to_thread(other.connect, settings.mqtt_host, settings.mqtt_port, 60, **started)
        other.loop_start()
        try:
            await until(lambda: source._connection == 2, "the other has our session, and we come back")
            await until(lambda: len(got) >= 20, "all 20 again")
        finally:
            other.loop_stop()
        source.acknowledge(old)
        assert numbers(got)[:20] == list(range(20))
        assert set(receipts(got)).isdisjoint(old)
        await asyncio.sleep(0.2)
    async with connected(settings) as (source, got):
        await until(lambda: len(got) == 20, "all 20, for nobody acknowledged them")
        source.acknowledge(receipts(got))


async def test_what_take_raises_ends_the_source(settings: Settings) -> None:
    def broken(*message: object) -> None:
        raise ValueError("oops")

    source = MqttSource(settings, [f"{settings.mqtt_topic_prefix}/#"], broken)
    running = asyncio.create_task(source.run())
    await asyncio.wait_for(source.ready.wait(), 30)
    await publish(settings, 1)
    with pytest.raises(ValueError, match="oops"):
        await asyncio.wait_for(running, 30)
    await source.close()
    async with connected(settings) as (source, got):
        await until(lambda: len(got) == 1, "it was not acknowledged")
        source.acknowledge(receipts(got))
