"""What the tables say: whether what was sent is stored yet, and which days are not there any more."""

import asyncio
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import sql

from schemas.errors import CityfeedError
from schemas.settings import Settings

POLL_S = 0.5


async def wait_until_stored(settings: Settings, last: dict[int, int], told: Callable[[int, int], None]) -> None:
    """Wait until the raw offsets `last` {partition: offset} are stored and no window waits to be made again.

    `told` is called with the records and the windows that are still to come. Raises `CityfeedError` where the
    database is not there.
    """
    try:
        conn = await psycopg.AsyncConnection.connect(str(settings.database_url), autocommit=True, connect_timeout=5)
        async with conn:
            path = sql.SQL("SET search_path TO {}, public").format(sql.Identifier(settings.database_schema))
            await conn.execute(path)
            while True:
                stored, waiting = await _now(conn)
                behind = sum(max(0, offset - stored.get(part, -1)) for part, offset in last.items())
                told(behind, waiting)
                if not behind and not waiting:
                    return
                await asyncio.sleep(POLL_S)
    except psycopg.Error as e:
        raise CityfeedError(
            f"all is in Kafka, but the database does not tell whether it is stored yet: {str(e).strip()}"
        ) from e


async def archived_days(settings: Settings, dataset: str) -> set[int]:
    """The dataset's UTC days, from 1970-01-01, whose readings are in the archive alone; none where the tables are not
    made yet. Raises `CityfeedError` where the database is not there.
    """
    try:
        conn = await psycopg.AsyncConnection.connect(str(settings.database_url), autocommit=True, connect_timeout=5)
        async with conn:
            table = sql.Identifier(settings.database_schema, "moved_days")
            query = sql.SQL("SELECT day FROM {} WHERE dataset = %s AND back IS NULL").format(table)
            return {day for (day,) in await (await conn.execute(query, (dataset,))).fetchall()}
    except psycopg.errors.UndefinedTable:
        return set()
    except psycopg.Error as e:
        if not settings.database_keep_days:
            return set()  # nothing is moved here: Kafka takes what is imported, also while the database is away
        raise CityfeedError(f"the database does not tell which days are in the archive: {str(e).strip()}") from e


async def _now(conn: psycopg.AsyncConnection[Any]) -> tuple[dict[int, int], int]:
    """The raw offset stored of each partition, and how many windows wait; nothing is where `windows` never ran."""
    try:
        rows = await (await conn.execute("SELECT part, coalesce(raw, -1) FROM positions")).fetchall()
        marks = await (await conn.execute("SELECT count(*) FROM dirty")).fetchone()
    except psycopg.errors.UndefinedTable:
        return {}, 0
    return {int(part): int(raw) for part, raw in rows}, int(marks[0]) if marks else 0
