"""Every refusal is a problem, whoever refuses."""

import json
import re
from pathlib import Path

import psycopg
import psycopg_pool
import pytest
from fastapi import FastAPI

from api import problems
from api.openapi import EXAMPLE_PROBLEMS
from api.problems import PROBLEMS, bad_parameter, render
from schemas.errors import RequestError
from tests.api.city import app_without_servers, client_of

NO_PARAMETERS = (
    "/health", "/ready", "/metrics", "/problems/bad-range", "/data.json", "/dcat-us-3.json", "/catalog.jsonld",
    "/catalog.ttl", "/catalog/changes.atom", "/catalog/traffic/schema.org.jsonld", "/catalog/traffic/croissant.json",
    "/catalog/traffic/datapackage.json", "/v1/datasets/schedule", "/asyncapi.json", "/v1/archive/traffic",
    "/definitions/pm25", "/openapi.json",
)  # fmt: skip


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    return app_without_servers(tmp_path)


def test_a_refusal_is_rendered() -> None:
    made = render(bad_parameter("limit", "'x' is not a number", "limit=1000"))
    assert made.status_code == 400
    assert made.headers["content-type"] == "application/problem+json"
    assert made.headers["cache-control"] == "no-store"
    assert json.loads(made.body) == {
        "type": "/problems/bad-parameter",
        "title": "A parameter can't be read",
        "status": 400,
        "detail": "limit: 'x' is not a number",
        "parameter": "limit",
        "remedy": "limit=1000",
    }


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/v1/traffic/readings?form=1", 400, "unknown-parameter"),
        ("GET", "/v1/traffic/readings?from=2026-01-31", 400, "bad-parameter"),
        ("GET", "/v1/traffic/readings?limit=1&limit=2", 400, "repeated-parameter"),
        ("GET", "/v1/traffic/readings?limit=10001", 400, "bad-parameter"),
        ("GET", "/v1/traffic/readings?cursor=AAAA", 400, "bad-cursor"),
        ("GET", "/v1/traffic/windows?cursor=AAAA", 400, "bad-cursor"),
        ("GET", "/v1/traffic/latest?cursor=AAAA", 400, "bad-cursor"),
        ("GET", "/v1/traffic/sensors?cursor=AAAA", 400, "bad-cursor"),
        ("GET", "/v1/traffic/readings?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", 400, "bad-range"),
        ("GET", "/v1/traffic/readings?format=xml", 400, "bad-parameter"),
        ("GET", "/v1/traffic/latest?width=1h", 400, "unknown-parameter"),
        ("GET", "/v1/datasets?limit=1", 400, "unknown-parameter"),
        *(("GET", f"{path}?x=1", 400, "unknown-parameter") for path in NO_PARAMETERS),
        ("GET", "/v1/trafic/readings", 404, "unknown-dataset"),
        ("GET", "/v1/trafic", 404, "unknown-dataset"),
        ("GET", "/v1/trafic/sensors/x", 404, "unknown-dataset"),
        ("GET", "/v1/traffic/sensors/nobody", 404, "unknown-sensor"),
        ("GET", "/v1/traffic/sensors/a%2Fb", 404, "not-found"),
        ("GET", "/nothing/here", 404, "not-found"),
        ("GET", "/problems/nonsense", 404, "not-found"),
        ("POST", "/v1/traffic/readings", 405, "method-not-allowed"),
        ("DELETE", "/v1/datasets", 405, "method-not-allowed"),
        ("GET", "/v1/traffic/readings", 503, "database-unavailable"),
        ("GET", "/v1/traffic/windows", 503, "database-unavailable"),
    ],
)
async def test_every_refusal_is_a_problem(app: FastAPI, method: str, path: str, status: int, kind: str) -> None:
    async with client_of(app) as client:
        got = await client.request(method, path)
        problem = got.json()
        assert (got.status_code, problem["status"]) == (status, status)
        assert got.headers["content-type"] == "application/problem+json"
        assert problem["type"] == f"/problems/{kind}"
        assert problem["title"]
        assert problem["detail"]
        assert problem["remedy"]
        assert PROBLEMS[kind][0] == status
        assert got.headers.get("retry-after") == ("5" if status == 503 else None)
        allowed = (await client.options(path)).headers["allow"] if status == 405 else None
        assert got.headers.get("allow") == allowed
        meaning = await client.get(problem["type"])
        assert meaning.status_code == 200
        assert meaning.text.startswith(kind)


@pytest.mark.parametrize("limit", ["10001", "999999999999", "00000000000010001"])
async def test_a_limit_that_is_too_large_is_told_the_largest(app: FastAPI, limit: str) -> None:
    async with client_of(app) as client:
        problem = (await client.get(f"/v1/traffic/latest?limit={limit}")).json()
    assert (problem["parameter"], problem["remedy"][:25]) == ("limit", "limit is at most 10000; f"), problem


