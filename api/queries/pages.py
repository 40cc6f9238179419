"""Paging through history, in the order (UTC day of start, series, start).

That is the order of the tables' primary keys inside a day, and days are chunks: a page is read from one place of
one index and costs the same at any depth. A statement covers as many days as keep it small, `(day, series)` pairs
sorted first and their rows merged in, so that it ends when the page is full.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg

from api.archive.past import Past
from api.paging import Key, Positions, Start
from api.places import Bbox
from api.queries import copies, series
from api.queries.copies import SIGNATURE, TRAILER
from api.times import DAY_MS, FIRST_MS, LAST_MS, as_datetime, rfc3339

Connection = psycopg.AsyncConnection[Any]
Rows = npt.NDArray[np.void]

PAIRS_PER_STATEMENT = 4096
SERIES_FIRST, SERIES_GROWTH = (
    16,
    4,
)  # series of an archived day that a page takes, and how many times more then
DAYS_PER_STATEMENT = 32  # planning and chunk exclusion grow with the square of the chunks: fastest, measured
DAYS_OF_ONE_SERIES = 367  # of those that are read as one, a year and its two ends; a chunk has seven
FEW_DAYS = 7  # whose chunks are so few that all branches cost little
LOOKED_INTO_DAYS = 8  # that are not full: first it is asked whether they can have more rows at all
PAIRS_PER_PAGE = 50_000  # work of a page that finds little: it is then short, or empty, and has a `next`
_LAST_SERIES = 2**31 - 1
_2000_MS = 946_684_800_000  # 2000-01-01, from which PostgreSQL counts


@dataclass(frozen=True)
class Series:
    """A series that a query chooses: its key, names, unit; `step_s` and [since_ms, until_ms) say when readings are
    expected of it (step 0: nobody knows).
    """

    id: int
    sensor: str
    metric: str
    unit: str | None = None
    step_s: int = 0
    since_ms: int = 0
    until_ms: int = 0
    index: str = ""  # of a series of an index


@dataclass(frozen=True)
class Filter:
    """What is asked of a dataset's history; empty means all. `stays` are (sensor, from, to) in epoch ms. `as_of_ms`:
    as it was known then. `gaps` shows what is missing of `series`, which must be known for it and for text.
    """

    dataset: str
    sensors: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    flags: tuple[int, ...] = ()
    origins: tuple[int, ...] = ()
    width_s: int = 0
    bbox: Bbox | None = None
    stays: list[tuple[str, int, int]] = field(default_factory=list)
    as_of_ms: int | None = None
    gaps: bool = False
    series: tuple[Series, ...] = ()
    width: str = ""
    indices: tuple[str, ...] = ()  # of these indices, whose series are in a table of their own
    lost: tuple[tuple[int, int, int], ...] = ()  # (series, since_ms, until_ms): what was received then was lost


@dataclass(frozen=True)
class Table:
    """History of a kind. `branches` gives the SQL of one series' rows of a day, in columns as `columns` says: name and
    NumPy type (`M` for timestamptz); none may be null. The first is `start`. `hypertables` are those it reads.
    `per_day` is how many rows a series has in a day, or about so many. Where `first_branches`, one branch in the order
    of `start`, give exactly so many, the others would give nothing, and are not asked. Nor where `others` is false: SQL
    of whether they can give anything of `%(series)s` on the day from `{day}` on.
    """

    hypertables: tuple[str, ...]
    columns: dict[str, str]
    branches: Callable[[Filter], str]
    per_day: Callable[[Filter], int] = lambda chosen: 288  # of five minutes, as most are
    first_branches: Callable[[Filter], str] | None = None
    others: str = ""


@dataclass(frozen=True)
class Page:
    """Rows in order (columns `series` and those of the table, times in epoch ms); `after` is where the next page
    goes on, None at the end.
    """

    rows: Rows
    after: Key | None


_CHOSEN = """
    SELECT s.id, s.sensor, s.metric, {stay} FROM series s {join}
    WHERE s.dataset = %(dataset)s
      AND (%(sensors)s::text[] IS NULL OR s.sensor = ANY(%(sensors)s))
      AND (%(metrics)s::text[] IS NULL OR s.metric = ANY(%(metrics)s))"""

_EVERYWHERE = _CHOSEN.format(
    stay="'-infinity'::timestamptz AS since, 'infinity'::timestamptz AS until, NULL::boolean AS mobile", join=""
)

# Sensors that stayed inside the box; and mobile ones, whose readings say themselves where they were.
_STAYED = _CHOSEN.format(
    stay="stay.since, stay.until, false AS mobile",
    join="JOIN unnest(%(stay_sensors)s::text[], %(stay_since)s::timestamptz[], %(stay_until)s::timestamptz[])"
    " AS stay(sensor, since, until) USING (sensor)",
)
_INSIDE = (
    _STAYED
    + " UNION ALL "
    + _EVERYWHERE.replace("NULL::boolean AS mobile", "true AS mobile")
    + " AND EXISTS (SELECT FROM reading_places p WHERE p.series = s.id)"
)

# What is known of the series outside the database: units, and when readings are expected.
_KNOWN = """
    SELECT inside.*, known.unit, known.step, known.first_due, known.last_due FROM ({inside}) AS inside
    JOIN unnest(%(known)s::integer[], %(units)s::text[], %(steps)s::integer[], %(first_due)s::timestamptz[],
                %(last_due)s::timestamptz[]) AS known(id, unit, step, first_due, last_due) USING (id)"""

# One row a (day, series): from where to where it is to be read. The page before ended in (after_day, after_id).
_PAIRS = """
        SELECT day.at, chosen.*,
               greatest(day.at, %(from_)s, chosen.since,
                        CASE WHEN day.at = %(after_day)s AND chosen.id = %(after_id)s
                             THEN %(after)s + interval '1 microsecond' END) AS lo,
               least(day.at + %(span)s, %(to)s, chosen.until) AS hi
        FROM unnest(%(days)s::timestamptz[]) AS day(at) CROSS JOIN ({chosen}) AS chosen
        WHERE (day.at > %(after_day)s OR chosen.id >= %(after_id)s)
          AND chosen.id BETWEEN %(first_id)s AND %(last_id)s
        ORDER BY day.at, chosen.id"""

# The one series of a query over days that are read as one: constants, for which the planner knows the chunks.
_PAIR = """
        SELECT %(lowest)s::timestamptz AS at, %(first_id)s::integer AS id, NULL::boolean AS mobile,
               %(lo)s::timestamptz AS lo, %(hi)s::timestamptz AS hi"""

_SELECT = """
    SELECT {outputs}
    FROM ({pairs}) AS pair
    CROSS JOIN LATERAL ({branches}) AS r"""

_STATEMENT = f"""
COPY ({_SELECT}
    {{order}}
    LIMIT %(limit)s OFFSET %(offset)s
) TO STDOUT ({{options}})"""
_ORDER = "ORDER BY pair.at, pair.id, r.start"


def select(table: Table, chosen: Filter, outputs: str) -> str:
    """The rows of the days in no order: for counting them."""
    return _SELECT.format(outputs=outputs, pairs=_pairs(chosen), branches=table.branches(chosen))


def statement(table: Table, chosen: Filter, outputs: Sequence[str], options: str) -> str:
    """COPY of the rows of the days, in order."""
    return _statement(table, chosen, outputs, options, _pairs(chosen), _ORDER)


def _statement(table: Table, chosen: Filter, outputs: Sequence[str], options: str, pairs: str, order: str) -> str:
    return _STATEMENT.format(
        outputs=", ".join(outputs), pairs=pairs, branches=table.branches(chosen), options=options, order=order
    )


def _pairs(chosen: Filter) -> str:
    inside = _EVERYWHERE if chosen.bbox is None else _INSIDE
    if chosen.indices:
        inside = (_EVERYWHERE if chosen.bbox is None else _STAYED).replace("FROM series s", series.OF_INDICES)
    return _PAIRS.format(chosen=_KNOWN.format(inside=inside) if chosen.series else inside)


def binary(table: Table) -> tuple[list[str], str]:
    """Outputs and options of a statement that `decode` reads."""
    return ["pair.id", *(f"r.{name}" for name in table.columns)], "FORMAT binary"


async def page(
    connection: Connection, table: Table, chosen: Filter, start: Start, at: Positions, limit: int,
    past: Past | None = None,
) -> Page:  # fmt: skip
    """The next page: at most `limit` rows, of what was stored at the positions `at`; `past` is in the archive."""
    n_series, first_id = await series.count(connection, chosen.dataset, chosen.sensors, chosen.metrics, chosen.indices)
    if not n_series or (chosen.gaps and not chosen.series):
        return Page(decode(b"", table), None)
    parameters = parameters_of(chosen, start, at)
    if n_series == 1:
        parameters |= {"first_id": first_id, "last_id": first_id}
    parts = [decode(b"", table)]
    wanted, pairs = limit + 1, 0
    async for days in _growing(connection, table, chosen, start, n_series, wanted, past):
        if pairs and pairs + len(days) * n_series > PAIRS_PER_PAGE:
            return Page(np.concatenate(parts), Key(_LAST_SERIES, days[0] * DAY_MS - 1))
        pairs += len(days) * n_series
        for some, archived in pieces(days, chosen, past):
            read = partial(_read_archived, past) if archived and past is not None else partial(_read_stretch, n_series)
            parts.append(await read(connection, table, chosen, parameters, some, wanted))
            wanted -= len(parts[-1])
            if wanted <= 0:
                break
        if wanted <= 0:
            break
    rows = np.concatenate(parts)
    if len(rows) <= limit:
        return Page(rows, None)
    last = rows[limit - 1]
    return Page(rows[:limit], Key(int(last["series"]), int(last["start"])))


async def _growing(
    connection: Connection, table: Table, chosen: Filter, start: Start, n_series: int, wanted: int, past: Past | None
) -> AsyncIterator[Sequence[int]]:
    """Days in statements: so few that they may just fill the page, for most pages end there; then more and more."""
    most = DAYS_OF_ONE_SERIES if n_series == 1 and _first(table, chosen) else days_per_statement(n_series)
    each = max(1, min(most, -(-wanted // (table.per_day(chosen) * n_series))))
    first_ms = start.from_ms if start.after is None else max(start.from_ms, start.after.start_ms)
    head = range(first_ms // DAY_MS, -(-start.to_ms // DAY_MS))[:each]
    yield head
    rest = [day for day in await days_of(connection, table, chosen, start, most, past) if day > head[-1]]
    while rest:
        each = min(most, each * 4)
        yield rest[:each]
        rest = rest[each:]


async def of_days(
    connection: Connection, table: Table, chosen: Filter, start: Start, at: Positions, days: Sequence[int]
) -> Rows:
    """All rows of these days, as stored at the positions: for what a page's rows are looked up in."""
    n_series, _ = await series.count(connection, chosen.dataset, chosen.sensors, chosen.metrics, chosen.indices)
    parts = [decode(b"", table)]
    for some in spans(days, days_per_statement(max(1, n_series))):
        parts.append(await _read(connection, table, chosen, parameters_of(chosen, start, at), some, None))
    return np.concatenate(parts)


