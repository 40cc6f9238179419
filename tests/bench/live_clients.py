"""The clients of the live bench: thousands of plain sockets in one process, read by epoll: not to be the limit."""

import json
import os
import select
import socket
import statistics
import time
import zlib
from collections.abc import Callable, Iterator
from datetime import datetime

HANDSHAKE = (
    b"GET /v1/live HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: cityfeed.v1.json\r\n\r\n"
)
PACKED = HANDSHAKE[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
TEXT, DEFLATED_TEXT = 0x81, 0xC1
LOOKED_INTO = 5
AT_ONCE = 200  # connections made side by side


def text_frame(text: str) -> bytes:
    """A masked frame of a client; the mask is zero."""
    data = text.encode()
    head = bytes((0x81, 0x80 | len(data))) if len(data) < 126 else b"\x81\xfe" + len(data).to_bytes(2, "big")
    return head + b"\0\0\0\0" + data


def payloads(buffer: bytearray) -> Iterator[bytes]:
    """The whole text frames at the head of a buffer, which are taken out of it."""
    at = 0
    while len(buffer) - at >= 2:
        n, head = buffer[at + 1], 2
        if n == 126:
            n, head = int.from_bytes(buffer[at + 2 : at + 4], "big"), 4
        elif n == 127:
            n, head = int.from_bytes(buffer[at + 2 : at + 10], "big"), 10
        if len(buffer) - at < head + n:
            break
        data = bytes(buffer[at + head : at + head + n])
        if buffer[at] == TEXT:
            yield data
        elif buffer[at] == DEFLATED_TEXT:
            yield zlib.decompressobj(-zlib.MAX_WBITS).decompress(data + b"\0\0\xff\xff")
        at += head + n
    del buffer[:at]


class Clients:
    """n connections; `received` bytes of all, `latencies_ms` of the frames whose stamp was seen.

    With `packed` they offer compression, as browsers do. Then stamps can't be found among bytes: `LOOKED_INTO` of the
    connections are read frame by frame, every row of them; what the others get is taken from the kernel and dropped.
    """

    def __init__(
        self, port: int, n: int, say: Callable[[int], list[str]], hello: bool = True, stamp: str = "received",
        packed: bool = False,
    ) -> None:  # fmt: skip
        os.sched_setaffinity(0, {1})
        self.received = 0
        self._frames: dict[int, bytearray] = {}
        self._stamp = f'"{stamp}":"'.encode()
        self.latencies_ms: list[float] = []
        self._buffer = bytearray(1 << 20)
        self.sockets: dict[int, socket.socket] = {}
        self._epoll = select.epoll()
        for first in range(0, n, AT_ONCE):
            batch = {i: socket.create_connection(("127.0.0.1", port)) for i in range(first, min(n, first + AT_ONCE))}
            for made in batch.values():
                made.sendall(PACKED if packed else HANDSHAKE)
            for i, made in batch.items():
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    head += made.recv(1)
                words = [json.dumps({"type": "hello"}), *say(i)] if hello else []
                made.sendall(b"".join(map(text_frame, words)))
                made.setblocking(False)
                self.sockets[made.fileno()] = made
                self._epoll.register(made.fileno(), select.EPOLLIN)
                if packed and i % max(1, n // LOOKED_INTO) == 0:
                    self._frames[made.fileno()] = bytearray()

    def stall(self, n: int) -> None:
        """The first n read nothing any more."""
        for fd in list(self.sockets)[:n]:
            self._epoll.unregister(fd)

    def read(self, seconds: float, until: Callable[[], bool] = lambda: False) -> float:
        """Read for so long; gives the seconds."""
        view, began = memoryview(self._buffer), time.monotonic()
        end = began + seconds
        while time.monotonic() < end and not until():
            for fd, _ in self._epoll.poll(0.05):
                try:
                    n = self.sockets[fd].recv_into(self._buffer)
                except BlockingIOError:
                    continue
                except ConnectionError:
                    n = 0
                if n == 0:
                    self._epoll.unregister(fd)
                    continue
                self.received += n
                if (frames := self._frames.get(fd)) is not None:
                    frames += view[:n]
                    self._look_into(frames)
                elif not self._frames:
                    self._look(n)
        return time.monotonic() - began

    def _look(self, n: int) -> None:
        """Note how old the first row in what came is."""
        at = self._buffer.find(self._stamp, 0, n)
        if 0 <= at <= n - len(self._stamp) - 24:
            at += len(self._stamp)
            self._note(bytes(self._buffer[at : at + 24]))

    def _look_into(self, frames: bytearray) -> None:
        """Note how old the rows of whole frames are."""
        for payload in payloads(frames):
            for part in payload.split(self._stamp)[1:]:
                self._note(part[:24])

    def _note(self, stamp: bytes) -> None:
        made_s = datetime.fromisoformat(stamp.decode()).timestamp()
        self.latencies_ms.append((time.time() - made_s) * 1000)

    def p99_ms(self) -> float:
        """Of the stamps seen."""
        return statistics.quantiles(self.latencies_ms, n=100)[98] if len(self.latencies_ms) > 100 else float("nan")

    def close(self) -> None:
        """Close them all."""
        self._epoll.close()
        for made in self.sockets.values():
            made.close()