async def test_an_unknown_dataset_names_the_nearest_and_all(app: FastAPI) -> None:
    async with client_of(app) as client:
        problem = (await client.get("/v1/trafic")).json()
    assert "Did you mean 'traffic'" in problem["detail"]
    assert problem["remedy"] == "Datasets: air-quality, traffic"


@pytest.mark.parametrize("noun", ["readings", "windows", "export", "index", "gaps"])
async def test_a_range_that_is_empty_blames_what_was_given(app: FastAPI, noun: str) -> None:
    dataset = "air-quality" if noun == "index" else "traffic"
    async with client_of(app) as client:
        both = await client.get(f"/v1/{dataset}/{noun}?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z")
        alone = await client.get(f"/v1/{dataset}/{noun}?to=0001-01-01T00:00:00Z")
    assert (both.status_code, both.json()["parameter"]) == (400, "from")
    assert (alone.status_code, alone.json()["type"], alone.json()["parameter"]) == (400, "/problems/bad-range", "to")


@pytest.mark.parametrize(
    ("asked", "location"),
    [
        ("/v1/datasets/", "/v1/datasets"),
        ("/v1/traffic/latest/?format=csv&sensor=a", "/v1/traffic/latest?format=csv&sensor=a"),
        ("/v1/traffic/sensors/a%0d%0ab//", "/v1/traffic/sensors/a%0D%0Ab"),
        ("/evil.example/", None),
        ("//evil.example/", None),
    ],
)
async def test_a_slash_too_many_leads_to_the_address_on_this_server(
    app: FastAPI, asked: str, location: str | None
) -> None:
    async with client_of(app) as client:
        got = await client.get(f"http://city.example{asked}", headers={"host": "evil.example"})
    assert got.headers.get("location") == location
    assert got.status_code == (404 if location is None else 307)


def test_every_kind_that_is_raised_is_in_the_table() -> None:
    named = {
        kind
        for file in Path(problems.__file__).parent.rglob("*.py")
        for kind in re.findall(r"RequestError\(\s*\d{3}, \"([a-z-]+)\"", file.read_text())
    }
    assert len(named) > 10 and named <= set(PROBLEMS)


async def test_accept_that_leaves_nothing_is_406(app: FastAPI) -> None:
    async with client_of(app) as client:
        got = await client.get("/v1/datasets", headers={"accept": "image/png"})
    assert (got.status_code, got.json()["type"]) == (406, "/problems/not-acceptable")


def raising(app: FastAPI, error: Exception) -> None:
    @app.get("/raise")
    async def fail() -> None:
        raise error

    @app.get("/typed/{number}")
    async def typed(number: int) -> int:
        return number


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (psycopg.OperationalError("gone"), 503, "database-unavailable"),
        (psycopg.errors.AdminShutdown("terminating"), 503, "database-unavailable"),
        (psycopg.errors.UndefinedTable("no tables yet"), 503, "database-unavailable"),
        (psycopg_pool.PoolTimeout("busy"), 503, "database-unavailable"),
        (psycopg_pool.TooManyRequests("busy"), 503, "database-unavailable"),
        (psycopg.errors.QueryCanceled("statement timeout"), 503, "too-slow"),
        (RuntimeError("secret"), 500, "internal-error"),
        (RequestError(400, "bad-parameter", "t", "d", "p", "r"), 400, "bad-parameter"),
    ],
)
async def test_errors_become_problems(error: Exception, status: int, kind: str) -> None:
    app = FastAPI()
    problems.install(app)
    raising(app, error)
    async with client_of(app) as client:
        got = await client.get("/raise")
    assert (got.status_code, got.json()["type"]) == (status, f"/problems/{kind}")
    assert str(error) == "d" or str(error) not in got.text


def test_what_was_asked_does_not_come_back_whole() -> None:
    body = bytes(render(bad_parameter("bbox", "x" * 60_000)).body)
    assert len(body) < 2_000 and json.loads(body)["detail"].endswith("xxx ...")


async def test_what_the_framework_finds_wrong_is_400() -> None:
    app = FastAPI()
    problems.install(app)
    raising(app, RuntimeError())
    async with client_of(app) as client:
        got = await client.get("/typed/x")
    assert (got.status_code, got.json()["parameter"]) == (400, "number")


def test_examples_are_of_kinds_that_exist() -> None:
    for kind, example in EXAMPLE_PROBLEMS.items():
        assert example.type == f"/problems/{kind}"
        assert example.status == PROBLEMS[kind][0]
