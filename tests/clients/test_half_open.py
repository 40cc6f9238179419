"""A network cut without a word under a client in mode `all`: the server lets go of it, and it comes back."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from api.live.clock import Clock
from deploy.local.tools import ROOT
from schemas.settings import Settings
from tests import node
from tests.api.live.feeding import Feed, batch
from tests.api.live.serving import port_of, served
from tests.clients.networks import network

PATIENCE_S = 60.0
PYTHON = """
import asyncio, json, sys
from cityfeed_client import AsyncFeed

async def main():
    async with AsyncFeed(sys.argv[1]) as feed:
        await feed.subscribe("readings", mode="all", snapshot=False)
        async for event in feed:
            values = [row["value"] for row in getattr(event, "rows", ())]
            print(json.dumps([type(event).__name__.lower(), getattr(event, "state", None), values]), flush=True)

asyncio.run(main())
"""
JAVASCRIPT = """
import { createRequire } from 'node:module';
import { CityFeed } from '%s';
const WebSocket = globalThis.WebSocket ?? createRequire('%s/x.js')('ws');
const feed = new CityFeed(process.argv[2], { WebSocket, listener(event) {
  console.log(JSON.stringify([event.type, event.state ?? null, event.rows.map((row) => row.value)]));
} });
feed.subscribe({ topic: 'readings', mode: 'all', snapshot: false });
"""


class Silence:
    """Nothing listens to Kafka here."""

    lag_ms = 0

    def check_silence(self) -> None:
        """Nothing to tell."""


class Told:
    """What a client in a process of its own told: kinds of events, states, values of rows."""

    def __init__(self) -> None:
        self.kinds: list[str] = []
        self.states: list[str] = []
        self.values: list[float] = []

    async def read(self, output: asyncio.StreamReader) -> None:
        """Note it until the process ends."""
        while line := await output.readline():
            kind, state, values = json.loads(line)
            self.kinds.append(kind)
            self.states += [state] if state else []
            self.values += values


def command(language: str, folder: Path) -> list[str]:
    """The client's command, its address is to follow."""
    if language == "python":
        return [sys.executable, "-c", PYTHON]
    script = folder / "client.mjs"
    script.write_text(JAVASCRIPT % (ROOT / "clients/javascript/cityfeed.js", node.modules()), encoding="utf-8")
    return ["node", str(script)]


@contextlib.asynccontextmanager
async def client(*words: str) -> AsyncIterator[Told]:
    """A running client, ended with the block."""
    told = Told()
    process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    reading = asyncio.create_task(told.read(process.stdout))
    try:
        yield told
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading


class Numbers:
    """Readings 0, 1, 2, ... of one sensor, all the time."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self.n = 0

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            self._feed.publish(batch(("a", self.n, self.n)))
            self.n += 1
            await asyncio.sleep(0.02)


async def until(is_so: Any, what: str) -> None:
    """Wait for it."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not is_so():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not within {PATIENCE_S:g} s: {what}") from None


@pytest.mark.parametrize("kind", ["cable", "proxy"])
@pytest.mark.parametrize("language", ["python", "javascript"])
async def test_a_network_that_is_cut_without_a_word(language: str, kind: str, tmp_path: Path) -> None:
    words = command(language, tmp_path)
    async with (
        network(kind) as way,
        served(host=way.host, live_heartbeat_s=1, ws_ping_interval=1.0, ws_ping_timeout=1.0) as (feed, url, server),
    ):
        port = await way.port_for(port_of(url))
        numbers = Numbers(feed)
        tasks = Clock(Settings(live_heartbeat_s=1), feed.hub, Silence()).start()
        async with client(*way.prefix, *words, f"http://{way.host}:{port}") as told:
            await until(lambda: any(member.channels for member in feed.hub.members), "the client is there")
            publishing = asyncio.create_task(numbers.run())
            await until(lambda: len(told.values) > 3, "it hears")
            await way.cut()
            cut_at, lives, waits = numbers.n, told.states.count("live"), told.states.count("waiting")
            await until(lambda: not feed.hub.members, "the hub lets go of it")
            await until(lambda: not server.server_state.connections, "the server drops its socket")
            await until(lambda: told.states.count("waiting") > waits, "the client notices")
            await until(lambda: numbers.n > cut_at + 10, "something to miss")
            assert told.values[-1] < numbers.n - 10
            await way.mend()
            await until(lambda: told.states.count("live") > lives, "the client is back")
            publishing.cancel()
            await until(lambda: bool(told.values) and told.values[-1] >= numbers.n - 1, "it has the last one")
        for task in tasks:
            task.cancel()
        assert told.values == list(range(numbers.n)), "each once, in order"
        assert not {"reset", "gap", "problem"} & set(told.kinds)
