"""Announcements of what goes away."""

from datetime import UTC, datetime
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from api.deprecations import Announced, Deprecation


async def test_an_address_that_goes_away_says_so() -> None:
    async def fine(request: Any) -> Response:
        return Response("ok")

    old = Deprecation(datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC), "/v2/new")
    inner = Starlette(routes=[Route("/v1/old", fine), Route("/v1/kept", fine)])

    async def routed(scope: Any, receive: Any, send: Any) -> None:  # as FastAPI's router does
        scope["route"] = next(r for r in inner.routes if getattr(r, "path", "") == scope["path"])
        await inner(scope, receive, send)

    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(Announced(routed, {"/v1/old": old})), base_url="http://x"
    ) as client:
        got = await client.get("/v1/old")
        assert got.headers["deprecation"] == "@1767225600"
        assert got.headers["sunset"] == "Fri, 01 Jan 2027 00:00:00 GMT"
        assert got.headers["link"] == '</v2/new>; rel="successor-version"'
        assert "deprecation" not in (await client.get("/v1/kept")).headers
