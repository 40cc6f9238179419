"""The live feed on a real server: what `serve.WS` relies on in uvicorn, close codes, clients that do not read."""

import asyncio
import socket
import statistics
import time

import httpx
import pytest
import websockets

from api.live.messages import SUBPROTOCOL, Close
from tests.api.live.feeding import batch
from tests.api.live.serving import calling, port_of, served

HANDSHAKE = (
    b"GET /v1/live HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Protocol: cityfeed.v1.json\r\n\r\n"
)


async def test_hello_subscribe_data_unsubscribe_ping() -> None:
    async with served() as (feed, url, _), calling(url, hello=False) as client:
        assert client.socket.subprotocol == SUBPROTOCOL
        await client.say(type="hello", client="test")
        welcome = await client.hear()
        assert welcome["v"] == 1 and welcome["hb_s"] == 15 and welcome["limits"]["subscriptions"] == 64
        feed.publish(batch(("a", 0, 1)))
        await client.say(type="subscribe", id=1, topic="readings", mode="all", filter={"metric": ["speed"]})
        assert [(await client.hear())["type"] for _ in range(2)] == ["subscribed", "snapshot"]
        feed.publish(batch(("a", 5, 2)))
        data = await client.hear()
        assert data["type"] == "data" and data["seq"] == [1, 1] and data["d"][0]["value"] == 2
        await client.say(type="ping", n=9)
        assert await client.hear() == {"type": "pong", "n": 9}
        await client.say(type="unsubscribe", id=1)
        await client.say(type="ping", n=10)
        await client.hear("pong")
        feed.publish(batch(("a", 10, 3)))
        await client.say(type="ping", n=11)
        assert (await client.hear())["type"] == "pong"


async def test_the_schemas_that_welcome_names_are_there() -> None:
    async with served() as (_, url, _), calling(url, hello=False) as client, httpx.AsyncClient() as http:
        await client.say(type="hello")
        path = (await client.hear())["schema_url"]
        answer = await http.get(url.replace("ws", "http", 1).replace("/v1/live", path))
        assert answer.status_code == 200 and "Subscribe" in answer.json()["$defs"]


@pytest.mark.parametrize(
    ("options", "say", "code"),
    [
        ({"subprotocols": None}, None, Close.VERSION),
        ({}, "nonsense", Close.BAD_REQUEST),
        ({}, b"\x00\x01", Close.BAD_REQUEST),
        ({}, '{"type":"ping"}', Close.BAD_REQUEST),
        ({}, '{"type":"hello","x":"' + "y" * 5000 + '"}', Close.BAD_REQUEST),
        ({}, "y" * 100_000, 1009),  # over what the server reads at all
        ({}, None, Close.HELLO_TIMEOUT),
    ],
)
async def test_close_codes(options: dict[str, None], say: str | bytes | None, code: int) -> None:
    async with served(live_hello_timeout_s=2) as (_, url, _), calling(url, hello=False, **options) as client:
        if say is not None:
            await client.socket.send(say)
        assert await client.closed() == code


async def test_a_token_in_the_url_is_refused() -> None:
    async with served() as (_, url, _), calling(url + "?token=x", hello=False) as client:
        assert await client.closed() == Close.BAD_REQUEST


async def test_a_flood_is_closed_and_others_are_not() -> None:
    async with served() as (_, url, _), calling(url) as flood, calling(url) as other:
        for n in range(101):
            await flood.say(type="ping", n=n)
        assert await flood.closed() == Close.RATE
        await other.say(type="ping", n=1)
        assert await other.hear() == {"type": "pong", "n": 1}


async def test_connections_of_an_address_are_limited() -> None:
    async with served(live_connections_per_address=2) as (feed, url, _), calling(url) as first:
        async with calling(url), calling(url, hello=False) as third:
            assert await third.closed() == Close.CONNECTION_LIMIT
        async with asyncio.timeout(30):
            while len(feed.hub.members) > 1:  # until the server has noticed that one has left
                await asyncio.sleep(0.01)
        async with calling(url) as again:
            await again.say(type="ping")
            await again.hear("pong")
        await first.say(type="ping")
        await first.hear("pong")


async def test_who_leaves_is_forgotten() -> None:
    async with served() as (feed, url, _):
        async with calling(url) as client:
            await client.say(type="subscribe", id=1, topic="readings")
            await client.hear("subscribed")
            assert len(feed.hub.members) == 1
        async with asyncio.timeout(30):
            while feed.hub.members:
                await asyncio.sleep(0.01)


