"""Paging through history, in the order (UTC day of start, series, start).

That is the order of the tables' primary keys inside a day, and days are chunks: a page is read from one place of
one index and costs the same at any depth. A statement covers as many days as keep it small, `(day, series)` pairs
sorted first and their rows merged in, so that it ends when the page is full.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg

from api.paging import Key, Positions, Start
from api.places import Bbox
from api.queries import series
from api.times import DAY_MS, LAST_MS, as_datetime, rfc3339

Connection = psycopg.AsyncConnection[Any]
Rows = npt.NDArray[np.void]

PAIRS_PER_STATEMENT = 4096
DAYS_PER_STATEMENT = 32  # planning and chunk exclusion grow with the square of the chunks: fastest, measured
PAIRS_PER_PAGE = 50_000  # work of a page that finds little: it is then short, or empty, and has a `next`
_LAST_SERIES = 2**31 - 1
_2000_MS = 946_684_800_000  # 2000-01-01, from which PostgreSQL counts
_SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"


@dataclass(frozen=True)
class Table:
    """History of a kind. `branches` is the SQL of one series' rows of a day, in columns as `columns` says: name and
    NumPy type (`M` for timestamptz); none may be null. The first is `start`. `hypertables` are those it reads.
    """

    hypertables: tuple[str, ...]
    columns: dict[str, str]
    branches: str


@dataclass(frozen=True)
class Filter:
    """What is asked of a dataset's history; empty means all. `stays` are (sensor, from, to) in epoch ms."""

    dataset: str
    sensors: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    flags: tuple[int, ...] = ()
    origins: tuple[int, ...] = ()
    width_s: int = 0
    bbox: Bbox | None = None
    stays: list[tuple[str, int, int]] = field(default_factory=list)


@dataclass(frozen=True)
class Page:
    """Rows in order (columns `series` and those of the table, times in epoch ms); `after` is where the next page
    goes on, None at the end.
    """

    rows: Rows
    after: Key | None


_CHOSEN = """
    SELECT s.id, {stay} FROM series s {join}
    WHERE s.dataset = %(dataset)s
      AND (%(sensors)s::text[] IS NULL OR s.sensor = ANY(%(sensors)s))
      AND (%(metrics)s::text[] IS NULL OR s.metric = ANY(%(metrics)s))"""

_EVERYWHERE = _CHOSEN.format(
    stay="'-infinity'::timestamptz AS since, 'infinity'::timestamptz AS until, NULL::boolean AS mobile", join=""
)

# Sensors that stayed inside the box; and mobile ones, whose readings say themselves where they were.
_INSIDE = (
    _CHOSEN.format(
        stay="stay.since, stay.until, false AS mobile",
        join="JOIN unnest(%(stay_sensors)s::text[], %(stay_since)s::timestamptz[], %(stay_until)s::timestamptz[])"
        " AS stay(sensor, since, until) USING (sensor)",
    )
    + " UNION ALL "
    + _EVERYWHERE.replace("NULL::boolean AS mobile", "true AS mobile")
    + " AND EXISTS (SELECT FROM reading_places p WHERE p.series = s.id)"
)

# One row a (day, series): from where to where it is to be read. The page before ended in (after_day, after_id).
_STATEMENT = """
COPY (
    SELECT pair.id, {outputs}
    FROM (
        SELECT day.at, chosen.id, chosen.mobile,
               greatest(day.at, %(from_)s, chosen.since,
                        CASE WHEN day.at = %(after_day)s AND chosen.id = %(after_id)s
                             THEN %(after)s + interval '1 microsecond' END) AS lo,
               least(day.at + interval '1 day', %(to)s, chosen.until) AS hi
        FROM unnest(%(days)s::timestamptz[]) AS day(at) CROSS JOIN ({chosen}) AS chosen
        WHERE day.at > %(after_day)s OR chosen.id >= %(after_id)s
        ORDER BY day.at, chosen.id
    ) AS pair
    CROSS JOIN LATERAL ({branches}) AS r
    ORDER BY pair.at, pair.id, r.start
    LIMIT %(limit)s
) TO STDOUT (FORMAT binary)"""


