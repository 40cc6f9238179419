"""Aggregates made on demand from the stored readings: the statistics of stored windows, over any buckets and groups."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import class_row

from api.paging import Key, Positions, Start
from api.queries import pages
from api.queries.pages import Filter
from api.queries.readings import READINGS
from api.times import DAY_MS, FIRST_MS, LAST_MS, as_datetime

Connection = psycopg.AsyncConnection[Any]


@dataclass(frozen=True)
class Bucket:
    """[lo_ms, hi_ms) in epoch ms UTC."""

    lo_ms: int
    hi_ms: int


@dataclass(frozen=True)
class Member:
    """A series that belongs to a group in [since_ms, until_ms). `mobile`: of its readings only those that have a place
    of their own (True), that have none (False), all (None). `weigher` is the series that weighs it, None: nothing does.
    """

    series: int
    group: int
    since_ms: int
    until_ms: int
    mobile: bool | None
    period_s: int
    span_s: int
    weigher: int | None


@dataclass(frozen=True)
class Aggregated:
    """A group's aggregates in a bucket (its number among those asked for)."""

    bucket: int
    group: int
    sensors: int
    n: int
    n_expected: int | None
    coverage: float | None
    mean: float | None
    min: float | None
    max: float | None
    std: float | None
    p50: float | None
    p95: float | None
    first: float | None
    last: float | None


_COUNTED = "r.flag IN (1, 2, 3) AND r.value NOT IN ('NaN', 'Infinity', '-Infinity')"

_UNWEIGHTED = "SELECT *, NULL::float8 AS weight FROM reading"

# The weight is the counted value of the weighing series at the same start, as when a window closes. Found by sorting:
# a join could be planned as one over all pairs, for nobody knows how many rows there will be.
_WEIGHTED = f"""
    SELECT * FROM (
        SELECT *, max(value) FILTER (WHERE weighs) OVER (PARTITION BY bucket, weigher, start) AS weight
        FROM (
            SELECT *, false AS weighs FROM reading
            UNION ALL
            SELECT pair.bucket, NULL, NULL, NULL, pair.id, r.start, r.value, NULL, NULL, true
            FROM (SELECT bucket, weigher AS id, min(lo) AS lo, max(hi) AS hi, NULL::boolean AS mobile
                  FROM pair WHERE weigher IS NOT NULL GROUP BY bucket, weigher) AS pair
            CROSS JOIN LATERAL ({{everything}}) AS r WHERE {_COUNTED}
        ) AS everything
    ) AS weighed WHERE NOT weighs"""

