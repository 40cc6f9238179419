"""What the live feed needs of the database when it starts."""

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from api.live.latest import LatestRow
from schemas.registry import Registry
from schemas.units import canonical_unit

POSITIONS = "SELECT part, log_epoch, next_offset, raw FROM positions"

# One step back on the primary key for each series: the newest reading that counts, and a newer one that failed.
NEWEST = """
SELECT s.dataset, s.sensor, s.metric, n.start_ms, n.period_s, n.value, n.flag, n.tests, n.rev, n.origin, n.received_ms,
       f.start_ms
FROM series s
CROSS JOIN LATERAL (
    SELECT r.start, (extract(epoch FROM r.start) * 1000)::bigint AS start_ms, r.period_s, r.value, r.flag, r.tests,
           r.rev, r.origin, (extract(epoch FROM r.received) * 1000)::bigint AS received_ms
    FROM readings r WHERE r.series = s.id AND r.flag IN (1, 2, 3) ORDER BY r.start DESC LIMIT 1
) n
LEFT JOIN LATERAL (
    SELECT (extract(epoch FROM r.start) * 1000)::bigint AS start_ms
    FROM readings r WHERE r.series = s.id AND r.start > n.start ORDER BY r.start DESC LIMIT 1
) f ON true
"""


@dataclass(frozen=True)
class Stored:
    """How far a partition of readings.clean is stored: the next offset, the log's epoch, the last raw offset."""

    log_epoch: int
    next_offset: int
    raw: int


async def stored_positions(connection: psycopg.AsyncConnection[Any]) -> dict[int, Stored]:
    """By partition; a partition of which nothing is stored yet is not there."""
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(POSITIONS)
        return {part: Stored(*rest) for part, *rest in await cursor.fetchall()}


async def newest_readings(connection: psycopg.AsyncConnection[Any], registry: Registry) -> list[LatestRow]:
    """The newest good, suspect or not evaluated reading of every series."""
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(NEWEST)
        return [_row(registry, *row) for row in await cursor.fetchall()]


def _row(registry: Registry, dataset: str, sensor: str, metric: str, *rest: Any) -> LatestRow:
    start, period_s, value, flag, tests, rev, origin, received, newer_failed = rest
    unit = canonical_unit(metric)
    if unit is None:
        unit = registry.rule(dataset, sensor, metric).unit
    number = float(value) if value == value else None
    return LatestRow(
        dataset, sensor, metric, unit, start, period_s, number, flag, tests, rev, origin, received, newer_failed
    )
