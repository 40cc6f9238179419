"""Connections that take their time: a request must be whole within a bounded time, and its head has a bounded size.

uvicorn waits for ever for the rest of a request, and keeps all that comes of its head: who sends a header line a second
holds a connection for as long as it likes, who never ends the head fills the memory. `Bounded` is a subclass of an
internal of uvicorn (the version is pinned); `tests/api/test_connections.py` holds what it relies on.
"""

import asyncio
import json
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

REQUEST_WAIT_S = 15.0
"""From the connection or a request's first byte to its last one; phones in a tunnel need seconds, nobody needs more."""
HEAD_BYTES = 64 * 1024
"""Of a request's line and headers; h11 and nginx take as much or less. The longest addresses of ours are a tenth."""


class Bounded(HttpToolsProtocol):
    """A connection of uvicorn's that is answered 408 or 431, and closed, beyond these bounds."""

    _timer: asyncio.TimerHandle | None = None
    _partial = False  # some of a request is here, and not its end
    _in_head = True
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._partial = True  # also where it is nothing but empty lines, of which the parser says nothing
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing() or not self._partial:
            self._stop_waiting()
        elif self._in_head and self._head_bytes > HEAD_BYTES:
            self._refuse(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"The head of a request has at most {HEAD_BYTES} bytes."
            )
        elif self._timer is None:
            self._wait()

    def on_message_begin(self) -> None:
        self._partial = self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head, self._head_bytes = False, 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._partial, self._in_head = False, True
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        self._partial = False  # from here on it is the websocket's, with waits of its own
        super().handle_websocket_upgrade()

    def _wait(self) -> None:
        self._timer = self.loop.call_later(REQUEST_WAIT_S, self._too_slow)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"A request is to be here within {REQUEST_WAIT_S:g} s.")

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Answer, where no answer is under way, and close."""
        self._stop_waiting()
        if self.transport.is_closing():
            return
        if self._head_bytes and (self.cycle is None or self.cycle.response_complete):
            self.transport.write(_answer(status, detail))
        self.transport.close()


def _answer(status: HTTPStatus, detail: str) -> bytes:
    problem: dict[str, Any] = {"type": "about:blank", "title": status.phrase, "status": int(status), "detail": detail}
    body = json.dumps(problem).encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/problem+json\r\n"
        f"cache-control: no-store\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body
