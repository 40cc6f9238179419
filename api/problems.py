"""Refusals as RFC 9457 `application/problem+json`: every error leaves the API through `render`.

To add a kind, add a line to `PROBLEMS`; `/problems/<kind>` and the OpenAPI document show it.
"""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import msgspec
import psycopg
import psycopg_pool
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from schemas.errors import RequestError

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
MOST_DETAIL = 1_000
"""Characters of `detail`: what was asked may be longer, and is not given back whole."""
RETRY_AFTER_S = 5

PROBLEMS: dict[str, tuple[int, str]] = {
    "unknown-parameter": (400, "The query has a parameter that this address does not know."),
    "bad-parameter": (400, "A parameter's value can't be read; `remedy` shows what can."),
    "repeated-parameter": (400, "A parameter that takes one value was given twice."),
    "contradictory-parameters": (400, "Parameters that can't be meant together; `remedy` says what goes."),
    "bad-range": (400, "There is nothing between `from` and `to`, or more than one answer may cover."),
    "bad-cursor": (400, "The cursor was not made by this server, or for other parameters."),
    "unknown-key": (401, "The token shown is none of this server's keys; without one everything is open."),
    "key-not-valid": (403, "The key is blocked, or its time is over; without one everything is open."),
    "unknown-dataset": (404, "There is no such dataset; `remedy` lists those there are."),
    "unknown-sensor": (404, "The dataset has no such sensor: neither registered nor heard of."),
    "unknown-export": (404, "There is no such export, or it is older than exports are kept."),
    "not-found": (404, "There is nothing at this address."),
    "method-not-allowed": (405, "This address is read-only: GET, HEAD and OPTIONS."),
    "not-acceptable": (406, "None of the media types in Accept can be written here."),
    "upgrade-required": (426, "This address is a websocket; `remedy` says what there is for plain HTTP."),
    "too-many-connections": (429, "One more live connection than an address, or this process, may have."),
    "not-implemented": (501, "An option of OData that SensorThings does not ask for."),
    "bad-byte-range": (416, "The byte range is not in the file; `remedy` shows what is."),
    "too-many-requests": (429, "More requests than an address or a key may make; `Retry-After` says when to go on."),
    "bad-request": (400, "The request can't be understood."),
    "database-unavailable": (503, "History can't be read at the moment; latest values and the live feed go on."),
    "archive-unavailable": (503, "The archive's files can't be read at the moment; what is in the database is served."),
    "too-many-exports": (503, "As many exports are written as can be at a time; `Retry-After` says when to ask again."),
    "not-stored-yet": (503, "The live feed's cursor is ahead of what is stored; `Retry-After` says when to ask again."),
    "too-slow": (503, "The query took too long and was stopped; a shorter range or fewer sensors will answer."),
    "internal-error": (500, "A mistake of ours; it is in the server's log."),
}
"""kind -> (status, what it means). A kind never changes its meaning."""


class Problem(msgspec.Struct, omit_defaults=True):
    """RFC 9457. `type` is `/problems/<kind>`; `parameter` the one at fault; `remedy` what would be right."""

    type: str
    title: str
    status: int
    detail: str
    parameter: str | None = None
    remedy: str | None = None


def bad_parameter(name: str, detail: str, remedy: str | None = None) -> RequestError:
    """The refusal of a parameter's value."""
    return RequestError(400, "bad-parameter", "A parameter can't be read", f"{name}: {detail}", name, remedy)


def render(error: RequestError, headers: Mapping[str, str] | None = None) -> Response:
    """The answer that an error becomes."""
    detail = error.detail if len(error.detail) <= MOST_DETAIL else f"{error.detail[:MOST_DETAIL]} ..."
    problem = Problem(f"/problems/{error.kind}", error.title, error.status, detail, error.parameter, error.remedy)
    extra = {"cache-control": "no-store"} | dict(headers or {})
    if error.status == HTTPStatus.SERVICE_UNAVAILABLE:
        extra |= {"retry-after": str(RETRY_AFTER_S)}
    return Response(msgspec.json.encode(problem), error.status, extra, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Make the application render every error here."""
    for kind, handler in HANDLERS.items():
        app.add_exception_handler(kind, handler)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return render(error)


async def _no_such_thing(request: Request, error: Exception) -> Response:
    """What the framework refuses itself: unknown addresses and methods."""
    assert isinstance(error, HTTPException)
    if error.status_code == HTTPStatus.NOT_FOUND and (address := _without_slash(request)) is not None:
        return Response(status_code=307, headers={"location": address})
    kind = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "bad-request")
    detail = {
        404: f"There is nothing at {request.url.path}.",
        405: f"{request.method} is not possible at {request.url.path}.",
    }.get(error.status_code, str(error.detail))
    remedy = {404: "/docs lists what there is; /v1/datasets the datasets.", 405: "Use GET."}.get(error.status_code)
    title = HTTPStatus(error.status_code).phrase
    headers = error.headers
    if headers and "GET" in headers.get("Allow", ""):
        headers = {**headers, "Allow": "GET, HEAD, OPTIONS"}  # api/head.py answers the other two
    return render(RequestError(error.status_code, kind, title, detail, remedy=remedy), headers)


def _without_slash(request: Request) -> str | None:
    """The address without the slash at its end, where it is one of ours; relative, for the Host header may lie."""
    path: str = request.scope["path"].rstrip("/")
    if path == request.scope["path"] or not path:
        return None
    asked = {**request.scope, "path": path}
    if all(route.matches(asked)[0] is Match.NONE for route in request.app.routes):
        return None
    return "/" + quote(path.lstrip("/")) + (f"?{request.url.query}" if request.url.query else "")


async def _invalid(request: Request, error: Exception) -> Response:
    """What the framework finds wrong with a parameter: 400 like ours, not 422."""
    assert isinstance(error, RequestValidationError)
    first: dict[str, Any] = dict(error.errors()[0])
    name = str(first["loc"][-1])
    return render(bad_parameter(name, str(first["msg"])))


async def _database(request: Request, error: Exception) -> Response:
    if isinstance(error, psycopg.errors.QueryCanceled):
        return render(
            RequestError(
                503, "too-slow", "The query took too long", "The query took too long and was stopped.",
                remedy="Ask for a shorter range, fewer sensors or a smaller limit.",
            )
        )  # fmt: skip
    log.warning("the database does not answer: %s: %s", type(error).__name__, error)
    return render(
        RequestError(
            503, "database-unavailable", "The database is not available",
            "History can't be read at the moment; /v1/{dataset}/latest and the live feed go on.",
            remedy=f"Ask again in {RETRY_AFTER_S} s.",
        )
    )  # fmt: skip


async def _ours(request: Request, error: Exception) -> Response:
    # Starlette logs the traceback: it raises the error again after this answer.
    return render(RequestError(500, "internal-error", "Internal error", "A mistake of ours; it is in the log."))


HANDLERS: dict[type[Exception], Any] = {
    RequestError: _refused,
    HTTPException: _no_such_thing,
    RequestValidationError: _invalid,
    psycopg.OperationalError: _database,
    psycopg.InterfaceError: _database,
    psycopg.errors.UndefinedTable: _database,  # the processors have not made the tables yet
    psycopg_pool.PoolTimeout: _database,  # an OperationalError too, but named for the reader
    psycopg_pool.PoolClosed: _database,
    Exception: _ours,
}
