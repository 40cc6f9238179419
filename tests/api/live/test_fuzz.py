"""Strangers who say anything at all to a real server: each gets a documented answer, and nobody else loses a row."""

import asyncio
import json
import logging
from typing import Any

import pytest
import websockets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.live.messages import Close
from tests.api.live.feeding import batch
from tests.api.live.serving import Caller, calling, served

ERRORS = {
    "bad_message", "unknown_type", "unknown_topic", "bad_filter", "bad_tick", "bad_range", "duplicate_id", "duplicate",
    "too_many_subscriptions", "unknown_id", "bad_cursor", "archived",
}  # fmt: skip
"""Of docs/live.md and `api.live.protocol`; nothing else may be said."""
ENDS = {Close.BAD_REQUEST, Close.RATE}

words = st.sampled_from(["traffic", "air-quality", "speed", "pm25", "a", "", "*", "../x", "\0", "x" * 300])
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words | st.text(max_size=20)
nonsense = st.recursive(
    scalars, lambda x: st.lists(x, max_size=4) | st.dictionaries(words, x, max_size=3), max_leaves=8
)
filters = st.dictionaries(
    st.sampled_from(["dataset", "metric", "sensor", "width", "index", "category", "bbox", "flag", "origin", "x"]),
    st.lists(words | st.integers(-1, 9) | st.floats(-200, 200), max_size=5) | nonsense, max_size=3,
)  # fmt: skip


def mostly(good: Any) -> st.SearchStrategy[Any]:
    """Sensible ones, so that what lies behind the first check is reached, and any."""
    return st.one_of(good, good, good, nonsense)


ids = st.sampled_from([0, 1, 2, "a", "b"])
messages = st.fixed_dictionaries(
    {},
    optional={
        "type": mostly(st.sampled_from(["subscribe", "subscribe", "subscribe", "unsubscribe", "ping", "hello"])),
        "id": mostly(ids),
        "topic": mostly(st.sampled_from(["readings", "windows", "index", "events"])),
        "mode": mostly(st.sampled_from(["latest", "all"])),
        "tick_ms": mostly(st.sampled_from([250, 1000, 5000, 7])),
        "snapshot": mostly(st.booleans()),
        "cursor": mostly(st.sampled_from(["", "x", "AAAA", "é", "$mine", "$cut", "$turned"])),
        "filter": mostly(filters),
        "n": nonsense,
    },
)


sound = st.fixed_dictionaries(
    {"type": st.just("subscribe"), "id": ids, "topic": st.sampled_from(["readings", "windows", "index"])},
    optional={
        "mode": st.sampled_from(["latest", "all"]),
        "snapshot": st.booleans(),
        "cursor": st.sampled_from(["x", "$mine", "$cut", "$turned"]),
        "filter": st.sampled_from([{"sensor": ["a"]}, {"dataset": ["traffic"]}, {"bbox": [0, 0, 1, 1]}]),
    },
)
ends = st.fixed_dictionaries({"type": st.just("unsubscribe"), "id": ids})


def with_cursor(message: dict[str, Any], cursor: str) -> dict[str, Any]:
    """`$mine` stands for a cursor of this server, `$cut` for a half of it, `$turned` for one with a letter changed."""
    forms = {"$mine": cursor, "$cut": cursor[: len(cursor) // 2], "$turned": cursor[::-1]}
    found = message.get("cursor")
    return message | {"cursor": forms[found]} if isinstance(found, str) and found in forms else message


async def stranger(url: str, said: list[Any], cursor: str) -> None:
    """Say all of it, and hear answers of the protocol only; then a ping, or a close code that is documented."""
    async with calling(url) as client:
        try:
            for one in said:
                text = json.dumps(with_cursor(one, cursor) if isinstance(one, dict) else one)
                await client.socket.send(text)
            await client.say(type="ping", n=424_242)
            while (heard := await client.hear()) != {"type": "pong", "n": 424_242}:
                if heard["type"] == "error":
                    assert heard["code"] in ERRORS and heard["msg"], heard
        except websockets.ConnectionClosed:
            assert client.socket.close_code in ENDS, client.socket.close_reason


async def hears_on(good: Caller, feed: Any, minute: int, seq: int) -> int:
    """The neighbour gets the next reading, by the next number."""
    feed.publish(batch(("a", minute, float(minute))))
    data = await good.hear("data")
    assert data["seq"] == [seq + 1, seq + 1] and [row["value"] for row in data["d"]] == [minute]
    return seq + 1


def test_anything_at_all(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)

    async def run(crowds: list[list[list[Any]]]) -> None:
        async with served(live_connections_per_address=0) as (feed, url, _), calling(url) as good:
            feed.publish(batch(*((f"s{n}", 0, float(n)) for n in range(1_200))))
            await good.say(type="subscribe", id=1, topic="readings", mode="all", snapshot=False)
            told = await good.hear("subscribed")
            seq = told["seq"]
            for minute, crowd in enumerate(crowds, 1):
                strangers = [asyncio.create_task(stranger(url, said, told["cursor"])) for said in crowd]
                seq = await hears_on(good, feed, minute, seq)
                await asyncio.gather(*strangers)
            async with asyncio.timeout(30):
                while len(feed.hub.members) > 1:
                    await asyncio.sleep(0.01)
            await hears_on(good, feed, len(crowds) + 1, seq)

    said = st.lists(sound | sound | ends | messages | messages | nonsense, max_size=30)

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.lists(said, min_size=1, max_size=3), min_size=1, max_size=3))
    def anything(crowds: list[list[list[Any]]]) -> None:
        caplog.clear()
        asyncio.run(run(crowds))
        assert not caplog.records, caplog.text

    anything()
