"""For those who run it: /health, /ready, /metrics, and what problems mean."""

from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api import params, state
from api.metrics import LAG_MS
from api.problems import PROBLEMS, RETRY_AFTER_S
from api.queries.pool import answers
from schemas.errors import RequestError

router = APIRouter(tags=["operations"], dependencies=[Depends(params.takes_none)])

_NOT_STORED = {"cache-control": "no-store"}


def _status(description: str, example: dict[str, Any]) -> dict[str, Any]:
    return {
        "description": description,
        "content": {"application/json": {"schema": {"type": "object"}, "example": example}},
    }


@router.get("/health", responses={200: _status("It runs.", {"status": "ok"})}, response_class=Response)
async def health() -> JSONResponse:
    """Whether the process runs; nothing else is asked."""
    return JSONResponse({"status": "ok"}, headers=_NOT_STORED)


_READY = {"status": "ready", "parts": {"tail": {"ready": True, "lag_ms": 12}, "database": {"ready": True}}}
_NOT_READY = {"status": "not ready", "parts": {"tail": {"ready": True, "lag_ms": 12}, "database": {"ready": False}}}


@router.get(
    "/ready",
    responses={200: _status("All parts work.", _READY), 503: _status("A part is missing.", _NOT_READY)},
    response_class=Response,
)
async def ready(request: Request) -> JSONResponse:
    """Whether latest values have caught up with Kafka and the database answers; 503 says which part is missing."""
    tail = request.app.state.tail
    parts: dict[str, dict[str, Any]] = {
        "tail": {"ready": tail.ready, "lag_ms": tail.lag_ms},
        "database": {"ready": await answers(state.of(request).pool)},
    }
    is_ready = all(part["ready"] for part in parts.values())
    headers = _NOT_STORED if is_ready else _NOT_STORED | {"retry-after": str(RETRY_AFTER_S)}
    body = {"status": "ready" if is_ready else "not ready", "parts": parts}
    return JSONResponse(body, 200 if is_ready else 503, headers)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request) -> Response:
    """Metrics in Prometheus' text format."""
    LAG_MS.set(request.app.state.tail.lag_ms)
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


@router.get(
    "/problems/{kind}",
    responses={200: {"content": {"text/plain": {}}}, "default": {"description": "A problem (RFC 9457)."}},
    response_class=Response,
)
async def problem(kind: str) -> Response:
    """What a problem's `type` means."""
    if kind not in PROBLEMS:
        raise RequestError(404, "not-found", "Not found", f"There is no problem {kind!r}.", "kind", ", ".join(PROBLEMS))
    status, meaning = PROBLEMS[kind]
    return Response(f"{kind} ({status})\n\n{meaning}\n", media_type="text/plain")
