"""An answer's headers around its rows: next page, caching, 304."""

import hashlib
from collections.abc import Sequence
from email.utils import formatdate, parsedate_to_datetime
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
    modified_ms: int | None = None,
) -> Response:
    """The rows in a format; 304 where the client has them already.

    The ETag is of the body, or of `same` where the body says what time it is or names cursors: weak, for encodings
    differ. `modified_ms`
    is when the newest of the rows came.
    """
    writer = FORMATS[format]
    headers = {"cache-control": f"public, max-age={max_age_s}", "vary": "Accept"}
    if modified_ms is not None:
        headers["last-modified"] = http_date(modified_ms)
    if next_url is not None:
        headers["link"] = f'<{next_url}>; rel="next"'
    body = b"" if same is not None else writer.write(kind, rows, next_url, meta)
    shown = body if same is None else _packer.encode([format, next_url is None, kind.__struct_encode_fields__, same])
    headers["etag"] = f'W/"{hashlib.blake2b(shown, digest_size=9).hexdigest()}"'
    if unchanged(request, headers["etag"], modified_ms):
        return Response(status_code=304, headers=headers)
    return Response(body or writer.write(kind, rows, next_url, meta), headers=headers, media_type=writer.media_type)


def max_age_s(to_ms: int, now_ms: int) -> int:
    """How long history up to `to_ms` may be kept: a while when it is over, seconds while it goes on."""
    return 3600 if now_ms - to_ms > CLOSED_AFTER_S * 1000 else 5


def http_date(moment_ms: int) -> str:
    """`Mon, 16 Nov 2026 08:05:00 GMT` of epoch ms, whole seconds, rounded up: never before the change."""
    return formatdate(-(-max(0, moment_ms) // 1000), usegmt=True)


def unchanged(request: Request, etag: str, modified_ms: int | None) -> bool:
    """Whether the client has it: by If-None-Match, else by If-Modified-Since (RFC 9110, 13.2.2)."""
    if (asked := request.headers.get("if-none-match")) is not None:
        return has(asked, etag)
    since = request.headers.get("if-modified-since")
    return since is not None and modified_ms is not None and is_since(since, http_date(modified_ms))


def is_since(since: str, modified: str) -> bool:
    """Whether an HTTP date is that of a change, or after it; what is no date is not."""
    try:
        return parsedate_to_datetime(since) >= parsedate_to_datetime(modified)
    except (ValueError, TypeError):  # no date; one without a zone can't be compared
        return False


def has(if_none_match: str, etag: str) -> bool:
    """Whether the client has the answer with this ETag."""
    tags = [tag.strip() for tag in if_none_match.split(",")]
    return "*" in tags or etag in tags or etag.removeprefix("W/") in tags
