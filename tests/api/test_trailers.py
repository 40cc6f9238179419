"""Trailers over a real socket: what uvicorn's internals must keep doing for us."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import zstandard

from api.compression import Compressed
from api.trailers import HTTP, TRAILERS, repr_digest
from tests.api.sockets import served

PIECES = [b"open data, " * 300, b"", b"more of it\n"]
BODY = b"".join(PIECES)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """A streamed answer with a digest behind it, where the server can send one."""
    able = TRAILERS in scope.get("extensions", {})
    headers = [(b"content-type", b"text/csv")] + [(b"trailer", b"Repr-Digest")] * able
    await send({"type": "http.response.start", "status": 200, "headers": headers, "trailers": able})
    for piece in PIECES:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    if scope["path"] == "/broken":
        raise RuntimeError("in the middle")
    await send({"type": "http.response.body", "body": b"", "more_body": False})
    if able:
        fields = [(b"repr-digest", repr_digest(hashlib.sha256(BODY).digest()).encode())]
        await send({"type": TRAILERS, "headers": fields, "more_trailers": False})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with served(Compressed(app), http=HTTP) as found:
        yield found


async def ask(port: int, *lines: str) -> tuple[dict[str, str], list[bytes], dict[str, str], bytes]:
    """(headers, chunks, trailers, what came after) of a request, as they stand on the wire."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write("\r\n".join((*lines, "host: x", "connection: close", "", "")).encode())
    head, _, rest = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    headers, chunks = fields(head.split(b"\r\n")[1:]), []
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        if not int(size, 16):
            block, _, after = (b"\r\n" + rest).partition(b"\r\n\r\n")
            return headers, chunks, fields(block.split(b"\r\n")[1:]), after
        chunks.append(rest[: int(size, 16)])
        rest = rest[int(size, 16) + 2 :]
    raise EOFError("the answer has no end")


def fields(lines: list[bytes]) -> dict[str, str]:
    return {name.lower(): value for name, _, value in (line.decode().partition(": ") for line in lines)}


def digest(body: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


async def test_the_digest_stands_behind_the_body(port: int) -> None:
    headers, chunks, trailers, after = await ask(port, "GET / HTTP/1.1")
    assert (headers["trailer"], headers["transfer-encoding"]) == ("Repr-Digest", "chunked")
    assert (b"".join(chunks), trailers, after) == (BODY, {"repr-digest": digest(BODY)}, b"")


async def test_of_what_is_compressed_it_is_the_compressed_ones(port: int) -> None:
    headers, chunks, trailers, _ = await ask(port, "GET / HTTP/1.1", "accept-encoding: zstd")
    assert headers["content-encoding"] == "zstd"
    packed = b"".join(chunks)
    assert zstandard.ZstdDecompressor().decompressobj().decompress(packed) == BODY
    assert trailers == {"repr-digest": digest(packed)}


async def test_http_1_0_has_none(port: int) -> None:
    headers, *_ = await ask(port, "GET / HTTP/1.0")
    assert "trailer" not in headers


async def test_an_answer_that_breaks_has_no_end(port: int) -> None:
    with pytest.raises(EOFError):
        await ask(port, "GET /broken HTTP/1.1")


async def test_a_connection_goes_on_after_them_with_a_client_that_skips_them(port: int) -> None:
    plain = {"accept-encoding": "identity"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=plain) as client:
        sent = []
        for _ in range(3):
            got = await client.get("/")
            assert got.content == BODY
            sent.append(got.extensions["network_stream"].get_extra_info("client_addr"))
        assert len(set(sent)) == 1
