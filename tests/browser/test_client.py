"""`cityfeed.js` in a real browser that loses its network and comes back: nothing missed, nothing twice."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator

import pytest

from tests.browser.chrome import Page, chromium, executable
from tests.browser.test_page import City, city  # noqa: F401  (a fixture)

pytestmark = [
    pytest.mark.skipif(executable() is None, reason="there is no Chromium here: apt-get install chromium"),
    pytest.mark.timeout(120),
]

SUBSCRIBE = """import('/portal/cityfeed.js').then(({ CityFeed }) => {
  window.heard = [];
  window.states = [];
  window.others = [];
  window.feed = new CityFeed(location.origin, { listener: (event) => {
    if (event.type === 'state') states.push(event.state);
    if (['gap', 'reset', 'error', 'problem'].includes(event.type)) others.push(event.type);
  } });
  const wanted = { topic: 'readings', mode: 'all', snapshot: false, filter: { sensor: ['716328'] } };
  window.wanted = feed.subscribe(wanted, (event) => {
    if (event.type === 'rows') heard.push(...event.rows.map((row) => row.value));
  });
})"""


class Tunnel:
    """A way to the server that can be blocked: what is sent into it then neither arrives nor is refused."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self._behind = port
        self._free = asyncio.Event()
        self._free.set()
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def block(self) -> None:
        self._free.clear()

    def free(self) -> None:
        """The way is free again, for new connections; the old ones are gone, as after a change of network."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()
        self._free.set()

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._free.wait()
        behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", self._behind)
        self._writers += [writer, behind_writer]
        for source, target in ((reader, behind_writer), (behind_reader, writer)):
            task = asyncio.create_task(self._copy(source, target))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65_536):
                await self._free.wait()
                target.write(data)
            target.close()

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        for writer in self._writers:
            writer.transport.abort()


@contextlib.asynccontextmanager
async def tunnel(url: str) -> AsyncIterator[Tunnel]:
    made = Tunnel(int(url.rsplit(":", 1)[1]))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made.port = listener.getsockname()[1]
        async with await asyncio.start_server(made.take, sock=listener):
            try:
                yield made
            finally:
                made.close()


@contextlib.asynccontextmanager
async def subscribed(url: str) -> AsyncIterator[Page]:
    async with chromium() as page:
        await page.open(url + "/v1/datasets")  # any page of the server's own address
        await page.until("document.readyState === 'complete'")
        await page.run(SUBSCRIBE)
        await page.until("wanted.state === 'live'")
        yield page


@pytest.mark.parametrize("how", ["browser offline", "in a tunnel"])
async def test_a_page_that_loses_its_network_comes_back_and_has_missed_nothing(city: City, how: str) -> None:  # noqa: F811
    """Offline, the browser drops its connections; in a tunnel it learns nothing, until heartbeats are missing."""
    async with tunnel(city.url) as way, subscribed(f"http://127.0.0.1:{way.port}") as page:
        for n in range(5):
            city.hear(("716328", float(n)), ago=100 - n)
        await page.until("heard.length === 5")
        if how == "in a tunnel":
            way.block()
            await page.until("states.at(-1) !== 'live'")
        else:
            offline = {"latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
            await page.call("Network.emulateNetworkConditions", offline=True, **offline)
            await page.run("feed.wait = () => 600_000")  # only the browser's word that it is back ends this wait
            for member in list(city.state.hub.members):
                member.link.abort()
            await page.until("states.at(-1) === 'waiting' && !navigator.onLine")
        for n in range(5, 12):
            city.hear(("716328", float(n)), ago=100 - n)
        assert await page.run("heard.length") == 5
        if how == "in a tunnel":
            way.free()
        else:
            online = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
            await page.call("Network.emulateNetworkConditions", offline=False, **online)
        await page.until("heard.length >= 12", timeout_s=40)
        for n in range(12, 15):
            city.hear(("716328", float(n)), ago=100 - n)
        await page.until("heard.length >= 15")
        assert json.loads(await page.run("JSON.stringify(heard)")) == [float(n) for n in range(15)]
        assert await page.run("others.length") == 0
