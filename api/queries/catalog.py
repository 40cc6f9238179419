"""What the catalog measures: first readings, coverage of the last day, the days that changed."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import psycopg

Connection = psycopg.AsyncConnection[Any]

_FIRST = """
    SELECT s.dataset, (extract(epoch FROM min(r.start)) * 1000)::bigint
    FROM series s CROSS JOIN LATERAL (SELECT start FROM readings WHERE series = s.id ORDER BY start LIMIT 1) r
    WHERE s.dataset = ANY(%s) GROUP BY s.dataset"""
_COVERAGE = """
    SELECT s.dataset, count(DISTINCT s.id), avg(w.coverage)::float8,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY w.width_s::float8 / w.n) FILTER (WHERE w.n > 0)
    FROM windows w JOIN series s ON s.id = w.series
    WHERE w.width_s = 3600 AND w.start >= %s AND w.start < %s AND NOT w.gone AND s.dataset = ANY(%s)
    GROUP BY s.dataset"""
_DAYS = """
    SELECT s.dataset, (extract(epoch FROM w.start) * 1000)::bigint, sum(w.n), count(*) FILTER (WHERE w.rev > 1),
           max(w.rev), (extract(epoch FROM max(w.published)) * 1000)::bigint
    FROM windows w JOIN series s ON s.id = w.series
    WHERE w.width_s = 86400 AND w.start >= %s AND NOT w.gone AND s.dataset = ANY(%s)
    GROUP BY s.dataset, w.start ORDER BY max(w.published) DESC LIMIT %s"""


class Coverage(NamedTuple):
    """Of a dataset's hours: how many series have one, their mean coverage (0..1, None where no cadence is known), and
    the median time between readings in seconds.
    """

    series: int
    coverage: float | None
    cadence_s: float | None


class Day(NamedTuple):
    """A closed UTC day of a dataset: readings counted, series revised since, highest revision, when it was stored last
    (epoch ms).
    """

    dataset: str
    start_ms: int
    readings: int
    revised: int
    rev: int
    published_ms: int


async def first_readings(connection: Connection, datasets: Sequence[str]) -> dict[str, int]:
    """The start (epoch ms) of each dataset's oldest reading."""
    rows = await (await connection.execute(_FIRST, (list(datasets),))).fetchall()
    return dict(rows)


async def coverage(
    connection: Connection, datasets: Sequence[str], from_: datetime, to: datetime
) -> dict[str, Coverage]:
    """Coverage of the hours that begin in [from_, to)."""
    rows = await (await connection.execute(_COVERAGE, (from_, to, list(datasets)))).fetchall()
    return {dataset: Coverage(series, mean, cadence) for dataset, series, mean, cadence in rows}


async def changed_days(connection: Connection, datasets: Sequence[str], since: datetime, limit: int) -> list[Day]:
    """The days since `since` that are closed, the one stored last first."""
    rows = await (await connection.execute(_DAYS, (since, list(datasets), limit))).fetchall()
    return [Day(*row) for row in rows]
