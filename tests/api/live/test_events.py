"""Server-sent events and long polling on a real server: the same frames, cursors that go on, clear refusals."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.api.live.feeding import batch
from tests.api.live.serving import port_of, served


class Events:
    """What an EventSource would hear: (event, id, data)."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.last_id = ""
        self._lines = answer.aiter_lines()

    async def next(self, wanted: str | None = None) -> dict[str, Any]:
        async with asyncio.timeout(10):
            event = data = ""
            async for line in self._lines:
                name, _, value = line.partition(": ")
                if name == "id":
                    self.last_id = value
                elif name == "event":
                    event = value
                elif name == "data":
                    data = value
                elif not line and event:
                    if wanted in (None, event):
                        return {"event": event} | json.loads(data)
                    event = ""
        raise AssertionError("the stream ended")


@contextlib.asynccontextmanager
async def listening(url: str, query: str = "", **headers: str | bytes) -> AsyncIterator[Events]:
    http = url.replace("ws", "http", 1).replace("/v1/live", "")
    async with (
        httpx.AsyncClient(timeout=20) as client,
        client.stream("GET", f"{http}/v1/sse?{query}", headers=headers) as answer,
    ):
        assert answer.status_code == 200
        yield Events(answer)


async def ask(url: str, query: str, path: str = "poll") -> httpx.Response:
    http = url.replace("ws", "http", 1).replace("/v1/live", "")
    async with httpx.AsyncClient(timeout=20) as client:
        return await client.get(f"{http}/v1/{path}?{query}")


def values(message: dict[str, Any]) -> list[float]:
    return [row["value"] for row in message["d"]]


async def test_events_go_on_with_the_last_id() -> None:
    async with served() as (feed, url, _):
        feed.publish(batch(("a", 0, 1)))
        async with listening(url, "mode=all&dataset=traffic&metric=speed") as events:
            assert events.answer.headers["content-type"].startswith("text/event-stream")
            assert events.answer.headers["x-accel-buffering"] == "no"
            assert values(await events.next("snapshot")) == [1]
            feed.publish(batch(("a", 1, 2)))
            assert values(await events.next("data")) == [2]
            feed.hub.heartbeat(0, 0)
            await events.next("hb")
            last = events.last_id
        feed.publish(batch(("a", 2, 3)))
        query = "mode=all&dataset=traffic&metric=speed"
        for more, headers in (("", {"Last-Event-ID": last}), (f"&last_event_id={last}", {})):
            async with listening(url, query + more, **headers) as events:
                assert (await events.next())["recovered"] is True
                assert values(await events.next()) == [3]
        async with listening(url, query + "&last_event_id=forged") as events:
            assert (await events.next("reset"))["reason"] == "bad_cursor"
            assert values(await events.next()) == [3]


async def test_polling_goes_on_with_the_cursor_and_waits() -> None:
    async with served() as (feed, url, _):
        feed.publish(batch(("a", 0, 1)))
        first = (await ask(url, "mode=all&sensor=a")).json()
        assert [m["type"] for m in first["frames"]] == ["snapshot"] and values(first["frames"][0]) == [1]
        waiting = asyncio.create_task(ask(url, f"mode=all&sensor=a&wait=10&cursor={first['cursor']}"))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        feed.publish(batch(("b", 1, 9)))
        feed.publish(batch(("a", 1, 2)))
        second = (await waiting).json()
        assert [values(m) for m in second["frames"]] == [[2]]
        assert (await ask(url, f"mode=all&sensor=a&wait=0&cursor={second['cursor']}")).json()["frames"] == []
        feed.publish(batch(("a", 2, 3), ("a", 3, 4)))
        third = (await ask(url, f"mode=all&sensor=a&cursor={second['cursor']}")).json()
        assert [values(m) for m in third["frames"]] == [[3, 4]] and third["frames"][0]["replay"] is True
        reset = (await ask(url, "mode=all&cursor=x")).json()
        assert [m["type"] for m in reset["frames"]] == ["subscribed", "snapshot"]
        assert not feed.hub.members


