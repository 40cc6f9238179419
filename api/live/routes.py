"""`WS /v1/live`: who may come in; then the connection is `connection.Connection`'s."""

import asyncio
import random
import secrets
from typing import Any

import msgspec
from fastapi import APIRouter, Response, WebSocket

from api.live.asyncapi import message_schemas
from api.live.connection import Connection
from api.live.keys import Grant, Refusal
from api.live.messages import SUBPROTOCOL, VERSION, Limits, Welcome
from api.live.protocol import Session
from api.live.seats import seats
from api.live.serve import EXTENSION, TransportLink
from api.problems import render
from schemas.errors import RequestError
from schemas.settings import Settings

router = APIRouter()

SCHEMA_PATH = "/v1/live/schema.json"
MAX_AGE_S = 24 * 3600.0
NODE = secrets.token_hex(4)
"""This process's name in `welcome`."""


@router.get(SCHEMA_PATH, tags=["live"], summary="JSON Schemas of the live feed's messages", response_model=None)
async def schema() -> Response:
    """JSON Schema 2020-12 of every message of `cityfeed.v1.json`, by its name under `$defs`."""
    schemas = message_schemas("#/$defs/{name}")
    body = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$defs": schemas}
    return Response(msgspec.json.encode(body), media_type="application/schema+json")


@router.get("/v1/live", include_in_schema=False)
async def not_a_websocket() -> Response:
    """Who opens the address in a browser is told what it is."""
    error = RequestError(
        426, "upgrade-required", "This is a websocket", f"/v1/live is a websocket that speaks {SUBPROTOCOL}.",
        remedy="Without websockets: /v1/sse, or /v1/poll. /asyncapi.json describes all three.",
    )  # fmt: skip
    return render(error, {"upgrade": "websocket"})


@router.websocket("/v1/live")
async def live(ws: WebSocket) -> None:
    """Accept `cityfeed.v1.json`, and hand the connection over: what comes then needs no request and no task."""
    state = ws.app.state.cityfeed
    link: TransportLink | None = ws.scope.get("extensions", {}).get(EXTENSION)
    if link is None:
        raise RuntimeError("the live feed needs `ws=api.live.serve.WS`; start the API with `python -m api`")
    address = ws.client.host if ws.client else ""
    offered = ws.scope.get("subprotocols", [])
    await ws.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
    if (refused := seats.refusal(address, state.settings)) is not None:
        link.close(*refused)
        return
    session = _session(state)
    opened = session.opened(offered, ws.query_params.keys())
    connection = Connection(link, state.hub, session, state.play, seats.opened(address))
    link.take_over(connection)
    connection.act(opened)


def _session(state: Any) -> Session:
    settings: Settings = state.settings
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
    now_s = asyncio.get_running_loop().time()

    def grant_of(token: str) -> Grant | Refusal | None:
        found: Grant | Refusal | None = state.keys.find(token, state.now_ms())
        return found

    return Session(welcome, state.registry.datasets, settings.live_hello_timeout_s, max_age_s, now_s, grant_of)
