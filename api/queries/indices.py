"""Index rows: a page of those stored (and for those revised since the first page, as they were then), the newest of
each series, and the pollutants beside overall rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from api.paging import Positions, Start
from api.queries import copies, pages
from api.queries.pages import Connection, Filter, Rows, Table, decode
from api.queries.readings import IN_DAY
from api.times import DAY_MS

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


_KNOWN_NOW = f"""
    SELECT {_COLUMNS} FROM indices AS {{row}}
    WHERE {IN_DAY} AND {_PUBLISHED} AND {{row}}.published <= %(as_of)s
      AND NOT EXISTS (SELECT FROM indices_history g WHERE g.series = {{row}}.series AND g.start = {{row}}.start
                      AND g.known_to > %(as_of)s)
    ORDER BY {{row}}.start LIMIT %(limit)s""".format(row="i")

_KNOWN_THEN = f"""
    SELECT {_COLUMNS} FROM indices_history AS {{row}}
    WHERE {IN_DAY} AND {_PUBLISHED} AND {{row}}.published <= %(as_of)s AND {{row}}.known_to > %(as_of)s
      AND NOT EXISTS (SELECT FROM indices_history g WHERE g.series = {{row}}.series AND g.start = {{row}}.start
                      AND g.rev < {{row}}.rev AND g.known_to > %(as_of)s)""".format(row="h")


def _branches(chosen: Filter) -> str:
    if chosen.as_of_ms is None:
        return f"({_NOW}) UNION ALL ({_THEN})"
    return f"({_KNOWN_NOW}) UNION ALL ({_KNOWN_THEN})"


INDICES = Table(
    ("indices",),
    {
        "start": "M", "until": "M", "value": ">f8", "category": ">i2", "driver": ">i2", "source": ">i2",
        "edition": ">i2", "concentration": ">f8", "supplement": ">f8", "hours": ">i2", "expected": ">i2",
        "beyond": "?", "origin": ">i2", "rev": ">i4", "published": "M",
    },
    _branches,
    lambda chosen: 24,
)  # fmt: skip
"""Columns as table `indices` has them; NaN is null."""

_NAMES = "SELECT id, sensor, index, metric FROM index_series WHERE id = ANY(%s)"
_SERIES = """
    SELECT id, sensor, index, metric FROM index_series s
    WHERE s.dataset = %(dataset)s AND s.index = ANY(%(indices)s)
      AND (%(sensors)s::text[] IS NULL OR s.sensor = ANY(%(sensors)s))
      AND (%(metrics)s::text[] IS NULL OR s.metric = ANY(%(metrics)s))
    ORDER BY s.id"""

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


async def names(connection: Connection, ids: Sequence[int]) -> dict[int, tuple[str, str, str]]:
    """(sensor, index, metric) by the series' key."""
    rows = await (await connection.execute(_NAMES, (list(ids),))).fetchall()
    return {key: (sensor, index, metric) for key, sensor, index, metric in rows}


async def chosen(connection: Connection, wanted: Filter) -> list[tuple[int, str, str, str]]:
    """(key, sensor, index, metric) of what a filter chooses."""
    return await (await connection.execute(_SERIES, _parameters(wanted))).fetchall()


async def newest(connection: Connection, chosen: Filter) -> Rows:
    """The newest row of each series, in the order of sensor, index and metric."""
    return decode(await copies.whole(connection, _NEWEST, _parameters(chosen)), INDICES)


async def beside(
    connection: Connection, chosen: Filter, names: Mapping[int, tuple[str, str, str]], rows: Rows, at: Positions
) -> list[tuple[str, str, str, int, float, float]]:
    """The pollutants' rows that have a value beside overall rows, as they were at the same positions: sensor, index,
    metric, start (epoch ms), concentration, supplement. `names` are those of `rows`.
    """
    overall = rows[[names[key][2] == "overall" for key in rows["series"].tolist()]]
    if not len(overall):
        return []
    of = {names[key] for key in np.unique(overall["series"]).tolist()}
    asked = replace(
        chosen, sensors=tuple(sorted({sensor for sensor, _, _ in of})), metrics=(), bbox=None, stays=[],
        indices=tuple(sorted({index for _, index, _ in of})), series=(),
    )  # fmt: skip
    starts = overall["start"]
    span = Start(int(starts.min()), int(starts.max()) + 1)
    found = await pages.of_days(connection, INDICES, asked, span, at, np.unique(starts // DAY_MS).tolist())
    found = found[np.isin(found["start"], starts) & ~np.isnan(found["value"])]
    of_found = await _names(connection, found)
    values = zip(*(found[name].tolist() for name in ("series", "start", "concentration", "supplement")), strict=True)
    return [
        (*of_found[key], start, concentration, supplement)
        for key, start, concentration, supplement in values
        if of_found[key][2] != "overall"
    ]


async def _names(connection: Connection, rows: Rows) -> dict[int, tuple[str, str, str]]:
    return await names(connection, np.unique(rows["series"]).tolist())


def _parameters(chosen: Filter) -> dict[str, Any]:
    return {
        "dataset": chosen.dataset,
        "indices": list(chosen.indices),
        "sensors": list(chosen.sensors) or None,
        "metrics": list(chosen.metrics) or None,
    }
