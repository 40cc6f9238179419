"""`WS /v1/live`: the I/O shell around `protocol.Session` and the hub."""

import asyncio
import contextlib
import random
import secrets
import time
from collections import Counter
from collections.abc import Iterable

import msgspec
from fastapi import APIRouter, Response, WebSocket

from api.live import metrics
from api.live.frames import text_frame
from api.live.groups import Member
from api.live.hub import Hub
from api.live.messages import DOCUMENTED, SUBPROTOCOL, VERSION, Close, Limits, Welcome, encode
from api.live.protocol import Action, Greet, Join, Leave, Send, Session, Shut
from api.live.serve import EXTENSION, TransportLink
from schemas.settings import Settings

router = APIRouter()

SCHEMA_PATH = "/v1/live/schema.json"
MAX_AGE_S = 24 * 3600.0
RECONNECT_MS = (500, 5_000)
NODE = secrets.token_hex(4)
"""This process's name in `welcome`."""

_of_address: Counter[str] = Counter()


@router.get(SCHEMA_PATH, tags=["live"], summary="JSON Schemas of the live feed's messages", response_model=None)
async def schema() -> Response:
    """JSON Schema 2020-12 of every message of `cityfeed.v1.json`, by its name under `$defs`."""
    _, components = msgspec.json.schema_components(DOCUMENTED, ref_template="#/$defs/{name}")
    body = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$defs": components}
    return Response(msgspec.json.encode(body), media_type="application/schema+json")


@router.websocket("/v1/live")
async def live(ws: WebSocket) -> None:
    """Speak `cityfeed.v1.json` until either side has enough."""
    state = ws.app.state.cityfeed
    link: TransportLink | None = ws.scope.get("extensions", {}).get(EXTENSION)
    if link is None:
        raise RuntimeError("the live feed needs `ws=api.live.serve.WS`; start the API with `python -m api`")
    address = ws.client.host if ws.client else ""
    offered = ws.scope.get("subprotocols", [])
    await ws.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
    if 0 < state.settings.live_connections_per_address <= _of_address[address]:
        link.close(Close.CONNECTION_LIMIT, "too many connections from this address")
        return
    _of_address[address] += 1
    metrics.CONNECTIONS.inc()
    try:
        await Connection(ws, link, state.hub, _session(ws, state.settings)).run()
    finally:
        metrics.CONNECTIONS.dec()
        _of_address[address] -= 1
        if not _of_address[address]:
            del _of_address[address]


class Connection:
    """Moves messages between a websocket, its session and the hub; keeps the session's time."""

    def __init__(self, ws: WebSocket, link: TransportLink, hub: Hub, session: Session) -> None:
        self._ws = ws
        self._link = link
        self._hub = hub
        self._session = session
        self._member: Member | None = None

    async def run(self) -> None:
        """Until the connection is closed."""
        self._act(self._session.opened(self._ws.scope.get("subprotocols", []), self._ws.query_params.keys()))
        watch = asyncio.create_task(self._keep_time())
        try:
            while (message := await self._ws.receive())["type"] == "websocket.receive":
                data = message.get("text")
                self._act(self._session.received(message["bytes"] if data is None else data, time.monotonic()))
        finally:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch
            if self._member is not None:
                self._hub.disconnect(self._member)

    async def _keep_time(self) -> None:
        while True:
            await asyncio.sleep(max(0.01, self._session.due_s - time.monotonic()))
            self._act(self._session.due(time.monotonic()))

    def _say_goodbye(self) -> None:
        if self._member is not None:
            self._hub.say_goodbye(self._member, random.randint(*RECONNECT_MS))

    def _act(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case Greet(welcome):
                    self._link.send(text_frame(encode(welcome)))
                    self._member = self._hub.connect(self._link)
                    self._link.on_writable = self._member.flush
                    self._link.on_shutdown = self._say_goodbye
                case Send(message):
                    self._link.send(text_frame(encode(message)))
                case Join(message, wish) if self._member is not None:
                    self._hub.subscribe(self._member, message, wish)
                case Leave(subscription) if self._member is not None:
                    self._hub.unsubscribe(self._member, subscription)
                case Shut(code, reason):
                    self._link.close(code, reason)


def _session(ws: WebSocket, settings: Settings) -> Session:
    limits = Limits(
        settings.live_rate_per_s,
        settings.live_rate_burst,
        settings.live_max_message_bytes,
        settings.live_max_subscriptions,
        settings.live_queue_frames,
    )
    schema_url = settings.api_public_url.rstrip("/") + SCHEMA_PATH
    welcome = Welcome(VERSION, NODE, settings.live_heartbeat_s, limits, schema_url)
    max_age_s = MAX_AGE_S * random.uniform(0.9, 1.1)  # so that what came together does not leave together
    datasets = ws.app.state.cityfeed.registry.datasets
    return Session(welcome, datasets, settings.live_hello_timeout_s, max_age_s, time.monotonic())
