"""Index rows: a page of those stored (and for those revised since the first page, as they were then), the newest of
each series, and the pollutants beside overall rows.
"""

from collections.abc import Sequence
from typing import Any

from api.queries.pages import Connection, Filter, Rows, Table, decode
from api.queries.readings import IN_DAY
from api.times import as_datetime

_PUBLISHED = "{row}.out_seq <= (%(published)s::bigint[])[{row}.part + 1]"
_COLUMNS = (
    "{row}.start, {row}.until, coalesce({row}.value, 'NaN') AS value, {row}.category, {row}.driver, {row}.source,"
    " {row}.edition, coalesce({row}.concentration, 'NaN') AS concentration,"
    " coalesce({row}.supplement, 'NaN') AS supplement, {row}.hours, {row}.expected, {row}.beyond, {row}.origin,"
    " {row}.rev, {row}.published"
)

_NOW = f"""
    SELECT {_COLUMNS} FROM indices AS {{row}}
    WHERE {IN_DAY} AND {_PUBLISHED}
    ORDER BY {{row}}.start LIMIT %(limit)s""".format(row="i")

_THEN = f"""
    SELECT {_COLUMNS} FROM indices_history AS {{row}}
    WHERE {IN_DAY} AND {_PUBLISHED}
      AND EXISTS (SELECT FROM indices i WHERE i.series = {{row}}.series AND i.start = {{row}}.start
                  AND i.start >= %(lowest)s AND i.start < %(highest)s
                  AND NOT coalesce({_PUBLISHED.format(row="i")}, false))
      AND NOT EXISTS (SELECT FROM indices_history g WHERE g.series = {{row}}.series AND g.start = {{row}}.start
                      AND g.rev > {{row}}.rev AND {_PUBLISHED.format(row="g")})""".format(row="h")


def _branches(chosen: Filter) -> str:
    return f"({_NOW}) UNION ALL ({_THEN})"


INDICES = Table(
    ("indices",),
    {
        "start": "M", "until": "M", "value": ">f8", "category": ">i2", "driver": ">i2", "source": ">i2",
        "edition": ">i2", "concentration": ">f8", "supplement": ">f8", "hours": ">i2", "expected": ">i2",
        "beyond": "?", "origin": ">i2", "rev": ">i4", "published": "M",
    },
    _branches,
)  # fmt: skip
"""Columns as table `indices` has them; NaN is null."""

_NAMES = "SELECT id, sensor, index, metric FROM index_series WHERE id = ANY(%s)"

# One step back on the primary key for each series.
_NEWEST = f"""
COPY (
    SELECT s.id, {", ".join(f"n.{name}" for name in INDICES.columns)} FROM index_series s
    CROSS JOIN LATERAL (
        SELECT {_COLUMNS.format(row="i")} FROM indices i WHERE i.series = s.id ORDER BY i.start DESC LIMIT 1
    ) n
    WHERE s.dataset = %(dataset)s AND s.index = ANY(%(indices)s)
      AND (%(sensors)s::text[] IS NULL OR s.sensor = ANY(%(sensors)s))
      AND (%(metrics)s::text[] IS NULL OR s.metric = ANY(%(metrics)s))
    ORDER BY s.sensor, s.index, s.metric
) TO STDOUT (FORMAT binary)"""

_BESIDE = """
    SELECT s.sensor, s.index, s.metric, (extract(epoch FROM i.start) * 1000)::bigint, coalesce(i.concentration, 'NaN'),
           coalesce(i.supplement, 'NaN')
    FROM index_series s JOIN indices i ON i.series = s.id
    WHERE s.dataset = %(dataset)s AND s.index = ANY(%(indices)s) AND s.sensor = ANY(%(sensors)s)
      AND s.metric <> 'overall' AND i.start = ANY(%(starts)s) AND i.value IS NOT NULL
      AND i.start >= %(lowest)s AND i.start <= %(highest)s"""


async def names(connection: Connection, ids: Sequence[int]) -> dict[int, tuple[str, str, str]]:
    """(sensor, index, metric) by the series' key."""
    rows = await (await connection.execute(_NAMES, (list(ids),))).fetchall()
    return {key: (sensor, index, metric) for key, sensor, index, metric in rows}


async def newest(connection: Connection, chosen: Filter) -> Rows:
    """The newest row of each series, in the order of sensor, index and metric."""
    parameters = {
        "dataset": chosen.dataset,
        "indices": list(chosen.indices),
        "sensors": list(chosen.sensors) or None,
        "metrics": list(chosen.metrics) or None,
    }
    async with connection.cursor() as cursor, cursor.copy(_NEWEST.encode(), parameters) as copy:
        return decode(b"".join([bytes(part) async for part in copy]), INDICES)


async def beside(
    connection: Connection, dataset: str, indices: Sequence[str], sensors: Sequence[str], starts: Sequence[int]
) -> list[tuple[Any, ...]]:
    """The pollutants' rows that have a value, of sensors and starts (epoch ms): sensor, index, metric, start,
    concentration, supplement.
    """
    if not starts:
        return []
    parameters = {
        "dataset": dataset,
        "indices": list(indices),
        "sensors": list(sensors),
        "starts": [as_datetime(start) for start in starts],
        "lowest": as_datetime(min(starts)),
        "highest": as_datetime(max(starts)),
    }
    return await (await connection.execute(_BESIDE, parameters)).fetchall()
