"""Connections to the database: few, read-only, and replaced when they break."""

import contextlib
import select
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import psycopg_pool
from psycopg import sql

from schemas.settings import Settings

Pool = psycopg_pool.AsyncConnectionPool[psycopg.AsyncConnection[Any]]

WAIT_S = 2.0  # for a connection; then the answer is 503
RECONNECT_S = 5.0  # a pool that gave up tries again at the next request: no long back-off after an outage
STATEMENT_TIMEOUT_MS = 20_000


def make_pool(settings: Settings) -> Pool:
    """A pool that is still closed; opening it does not need the database to be there."""
    return _pool(settings, "api", 1, 4, STATEMENT_TIMEOUT_MS, 64)


def exports_pool(settings: Settings) -> Pool:
    """The connections of exports: as many as may be written at once, and a statement may take as long as its client."""
    return _pool(settings, "api exports", 0, settings.exports_at_once, 0, 16)


def _pool(settings: Settings, name: str, least: int, most: int, timeout_ms: int, waiting: int) -> Pool:

    async def configure(connection: psycopg.AsyncConnection[Any]) -> None:
        await _configure(connection, settings, timeout_ms)

    return psycopg_pool.AsyncConnectionPool(
        str(settings.database_url),
        # Plans are made for the values at hand: they say which chunks are needed.
        kwargs={
            "autocommit": True, "prepare_threshold": None, "application_name": "cityfeed api", "connect_timeout": 2,
        },
        min_size=least,
        max_size=most,
        open=False,
        timeout=WAIT_S,
        reconnect_timeout=RECONNECT_S,
        max_waiting=waiting,
        configure=configure,
        check=_check,
        name=name,
    )  # fmt: skip


async def _check(connection: psycopg.AsyncConnection[Any]) -> None:
    """Raise where the server has closed the connection. One that is idle and alive has nothing to say: only where there
    is something to read the server is asked, for the question costs as much as a small statement.
    """
    look = select.poll()
    look.register(connection.pgconn.socket, select.POLLIN)
    if look.poll(0):
        await psycopg_pool.AsyncConnectionPool.check_connection(connection)


async def _configure(connection: psycopg.AsyncConnection[Any], settings: Settings, timeout_ms: int) -> None:
    await connection.execute(
        sql.SQL(
            "SET search_path TO {}, public; SET default_transaction_read_only TO on; "
            "SET statement_timeout TO {}; SET TimeZone TO 'UTC'; SET jit TO off"
        ).format(sql.Identifier(settings.database_schema), sql.Literal(timeout_ms))
    )  # fmt: skip


@contextlib.asynccontextmanager
async def connect(settings: Settings, name: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """One connection, for jobs; read-only, without a bound on its statements."""
    connection = await psycopg.AsyncConnection.connect(
        str(settings.database_url), autocommit=True, prepare_threshold=None, application_name=name, connect_timeout=5
    )
    async with connection:
        await _configure(connection, settings, 0)
        yield connection


async def answers(pool: Pool) -> bool:
    """Whether the database is there, with our tables in it."""
    try:
        async with pool.connection(timeout=1.0) as connection:
            await connection.execute("SELECT FROM positions LIMIT 1")
    except psycopg.Error:
        return False
    return True
