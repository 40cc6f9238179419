"""Limits by address and by key, their headers and the refusal."""

import hashlib
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.city import app_without_servers


async def ask(
    app: Any, address: str, path: str = "/v1/datasets", headers: dict[str, str] | None = None
) -> httpx.Response:
    transport = httpx.ASGITransport(app, client=(address, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        return await client.get(path, headers=headers)


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


def keyed(tmp_path: Path, **settings: Any) -> Any:
    file = tmp_path / "keys.toml"
    digests = [hashlib.sha256(token.encode()).hexdigest() for token in ("good", "old")]
    file.write_text(
        f'[tram-app]\nsha256 = "{digests[0]}"\nrequests = 5\n[gone]\nsha256 = "{digests[1]}"\nuntil = 2000-01-01\n'
    )
    return app_without_servers(tmp_path, live_keys=str(file), rate_limit_requests=2, **settings)


async def test_a_key_counts_for_itself_from_any_address(tmp_path: Path) -> None:
    app = keyed(tmp_path)
    shown = ({"authorization": "Bearer good"}, {"x-api-key": "good"})
    for i in range(5):
        got = await ask(app, f"1.2.3.{i}", headers=shown[i % 2])
        assert (got.status_code, got.headers["ratelimit-policy"]) == (200, '"key";q=5;w=60')
        assert got.headers["ratelimit"].startswith(f'"key";r={4 - i};t=')
    refused = await ask(app, "1.2.3.4", headers=shown[0])
    assert refused.status_code == 429
    assert "tram-app" in refused.json()["detail"]
    assert (await ask(app, "1.2.3.4")).headers["ratelimit"].startswith('"default";r=1;')


@pytest.mark.parametrize(
    ("token", "status", "kind"), [("bad", 401, "unknown-key"), ("", 401, "unknown-key"), ("old", 403, "key-not-valid")]
)
async def test_a_token_that_is_not_good_is_refused(tmp_path: Path, token: str, status: int, kind: str) -> None:
    app = keyed(tmp_path)
    got = await ask(app, "1.2.3.4", headers={"authorization": f"Bearer {token}"})
    assert (got.status_code, got.json()["type"]) == (status, f"/problems/{kind}")
    assert ("www-authenticate" in got.headers) == (status == 401)
    assert (await ask(app, "1.2.3.4", "/health", {"authorization": f"Bearer {token}"})).status_code == 200
    assert (await ask(app, "1.2.3.4", headers={"authorization": "Basic Zm9vOmJhcg=="})).status_code == 200


async def test_without_keys_every_token_is_anonymous(tmp_path: Path) -> None:
    got = await ask(app_without_servers(tmp_path), "a", headers={"authorization": "Bearer anything"})
    assert (got.status_code, got.headers["ratelimit-policy"][:9]) == (200, '"default"')