async def test_a_shutdown_tells_when_to_come_back() -> None:
    async with served() as (_, url, server), calling(url) as client:
        server.should_exit = True
        assert 500 <= (await client.hear("going_away"))["reconnect_in_ms"] <= 5000
        assert await client.closed() == Close.SHUTDOWN


async def test_who_does_not_answer_pings_is_closed() -> None:
    async with served(ws_ping_interval=0.2, ws_ping_timeout=0.2) as (_, url, _):
        port = port_of(url)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HANDSHAKE)
        heard = b""
        async with asyncio.timeout(30):
            while chunk := await reader.read(1000):
                heard += chunk
                if Close.NO_PONG.to_bytes(2, "big") in heard:
                    break
        assert Close.NO_PONG.to_bytes(2, "big") in heard
        writer.close()
        await writer.wait_closed()


async def slow_socket(port: int) -> socket.socket:
    """A connection whose kernel takes next to nothing that its owner has not read."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.setblocking(False)
    await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", port))
    return made


async def stalled_client(port: int) -> socket.socket:
    """A client that subscribes to everything and then reads nothing."""
    loop = asyncio.get_running_loop()
    made = await slow_socket(port)
    await loop.sock_sendall(made, HANDSHAKE)
    await loop.sock_recv(made, 1000)
    for text in (b'{"type":"hello"}', b'{"type":"subscribe","id":1,"topic":"readings","mode":"latest","tick_ms":250}'):
        await loop.sock_sendall(made, bytes((0x81, 0x80 | len(text), 0, 0, 0, 0)) + text)
    return made


async def test_one_client_that_does_not_read_harms_nobody_else() -> None:
    sensors = [f"s{i}" for i in range(400)]
    async with served(live_drain_timeout_s=1) as (feed, url, _), calling(url) as reader:
        await reader.say(type="subscribe", id=1, topic="readings", mode="latest", tick_ms=250, snapshot=False)
        await reader.hear("subscribed")
        stalled = await stalled_client(port_of(url))
        async with asyncio.timeout(30):
            while len(feed.hub.members) < 2:
                await asyncio.sleep(0.01)
        took_s: list[float] = []
        minute = 0
        async with asyncio.timeout(60):
            while len(feed.hub.members) == 2:
                minute += 1
                feed.publish(batch(*((s, minute, float(minute)) for s in sensors)))
                sent = time.monotonic()
                feed.hub.tick(250)
                data = await reader.hear("data")
                took_s.append(time.monotonic() - sent)
                assert data["seq"] == [minute, minute] and len(data["d"]) == 400
                feed.hub.drop_stalled(time.monotonic())
        stalled.close()
        assert statistics.median(took_s) < 0.5  # not each of them: others may be at work on this machine


async def test_a_slow_client_gets_all_of_a_big_snapshot_and_the_newest_after_it() -> None:
    sensors = [f"s{i:05}" for i in range(20_000)]
    async with served() as (feed, url, _):
        feed.publish(batch(*((s, 0, 0.0) for s in sensors)))
        async with calling(url, max_queue=1, compression=None, sock=await slow_socket(port_of(url))) as client:
            await client.say(type="subscribe", id=1, topic="readings", mode="latest", tick_ms=250)
            (member,) = feed.hub.members
            async with asyncio.timeout(30):
                while member.link.writable:  # until the snapshot has filled what lies between
                    await asyncio.sleep(0.01)
            for minute in (1, 2, 3):
                feed.publish(batch((sensors[0], minute, float(minute))))
                feed.hub.tick(250)
            await client.hear("subscribed")
            got = 0
            while not (part := await client.hear("snapshot"))["last"]:
                got += len(part["d"])
            assert got + len(part["d"]) == 20_000
            data = await client.hear("data")
            assert data["seq"] == [1, 3] and [r["value"] for r in data["d"]] == [3] and data["n_conflated"] == 2


async def test_a_subscription_that_ends_in_the_middle_of_its_snapshot_and_begins_again() -> None:
    sensors = [f"s{n:05}" for n in range(20_000)]
    async with served() as (feed, url, _):
        feed.publish(batch(*((s, 0, 0.0) for s in sensors)))
        async with calling(url, max_queue=1, compression=None, sock=await slow_socket(port_of(url))) as client:
            await client.say(type="subscribe", id=1, topic="readings", mode="all")
            first = (await client.hear("subscribed"))["ch"]
            assert (await client.hear("snapshot"))["last"] is False
            await client.say(type="unsubscribe", id=1)
            await client.say(type="subscribe", id=2, topic="readings", mode="all")
            while (told := await client.hear())["type"] != "subscribed":
                assert (told["type"], told["ch"]) == ("snapshot", first)  # was on its way
            assert told["id"] == 2 and told["ch"] != first
            parts = [await client.hear()]
            while not parts[-1]["last"]:
                parts.append(await client.hear())
            assert {part["ch"] for part in parts} == {told["ch"]}
            assert [part["part"] for part in parts] == list(range(len(parts)))
            assert sorted(row["sensor"] for part in parts for row in part["d"]) == sensors


async def test_another_websocket_class_is_refused_with_a_clear_word(caplog: pytest.LogCaptureFixture) -> None:
    async with served(ws="websockets-sansio") as (_, url, _):
        with pytest.raises(websockets.InvalidStatus):
            async with calling(url, hello=False):
                pass
    assert "start the API with `python -m api`" in caplog.text


async def mischief(url: str, kind: str) -> None:
    """Be a bad client in one way, until the server has had enough of it."""
    port = port_of(url)
    if kind in ("half a request", "reset"):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HANDSHAKE if kind == "reset" else HANDSHAKE[:40])
        await asyncio.sleep(0.2)
        writer.transport.abort()
        return
    if kind == "reads nothing":
        made = await stalled_client(port)
        await asyncio.sleep(2)
        made.close()
        return
    options = {"subprotocols": None} if kind == "subprotocol" else {}
    address = url + "?token=x" if kind == "token in the URL" else url
    hello = kind not in ("subprotocol", "token in the URL", "no hello", "not JSON")
    async with calling(address, hello=hello, **options) as bad:
        match kind:
            case "not JSON":
                await bad.socket.send("{")
            case "unknown types":
                for n in range(300):
                    await bad.say(type=f"t{n}", id=n)
            case "5 KB":
                await bad.say(type="ping", n=1, pad="x" * 5000)
            case "subscriptions":
                for n in range(300):
                    await bad.say(type="subscribe", id=n, topic="readings", filter={"sensor": [f"s{n}"]})
            case "nonsense":
                for box in ([0, 0, 1], [0, 1, 1, 0], ["a"], [0, 0, 1, 1e300]) * 40:
                    await bad.say(type="subscribe", id=1, topic="readings", filter={"bbox": box})
            case "broken frames":
                bad.socket.transport.write(b"\xf1\x80\0\0\0\0")
        assert await bad.closed() == MISCHIEF[kind], kind


MISCHIEF = {
    "not JSON": Close.BAD_REQUEST, "unknown types": Close.RATE, "5 KB": Close.BAD_REQUEST, "subprotocol": Close.VERSION,
    "no hello": Close.HELLO_TIMEOUT, "subscriptions": Close.RATE, "nonsense": Close.RATE,
    "token in the URL": Close.BAD_REQUEST, "broken frames": 1002, "half a request": 0, "reset": 0, "reads nothing": 0,
}  # fmt: skip
"""What it is closed with; 0: it is not told."""


async def test_bad_clients_of_every_kind_at_once_cost_nobody_else_a_row() -> None:
    settings = {"live_hello_timeout_s": 5, "live_drain_timeout_s": 1, "live_connections_per_address": 0}
    async with served(**settings) as (feed, url, _), calling(url) as good:
        await good.say(type="subscribe", id=1, topic="readings", mode="all", snapshot=False)
        seq = (await good.hear("subscribed"))["seq"]
        bad = asyncio.gather(*(mischief(url, kind) for kind in [*MISCHIEF] * 3), return_exceptions=True)
        minute, heard = 0, 0
        async with asyncio.timeout(60):
            while not bad.done() or heard < minute:
                if not bad.done() and minute < 5_000:
                    minute += 1
                    feed.publish(batch(("a", minute, float(minute))))
                    await asyncio.sleep(0.002)
                while heard < minute:
                    message = await good.hear("data")
                    assert message["seq"][0] == seq + 1
                    seq = message["seq"][1]
                    assert [row["value"] for row in message["d"]] == [heard + 1 + i for i in range(len(message["d"]))]
                    heard += len(message["d"])
        assert [error for error in await bad if error is not None] == []
        async with asyncio.timeout(30):
            while len(feed.hub.members) > 1:
                await asyncio.sleep(0.02)
