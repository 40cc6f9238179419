"""What the stored readings of days say of themselves, and the hours that neighbours are compared by."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg

from api.times import DAY_MS, as_datetime
from schemas.flags import Flag, Test

Connection = psycopg.AsyncConnection[Any]

HOUR_S = 3600

# The time from the end of what was measured to its receipt; imports say nothing of it.
_LATENESS = "greatest(extract(epoch FROM r.received - r.start) - r.period_s, 0)"
_FLAGS = ", ".join(f"count(*) FILTER (WHERE r.flag = {int(flag)})" for flag in Flag)
_TESTS = ", ".join(f"count(*) FILTER (WHERE r.tests & {int(test)} <> 0)" for test in Test)
_DAYS = f"""
    SELECT p.series, p.day, q.*
    FROM unnest(%(series)s::integer[], %(days)s::timestamptz[]) AS p (series, day)
    CROSS JOIN LATERAL (
        SELECT count(*),
               percentile_cont(0.5) WITHIN GROUP (ORDER BY {_LATENESS}) FILTER (WHERE r.origin = 0),
               percentile_cont(0.99) WITHIN GROUP (ORDER BY {_LATENESS}) FILTER (WHERE r.origin = 0),
               count(r.value) FILTER (WHERE r.flag IN (1, 2, 3) AND r.value <> 'NaN'),
               min(r.value) FILTER (WHERE r.flag IN (1, 2, 3) AND r.value <> 'NaN'),
               max(r.value) FILTER (WHERE r.flag IN (1, 2, 3) AND r.value <> 'NaN'),
               mode() WITHIN GROUP (ORDER BY r.period_s) FILTER (WHERE r.period_s > 0),
               ARRAY[{_FLAGS}], ARRAY[{_TESTS}]
        FROM readings r
        WHERE r.series = p.series AND r.start >= p.day AND r.start < p.day + interval '1 day'
          AND r.start >= %(lowest)s AND r.start < %(highest)s
    ) AS q"""

# Hours as they are stored; a reading of an hour is a window itself.
_HOURS = """
    SELECT w.series, (extract(epoch FROM w.start) * 1000)::bigint, w.mean FROM windows w
    WHERE w.series = ANY(%(series)s) AND w.width_s = 3600 AND w.start >= %(lowest)s AND w.start < %(highest)s
      AND w.complete AND w.n > 0 AND NOT w.gone
    UNION ALL
    SELECT r.series, (extract(epoch FROM r.start) * 1000)::bigint, r.value FROM readings r
    WHERE r.series = ANY(%(series)s) AND r.period_s = 3600 AND r.start >= %(lowest)s AND r.start < %(highest)s
      AND r.flag IN (1, 2, 3) AND r.value <> 'NaN'"""


# What a detector sent in a span: whatever its flag, for the flags come of it.
_SAMPLES = """
    SELECT p.place, (extract(epoch FROM r.start) * 1000)::bigint, r.value
    FROM unnest(%(series)s::integer[], %(since)s::timestamptz[], %(until)s::timestamptz[])
         WITH ORDINALITY AS p (series, since, until, place)
    CROSS JOIN LATERAL (
        SELECT start, value FROM readings
        WHERE series = p.series AND start >= p.since AND start < p.until AND start >= %(lowest)s AND start < %(highest)s
    ) AS r
    WHERE r.value <> 'NaN'"""


@dataclass(frozen=True, slots=True)
class Day:
    """The stored readings of a series that start on a UTC day: `flags` and `tests` count them by flag and by test,
    `counted`, `least` and `greatest` are of those that averages count; `lateness_s` (p50, p99) of those that came live;
    `period_s` is what most of them say of themselves, None where none does.
    """

    n: int
    lateness_s: tuple[float, float] | None
    counted: int
    least: float | None
    greatest: float | None
    flags: dict[Flag, int]
    tests: dict[Test, int]
    period_s: int | None = None


async def days(connection: Connection, pairs: Sequence[tuple[int, int]]) -> dict[tuple[int, int], Day]:
    """By (series, start of the UTC day in epoch ms), of these pairs."""
    if not pairs:
        return {}
    starts = [day for _, day in pairs]
    asked = {
        "series": [series for series, _ in pairs],
        "days": [as_datetime(day) for day in starts],
        "lowest": as_datetime(min(starts)),
        "highest": as_datetime(max(starts) + DAY_MS),
    }
    found: dict[tuple[int, int], Day] = {}
    for series, day, n, p50, p99, counted, least, greatest, period_s, flags, tests in await (
        await connection.execute(_DAYS.encode(), asked)
    ).fetchall():
        lateness = None if p50 is None else (float(p50), float(p99))
        by_flag, by_test = dict(zip(Flag, flags, strict=True)), dict(zip(Test, tests, strict=True))
        found[series, int(day.timestamp() * 1000)] = Day(
            n, lateness, counted, least, greatest, by_flag, by_test, period_s
        )
    return found


async def samples(connection: Connection, spans: Sequence[tuple[int, int, int]]) -> list[dict[int, float]]:
    """By start (epoch ms), the values of each span (series, from, to in epoch ms)."""
    found: list[dict[int, float]] = [{} for _ in spans]
    if not spans:
        return found
    asked = {
        "series": [series for series, _, _ in spans],
        "since": [as_datetime(since) for _, since, _ in spans],
        "until": [as_datetime(until) for _, _, until in spans],
        "lowest": as_datetime(min(since for _, since, _ in spans)),
        "highest": as_datetime(max(until for _, _, until in spans)),
    }
    for place, start, value in await (await connection.execute(_SAMPLES.encode(), asked)).fetchall():
        found[place - 1][start] = value
    return found


async def hours(
    connection: Connection, series: Sequence[int], from_ms: int, to_ms: int
) -> dict[int, np.ndarray[Any, Any]]:
    """The means (H) of whole hours by series, NaN where an hour is not there or not complete."""
    asked = {"series": list(series), "lowest": as_datetime(from_ms), "highest": as_datetime(to_ms)}
    made = {key: np.full((to_ms - from_ms) // (HOUR_S * 1000), np.nan) for key in series}
    for key, start, mean in await (await connection.execute(_HOURS.encode(), asked)).fetchall():
        if start % (HOUR_S * 1000) == 0:
            made[key][(start - from_ms) // (HOUR_S * 1000)] = mean
    return made
