"""Ways between a client and a server that can really be cut: nothing goes through any more, and nobody is told.

`Cable` is a network of its own for the client (a namespace and a pair of virtual interfaces, so Linux and root), whose
two ends stop knowing each other's hardware address: packets leave, and nobody takes them. `Proxy` stands in where
there is no right to that: it stops reading and writing, and closes nothing; the kernel goes on acknowledging.
"""

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Protocol

import pytest

NOBODY = "02:00:00:00:00:01"


class Network(Protocol):
    """`host` is where the server listens, `prefix` goes before the client's command."""

    host: str
    prefix: tuple[str, ...]

    async def port_for(self, port: int) -> int:
        """Where the client finds a server that listens on `port`."""

    async def cut(self) -> None:
        """From now on nothing goes through."""

    async def mend(self) -> None:
        """It does again."""


class Cable:
    """See the module's docstring."""

    def __init__(self) -> None:
        number = os.getpid() % 65_536
        self.name = f"cf{number}"
        self.host, self._client = (f"10.{200 + number % 50}.{number // 256}.{last}" for last in (1, 2))
        self.prefix = ("ip", "netns", "exec", self.name)

    def plug(self) -> None:
        """Make the network. Raises `CalledProcessError` where that is not allowed, or nothing goes through."""
        near, far = f"{self.name}a", f"{self.name}b"
        _ip("netns", "add", self.name)
        _ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", self.name)
        _ip("addr", "add", f"{self.host}/30", "dev", near)
        _ip("-n", self.name, "addr", "add", f"{self._client}/30", "dev", far)
        _ip("link", "set", near, "up")
        _ip("-n", self.name, "link", "set", far, "up")
        with socket.create_server((self.host, 0)) as server:  # where it may be made it may still not be used
            port = server.getsockname()[1]
            program = f"import socket; socket.create_connection(({self.host!r}, {port}), 5)"
            _run(*self.prefix, sys.executable, "-c", program)

    def unplug(self) -> None:
        """Remove it, and what of it there is."""
        for words in (("link", "del", f"{self.name}a"), ("netns", "del", self.name)):
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip(*words)

    async def port_for(self, port: int) -> int:
        return port

    async def cut(self) -> None:
        _ip("neigh", "replace", self._client, "lladdr", NOBODY, "dev", f"{self.name}a", "nud", "permanent")
        _ip(
            "-n", self.name, "neigh", "replace", self.host, "lladdr", NOBODY, "dev", f"{self.name}b", "nud", "permanent"
        )

    async def mend(self) -> None:
        _ip("neigh", "del", self._client, "dev", f"{self.name}a")
        _ip("-n", self.name, "neigh", "del", self.host, "dev", f"{self.name}b")


class Proxy:
    """See the module's docstring. Who came while it was cut is let through when it is mended; the others stay dead."""

    host = "127.0.0.1"
    prefix = ()

    def __init__(self) -> None:
        self._to = 0
        self._open = asyncio.Event()
        self._open.set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._pairs: list[asyncio.Task[None]] = []

    async def port_for(self, port: int) -> int:
        self._to = port
        self._server = await asyncio.start_server(self._serve, self.host, 0)
        found: int = self._server.sockets[0].getsockname()[1]
        return found

    async def cut(self) -> None:
        self._open.clear()
        for pair in self._pairs:
            pair.cancel()
        self._pairs = []

    async def mend(self) -> None:
        self._open.set()

    async def close(self) -> None:
        """End it with all its connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        await self._open.wait()
        there, back = await asyncio.open_connection(self.host, self._to)
        pair = [asyncio.create_task(_copy(reader, back)), asyncio.create_task(_copy(there, writer))]
        self._pairs += pair
        try:
            await asyncio.wait(pair)  # both: one that is cut never ends
            if any(one.cancelled() for one in pair):
                await asyncio.Event().wait()
        finally:
            for one in pair:
                one.cancel()
            for each in (writer, back):
                each.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


def _ip(*words: str) -> None:
    _run("ip", *words)


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, timeout=30)


@contextlib.contextmanager
def cable() -> Iterator[Cable]:
    """A cable, unplugged with the block; skips where it can't be had."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("a network that can be cut needs Linux' ip, and root")
    made = Cable()
    try:
        try:
            made.plug()
        except subprocess.CalledProcessError as e:
            pytest.skip(f"no network of its own here: {e.stderr.decode().strip()}")
        yield made
    finally:
        made.unplug()


@contextlib.asynccontextmanager
async def network(kind: str) -> AsyncIterator[Network]:
    """`cable` or `proxy`."""
    if kind == "cable":
        with cable() as made:
            yield made
        return
    proxy = Proxy()
    try:
        yield proxy
    finally:
        await proxy.close()
