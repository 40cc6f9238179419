"""A real uvicorn with the live feed alone, on a port of its own, in this event loop."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import uvicorn
import websockets
from fastapi import FastAPI

from api import problems
from api.live import events
from api.live.keys import read_keys
from api.live.messages import SUBPROTOCOL
from api.live.routes import router
from api.live.serve import UVICORN_OPTIONS, WS
from schemas.settings import Settings
from tests.api.live.feeding import T0, Feed


@contextlib.asynccontextmanager
async def served(host: str = "127.0.0.1", **settings: Any) -> AsyncIterator[tuple[Feed, str, uvicorn.Server]]:
    """(feed, websocket URL, server)."""
    options = {"ws": WS} | UVICORN_OPTIONS | {k: settings.pop(k) for k in list(settings) if k.startswith("ws")}
    feed = Feed(**settings)
    app = FastAPI()
    app.include_router(router)
    app.include_router(events.router)
    problems.install(app)
    chosen = Settings(**settings)
    app.state.cityfeed = SimpleNamespace(
        settings=chosen, hub=feed.hub, registry=feed.registry, play=None, keys=read_keys(chosen.live_keys),
        now_ms=lambda: T0,
    )  # fmt: skip
    listener = socket.create_server((host, 0))
    config = uvicorn.Config(app, **options, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    with listener:
        running = asyncio.create_task(server._serve([listener]))
        while not server.started:
            await asyncio.sleep(0.01)
        try:
            yield feed, f"ws://{host}:{listener.getsockname()[1]}/v1/live", server
        finally:
            server.should_exit = True
            await running


def port_of(url: str) -> int:
    """The port in the address that `served` gives."""
    return urlsplit(url).port or 0


class Caller:
    """A client that speaks the protocol."""

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self.socket = socket

    async def say(self, **message: Any) -> None:
        await self.socket.send(json.dumps(message))

    async def hear(self, kind: str | None = None) -> dict[str, Any]:
        """The next message (of a type)."""
        async with asyncio.timeout(30):
            while True:
                message: dict[str, Any] = json.loads(await self.socket.recv())
                if kind in (None, message["type"]):
                    return message

    async def closed(self) -> int:
        """The close code, when it has come."""
        async with asyncio.timeout(30):
            with contextlib.suppress(websockets.ConnectionClosed):
                while True:
                    await self.socket.recv()
            return self.socket.close_code or 0


@contextlib.asynccontextmanager
async def calling(url: str, hello: bool = True, **options: Any) -> AsyncIterator[Caller]:
    """A connected client; `hello` is said and its welcome read."""
    options = {"subprotocols": [SUBPROTOCOL], "max_size": None, "ping_interval": None} | options
    async with websockets.connect(url, **options) as socket:
        caller = Caller(socket)
        if hello:
            await caller.say(type="hello")
            assert (await caller.hear())["type"] == "welcome"
        yield caller
