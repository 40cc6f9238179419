"""What the archive's job asks: which days there are, what is in them, whether they changed."""

from typing import Any

import psycopg

from api.queries.pages import Table
from api.queries.readings import IN_DAY, READINGS
from api.times import DAY_MS, as_datetime

Connection = psycopg.AsyncConnection[Any]

# What a day's files have: the rows of answers, and where each stands in the log.
ROWS = Table(
    ("readings",),
    READINGS.columns | {"part": ">i2", "position": ">i8", "source_rev": ">i4"},
    lambda chosen: (
        f"""
    SELECT r.start, r.period_s, r.value, r.flag, r.tests, r.rev, r.origin, r.received, r.part, r.position, r.source_rev
    FROM readings AS r WHERE {IN_DAY.format(row="r")}"""
    ),
)

# Counters of the statistics: rows written since ever, cheap to read and seconds behind. Another number says that a day
# may have changed, the same one that it has not.
_CHANGES = """
    SELECT (extract(epoch FROM range_start) / 86400)::bigint, (extract(epoch FROM range_end) / 86400)::bigint,
           pg_stat_get_tuples_inserted(c.oid) + pg_stat_get_tuples_updated(c.oid) + pg_stat_get_tuples_deleted(c.oid)
    FROM timescaledb_information.chunks
    JOIN pg_class c ON c.oid = format('%%I.%%I', chunk_schema, chunk_name)::regclass
    WHERE hypertable_schema = current_schema() AND hypertable_name = 'readings'
      AND range_end > %s AND range_start < %s ORDER BY 1"""
_FINGERPRINT = """
    SELECT coalesce(sum(n), 0)::bigint, coalesce(string_agg(part || ':' || n || ':' || revs || ':' || newest, ' '
                                                            ORDER BY part), '')
    FROM (SELECT r.part, count(*) AS n, sum(r.rev) AS revs, max(r.position) AS newest
          FROM readings r JOIN series s ON s.id = r.series
          WHERE s.dataset = %s AND r.start >= %s AND r.start < %s GROUP BY r.part) AS by_part"""


async def changes(connection: Connection, first_day: int, end_day: int) -> dict[int, int]:
    """Day from 1970 -> how often its chunk was written to, of the days in [first, end) that have one."""
    bounds = as_datetime(first_day * DAY_MS), as_datetime(end_day * DAY_MS)
    rows = await (await connection.execute(_CHANGES, bounds)).fetchall()
    return {day: count for first, end, count in rows for day in range(first, end)}


async def fingerprint(connection: Connection, dataset: str, day: int) -> tuple[int, str]:
    """(rows, a text that is another one when a row came, was revised or went) of a dataset's day."""
    bounds = as_datetime(day * DAY_MS), as_datetime((day + 1) * DAY_MS)
    row = await (await connection.execute(_FINGERPRINT, (dataset, *bounds))).fetchone()
    assert row is not None
    return int(row[0]), str(row[1])


async def only_one(connection: Connection) -> bool:
    """Whether no other job writes this schema's archive; as long as the connection lives."""
    row = await (
        await connection.execute(
            "SELECT pg_try_advisory_lock(hashtext('cityfeed archive'), hashtext(current_schema()))"
        )
    ).fetchone()
    return bool(row and row[0])
