"""Limits by address, their headers and the refusal."""

import re
from pathlib import Path
from typing import Any

import httpx

from tests.api.city import app_without_servers


async def ask(app: Any, address: str, path: str = "/v1/datasets") -> httpx.Response:
    transport = httpx.ASGITransport(app, client=(address, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        return await client.get(path)


async def test_an_address_has_so_many_requests_in_a_window(tmp_path: Path) -> None:
    app = app_without_servers(tmp_path, rate_limit_requests=3, rate_limit_window_s=60)
    left = []
    for _ in range(3):
        got = await ask(app, "1.2.3.4")
        assert got.status_code == 200
        assert got.headers["ratelimit-policy"] == '"default";q=3;w=60'
        found = re.fullmatch(r'"default";r=(\d+);t=(\d+)', got.headers["ratelimit"])
        assert found
        left.append(int(found[1]))
        assert 0 < int(found[2]) <= 60
    assert left == [2, 1, 0]
    refused = await ask(app, "1.2.3.4")
    assert (refused.status_code, refused.json()["type"]) == (429, "/problems/too-many-requests")
    assert refused.headers["content-type"] == "application/problem+json"
    assert int(refused.headers["retry-after"]) <= 60
    assert (await ask(app, "5.6.7.8")).status_code == 200
    assert (await ask(app, "1.2.3.4", "/health")).status_code == 200


async def test_a_window_ends(tmp_path: Path) -> None:
    from api.limits import Limited

    now = [0]

    async def fine(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    app = Limited(fine, 1, 10, lambda: now[0])
    assert [(await ask(app, "a")).status_code for _ in range(2)] == [200, 429]
    now[0] = 10_000
    assert (await ask(app, "a")).status_code == 200


async def test_no_limit_no_headers(tmp_path: Path) -> None:
    app = app_without_servers(tmp_path, rate_limit_requests=0)
    assert "ratelimit" not in (await ask(app, "a")).headers
