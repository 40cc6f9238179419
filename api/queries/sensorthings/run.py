"""Statements of SensorThings on a connection, and the stored geometries."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import psycopg

from api.queries.sensorthings import geometry

Connection = psycopg.AsyncConnection[Any]

_GEOMETRIES = {
    "places": "SELECT id, jsonb_build_object('type', 'Point', 'coordinates', jsonb_build_array(lon, lat))::text"
    " FROM sta_places WHERE lon IS NOT NULL",
    "areas": "SELECT DISTINCT thing, area::text FROM sta_datastreams WHERE area IS NOT NULL",
}


async def fetch(
    connection: Connection, statement: str, values: Mapping[str, Any] | Sequence[Any]
) -> Sequence[tuple[Any, ...]]:
    """The rows of a statement; PostgreSQL keeps its plan, for the same question comes again with other values."""
    connection.prepare_threshold = 0  # the pool's other statements are planned for their values
    try:
        cursor = await connection.execute(statement.encode(), values, prepare=True)
        return await cursor.fetchall()
    finally:
        connection.prepare_threshold = None


async def snapshot(connection: Connection) -> str:
    """Which transactions have ended: while this stays the same, so does all that is stored."""
    row = await (await connection.execute("SELECT pg_current_snapshot()::text")).fetchone()
    return str(row[0]) if row else ""


_FIRST = """
    SELECT s.series, r.start, r.period_s
    FROM unnest(%s::integer[]) AS s (series)
    CROSS JOIN LATERAL (
        SELECT start, period_s FROM readings WHERE series = s.series ORDER BY start LIMIT 1
    ) AS r"""


_NEWEST_DAYS = """
    SELECT max(range_end) - interval '2 days',
           (SELECT max(day) + 1 FROM moved_days WHERE back IS NULL) * interval '1 day' + 'epoch'::timestamptz
    FROM timescaledb_information.chunks
    WHERE hypertable_schema = current_schema() AND hypertable_name = 'readings'"""


async def stored_days(connection: Connection) -> tuple[datetime | None, datetime | None]:
    """The beginning of the newest two days that have readings, None where there are none at all; and the end of the
    newest day that is in the archive alone, None where there is none.
    """
    row = await (await connection.execute(_NEWEST_DAYS)).fetchone()
    return (row[0], row[1]) if row else (None, None)


async def first_readings(connection: Connection, series: Sequence[int]) -> dict[int, tuple[datetime, datetime]]:
    """Start and end of the first reading of each series that has one."""
    rows = await fetch(connection, _FIRST, (list(series),))
    return {key: (start, start + timedelta(seconds=period_s)) for key, start, period_s in rows}


async def stored_geometries(connection: Connection) -> geometry.Stored:
    """The public places of sensors, and the areas of Datastreams."""
    stored = geometry.Stored()
    for source, statement in _GEOMETRIES.items():
        stored.put(source, await (await connection.execute(statement.encode())).fetchall())
    return stored
