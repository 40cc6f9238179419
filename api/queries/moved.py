"""Days whose readings are in the archive: which they are, and how they stand in for the table while one queries.

`over` makes a temporary table `readings`, which comes before the schema's own in every name that a statement of this
transaction looks up. So the same SQL gives the same rows in the same bytes, wherever they are kept.
"""

import contextlib
from collections.abc import AsyncIterator, Collection, Iterable
from datetime import datetime
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from api.times import DAY_MS, as_datetime

Connection = psycopg.AsyncConnection[Any]

COLUMNS = {
    "series": "int4", "start": "timestamptz", "period_s": "int4", "value": "float8", "flag": "int2", "tests": "int4",
    "rev": "int4", "origin": "int2", "received": "timestamptz", "part": "int2", "position": "int8",
    "source_rev": "int4",
}  # fmt: skip
"""The columns of `readings`, with their types."""
NAMES = ", ".join(COLUMNS)

_LOCK = "hashtext('cityfeed moved days'), hashtext(current_schema())"
_DAYS = "SELECT day, revision, path, log_path, rows, periods FROM moved_days WHERE dataset = %s AND back IS NULL"
_SCHEMA = "SELECT current_schema()"


class MovedDay(NamedTuple):
    """A row of `moved_days`, of one dataset; `day` is numbered from 1970-01-01."""

    day: int
    revision: int
    path: str
    log_path: str
    rows: int
    periods: list[int]


@contextlib.asynccontextmanager
async def held(connection: Connection) -> AsyncIterator[None]:
    """Within the block no day is moved: what is read of the table and of the archive belongs together."""
    await connection.execute(f"SELECT pg_advisory_lock_shared({_LOCK})".encode())
    try:
        yield
    finally:
        # A connection that is given up in the middle is closed, and the lock with it.
        if connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
            await connection.execute(f"SELECT pg_advisory_unlock_shared({_LOCK})".encode())


@contextlib.asynccontextmanager
async def writing(connection: Connection) -> AsyncIterator[None]:
    """A transaction that may write; the connections are read-only otherwise."""
    async with connection.transaction():
        await connection.execute("SET TRANSACTION READ WRITE")
        yield


async def alone(connection: Connection) -> None:
    """Wait until nobody reads what is to be moved; until the transaction's end nobody does."""
    await connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK})".encode())


async def days(connection: Connection, dataset: str) -> dict[int, MovedDay]:
    """The dataset's days that are in the archive alone."""
    rows = await (await connection.execute(_DAYS, (dataset,))).fetchall()
    return {row[0]: MovedDay(*row) for row in rows}


@contextlib.asynccontextmanager
async def over(
    connection: Connection, pieces: AsyncIterator[bytes], series: Collection[int], days: Iterable[int]
) -> AsyncIterator[None]:
    """Within the block `readings` has these series' rows of `pieces` (binary COPY), and what the table has of these
    days. Where both have a reading, the higher `rev` is there; of equal ones the archive's.
    """
    numbers = list(days)
    row = await (await connection.execute(_SCHEMA)).fetchone()
    assert row is not None
    stored = sql.Identifier(row[0], "readings")
    low, high = as_datetime(min(numbers) * DAY_MS), as_datetime((max(numbers) + 1) * DAY_MS)
    bounds = {"series": list(series), "low": low, "high": high}
    of_days = sql.SQL("r.series = ANY(%(series)s) AND r.start >= %(low)s AND r.start < %(high)s")
    async with writing(connection):
        await connection.execute(
            sql.SQL("CREATE TEMPORARY TABLE readings ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA").format(
                sql.SQL(NAMES), stored
            )
        )
        copy_in = f"COPY pg_temp.readings ({NAMES}) FROM STDIN (FORMAT binary)"
        async for piece in pieces:
            async with connection.cursor() as cursor, cursor.copy(copy_in.encode()) as copy:
                await copy.write(piece)
        await connection.execute("CREATE UNIQUE INDEX ON pg_temp.readings (series, start)")
        for statement in (
            "DELETE FROM pg_temp.readings t USING {stored} r WHERE r.series = t.series AND r.start = t.start"
            " AND r.rev > t.rev AND {of_days}",
            "INSERT INTO pg_temp.readings SELECT {names} FROM {stored} r WHERE {of_days} ON CONFLICT DO NOTHING",
        ):
            made = sql.SQL(statement).format(stored=stored, of_days=of_days, names=sql.SQL(NAMES))
            await connection.execute(made, bounds)
        await connection.execute("ANALYZE pg_temp.readings")
        yield


