"""Frames: what a group sends, made once and written to every client that is to have it, in the client's dialect.

ws       a text frame of RFC 6455 as a server sends it: unmasked, unfragmented
deflate  the same, compressed (RFC 7692) without context takeover: one frame for all who offered it, as browsers do
sse      a server-sent event: `id` is the cursor, `event` the message's type
json     the message alone, and a comma: a long poll's answer is an array of them
"""

import zlib
from collections.abc import Callable, Iterable, Sequence

from api.live.messages import ServerMessage, encode

TEXT = 0x81
DEFLATED_TEXT = 0xC1
DEFLATE_FROM_BYTES = 400
"""Shorter ones are sent as they are. Frames of 50 readings become 1,200 bytes of 10,800, in 16 us (measured)."""
DEFLATE_LEVEL = 1
DEFLATE_MEMORY = 5


def text_frame(payload: bytes, first: int = TEXT) -> bytes:
    """An unmasked, unfragmented text frame around UTF-8 bytes."""
    n = len(payload)
    if n < 126:
        return bytes((first, n)) + payload
    if n < 65536:
        return bytes((first, 126)) + n.to_bytes(2, "big") + payload
    return bytes((first, 127)) + n.to_bytes(8, "big") + payload


def deflated_frame(payload: bytes) -> bytes:
    """A compressed text frame that needs none of those before it."""
    encoder = zlib.compressobj(DEFLATE_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS, DEFLATE_MEMORY)
    data = encoder.compress(payload) + encoder.flush(zlib.Z_SYNC_FLUSH)
    return text_frame(data[:-4], DEFLATED_TEXT)  # RFC 7692, 7.2.1: without the empty block at the end


def payload_of(frame: bytes) -> bytes:
    """What `text_frame` was given."""
    return frame[{126: 4, 127: 10}.get(frame[1], 2) :]


class Frame:
    """A message as bytes: its type, its JSON, and the cursor of who has it and all before it; empty for none."""

    __slots__ = ("_deflated", "_ws", "cursor", "kind", "payload")

    def __init__(self, kind: str, payload: bytes, cursor: str = "") -> None:
        self.kind = kind
        self.payload = payload
        self.cursor = cursor
        self._ws: bytes | None = None
        self._deflated: bytes | None = None

    @property
    def ws(self) -> bytes:
        """As a websocket's text frame; made once."""
        if self._ws is None:
            self._ws = text_frame(self.payload)
        return self._ws

    @property
    def deflated(self) -> bytes:
        """As a compressed text frame where that is worth it; made once."""
        if len(self.payload) < DEFLATE_FROM_BYTES:
            return self.ws
        if self._deflated is None:
            self._deflated = deflated_frame(self.payload)
        return self._deflated

    def sse(self) -> bytes:
        """As a server-sent event; without a cursor it leaves the client's last id as it is."""
        kind = "reset" if self.kind == "subscribed" and b'"recovered":false' in self.payload else self.kind
        head = f"id: {self.cursor}\nevent: {kind}\ndata: " if self.cursor else f"event: {kind}\ndata: "
        return b"%b%b\n\n" % (head.encode(), self.payload)


DIALECTS: dict[str, Callable[[Frame], bytes]] = {
    "ws": lambda frame: frame.ws,
    "deflate": lambda frame: frame.deflated,
    "sse": Frame.sse,
    "json": lambda frame: frame.payload + b",",
}


def joined(frames: Sequence[Frame], dialect: str) -> bytes:
    """Frames that leave together, as one piece of bytes in a dialect of `DIALECTS`."""
    write = DIALECTS[dialect]
    return write(frames[0]) if len(frames) == 1 else b"".join(map(write, frames))


def message_frame(message: ServerMessage) -> Frame:
    """A message that is not made of rows."""
    return Frame(type(message).__struct_config__.tag or "", encode(message), getattr(message, "cursor", ""))  # type: ignore[arg-type]


def data_frame(
    ch: int, seq: tuple[int, int], cursor: str, n_conflated: int, rows: Iterable[bytes], replay: bool = False
) -> Frame:
    """A data message of rows that are JSON already; equal to `encode(Data(...))`, without taking the rows in hand."""
    head = b'{"type":"data","ch":%d,"seq":[%d,%d],"cursor":"%b","n_conflated":%d,%b"d":[' % (
        ch, *seq, cursor.encode(), n_conflated, b'"replay":true,' if replay else b"",
    )  # fmt: skip
    return Frame("data", head + b",".join(rows) + b"]}", cursor)


def snapshot_frame(ch: int, part: int, last: bool, cursor: str, rows: Iterable[bytes]) -> Frame:
    """A part of a snapshot, of rows that are JSON already."""
    head = b'{"type":"snapshot","ch":%d,"part":%d,"last":%b,"cursor":"%b","d":[' % (
        ch, part, b"true" if last else b"false", cursor.encode(),
    )  # fmt: skip
    return Frame("snapshot", head + b",".join(rows) + b"]}", cursor if last else "")
