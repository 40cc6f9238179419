"""The publisher against a real Mosquitto, also with connections that break."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from deploy.replay.load import send
from deploy.replay.mqtt import Message
from deploy.replay.publisher import Broker, BrokerAway, Publisher
from deploy.replay.simulator import PROFILES, Faults, Simulator, sample_week
from schemas.settings import Settings
from tests.deploy.replay.listener import listening


@pytest.fixture
def broker(servers: Settings) -> Broker:
    return Broker.of(servers)


@pytest.fixture
def topic() -> str:
    return f"test-{uuid.uuid4().hex}"


def numbered(topic: str, n: int, first: int = 0) -> list[Message]:
    return [(f"{topic}/{i % 7}".encode(), b"%d" % i) for i in range(first, first + n)]


async def test_all_arrive_in_order_though_the_window_is_small(broker: Broker, topic: str) -> None:
    with listening(broker.host, broker.port, f"{topic}/#") as listener:
        async with Publisher(broker, window=10) as publisher:
            assert await publisher.publish(numbered(topic, 2_000)) == 2_000
            await publisher.flush(10)
            assert publisher.session.acknowledged == 2_000
        assert [int(payload) for _, payload in listener.wait(2_000)] == list(range(2_000))


async def test_a_large_payload_and_a_retained_one(broker: Broker, topic: str) -> None:
    async with Publisher(broker) as publisher:
        await publisher.publish([(topic.encode(), b"x" * 200_000)], retain=True)
        await publisher.flush(10)
    with listening(broker.host, broker.port, topic) as listener:
        assert listener.wait(1) == [(topic, b"x" * 200_000)]
    async with Publisher(broker) as publisher:
        await publisher.publish([(topic.encode(), b"")], retain=True)
        await publisher.flush(10)


class CuttingProxy:
    """Between publisher and broker: cuts each connection after so many bytes from the broker, `cuts` times."""

    def __init__(self, broker: Broker, bytes_back: int, cuts: int) -> None:
        self.broker, self.bytes_back, self.cuts = broker, bytes_back, cuts
        self.connections = 0
        self._tasks: set[asyncio.Task[None] | None] = set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Broker]:
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        async with server:
            yield replace(self.broker, host="127.0.0.1", port=server.sockets[0].getsockname()[1])
        await self.ended()

    async def ended(self) -> None:
        """All connections are closed."""
        await asyncio.gather(*(task for task in self._tasks if task))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._tasks.add(asyncio.current_task())
        left = self.bytes_back if self.connections <= self.cuts else 1 << 60
        there, back = await asyncio.open_connection(self.broker.host, self.broker.port)

        async def forward() -> None:
            while data := await reader.read(65536):
                back.write(data)
                await back.drain()

        forwarding = asyncio.create_task(forward())
        with contextlib.suppress(OSError):
            while left > 0 and (data := await there.read(min(left, 4096))):
                left -= len(data)
                writer.write(data)
                await writer.drain()
        forwarding.cancel()
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await forwarding
        for each in (writer, back):
            each.close()
            with contextlib.suppress(OSError):
                await each.wait_closed()


async def test_a_connection_that_breaks_loses_nothing(broker: Broker, topic: str) -> None:
    proxy = CuttingProxy(broker, bytes_back=1_002, cuts=3)
    with listening(broker.host, broker.port, f"{topic}/#") as listener:
        async with proxy.running() as through, Publisher(through, window=200) as publisher:
            for first in range(0, 3_000, 100):
                await publisher.publish(numbered(topic, 100, first))
            await publisher.flush(20)
            assert publisher.reconnections == 3
            assert publisher.session.acknowledged == 3_000
        received = [int(payload) for _, payload in listener.wait(3_000)]
        assert set(received) == set(range(3_000))
        assert len(received) <= 3_000 + 3 * 200  # again only what was not acknowledged


async def test_a_broker_that_is_away_is_told_in_a_sentence(unused_tcp_port: int) -> None:
    with pytest.raises(BrokerAway, match="cityfeed up"):
        async with Publisher(Broker("127.0.0.1", unused_tcp_port), patience_s=0.3):
            pass


async def test_a_broker_that_comes_later_is_waited_for(broker: Broker, topic: str, unused_tcp_port: int) -> None:
    proxy = CuttingProxy(broker, 0, 0)

    async def publish() -> None:
        async with Publisher(Broker("127.0.0.1", unused_tcp_port), patience_s=10) as publisher:
            await publisher.publish(numbered(topic, 5))
            await publisher.flush(5)

    publishing = asyncio.create_task(publish())
    await asyncio.sleep(0.2)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", unused_tcp_port)
    async with server:
        await asyncio.wait_for(publishing, 10)
        await proxy.ended()


async def test_a_simulated_city_is_sent_at_its_rate(broker: Broker, topic: str) -> None:
    profile = PROFILES["traffic"]
    city = Simulator(sample_week(profile), profile, 300, 2_000, 1_795_000_000_000, 2, 1, Faults(dropout=0.1), topic)
    told: list[int] = []
    with listening(broker.host, broker.port, f"{topic}/#") as listener:
        async with Publisher(broker) as publisher:
            report = await send(publisher, city, 1.0, told.append)
        expected = [message for message in next(city.blocks())[:2_000] if message is not None]
        assert report.messages == sum(told) == len(expected) == 2_000 - report.swallowed
        assert report.readings == 2 * report.messages
        assert [(t.encode(), p) for t, p in listener.wait(len(expected))] == expected
    assert 0.95 < report.seconds < 5