BACK_DAYS = 7
"""A day that was brought back stays so long."""
_CHUNKS = """
    SELECT (extract(epoch FROM range_start) / 86400)::bigint, format('%%I.%%I', chunk_schema, chunk_name)
    FROM timescaledb_information.chunks
    WHERE hypertable_schema = current_schema() AND hypertable_name = 'readings' AND range_end <= %s
      AND range_end - range_start = interval '1 day'
    ORDER BY 1"""
_DATASETS = """
    SELECT DISTINCT s.dataset FROM series s
    WHERE EXISTS (SELECT FROM readings r WHERE r.series = s.id AND r.start >= %(low)s AND r.start < %(high)s)"""
_ADD = """
    INSERT INTO moved_days (day, dataset, revision, path, log_path, rows, periods)
    VALUES (%s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (day, dataset) DO UPDATE SET revision = excluded.revision, path = excluded.path,
        log_path = excluded.log_path, rows = excluded.rows, periods = excluded.periods, moved = now(), back = NULL"""
_STAYING = f"SELECT DISTINCT day FROM moved_days WHERE back IS NULL OR back > now() - interval '{BACK_DAYS} days'"
# The first and the newest reading of a series say since when it is, and what it was when it was last heard.
_ENDS = """
    CREATE TEMPORARY TABLE kept ON COMMIT DROP AS
    SELECT r.* FROM readings r
    WHERE r.start >= %(low)s AND r.start < %(high)s
      AND (NOT EXISTS (SELECT FROM readings e WHERE e.series = r.series AND e.start < r.start)
           OR NOT EXISTS (SELECT FROM readings l WHERE l.series = r.series AND l.start > r.start))"""
_DROP = "SELECT drop_chunks('readings', newer_than => %(low)s, older_than => %(high)s)"


async def chunks(connection: Connection, before_day: int) -> dict[int, str]:
    """Day -> its chunk's name, of the days before one that are in the table at all."""
    return dict(await (await connection.execute(_CHUNKS, (as_datetime(before_day * DAY_MS),))).fetchall())


async def staying(connection: Connection) -> set[int]:
    """The days that are not to be moved: they have gone, or were brought back."""
    return {day for (day,) in await (await connection.execute(_STAYING.encode())).fetchall()}


async def datasets(connection: Connection, day: int) -> set[str]:
    """The datasets that have readings of a day in the table."""
    rows = await (await connection.execute(_DATASETS, _bounds(day))).fetchall()
    return {dataset for (dataset,) in rows}


async def freeze(connection: Connection, chunk: str) -> None:
    """Nobody writes to a chunk until the transaction's end. Raises `psycopg.errors.LockNotAvailable` after a second."""
    await connection.execute("SET LOCAL lock_timeout = '1s'")
    await alone(connection)
    await connection.execute(f"LOCK TABLE {chunk} IN ACCESS EXCLUSIVE MODE".encode())


async def put(connection: Connection, dataset: str, day: MovedDay) -> None:
    """Say that a dataset's day is in the archive alone."""
    await connection.execute(_ADD, (day.day, dataset, day.revision, day.path, day.log_path, day.rows, day.periods))


async def drop(connection: Connection, day: int) -> None:
    """Drop a day's readings, but for the first and the newest of each series."""
    await connection.execute(_ENDS, _bounds(day))
    await connection.execute(_DROP, _bounds(day))
    await connection.execute("INSERT INTO readings SELECT * FROM kept")
    await connection.execute("DROP TABLE kept")


async def bring_back(connection: Connection, dataset: str, day: int) -> int:
    """Within `over`: put the day's rows that the table has not, or not as new, into it again; how many."""
    row = await (await connection.execute(_SCHEMA)).fetchone()
    assert row is not None
    stored = sql.Identifier(row[0], "readings")
    made = sql.SQL(
        "INSERT INTO {} AS r ({names}) SELECT {names} FROM pg_temp.readings ON CONFLICT (series, start) DO UPDATE SET"
        " (" + NAMES + ") = ROW (" + ", ".join(f"excluded.{name}" for name in COLUMNS) + ") WHERE excluded.rev > r.rev"
    )
    put_back = await connection.execute(made.format(stored, names=sql.SQL(NAMES)))
    await connection.execute("UPDATE moved_days SET back = now() WHERE day = %s AND dataset = %s", (day, dataset))
    return put_back.rowcount


def _bounds(day: int) -> dict[str, datetime]:
    return {"low": as_datetime(day * DAY_MS), "high": as_datetime((day + 1) * DAY_MS)}