async def page(connection: Connection, table: Table, chosen: Filter, start: Start, at: Positions, limit: int) -> Page:
    """The next page: at most `limit` rows, of what was stored at the positions `at`."""
    n_series = await series.count(connection, chosen.dataset, chosen.sensors, chosen.metrics)
    if not n_series:
        return Page(_decode(b"", table), None)
    days_each = max(1, min(DAYS_PER_STATEMENT, PAIRS_PER_STATEMENT // n_series))
    parameters = _parameters(chosen, start, at)
    parts = [_decode(b"", table)]
    wanted, pairs = limit + 1, 0
    for days in _spans(await _days(connection, table, start, days_each), days_each):
        if pairs and pairs + len(days) * n_series > PAIRS_PER_PAGE:
            return Page(np.concatenate(parts), Key(_LAST_SERIES, days[0] * DAY_MS - 1))
        pairs += len(days) * n_series
        parts.append(await _read(connection, table, chosen, parameters, days, wanted))
        wanted -= len(parts[-1])
        if wanted <= 0:
            break
    rows = np.concatenate(parts)
    if len(rows) <= limit:
        return Page(rows, None)
    last = rows[limit - 1]
    return Page(rows[:limit], Key(int(last["series"]), int(last["start"])))


async def _days(connection: Connection, table: Table, start: Start, days_each: int) -> Sequence[int]:
    """The days left to read, as numbers from 1970-01-01; of a long range only those that have chunks."""
    first_ms = start.from_ms if start.after is None else max(start.from_ms, start.after.start_ms)
    days = range(first_ms // DAY_MS, -(-start.to_ms // DAY_MS))
    if len(days) <= days_each:
        return days
    bounds = as_datetime(first_ms), as_datetime(start.to_ms - 1)
    return [day for day in await series.chunk_days(connection, table.hypertables, *bounds) if day in days]


async def _read(
    connection: Connection, table: Table, chosen: Filter, parameters: dict[str, Any], days: Sequence[int], limit: int
) -> Rows:
    query = _STATEMENT.format(
        outputs=", ".join(f"r.{name}" for name in table.columns),
        chosen=_EVERYWHERE if chosen.bbox is None else _INSIDE,
        branches=table.branches,
    )
    bounds = {
        "days": [as_datetime(day * DAY_MS) for day in days],
        "lowest": as_datetime(days[0] * DAY_MS),
        "highest": as_datetime((days[-1] + 1) * DAY_MS - 1) + timedelta(milliseconds=1),
        "limit": limit,
    }
    async with connection.cursor() as cursor, cursor.copy(query, parameters | bounds) as copy:
        return _decode(b"".join([bytes(part) async for part in copy]), table)


def _decode(data: bytes, table: Table) -> Rows:
    """Rows of PostgreSQL's binary COPY, all of one length; times as epoch ms.

    A row is a 16-bit number of fields, and of each field 32 bits of length and the value, all big-endian.
    """
    kinds = {"series": ">i4"} | table.columns
    packed = np.dtype(
        [("", ">i2")]
        + [part for name, kind in kinds.items() for part in (("", ">i4"), (name, ">i8" if kind == "M" else kind))]
    )
    body = data[len(_SIGNATURE) : -len(_TRAILER)] if data else b""
    sent = np.frombuffer(body, packed)
    rows = np.empty(
        len(sent), [(name, "i8" if kind == "M" else np.dtype(kind).newbyteorder("=")) for name, kind in kinds.items()]
    )
    for name, kind in kinds.items():
        rows[name] = sent[name] // 1000 + _2000_MS if kind == "M" else sent[name]
    return rows


def _spans(days: Sequence[int], each: int) -> Iterator[Sequence[int]]:
    return (days[i : i + each] for i in range(0, len(days), each))


def _parameters(chosen: Filter, start: Start, at: Positions) -> dict[str, Any]:
    box = chosen.bbox
    after = start.after or Key(-1, start.from_ms - 1)
    return {
        "dataset": chosen.dataset,
        "sensors": list(chosen.sensors) or None,
        "metrics": list(chosen.metrics) or None,
        "flags": list(chosen.flags) or None,
        "origins": list(chosen.origins) or None,
        "width_s": chosen.width_s,
        "stay_sensors": [sensor for sensor, _, _ in chosen.stays],
        "stay_since": ["-infinity" if since <= 0 else rfc3339(since) for _, since, _ in chosen.stays],
        "stay_until": ["infinity" if until >= LAST_MS else rfc3339(until) for _, _, until in chosen.stays],
        "west": box and box.west,
        "south": box and box.south,
        "east": box and box.east,
        "north": box and box.north,
        "from_": as_datetime(start.from_ms),
        "to": as_datetime(start.to_ms),
        "after_day": as_datetime(after.start_ms // DAY_MS * DAY_MS),
        "after_id": after.series,
        "after": as_datetime(after.start_ms),
        "stored": _by_part(at.readings),
        "published": _by_part(at.windows),
    }


def _by_part(positions: dict[int, int]) -> list[int]:
    """The positions as an array over partitions; a partition that was not there yet has stored nothing."""
    return [positions.get(part, -1) for part in range(max(positions, default=-1) + 1)]
