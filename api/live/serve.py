"""What the live feed needs of the server: write a prepared frame at once, know when a client takes no more.

`WS` goes into uvicorn's `ws=`. It is a small subclass of an internal of uvicorn (the version is pinned, and
`tests/api/live/test_serve.py` holds what it relies on): sending through ASGI waits for the slowest client and
costs three times as much.
"""

from collections.abc import Callable
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from api.live.messages import Close

EXTENSION = "cityfeed.transport"

UVICORN_OPTIONS: dict[str, Any] = {
    "ws_ping_interval": 25.0,
    "ws_ping_timeout": 10.0,
    "ws_max_size": 64 * 1024,  # the protocol's own limit is smaller, and says why it closes
    "ws_per_message_deflate": False,  # three to four times the CPU of no compression
}
"""To be given to uvicorn next to `ws=WS`."""

_CLOSE_TIMEOUT_S = 5.0
_SHUTDOWN_TIMEOUT_S = 1.0


class WS(WebSocketsSansIOProtocol):
    """A websocket connection of uvicorn's that is also a `Link`; the endpoint finds it in the scope's extensions."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.link = TransportLink(self)

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.response.status_code == 101:
            self.scope["extensions"][EXTENSION] = self.link  # type: ignore[assignment]

    def pause_writing(self) -> None:
        super().pause_writing()
        self.link.writable = False

    def resume_writing(self) -> None:
        super().resume_writing()
        self.link.writable = True
        self.link.on_writable()

    def shutdown(self) -> None:
        self.link.on_shutdown()
        super().shutdown()
        self.loop.call_later(_SHUTDOWN_TIMEOUT_S, self.transport.abort)

    def keepalive_timeout(self) -> None:
        self.pong_timer = None
        self.link.close(Close.NO_PONG, "no pong")

    def connection_lost(self, exc: Exception | None) -> None:
        self.link.writable = False
        super().connection_lost(exc)


class TransportLink:
    """`api.live.groups.Link` over a connection's transport."""

    def __init__(self, protocol: WS) -> None:
        self.writable = True
        self.on_writable: Callable[[], None] = _nothing
        self.on_shutdown: Callable[[], None] = _nothing
        self._ws = protocol

    def send(self, frame: bytes) -> None:
        """Write a frame (`frames.text_frame`); dropped once the connection closes."""
        ws = self._ws
        if not ws.close_sent and not ws.transport.is_closing():
            ws.transport.write(frame)

    def close(self, code: int, reason: str) -> None:
        """Send the close frame behind what waits; cut off a client that does not answer it."""
        ws = self._ws
        if ws.close_sent or ws.transport.is_closing():
            return
        ws.stop_keepalive()
        ws.conn.send_close(code, reason)
        ws.transport.write(b"".join(ws.conn.data_to_send()))
        ws.close_sent = True
        ws.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        ws.close_timer = ws.loop.call_later(_CLOSE_TIMEOUT_S, ws.transport.abort)

    def abort(self) -> None:
        """Drop the connection and its buffer."""
        self._ws.transport.abort()


def _nothing() -> None:
    return None
