"""The Python client, async and sync, through the recorded conversations."""

import asyncio
import contextlib
import dataclasses
import importlib.util
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from cityfeed_client import AsyncFeed, CityfeedClientError, Event, Feed, reconnect

from tests.clients.conversations import FOLDER, NAMES, TOLD, assert_told, read, verdict

spec = importlib.util.spec_from_file_location("conversation_server", FOLDER / "server.py")
assert spec is not None and spec.loader is not None
server = importlib.util.module_from_spec(spec)
spec.loader.exec_module(server)


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with server.serving() as port:
        yield port


class Notes:
    """What a client told its user, until it is what the conversation has."""

    def __init__(self, name: str) -> None:
        self.wanted = read(name)
        self.names: dict[int, str] = {}
        self.told: dict[str, Any] = {"events": [], "waits": [], "error": None}

    def wait_s(self, code: int | None, failures: int, going_away_ms: int | None) -> float | None:
        """The client's own policy, noted, and then not waited for."""
        wait_s = reconnect.wait_s(code, failures, going_away_ms)
        if wait_s is not None:
            self.told["waits"].append((code, wait_s))
        return None if wait_s is None else 0.0

    def take(self, event: Event) -> None:
        """Note it."""
        kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(event).__name__).lower()
        if kind in TOLD:
            noted = {f.name: getattr(event, f.name) for f in dataclasses.fields(event)} | {"type": kind}
            if noted.get("subscription") is not None:
                noted["subscription"] = self.names[id(noted["subscription"])]
            if "seq" in noted:
                noted["seq"] = list(noted["seq"])
            self.told["events"].append(noted)

    async def complete(self) -> None:
        """Wait until all that was to come is here, and a little for what was not."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                while any(len(self.told[key]) < len(self.wanted[key]) for key in ("events", "waits")) or (
                    self.wanted["error"] is not None and self.told["error"] is None
                ):
                    await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)

    def fail(self, error: CityfeedClientError) -> None:
        found = {key: getattr(error, key) for key in ("code", "reason") if hasattr(error, key)}
        self.told["error"] = {"kind": type(error).__name__} | found


def wants(notes: Notes) -> list[tuple[str, dict[str, Any]]]:
    """(topic, arguments) of each subscription, and of each replay."""
    return [
        (w["topic"], {k: w[k] for k in w.keys() - {"name", "filter", "topic", "replay"}}
         | w.get("replay", {}) | w.get("filter", {}))
        for w in notes.wanted["subscriptions"]
    ]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
async def test_async(name: str, port: int) -> None:
    notes = Notes(name)
    async with AsyncFeed(f"http://127.0.0.1:{port}/{name}/async", wait=notes.wait_s) as feed:
        for wanted, (topic, words) in zip(notes.wanted["subscriptions"], wants(notes), strict=True):
            made = await (feed.replay if "replay" in wanted else feed.subscribe)(topic, **words)
            notes.names[id(made)] = wanted["name"]

        async def listen() -> None:
            try:
                async for event in feed:
                    notes.take(event)
            except CityfeedClientError as e:
                notes.fail(e)

        listening = asyncio.create_task(listen())
        problem = await asyncio.to_thread(verdict, port, name, "async")
        await notes.complete()
        await feed.close()
        await listening
    assert problem is None
    assert_told(name, notes.told)


@pytest.mark.parametrize("name", NAMES)
async def test_sync(name: str, port: int) -> None:
    notes = Notes(name)
    with Feed(f"ws://127.0.0.1:{port}/{name}/sync/v1/live", wait=notes.wait_s) as feed:
        for wanted, (topic, words) in zip(notes.wanted["subscriptions"], wants(notes), strict=True):
            made = (feed.replay if "replay" in wanted else feed.subscribe)(topic, **words)
            notes.names[id(made)] = wanted["name"]

        def listen() -> None:
            try:
                for event in feed:
                    notes.take(event)
            except CityfeedClientError as e:
                notes.fail(e)

        listening = asyncio.create_task(asyncio.to_thread(listen))
        problem = await asyncio.to_thread(verdict, port, name, "sync")
        await notes.complete()
        await asyncio.to_thread(feed.close)
        await listening
    assert problem is None
    assert_told(name, notes.told)
