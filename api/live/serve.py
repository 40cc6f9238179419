"""What the live feed needs of the server: write a prepared frame at once, know when a client takes no more.

`WS` goes into uvicorn's `ws=`. It is a small subclass of an internal of uvicorn (the version is pinned, and
`tests/api/live/test_serve.py` holds what it relies on): sending through ASGI waits for the slowest client and
costs three times as much. A request goes through the application like any other; then the endpoint takes the
connection over (`TransportLink.take_over`) and returns, so that an idle connection costs no task and no request.
"""

import zlib
from collections.abc import Callable
from typing import Any, Protocol

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.extensions.base import Extension
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.frames import Frame
from websockets.http11 import Request

from api.live.messages import Close

EXTENSION = "cityfeed.transport"

UVICORN_OPTIONS: dict[str, Any] = {
    "ws_ping_interval": 25.0,
    "ws_ping_timeout": 10.0,
    "ws_max_size": 64 * 1024,  # the protocol's own limit is smaller, and says why it closes
    "ws_per_message_deflate": False,  # uvicorn's costs three to four times the CPU of none; `DEFLATE` is ours
}
"""To be given to uvicorn next to `ws=WS`."""

DEFLATE = ServerPerMessageDeflateFactory(server_no_context_takeover=True, client_no_context_takeover=True)
"""Compression for who offers it: without context takeover a frame is compressed once for all, and a connection needs no
memory for it.
"""

_CLOSE_TIMEOUT_S = 5.0
_SHUTDOWN_TIMEOUT_S = 1.0
_INVALID_UTF8 = 1007


class Owner(Protocol):
    """Who took a connection over."""

    def received(self, data: str | bytes) -> None:
        """A whole message: text, or bytes."""

    def paused(self) -> None:
        """The transport takes no more."""

    def resumed(self) -> None:
        """It drained."""

    def lost(self) -> None:
        """The client is gone, or going; called once."""

    def shutdown(self) -> None:
        """This process ends."""


class _Nowhere:
    """In place of a queue and an event of uvicorn's, once nobody waits for them."""

    def put_nowait(self, item: object) -> None:
        """Drop it."""

    def set(self) -> None:
        """Wake nobody."""

    def clear(self) -> None:
        """Hold nobody."""


_NOWHERE: Any = _Nowhere()


class WS(WebSocketsSansIOProtocol):
    """A websocket connection of uvicorn's that can be taken over; the endpoint finds its link in the scope."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn.available_extensions = [DEFLATE]
        self.owner: Owner | None = None
        self.link: TransportLink | None = None

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.response.status_code == 101:
            self.link = TransportLink(self)
            self.scope["extensions"][EXTENSION] = self.link  # type: ignore[assignment]

    async def run_asgi(self) -> None:
        """As uvicorn's, but a connection that was taken over stays."""
        try:
            await self.app(self.scope, self.receive, self.send)
        except ClientDisconnected:
            pass
        except BaseException:
            self.logger.exception("Exception in ASGI application\n")
            self.send_500_response()
        if self.owner is None:
            if not self.handshake_complete:
                self.send_500_response()
            if self.close_timer is None:
                self.transport.close()

    def send_receive_event_to_app(self) -> None:
        if self.owner is None:
            super().send_receive_event_to_app()
            return
        data = self.frames[0] if len(self.frames) == 1 else b"".join(self.frames)
        self.frames = []
        if self.close_sent:
            return
        if self.curr_msg_data_type == "bytes":
            self.owner.received(bytes(data))
            return
        try:
            text = str(data, "utf-8")
        except UnicodeDecodeError:
            self.conn.send_close(_INVALID_UTF8)
            self.handle_parser_exception()
            return
        self.owner.received(text)

    def handle_events(self) -> None:
        super().handle_events()
        if self.conn.parser_exc is not None:
            self._let_go()

    def handle_parser_exception(self) -> None:
        super().handle_parser_exception()
        self._let_go()

    def handle_close(self, event: Frame) -> None:
        super().handle_close(event)
        self._let_go()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.link is not None:
            self.link.writable = False
        if self.owner is not None:
            self.owner.paused()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.link is not None:
            self.link.writable = True
        if self.owner is not None:
            self.owner.resumed()

    def shutdown(self) -> None:
        if self.owner is not None:
            self.owner.shutdown()
        super().shutdown()
        self.loop.call_later(_SHUTDOWN_TIMEOUT_S, self.transport.abort)

    def keepalive_timeout(self) -> None:
        self.pong_timer = None
        if self.link is not None:
            self.link.close(Close.NO_PONG, "no pong")
            self._let_go()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._let_go()

    def _let_go(self) -> None:
        if self.link is not None:
            self.link.writable = False
        if self.owner is not None:
            owner, self.owner = self.owner, _Gone()
            owner.lost()


class _Gone:
    """The owner of a connection that is over."""

    def received(self, data: str | bytes) -> None:
        """Too late."""

    def paused(self) -> None:
        """Nothing is sent."""

    resumed = lost = shutdown = paused


class TransportLink:
    """`api.live.groups.Link` over a connection's transport."""

    __slots__ = ("_ws", "dialect", "writable", "write")

    def __init__(self, protocol: WS) -> None:
        self.dialect = "deflate" if any(map(_takes_ours, protocol.conn.extensions)) else "ws"
        self.writable = True
        self.write: Callable[[bytes], None] = protocol.transport.write
        self._ws = protocol

    def take_over(self, owner: Owner) -> None:
        """The connection is the owner's: it hears what the client said already, and all that comes."""
        ws = self._ws
        waiting = []
        while not ws.queue.empty():
            waiting.append(ws.queue.get_nowait())
        ws.owner = owner
        ws.queue = ws.writable = _NOWHERE
        del ws.scope, ws.request, ws.response
        for message in waiting:
            if message["type"] == "websocket.receive":
                data = message.get("text")
                owner.received(message["bytes"] or b"" if data is None else data)
            elif message["type"] == "websocket.disconnect":
                ws._let_go()
        if ws.read_paused:
            ws.read_paused = False
            ws.transport.resume_reading()

    def close(self, code: int, reason: str) -> None:
        """Send the close frame behind what waits; cut off a client that does not answer it."""
        ws = self._ws
        if ws.close_sent or ws.transport.is_closing():
            return
        ws.stop_keepalive()
        ws.conn.send_close(code, reason)
        ws.transport.write(b"".join(ws.conn.data_to_send()))
        ws.close_sent = True
        self.writable = False
        self.write = _drop
        ws.close_timer = ws.loop.call_later(_CLOSE_TIMEOUT_S, ws.transport.abort)

    def abort(self) -> None:
        """Drop the connection and its buffer."""
        self._ws.transport.abort()


def _takes_ours(extension: Extension) -> bool:
    """Whether a client reads what was compressed for everybody: one that wants a small window gets it plain."""
    return isinstance(extension, PerMessageDeflate) and extension.local_max_window_bits == zlib.MAX_WBITS


def _drop(data: bytes) -> None:
    """What is written behind a close frame."""
