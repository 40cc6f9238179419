"""Stored readings in the order in which they came (`received`), in slices of time; none twice, none left out.

A reader knows `held`, by partition the position up to which its client had everything before it came, `until`, the
position up to which the slices before were read, and `moment`, up to which received times. The next slice is what was
received from then on, and what was received before but stored only after the slices before had been read.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import psycopg

from api.live.filters import Wish
from api.times import DAY_MS, as_datetime

LATE_MS = 600_000
"""A reading that is stored this much later than others received with it is looked for no longer."""

_POSITIONS = "SELECT part, (log_epoch::bigint << 44) + next_offset - 1, out_seq, tick FROM positions"

_COLUMNS = """series, start, period_s, value, flag, tests, rev, origin, received, part, position"""

_SOME = f"""
    SELECT {_COLUMNS} FROM {{table}}
    WHERE received >= %(late)s AND received < %(high)s
      AND position > coalesce((%(held)s::bigint[])[part + 1], -1)
      AND position <= (%(until)s::bigint[])[part + 1]
      AND (received >= %(low)s OR position > coalesce((%(before)s::bigint[])[part + 1], -1))"""

# Of a row that a reader has, what took its place: only our rules give a row another `rev` where it stands.
_NEXT = """
    SELECT r.series, r.start, r.period_s, r.value, r.flag, r.tests, r.rev, r.origin, r.received, r.part, r.position
    FROM readings_history h JOIN {table} r ON r.series = h.series AND r.start = h.start AND r.rev = h.rev + 1
    WHERE h.known_to >= %(since)s AND r.rev > r.source_rev AND r.position = h.position
      AND h.position <= coalesce((%(held)s::bigint[])[h.part + 1], -1)"""

_WANTED = """
SELECT s.dataset, s.sensor, s.metric, (extract(epoch FROM r.start) * 1000)::bigint, r.period_s, r.value, r.flag,
       r.tests, r.rev, r.origin, (extract(epoch FROM r.received) * 1000)::bigint, p.lon, p.lat
FROM ({some}) AS r
JOIN series s ON s.id = r.series
LEFT JOIN reading_places p ON p.series = r.series AND p.start = r.start
WHERE (%(datasets)s::text[] IS NULL OR s.dataset = ANY(%(datasets)s))
  AND (%(sensors)s::text[] IS NULL OR s.sensor = ANY(%(sensors)s))
  AND (%(metrics)s::text[] IS NULL OR s.metric = ANY(%(metrics)s))
  AND r.flag = ANY(%(flags)s) AND r.origin = ANY(%(origins)s)
ORDER BY r.received, r.part, r.position, r.series, r.start, r.rev
LIMIT %(limit)s"""

_TABLES = ("readings", "readings_history")
_SLICE = _WANTED.format(some=" UNION ALL ".join(_SOME.format(table=table) for table in _TABLES))
_AMENDED = _WANTED.format(some=" UNION ALL ".join(_NEXT.format(table=table) for table in _TABLES))


class StoredRow(NamedTuple):
    """A reading as it is stored; times are epoch ms UTC, lon and lat None but for mobile sensors."""

    dataset: str
    sensor: str
    metric: str
    start: int
    period_s: int
    value: float
    flag: int
    tests: int
    rev: int
    origin: int
    received: int
    lon: float | None
    lat: float | None


class Slice(NamedTuple):
    """What to read: received in [low_ms, high_ms), and the late ones; see the module's docstring."""

    held: Mapping[int, int]
    before: Mapping[int, int]
    until: Mapping[int, int]
    low_ms: int
    high_ms: int


_MOVED = """
    SELECT max(day) FROM moved_days
    WHERE back IS NULL AND (%(datasets)s::text[] IS NULL OR dataset = ANY(%(datasets)s))"""


async def moved_until(connection: psycopg.AsyncConnection[Any], wish: Wish) -> int:
    """The end (epoch ms) of the newest day whose readings are in the archive and no longer here; 0: all are here."""
    row = await (await connection.execute(_MOVED, {"datasets": sorted(wish.datasets) or None})).fetchone()
    return 0 if row is None or row[0] is None else (int(row[0]) + 1) * DAY_MS


async def one_moment(connection: psycopg.AsyncConnection[Any]) -> None:
    """Let all that this transaction reads be of one moment."""
    await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")


async def progress(connection: psycopg.AsyncConnection[Any]) -> tuple[dict[int, int], dict[int, int], int]:
    """By partition the position up to which it is stored and the last number of a published row; and the log's time
    (epoch ms) of the partition furthest behind.
    """
    rows = await (await connection.execute(_POSITIONS)).fetchall()
    positions = {part: position for part, position, *_ in rows}
    return positions, {part: out_seq for part, _, out_seq, _ in rows}, min((tick for *_, tick in rows), default=0)


async def readings(
    connection: psycopg.AsyncConnection[Any], wish: Wish, part: Slice, limit: int | None
) -> list[StoredRow] | None:
    """A slice's rows that a wish can want (places are not looked at); None where they are more than `limit`."""
    parameters = {
        "held": _by_part(part.held), "before": _by_part(part.before), "until": _by_part(part.until),
        "low": as_datetime(part.low_ms), "high": as_datetime(part.high_ms),
        "late": as_datetime(part.low_ms - LATE_MS if part.before else part.low_ms),
    }  # fmt: skip
    return await _rows(connection, _SLICE, parameters, wish, limit)


async def amended(
    connection: psycopg.AsyncConnection[Any], wish: Wish, held: Mapping[int, int], since_ms: int, limit: int
) -> list[StoredRow] | None:
    """Of the rows that a reader has, those that our rules gave another flag after a moment (epoch ms), as they are now
    and as they were between; None where they are more than `limit`.
    """
    parameters = {"held": _by_part(held), "since": as_datetime(since_ms - LATE_MS)}
    return await _rows(connection, _AMENDED, parameters, wish, limit)


async def _rows(
    connection: psycopg.AsyncConnection[Any], statement: str, parameters: dict[str, Any], wish: Wish, limit: int | None
) -> list[StoredRow] | None:
    of_wish = {
        "datasets": sorted(wish.datasets) or None, "sensors": sorted(wish.sensors) or None,
        "metrics": sorted(wish.metrics) or None, "flags": sorted(wish.flags), "origins": sorted(wish.origins),
        "limit": None if limit is None else limit + 1,
    }  # fmt: skip
    rows: Sequence[Any] = await (await connection.execute(statement.encode(), parameters | of_wish)).fetchall()
    return None if limit is not None and len(rows) > limit else [StoredRow(*row) for row in rows]


def _by_part(positions: Mapping[int, int]) -> list[int]:
    return [positions.get(part, -1) for part in range(max(positions, default=-1) + 1)]
