"""Names of series, places of sensors, how far the partitions are stored."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy.typing as npt
import psycopg

from api.paging import Positions
from api.times import as_datetime
from schemas import registry
from schemas.datasets import Dataset
from schemas.registry import Registry

Connection = psycopg.AsyncConnection[Any]

_POSITIONS = "SELECT part, (log_epoch::bigint << 44) + next_offset - 1, out_seq FROM positions"
_NAMES = "SELECT id, sensor, metric FROM series WHERE id = ANY(%s)"
OF_INDICES = "FROM (SELECT id, dataset, sensor, metric FROM index_series WHERE index = ANY(%(indices)s)) AS s"
"""Where the series of indices are, in place of `series s`."""
_COUNT = """
    SELECT count(*), coalesce(min(id), 0) FROM series
    WHERE dataset = %(dataset)s
      AND (%(sensors)s::text[] IS NULL OR sensor = ANY(%(sensors)s))
      AND (%(metrics)s::text[] IS NULL OR metric = ANY(%(metrics)s))"""
_SERIES = """
    SELECT s.id, s.sensor, s.metric, {first} FROM series s
    WHERE s.dataset = %(dataset)s
      AND (%(sensors)s::text[] IS NULL OR s.sensor = ANY(%(sensors)s))
      AND (%(metrics)s::text[] IS NULL OR s.metric = ANY(%(metrics)s))
    ORDER BY s.id"""
_FIRST = """(SELECT (extract(epoch FROM r.start) * 1000)::bigint FROM readings r
             WHERE r.series = s.id ORDER BY r.start LIMIT 1)"""
_OWN_PLACES = """
    SELECT series, (extract(epoch FROM start) * 1000)::bigint, lon, lat FROM reading_places
    WHERE series = ANY(%s) AND start BETWEEN %s AND %s"""
_REGISTRATIONS = "SELECT body::text FROM registrations WHERE dataset = %s"

# What view timescaledb_information.chunks is made of: to ask the view takes ten times as long. Times are microseconds.
_CHUNKS = """
    SELECT floor(slice.range_start / 86400e6)::bigint, ceil(slice.range_end / 86400e6)::bigint
    FROM _timescaledb_catalog.hypertable AS h
    JOIN _timescaledb_catalog.dimension AS d ON d.hypertable_id = h.id
    JOIN _timescaledb_catalog.dimension_slice AS slice ON slice.dimension_id = d.id
    WHERE h.schema_name = current_schema() AND h.table_name = ANY(%s)
      AND slice.range_end > extract(epoch FROM %s::timestamptz) * 1e6
      AND slice.range_start <= extract(epoch FROM %s::timestamptz) * 1e6
    ORDER BY 1"""


async def positions(connection: Connection) -> Positions:
    """How far each partition is stored."""
    rows = await (await connection.execute(_POSITIONS)).fetchall()
    return Positions({part: position for part, position, _ in rows}, {part: out_seq for part, _, out_seq in rows})


async def names(connection: Connection, ids: Sequence[int]) -> dict[int, tuple[str, str]]:
    """(sensor, metric) by the series' key."""
    rows = await (await connection.execute(_NAMES, (list(ids),))).fetchall()
    return {key: (sensor, metric) for key, sensor, metric in rows}


async def count(
    connection: Connection,
    dataset: str,
    sensors: Sequence[str] = (),
    metrics: Sequence[str] = (),
    indices: Sequence[str] = (),
) -> tuple[int, int]:
    """How many series a filter chooses, of readings or of indices, and the first one's key; empty is all."""
    chosen = {
        "dataset": dataset, "sensors": list(sensors) or None, "metrics": list(metrics) or None,
        "indices": list(indices),
    }  # fmt: skip
    query = _COUNT.replace("FROM series", OF_INDICES) if indices else _COUNT
    n, first = await (await connection.execute(query.encode(), chosen)).fetchone() or (0, 0)
    return n, first


async def chosen(
    connection: Connection, dataset: str, sensors: Sequence[str], metrics: Sequence[str], *, with_first: bool
) -> list[tuple[int, str, str, int | None]]:
    """(key, sensor, metric, start of the first reading in epoch ms where it is wanted) of what a filter chooses."""
    wanted = {"dataset": dataset, "sensors": list(sensors) or None, "metrics": list(metrics) or None}
    statement = _SERIES.format(first=_FIRST if with_first else "NULL")
    return await (await connection.execute(statement.encode(), wanted)).fetchall()


async def own_places(
    connection: Connection, keys: Sequence[int], starts: npt.NDArray[Any]
) -> dict[tuple[int, int], tuple[float, float]]:
    """(lon, lat) of mobile sensors' readings, by series and start, between the first and the last start."""
    if not len(starts):
        return {}
    bounds = as_datetime(int(starts.min())), as_datetime(int(starts.max()))
    rows = await (await connection.execute(_OWN_PLACES, (list(keys), *bounds))).fetchall()
    return {(key, start): (lon, lat) for key, start, lon, lat in rows}


async def stored_registry(connection: Connection, dataset: Dataset) -> Registry:
    """The registry of a dataset as the database has it."""
    rows = await (await connection.execute(_REGISTRATIONS, (dataset.id,))).fetchall()
    return registry.fold({dataset.id: dataset}, (registry.decode(body.encode()) for (body,) in rows))


async def chunk_days(connection: Connection, hypertables: Sequence[str], from_: datetime, to: datetime) -> list[int]:
    """The UTC days, as numbers from 1970-01-01, for which one of the hypertables has a chunk in [from_, to]."""
    rows = await (await connection.execute(_CHUNKS, (list(hypertables), from_, to))).fetchall()
    return sorted({day for first, last in rows for day in range(first, last)})
