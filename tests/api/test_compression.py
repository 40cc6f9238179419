"""Compression: what is chosen, and that what is packed is what was sent."""

import gzip
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import zstandard
from starlette.applications import Starlette
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from api.compression import Compressed, choose

LONG = b"open data, " * 1000


@pytest.mark.parametrize(
    ("accept", "encoding"),
    [
        ("", None), ("identity", None), ("gzip", "gzip"), ("gzip, deflate, br, zstd", "zstd"), ("*", "zstd"),
        ("zstd;q=0, *", "gzip"), ("gzip;q=1, zstd;q=0.5", "gzip"), ("gzip;q=0", None), ("GZIP", "gzip"),
        ("gzip;q=nonsense", None),
    ],
)  # fmt: skip
def test_accept_encoding_chooses(accept: str, encoding: str | None) -> None:
    assert choose(accept) == encoding


async def pieces() -> AsyncIterator[bytes]:
    for i in range(0, len(LONG), 777):
        yield LONG[i : i + 777]


def app() -> Any:
    async def long(request: Any) -> Response:
        return Response(LONG, media_type="application/json")

    async def short(request: Any) -> Response:
        return Response(b"{}", media_type="application/json")

    async def stream(request: Any) -> Response:
        return StreamingResponse(pieces(), media_type="text/csv; charset=utf-8")

    async def packed(request: Any) -> Response:
        return Response(LONG, media_type="application/vnd.apache.parquet")

    routes = [Route(f"/{f.__name__}", f) for f in (long, short, stream, packed)]
    return Compressed(Starlette(routes=routes))


async def get(path: str, accept: str) -> tuple[httpx.Response, bytes]:
    async with (
        httpx.AsyncClient(transport=httpx.ASGITransport(app()), base_url="http://x") as client,
        client.stream("GET", path, headers={"accept-encoding": accept}) as got,
    ):
        return got, b"".join([piece async for piece in got.aiter_raw()])


@pytest.mark.parametrize("path", ["/long", "/stream"])
async def test_what_is_packed_is_what_was_sent(path: str) -> None:
    got, body = await get(path, "zstd, gzip")
    assert (got.headers["content-encoding"], got.headers["vary"]) == ("zstd", "Accept-Encoding")
    assert zstandard.ZstdDecompressor().decompressobj().decompress(body) == LONG
    assert len(body) < 1500
    got, body = await get(path, "gzip")
    assert got.headers["content-encoding"] == "gzip"
    assert gzip.decompress(body) == LONG
    assert ("content-length" in got.headers) is (path == "/long")
    got, body = await get(path, "identity")
    assert ("content-encoding" in got.headers, body) == (False, LONG)
    assert got.headers["vary"] == "Accept-Encoding", "a cache may not give it to who takes zstd, nor the other way"


@pytest.mark.parametrize("path", ["/short", "/packed"])
async def test_what_gains_nothing_is_left_as_it_is(path: str) -> None:
    got, body = await get(path, "zstd")
    assert "content-encoding" not in got.headers
    assert int(got.headers["content-length"]) == len(body)
