"""Trailers: fields that stand after an answer's body, such as the digest of what was just streamed.

ASGI has an extension for them, which uvicorn does not offer on HTTP/1.1. `HTTP` goes into uvicorn's `http=`: a small
subclass of an internal of uvicorn (the version is pinned, and `tests/api/test_trailers.py` holds what it relies on).
A client that does not know trailers skips them.
"""

import base64
from collections.abc import Iterable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from api.connections import Bounded

TRAILERS = "http.response.trailers"


def repr_digest(sha256: bytes) -> str:
    """The value of `Repr-Digest` (RFC 9530)."""
    return f"sha-256=:{base64.b64encode(sha256).decode()}:"


class HTTP(Bounded):
    """A connection of uvicorn's whose answers may have trailers; its requests say so in the scope's extensions."""

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if cycle.scope["http_version"] == "1.1":
            cycle.scope["extensions"] = {TRAILERS: {}}
            app = _Trailed(cycle, app)
        super()._start_asgi_task(cycle, app)


class _Trailed:
    """The application, for one request."""

    def __init__(self, cycle: RequestResponseCycle, app: ASGIApp) -> None:
        self._cycle, self._app, self._expected = cycle, app, False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, self._send)

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if kind == TRAILERS:
            self._end(message["headers"])
            return
        if kind == "http.response.start":
            self._expected = bool(message.get("trailers"))
        elif self._expected and not message.get("more_body"):
            message = {**message, "more_body": True}  # the end of the body is written with the trailers
        await self._cycle.send(message)  # type: ignore[arg-type]

    def _end(self, fields: Iterable[tuple[bytes, bytes]]) -> None:
        """As `RequestResponseCycle.send` ends an answer, with these fields after its last chunk."""
        cycle = self._cycle
        if cycle.disconnected:
            return
        cycle.transport.write(b"0\r\n%b\r\n" % b"".join(b"%b: %b\r\n" % field for field in fields))
        cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()