@pytest.mark.parametrize("path", ["sse", "poll"])
@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("datset=traffic", "datset"), ("dataset=trafic", "dataset"), ("topic=events", "topic"), ("mode=some", "mode"),
        ("tick_ms=7", "tick_ms"), ("tick_ms=x", "tick_ms"), ("flag=7", "flag"), ("bbox=1,2,3", "bbox"),
        ("topic=windows&width=2h", "width"), ("snapshot=maybe", "snapshot"), ("mode=all&mode=all", "mode"),
        ("token=secret", "token"), ("flag=x", "flag"), ("origin=moon", "origin"),
    ],
)  # fmt: skip
async def test_refusals_name_the_parameter(path: str, query: str, parameter: str) -> None:
    async with served() as (feed, url, _):
        answer = await ask(url, query, path)
        assert answer.status_code == 400 and answer.headers["content-type"] == "application/problem+json"
        said = answer.json()
        assert said["parameter"] == parameter and said["remedy"] and not feed.hub.members


async def test_a_wait_that_is_none_is_refused() -> None:
    async with served() as (_, url, _):
        for wait in ("x", "-1", "61", "nan"):
            assert (await ask(url, f"cursor=x&wait={wait}")).json()["parameter"] == "wait"


async def test_all_ways_in_count_for_an_address() -> None:
    async with served(live_connections_per_address=2) as (feed, url, _):
        async with listening(url), listening(url):
            refused = await ask(url, "")
            assert refused.status_code == 429 and refused.json()["type"] == "/problems/too-many-connections"
        async with asyncio.timeout(30):
            while feed.hub.members:
                await asyncio.sleep(0.01)
        assert (await ask(url, "")).status_code == 200


async def test_a_stream_that_is_not_read_is_cut_off_and_harms_nobody() -> None:
    sensors = [f"s{i}" for i in range(400)]
    async with served(live_drain_timeout_s=1) as (feed, url, _), listening(url, "mode=latest&tick_ms=250") as reader:
        await reader.next("snapshot")
        port = port_of(url)
        stalled = socket.socket()
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stalled.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(stalled, ("127.0.0.1", port))
        await loop.sock_sendall(stalled, b"GET /v1/sse?mode=latest&tick_ms=250 HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(30):
            while len(feed.hub.members) < 2:
                await asyncio.sleep(0.01)
        minute = 0
        async with asyncio.timeout(40):
            while len(feed.hub.members) == 2:
                minute += 1
                feed.publish(batch(*((s, minute, float(minute)) for s in sensors)))
                feed.hub.tick(250)
                assert values(await reader.next("data"))[0] == minute
        stalled.close()


async def test_a_loop_of_polls_misses_nothing_and_hears_nothing_twice() -> None:
    async with served() as (feed, url, _):
        cursor = (await ask(url, "mode=all&snapshot=false")).json()["cursor"]

        async def publish() -> None:
            for n in range(0, 300, 3):
                feed.publish(batch(*(("a", minute, float(minute)) for minute in range(n, n + 3))), flush=n % 2 == 0)
                await asyncio.sleep(0.002)
            feed.hub.flush()

        publishing = asyncio.create_task(publish())
        heard: list[float] = []
        async with asyncio.timeout(60):
            while len(heard) < 300:
                answer = (await ask(url, f"mode=all&wait=1&cursor={cursor}")).json()
                assert {frame["type"] for frame in answer["frames"]} <= {"data"}
                heard += [value for frame in answer["frames"] for value in values(frame)]
                cursor = answer["cursor"]
        await publishing
        assert heard == list(range(300))


@pytest.mark.parametrize("garbage", ["x", "A" * 3_000, b"\xe9", "%00", '{"at":1}', ", ,", "-1"])
async def test_an_id_that_is_none_of_ours_begins_anew_and_says_so(garbage: str | bytes) -> None:
    async with served() as (feed, url, _):
        feed.publish(batch(("a", 0, 1)))
        async with listening(url, "mode=all", **{"Last-Event-ID": garbage}) as events:
            assert (await events.next())["event"] == "reset"
            assert values(await events.next("snapshot")) == [1]