_QUERY = f"""
WITH pair AS (
    SELECT bucket.i AS bucket, bucket.hi AS closes, member.*,
           greatest(bucket.lo, member.since) AS lo, least(bucket.hi, member.until) AS hi
    FROM unnest(%(lo)s::timestamptz[], %(hi)s::timestamptz[]) WITH ORDINALITY AS bucket(lo, hi, i)
    JOIN unnest(%(ids)s::integer[], %(groups)s::integer[], %(since)s::timestamptz[], %(until)s::timestamptz[],
                %(mobile)s::boolean[], %(periods)s::integer[], %(spans)s::integer[], %(weighers)s::integer[])
         AS member(id, grp, since, until, mobile, period_s, span_s, weigher)
      ON member.since < bucket.hi AND member.until > bucket.lo
), reading AS (
    SELECT pair.bucket, pair.closes, pair.grp, pair.id, pair.weigher, r.start, r.value, {_COUNTED} AS counted,
           CASE WHEN r.period_s > 0 AND r.period_s <> pair.period_s THEN r.period_s ELSE pair.span_s END AS span_s
    FROM pair CROSS JOIN LATERAL ({{branches}}) AS r
), weighted AS ({{weighted}}
), timed AS (
    SELECT *, lead(start) OVER (PARTITION BY bucket, grp, id, counted ORDER BY start) AS following,
           max(span_s) OVER (PARTITION BY bucket, grp, id) AS longest_s,
           row_number() OVER (PARTITION BY bucket, grp, id ORDER BY start) = 1 AS once
    FROM weighted
), grouped AS (
    SELECT bucket, grp, max(closes) AS closes, count(*) FILTER (WHERE once) AS sensors,
           count(*) FILTER (WHERE counted) AS n,
           sum(longest_s) FILTER (WHERE once AND longest_s > 0) IS NOT NULL AS due,
           array_agg(longest_s) FILTER (WHERE once AND longest_s > 0) AS longest,
           sum(extract(epoch FROM least(span_s * interval '1 second', following - start, closes - start))::float8)
               FILTER (WHERE counted) AS covered_s,
           coalesce(sum(value * weight) FILTER (WHERE counted)
                    / nullif(greatest(sum(weight) FILTER (WHERE counted), 0), 0),
                    avg(value) FILTER (WHERE counted)) AS mean,
           min(value) FILTER (WHERE counted) AS min, max(value) FILTER (WHERE counted) AS max,
           stddev_pop(value) FILTER (WHERE counted) AS std,
           percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY value) FILTER (WHERE counted) AS p,
           first(value, start) FILTER (WHERE counted) AS first, last(value, start) FILTER (WHERE counted) AS last
    FROM timed GROUP BY bucket, grp
), widened AS (
    SELECT grouped.*, extract(epoch FROM bucket.hi - bucket.lo)::float8 AS width_s
    FROM grouped JOIN unnest(%(lo)s::timestamptz[], %(hi)s::timestamptz[]) WITH ORDINALITY AS bucket(lo, hi, i)
      ON bucket.i = grouped.bucket
)
SELECT bucket::integer - 1 AS bucket, grp AS "group", sensors, n,
       CASE WHEN due THEN (SELECT sum(round(width_s / l)) FROM unnest(longest) AS l)::integer END AS n_expected,
       CASE WHEN due THEN coalesce(covered_s, 0) / (width_s * cardinality(longest)) END AS coverage,
       mean, min, max, std, p[1] AS p50, p[2] AS p95, first, last
FROM widened ORDER BY bucket, grp"""


async def read(
    connection: Connection, chosen: Filter, buckets: Sequence[Bucket], members: Sequence[Member], at: Positions
) -> list[Aggregated]:
    """The groups that have readings in the buckets."""
    branches = READINGS.branches(chosen)
    weighs = any(m.weigher is not None for m in members)
    weighted = _WEIGHTED.replace("{everything}", branches) if weighs else _UNWEIGHTED
    query = _QUERY.replace("{branches}", branches).replace("{weighted}", weighted)
    lowest_ms, highest_ms = buckets[0].lo_ms, min(buckets[-1].hi_ms, LAST_MS - 1)
    days = range(lowest_ms // DAY_MS, -(-highest_ms // DAY_MS))
    parameters = (
        pages.parameters_of(chosen, Start(lowest_ms, highest_ms, Key(-1, FIRST_MS)), at)
        | pages.bounds_of([days[0], days[-1]])
        | {
            "limit": None,
            "lo": [as_datetime(b.lo_ms) for b in buckets],
            "hi": [as_datetime(b.hi_ms) for b in buckets],
            "ids": [m.series for m in members],
            "groups": [m.group for m in members],
            "since": ["-infinity" if m.since_ms <= FIRST_MS else as_datetime(m.since_ms).isoformat() for m in members],
            "until": ["infinity" if m.until_ms >= LAST_MS else as_datetime(m.until_ms).isoformat() for m in members],
            "mobile": [m.mobile for m in members],
            "periods": [m.period_s for m in members],
            "spans": [m.span_s for m in members],
            "weighers": [m.weigher for m in members],
        }
    )
    async with psycopg.AsyncClientCursor(connection, row_factory=class_row(Aggregated)) as cursor:
        await cursor.execute(query.encode(), parameters)
        return await cursor.fetchall()
