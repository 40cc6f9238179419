"""Statements of SensorThings on a connection, and the stored geometries."""

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from api.queries.sensorthings import geometry

Connection = psycopg.AsyncConnection[Any]

_GEOMETRIES = {
    "places": "SELECT id, jsonb_build_object('type', 'Point', 'coordinates', jsonb_build_array(lon, lat))::text"
    " FROM sta_places WHERE lon IS NOT NULL",
    "areas": "SELECT DISTINCT thing, area::text FROM sta_datastreams WHERE area IS NOT NULL",
}


async def fetch(connection: Connection, statement: str, values: Mapping[str, Any]) -> Sequence[tuple[Any, ...]]:
    """The rows of a statement; PostgreSQL keeps its plan, for the same question comes again with other values."""
    cursor = await connection.execute(statement.encode(), values, prepare=True)
    return await cursor.fetchall()


async def stored_geometries(connection: Connection) -> geometry.Stored:
    """The public places of sensors, and the areas of Datastreams."""
    stored = geometry.Stored()
    for source, statement in _GEOMETRIES.items():
        stored.put(source, await (await connection.execute(statement.encode())).fetchall())
    return stored
