"""An answer's headers around its rows: next page, caching, 304."""

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
from fastapi import Request, Response

from api.formats import FORMATS

_packer = msgspec.msgpack.Encoder()

CLOSED_AFTER_S = 86_400  # a range that ended so long ago seldom changes: late data and repairs are in


def answer(
    request: Request,
    kind: type[msgspec.Struct],
    rows: Sequence[msgspec.Struct],
    meta: msgspec.Struct,
    *,
    format: str,
    max_age_s: int,
    next_url: str | None = None,
    same: Any = None,
) -> Response:
    """The rows in a format; 304 where the client has them already.

    The ETag is of the body, or of `same` where the body says what time it is: weak, for encodings differ.
    """
    writer = FORMATS[format]
    body = writer.write(kind, rows, next_url, meta)
    shown = body if same is None else _packer.encode([format, next_url, same])
    headers = {
        "etag": f'W/"{hashlib.blake2b(shown, digest_size=9).hexdigest()}"',
        "cache-control": f"public, max-age={max_age_s}",
        "vary": "Accept",
    }
    if next_url is not None:
        headers["link"] = f'<{next_url}>; rel="next"'
    if has(request.headers.get("if-none-match", ""), headers["etag"]):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type=writer.media_type)


def max_age_s(to_ms: int, now_ms: int) -> int:
    """How long history up to `to_ms` may be kept: a while when it is over, seconds while it goes on."""
    return 3600 if now_ms - to_ms > CLOSED_AFTER_S * 1000 else 5


def has(if_none_match: str, etag: str) -> bool:
    """Whether the client has the answer with this ETag."""
    tags = [tag.strip() for tag in if_none_match.split(",")]
    return "*" in tags or etag in tags or etag.removeprefix("W/") in tags
