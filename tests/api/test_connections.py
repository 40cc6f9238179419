"""Requests that never end, over a real socket: what uvicorn's internals must keep doing for us."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import connect

from api import connections
from api.live.serve import WS
from api.trailers import HTTP
from tests.api.sockets import served

WAIT_S = 0.3
PATIENCE_S = 20.0
ASK = b"GET / HTTP/1.1\r\nhost: x\r\n"


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Says "ok"; at /slow after three waits; at a websocket it gives back what it hears, as long as that takes."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (heard := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": heard["text"]})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    if scope["path"] == "/slow":
        await asyncio.sleep(3 * WAIT_S)
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    monkeypatch.setattr(connections, "REQUEST_WAIT_S", WAIT_S)
    async with served(app, http=HTTP, ws=WS) as found:
        yield found


async def heard(port: int, first: bytes, again: bytes = b"") -> bytes:
    """All that the server says until it closes, to who sends `first` and then `again` and again."""
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(first)
        listening = asyncio.ensure_future(reader.read())
        while not listening.done():
            writer.write(again)
            await asyncio.wait({listening}, timeout=WAIT_S / 10)
        writer.close()
        with contextlib.suppress(ConnectionError):
            return listening.result()
    return b""


def status(answer: bytes) -> int:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    found = json.loads(body)
    assert int(head.split()[1]) == found["status"]
    return int(found["status"])


@pytest.mark.parametrize("again", [b"", b"x-more: 1\r\n"], ids=["silent", "a header at a time"])
async def test_a_head_without_an_end_is_refused_in_time(port: int, again: bytes) -> None:
    assert status(await heard(port, ASK, again)) == 408


async def test_who_says_nothing_is_told_nothing(port: int) -> None:
    assert await heard(port, b"") == b""


@pytest.mark.parametrize("again", [b"\r\n", b"G"], ids=["empty lines", "a method without an end"])
async def test_also_after_a_request_that_was_whole(port: int, again: bytes) -> None:
    answer = await heard(port, ASK + b"\r\n", again)
    assert answer.startswith(b"HTTP/1.1 200") and b"ok" in answer


async def test_a_body_without_an_end_ends_the_connection(port: int) -> None:
    answer = await heard(port, b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n", b"x")
    assert answer.startswith(b"HTTP/1.1 200")


async def test_a_head_beyond_the_bound_is_refused_before_its_time(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST_WAIT_S", 10 * PATIENCE_S)
    assert status(await heard(port, ASK, b"x-more: " + b"y" * 10_000 + b"\r\n")) == 431


async def test_a_long_head_within_it_is_taken(port: int) -> None:
    long = b"x-more: " + b"y" * (connections.HEAD_BYTES - 100) + b"\r\nconnection: close\r\n\r\n"
    assert (await heard(port, ASK + long)).endswith(b"ok")


async def test_many_requests_of_a_connection_have_each_a_bound_of_their_own(port: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        long = ASK + b"x-more: " + b"y" * (connections.HEAD_BYTES // 2) + b"\r\n\r\n"
        for _ in range(5):
            writer.write(long)
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
        writer.write(long * 3)  # at one go
        for _ in range(3):
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
        writer.close()


async def test_an_answer_may_take_longer(port: int) -> None:
    answer = await heard(port, b"GET /slow HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    assert answer.endswith(b"ok")


async def test_a_websocket_may_stay(port: int) -> None:
    async with connect(f"ws://127.0.0.1:{port}/") as socket:
        await asyncio.sleep(3 * WAIT_S)
        await socket.send("still here")
        assert await socket.recv() == "still here"
