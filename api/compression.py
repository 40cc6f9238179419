"""Answers compressed with zstd or gzip, as the client takes it; streams too, piece by piece.

Only what is text: Parquet and Arrow are compressed inside, archive files are served as they are.
"""

import hashlib
import zlib
from typing import Any, Protocol

import zstandard
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.trailers import TRAILERS, repr_digest

FROM_BYTES = 1024
ZSTD_LEVEL, GZIP_LEVEL = 3, 4
COMPRESSED_TYPES = ("text/", "application/json", "application/geo+json", "application/x-ndjson", "application/ld+json",
                    "application/problem+json", "application/xml", "application/atom+xml", "application/javascript",
                    "image/svg+xml")  # fmt: skip
_GZIP_WBITS = 31


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self, mode: int = ..., /) -> bytes: ...


def _zstd() -> Any:
    return zstandard.ZstdCompressor(ZSTD_LEVEL).compressobj()


def _gzip() -> Any:
    return zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP_WBITS)


ENCODINGS = {"zstd": _zstd, "gzip": _gzip}
"""By preference where the client likes them alike."""
_SYNC_FLUSH = {"zstd": zstandard.COMPRESSOBJ_FLUSH_BLOCK, "gzip": zlib.Z_SYNC_FLUSH}


def choose(accept_encoding: str) -> str | None:
    """The encoding of an answer: the best of Accept-Encoding that we can write, None for none."""
    quality: dict[str, float] = {}
    for part in accept_encoding.lower().split(","):
        name, _, parameter = part.partition(";")
        try:
            quality[name.strip()] = float(parameter.strip().removeprefix("q=")) if parameter else 1.0
        except ValueError:
            quality[name.strip()] = 0.0
    found = {name: quality.get(name, quality.get("*", 0.0)) for name in ENCODINGS}
    best = max(found, key=lambda name: found[name])
    return best if found[best] > 0 else None


class Compressed:
    """Middleware. What has an encoding already, or is short, or an event stream, passes as it is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif (encoding := choose(Headers(scope=scope).get("accept-encoding", ""))) is not None:
            await self._app(scope, receive, _Answer(encoding, send).send)
        else:
            await self._app(scope, receive, _plain(send))


def _plain(send: Send) -> Send:
    """What is not compressed for one client may be for the next: caches are to know."""

    async def plain(message: Message) -> None:
        if message["type"] == "http.response.start":
            _told_to_caches(message)
        await send(message)

    return plain


def _told_to_caches(start: Message) -> bool:
    """Say where an answer goes by Accept-Encoding, compressed or not; whether it does."""
    headers = MutableHeaders(raw=start["headers"])
    kind = headers.get("content-type", "")
    text = kind.startswith(COMPRESSED_TYPES) and not kind.startswith("text/event-stream")
    varies = "content-encoding" not in headers and (text or start["status"] == 304)
    if varies:
        headers.add_vary_header("Accept-Encoding")
    return varies


class _Answer:
    """One answer on its way out. Its start waits for the first piece, which says whether it is worth it. The digest in
    trailers is of what goes out: of what is compressed, compressed.
    """

    def __init__(self, encoding: str, send: Send) -> None:
        self._encoding, self._send = encoding, send
        self._start: Message | None = None
        self._compressor: _Compressor | None = None
        self._sha256: Any = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        if message["type"] == TRAILERS and self._sha256 is not None:
            digest = repr_digest(self._sha256.digest()).encode()
            message = {**message, "headers": [(n, digest if n == b"repr-digest" else v) for n, v in message["headers"]]}
        if message["type"] != "http.response.body":
            await self._send(message)
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        if self._start is not None:
            start, self._start = self._start, None
            if self._worth(start, body, more):
                self._compressor = ENCODINGS[self._encoding]()
                self._sha256 = hashlib.sha256() if start.get("trailers") else None
                if not more:
                    body = self._squeeze(body, False)
                    MutableHeaders(raw=start["headers"])["content-length"] = str(len(body))
                    self._compressor = None
            await self._send(start)
        if self._compressor is not None:
            body = self._squeeze(body, more)
        await self._send({**message, "body": body})

    def _worth(self, start: Message, body: bytes, more: bool) -> bool:
        headers = MutableHeaders(raw=start["headers"])
        if not _told_to_caches(start):
            return False
        if start["status"] in (204, 206, 304) or (not more and len(body) < FROM_BYTES):
            return False
        headers["content-encoding"] = self._encoding
        del headers["content-length"]
        return True

    def _squeeze(self, body: bytes, more: bool) -> bytes:
        assert self._compressor is not None
        packed = self._compressor.compress(body)
        packed += self._compressor.flush(_SYNC_FLUSH[self._encoding]) if more else self._compressor.flush()
        if self._sha256 is not None:
            self._sha256.update(packed)
        return packed
