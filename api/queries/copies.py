"""COPY out of the database in pieces of many rows.

psycopg hands a row at a time through its async machinery; here a loop takes what has arrived, some microseconds a
hundred rows. One of two places that use libpq's calls; the contract is in tests/integration/test_exports.py.

Who leaves in the middle closes the generator (`contextlib.aclosing`) and only then the connection: a socket that is
closed while somebody waits at it ends a process that runs on uvloop.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import psycopg
from psycopg import pq

Connection = psycopg.AsyncConnection[Any]

SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
"""Before and after the rows of a binary COPY."""
PIECE_BYTES = 512 * 1024
_GATHER_S = 0.002  # so that a look at the socket finds more than the 8 KB that PostgreSQL sends at a time
_GATHER_FROM_BYTES = 128 * 1024  # of what is wanted whole: most pages are smaller, and should not wait


async def text(connection: Connection, query: str, parameters: Mapping[str, Any]) -> AsyncGenerator[tuple[bytes, int]]:
    """(bytes, rows) of a COPY in a text format without a header."""
    async with (
        connection.cursor() as cursor,
        cursor.copy(query.encode(), parameters),
        contextlib.aclosing(_pieces(connection)) as pieces,
    ):
        async for piece in pieces:
            yield piece


async def binary(connection: Connection, query: str, parameters: Mapping[str, Any]) -> AsyncGenerator[bytes]:
    """The rows of a binary COPY, without its signature; the last ones with its trailer."""
    async with (
        connection.cursor() as cursor,
        cursor.copy(query.encode(), parameters),
        contextlib.aclosing(_pieces(connection)) as pieces,
    ):
        before = len(SIGNATURE)
        async for piece, _ in pieces:
            if body := piece[before:]:
                yield body
            before = 0


async def whole(connection: Connection, query: str, parameters: Mapping[str, Any]) -> bytes:
    """All of a binary COPY of no more rows than a page has."""
    async with connection.cursor() as cursor, cursor.copy(query.encode(), parameters):
        return b"".join([piece async for piece, _ in _pieces(connection, _GATHER_FROM_BYTES)])


async def _pieces(connection: Connection, gather_from_bytes: int = 0) -> AsyncGenerator[tuple[bytes, int]]:
    """What the server sends, many messages at a time, and how many; the first ones as soon as they are there."""
    copied = connection.pgconn
    take = copied.get_copy_data
    piece, n, sent, first, looked = bytearray(), 0, 0, True, False
    while True:
        length, data = take(1)
        if length > 0:
            piece += data  # what is kept as it comes costs more in garbage collection than all the rest
            n += 1
            looked = False
            if len(piece) >= PIECE_BYTES:
                sent += len(piece)
                yield bytes(piece), n
                piece, n, first = bytearray(), 0, False
        elif length < 0:
            break
        elif not looked:
            copied.consume_input()  # takes some KB at a time of what has arrived
            looked = True
        else:
            if piece and first:
                sent += len(piece)
                yield bytes(piece), n
                piece, n, first = bytearray(), 0, False
            await _readable(copied.socket)
            if not first and sent + len(piece) >= gather_from_bytes:
                await asyncio.sleep(_GATHER_S)
            copied.consume_input()
    if piece:
        yield bytes(piece), n
    await _finish(copied)


async def _finish(copied: pq.abc.PGconn) -> None:
    """Take the results after the rows. Raises the `psycopg.Error` that ended them."""
    failed = None
    while True:
        while copied.is_busy():
            await _readable(copied.socket)
            copied.consume_input()
        if (result := copied.get_result()) is None:
            break
        if result.status not in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.COPY_OUT):
            failed = failed or result
    if failed is not None:
        raise psycopg.errors.error_from_result(failed)


async def _readable(socket: int) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def set_ready() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(socket, set_ready)
    try:
        await ready
    finally:
        loop.remove_reader(socket)
