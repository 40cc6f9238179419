"""The application over HTTP, without servers: what works with nothing but memory."""

import re
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import Match

from api.app import EVERY_ROUTER
from api.newest import AGES_MS
from tests.api.city import NOW_MS, app_without_servers, client_of, hear, heard

GETS = ["/health", "/v1/datasets", "/v1/traffic", "/v1/traffic/sensors", "/v1/traffic/latest", "/openapi.json", "/docs"]


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    app = app_without_servers(tmp_path)
    hear(app, heard("traffic", "moved", "speed", "km/h", [NOW_MS - 310_000], value=[72.5]))
    return app


async def get(app: FastAPI, path: str, **headers: str) -> Any:
    async with client_of(app) as client:
        return await client.get(path, headers=headers)


@pytest.mark.parametrize("path", GETS)
async def test_head_is_get_without_a_body(app: FastAPI, path: str) -> None:
    async with client_of(app) as client:
        got = await client.get(path, headers={"accept-encoding": "identity"})
        head = await client.head(path, headers={"accept-encoding": "identity"})
    assert got.status_code == head.status_code == 200
    assert head.content == b""
    assert head.headers["content-length"] == str(len(got.content))
    for answer in (head, got):
        answer.headers.pop("ratelimit", None)  # each request is counted
    assert dict(head.headers) == dict(got.headers)


def test_no_route_is_hidden_by_one_before_it() -> None:
    """A path with a name in it, such as /v1/{dataset}, takes those that come after it."""
    routes = [route for router in EVERY_ROUTER for route in router.routes if isinstance(route, APIRoute)]
    assert len(routes) > 40
    for route in routes:
        path = re.sub(r"\{[^}]*\}", "x", route.path)
        for method in route.methods or ():
            scope: dict[str, Any] = {"type": "http", "path": path, "method": method, "root_path": "", "headers": []}
            first = next(other for other in routes if other.matches(scope)[0] is Match.FULL)
            assert first is route, f"{method} {route.path} is answered by {first.path}"


async def test_live_ways_in_that_are_no_websockets_are_there(app: FastAPI) -> None:
    answer = await get(app, "/v1/poll?topic=readings&mode=all")
    assert answer.status_code == 200 and answer.json()["frames"][0]["type"] == "snapshot"
    refused = await get(app, "/v1/sse?topic=events")
    assert refused.status_code == 400 and "readings, windows, index" in refused.text
    plain = await get(app, "/v1/live")
    assert (plain.status_code, plain.headers["upgrade"]) == (426, "websocket") and "/v1/sse" in plain.json()["remedy"]


async def test_a_head_that_is_refused_says_so(app: FastAPI) -> None:
    async with client_of(app) as client:
        head = await client.head("/v1/nothing")
    assert (head.status_code, head.content) == (404, b"")


@pytest.mark.parametrize("path", ["/v1/traffic/latest", "/v1/nothing", "/v1/traffic/readings"])
async def test_any_page_of_the_web_may_read(app: FastAPI, path: str) -> None:
    got = await get(app, path, origin="https://elsewhere.example")
    assert got.headers["access-control-allow-origin"] == "*"
    assert "Link" in got.headers["access-control-expose-headers"]


async def test_a_preflight_is_answered(app: FastAPI) -> None:
    asks = {"origin": "https://elsewhere.example", "access-control-request-method": "GET"}
    async with client_of(app) as client:
        got = await client.options("/v1/traffic/latest", headers=asks)
    assert got.status_code == 200
    assert "GET" in got.headers["access-control-allow-methods"]


@pytest.mark.parametrize("path", ["/v1/traffic/readings", "/v1/datasets", "/v1/traffic/export"])
async def test_options_say_what_may_be_asked(app: FastAPI, path: str) -> None:
    async with client_of(app) as client:
        got = await client.options(path)
        assert (got.status_code, got.headers["allow"], got.content) == (204, "GET, HEAD, OPTIONS", b"")
        assert (await client.options("/nothing/at/all")).status_code in (404, 405)


async def test_long_answers_are_compressed_for_who_takes_it(app: FastAPI) -> None:
    got = await get(app, "/v1/datasets", **{"accept-encoding": "gzip"})
    assert got.headers["content-encoding"] == "gzip"
    assert "Accept-Encoding" in got.headers["vary"]
    assert len(got.json()["data"]) == 2


async def test_health_asks_nobody_and_ready_says_what_is_missing(app: FastAPI) -> None:
    assert (await get(app, "/health")).json() == {"status": "ok"}
    got = await get(app, "/ready")
    assert got.status_code == 503
    assert got.headers["retry-after"] == "5"
    assert got.json()["parts"]["tail"]["ready"] is False
    assert got.json()["parts"]["database"]["ready"] is False


async def test_metrics_name_routes_not_addresses(app: FastAPI) -> None:
    await get(app, "/v1/traffic/sensors/moved")
    await get(app, "/no/such/address")
    text = (await get(app, "/metrics")).text
    assert 'cityfeed_api_requests_total{route="/v1/{dataset}/sensors/{sensor}",status="200"}' in text
    assert "/no/such/address" not in text
    assert re.search(r"^cityfeed_api_lag_ms \d", text, re.MULTILINE)


async def test_docs_ask_no_other_host(app: FastAPI) -> None:
    page = await get(app, "/docs")
    assert "http://" not in page.text
    assert "https://" not in page.text
    for file in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        assert (await get(app, file)).status_code == 200
    assert '"validatorUrl": null' in page.text
    assert '<html lang="en">' in page.text


async def test_links_follow_the_public_address(tmp_path: Path) -> None:
    app = app_without_servers(tmp_path, api_public_url="https://data.city.example/feed/")
    (dataset,) = (await get(app, "/v1/traffic")).json()["data"]
    assert dataset["links"]["latest"] == "https://data.city.example/feed/v1/traffic/latest"
    assert (await get(app, "/openapi.json")).json()["servers"] == [{"url": "https://data.city.example/feed/"}]


async def test_a_cached_answer_is_not_sent_again(app: FastAPI) -> None:
    for path in ("/openapi.json", "/v1/datasets", "/v1/traffic/sensors", "/v1/traffic/latest"):
        got = await get(app, path)
        assert got.headers["cache-control"].startswith("public, max-age=")
        again = await get(app, path, **{"if-none-match": got.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    hear(app, heard("traffic", "moved", "speed", "km/h", [NOW_MS - 10_000]))
    app.state.cityfeed.now_ms = lambda: NOW_MS + AGES_MS[False][1]  # no answer is given that is older
    assert (await get(app, path, **{"if-none-match": got.headers["etag"]})).status_code == 200