def days_per_statement(n_series: int) -> int:
    """How many days of so many series a statement covers."""
    return max(1, min(DAYS_PER_STATEMENT, PAIRS_PER_STATEMENT // n_series))


async def days_of(
    connection: Connection, table: Table, chosen: Filter, start: Start, days_each: int, past: Past | None = None
) -> Sequence[int]:
    """The days left to read, as numbers from 1970-01-01; of a long range only those that have chunks, are in the
    archive, or have gaps.
    """
    first_ms = start.from_ms if start.after is None else max(start.from_ms, start.after.start_ms)
    if chosen.gaps:
        first_due = min((s.since_ms for s in chosen.series if s.step_s), default=start.to_ms)
        last_due = max((s.until_ms for s in chosen.series if s.step_s), default=first_ms)
    else:
        first_due, last_due = first_ms, start.to_ms
    days = range(first_ms // DAY_MS, -(-start.to_ms // DAY_MS))
    if len(days) <= days_each:
        return days
    bounds = as_datetime(first_ms), as_datetime(start.to_ms - 1)
    stored = await series.chunk_days(connection, table.hypertables, *bounds)
    if past is not None:
        stored = sorted({*stored, *past.days})
    if not chosen.gaps:
        return [day for day in stored if day in days]
    due = range(max(first_ms, first_due) // DAY_MS, -(-min(start.to_ms, last_due) // DAY_MS))
    return sorted({day for day in (*stored, *due) if day in days})


async def _read(
    connection: Connection,
    table: Table,
    chosen: Filter,
    parameters: dict[str, Any],
    days: Sequence[int],
    limit: int | None,
) -> Rows:
    bounds = bounds_of(days) | {"limit": limit, "offset": 0}
    query = statement(table, chosen, *binary(table))
    return decode(await copies.whole(connection, query, parameters | bounds), table)


async def _read_stretch(
    n_series: int,
    connection: Connection,
    table: Table,
    chosen: Filter,
    parameters: dict[str, Any],
    days: Sequence[int],
    limit: int,
) -> Rows:
    """The same of a stretch of days that may be full of rows of the first branches."""
    first = _first(table, chosen)
    if first is None or len(days) <= FEW_DAYS:
        return await _read(connection, table, chosen, parameters, days, limit)
    # One series needs no order of days: they are read as one, in the order of its branch.
    one = n_series == 1
    bounds = bounds_of(days[:1], days[-1] + 1 - days[0]) if one else bounds_of(days)
    if one:
        bounds |= {"lo": _begin_of_one(parameters, bounds["lowest"]), "hi": min(bounds["highest"], parameters["to"])}
    query = _statement(
        replace(table, branches=first), chosen, *binary(table), _PAIR if one else _pairs(chosen), "" if one else _ORDER
    )
    rows = decode(await copies.whole(connection, query, parameters | bounds | {"limit": limit, "offset": 0}), table)
    day_of = rows["start"] // DAY_MS
    if len(rows) == limit:
        days = [day for day in days if day <= day_of[-1]]
    found, counts = np.unique(day_of, return_counts=True)
    full = found[counts == table.per_day(chosen) * n_series]
    lacking = sorted(set(days) - set(full.tolist()))
    if not lacking or (one and len(rows) and await _nothing_else(connection, table, chosen, rows, lacking)):
        return rows
    parts = [rows[np.isin(day_of, full)]]
    while lacking:  # in stretches of time that have not too many chunks
        some = [day for day in lacking if day < lacking[0] + DAYS_PER_STATEMENT]
        parts.append(await _read(connection, table, chosen, parameters, some, limit))
        lacking = lacking[len(some) :]
    rows = np.concatenate(parts)
    return rows[np.argsort(rows["start"] // DAY_MS, kind="stable")][:limit]


def _begin_of_one(parameters: dict[str, Any], first_day: datetime) -> datetime:
    """Where the one series is read from, of days from `first_day` on."""
    first: datetime = max(first_day, parameters["from_"])
    if first_day == parameters["after_day"] and parameters["first_id"] <= parameters["after_id"]:
        same = parameters["first_id"] == parameters["after_id"]
        next_day = first_day + timedelta(days=1)
        first = max(first, parameters["after"] + timedelta(microseconds=1) if same else next_day)
    return first


async def _nothing_else(connection: Connection, table: Table, chosen: Filter, rows: Rows, days: Sequence[int]) -> bool:
    """Whether the one series of `rows` can't have others on these days."""
    if not table.others or len(days) > LOOKED_INTO_DAYS:
        return False
    known = {"series": int(rows["series"][0]), "width_s": chosen.width_s}
    at = {f"day{i}": as_datetime(day * DAY_MS) for i, day in enumerate(days)}
    query = "SELECT " + " OR ".join(table.others.format(day=f"%({name})s::timestamptz") for name in at)
    row = await (await connection.execute(query.encode(), known | at)).fetchone()
    return row is not None and not row[0]


def _first(table: Table, chosen: Filter) -> Callable[[Filter], str] | None:
    """`first_branches` where it can be said how many rows a full day has."""
    return None if chosen.gaps or chosen.bbox is not None else table.first_branches


async def _read_archived(
    past: Past,
    connection: Connection,
    table: Table,
    chosen: Filter,
    parameters: dict[str, Any],
    days: Sequence[int],
    limit: int,
) -> Rows:
    """The same of a day that is in the archive: some series at a time, until there are enough rows."""
    first_id = parameters["after_id"] if parameters["after_day"] == as_datetime(days[0] * DAY_MS) else 0
    found = await series.chosen(connection, chosen.dataset, chosen.sensors, chosen.metrics, with_first=False)
    names = {key: (sensor, metric) for key, sensor, metric, _ in found if key >= first_id}
    keys, size, parts = list(names), SERIES_FIRST, [decode(b"", table)]
    while keys and limit > 0:
        some, keys = keys[:size], keys[size:]
        async with past.over(connection, days, {key: names[key] for key in some}):
            slice_ = {"first_id": some[0], "last_id": some[-1]}
            parts.append(await _read(connection, table, chosen, parameters | slice_, days, limit))
        limit -= len(parts[-1])
        size *= SERIES_GROWTH
    return np.concatenate(parts)


def pieces(days: Sequence[int], chosen: Filter, past: Past | None) -> Iterable[tuple[Sequence[int], bool]]:
    """The days in statements: those of the database together, each of the archive (True) alone."""
    if past is None:
        return [(days, False)]
    return past.spans(days, chosen.width_s if chosen.width_s and not chosen.gaps else None)


def bounds_of(days: Sequence[int], span: int = 1) -> dict[str, Any]:
    """Parameters of a statement over these days; `span`: each stands for so many from it on."""
    return {
        "days": [as_datetime(day * DAY_MS) for day in days],
        "span": timedelta(days=span),
        "lowest": as_datetime(days[0] * DAY_MS),
        "highest": as_datetime(min((days[-1] + span) * DAY_MS, LAST_MS - 1)),  # no datetime is later
    }


def decode(data: bytes, table: Table) -> Rows:
    """Rows of PostgreSQL's binary COPY, all of one length; times as epoch ms.

    A row is a 16-bit number of fields, and of each field 32 bits of length and the value, all big-endian.
    """
    return decode_rows(data[len(SIGNATURE) :], table)


def decode_rows(body: bytes, table: Table) -> Rows:
    """The same without the signature; the trailer may be there or not."""
    kinds = {"series": ">i4"} | table.columns
    packed = np.dtype(
        [("", ">i2")]
        + [part for name, kind in kinds.items() for part in (("", ">i4"), (name, ">i8" if kind == "M" else kind))]
    )
    n, rest = divmod(len(body), packed.itemsize)
    if rest and body[-rest:] != TRAILER:
        raise ValueError("the rows of a COPY are not of one length: one of its columns has a null")
    sent = np.frombuffer(body, packed, n)
    rows = np.empty(
        len(sent), [(name, "i8" if kind == "M" else np.dtype(kind).newbyteorder("=")) for name, kind in kinds.items()]
    )
    for name, kind in kinds.items():
        rows[name] = sent[name] // 1000 + _2000_MS if kind == "M" else sent[name]
    return rows


def spans(days: Sequence[int], each: int) -> Iterator[Sequence[int]]:
    """The days in statements of so many."""
    return (days[i : i + each] for i in range(0, len(days), each))


def parameters_of(chosen: Filter, start: Start, at: Positions) -> dict[str, Any]:
    """Parameters of every statement of a query."""
    box = chosen.bbox
    after = start.after or Key(-1, max(FIRST_MS, start.from_ms - 1))
    return {
        "dataset": chosen.dataset,
        "sensors": list(chosen.sensors) or None,
        "metrics": list(chosen.metrics) or None,
        "indices": list(chosen.indices),
        "flags": list(chosen.flags) or None,
        "origins": list(chosen.origins) or None,
        "width": chosen.width,
        "width_s": chosen.width_s,
        "as_of": None if chosen.as_of_ms is None else as_datetime(chosen.as_of_ms),
        "stay_sensors": [sensor for sensor, _, _ in chosen.stays],
        "stay_since": ["-infinity" if since <= 0 else rfc3339(since) for _, since, _ in chosen.stays],
        "stay_until": ["infinity" if until >= LAST_MS else rfc3339(until) for _, _, until in chosen.stays],
        "known": [s.id for s in chosen.series],
        "units": [s.unit for s in chosen.series],
        "steps": [s.step_s for s in chosen.series],
        "first_due": [as_datetime(s.since_ms) for s in chosen.series],
        "last_due": [as_datetime(s.until_ms) for s in chosen.series],
        "lost_ids": [series for series, _, _ in chosen.lost],
        "lost_since": [as_datetime(since) for _, since, _ in chosen.lost],
        "lost_until": [as_datetime(until) for _, _, until in chosen.lost],
        "west": box and box.west,
        "south": box and box.south,
        "east": box and box.east,
        "north": box and box.north,
        "from_": as_datetime(start.from_ms),
        "to": as_datetime(start.to_ms),
        "after_day": as_datetime(after.start_ms // DAY_MS * DAY_MS),
        "after_id": after.series,
        "after": as_datetime(after.start_ms),
        "first_id": 0,
        "last_id": _LAST_SERIES,
        "stored": _by_part(at.readings),
        "published": _by_part(at.windows),
    }


def _by_part(positions: dict[int, int]) -> list[int]:
    """The positions as an array over partitions; a partition that was not there yet has stored nothing."""
    return [positions.get(part, -1) for part in range(max(positions, default=-1) + 1)]
