"""Stored windows and index rows as `schemas.published` has them: the newest of each series, for the live feed's start,
and those that were published since a live client left, every revision of them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg
from psycopg.rows import tuple_row

from api.live.filters import Wish
from api.times import as_datetime
from schemas import topics
from schemas.indices import stored
from schemas.indices.hourly import INDICES
from schemas.published import KINDS, Published, Texts
from schemas.windows import WIDTHS_S

Columns = dict[str, list[Any]]

_MS = "(extract(epoch FROM {}) * 1000)::bigint".format

_WINDOW = f"""s.dataset, s.sensor, s.metric, w.width_s, {_MS("w.start")}, w.n, coalesce(w.n_expected, -1), w.coverage,
    w.mean, w.min, w.max, w.std, w.p50, w.p95, w.first, w.last, w.complete, w.gone, w.rev, w.origin,
    {_MS("w.published")}, w.out_seq"""

_INDEX = f"""s.dataset, s.sensor, s.index, s.metric, w.edition::text, w.driver, w.source, w.category, {_MS("w.start")},
    {_MS("w.until")}, w.value, w.concentration, w.hours, w.expected, w.hours::float8 / greatest(w.expected, 1),
    w.beyond, w.rev, w.origin, {_MS("w.published")}, w.out_seq"""

_SINCE = """
    SELECT {columns}, w.part FROM {table} w JOIN {series} s ON s.id = w.series
    WHERE w.published >= %(low)s AND w.published < %(high)s
      AND w.out_seq > coalesce((%(after)s::bigint[])[w.part + 1], -1)
      AND w.out_seq <= (%(until)s::bigint[])[w.part + 1]
      AND (%(datasets)s::text[] IS NULL OR s.dataset = ANY(%(datasets)s))
      AND (%(sensors)s::text[] IS NULL OR s.sensor = ANY(%(sensors)s))
      AND (%(metrics)s::text[] IS NULL OR s.metric = ANY(%(metrics)s))
      AND (%(chosen)s::{chosen_type}[] IS NULL OR {chosen} = ANY(%(chosen)s))
      AND w.origin = ANY(%(origins)s)"""


@dataclass(frozen=True)
class _Kind:
    """`columns` are those of `KINDS[name]`, of row w and series s; `chosen` is what a wish's widths or indices name."""

    name: str
    table: str
    series: str
    columns: str
    chosen: str
    chosen_type: str
    newest: str
    wanted: Callable[[Wish], list[Any]]
    plain: Callable[[Columns], None] = lambda columns: None

    def since(self) -> str:
        tables = (self.table, f"{self.table}_history")
        each = (
            _SINCE.format(
                columns=self.columns, table=t, series=self.series, chosen=self.chosen, chosen_type=self.chosen_type
            )
            for t in tables
        )
        return " UNION ALL ".join(each) + " ORDER BY part, out_seq LIMIT %(limit)s"


def _name_numbers(columns: Columns) -> None:
    """Names for the numbers of table `indices`."""
    columns["category"] = [
        INDICES[index].categories[category].name if category >= 0 else "no data"
        for index, category in zip(columns["index"], columns["category"], strict=True)
    ]
    for field in ("driver", "source"):
        columns[field] = [stored.name(code) or "" for code in columns[field]]


_KINDS = {
    topics.WINDOWS: _Kind(
        topics.WINDOWS, "windows", "series", _WINDOW, "w.width_s", "integer",
        f"""SELECT {_WINDOW} FROM series s CROSS JOIN unnest(ARRAY{list(WIDTHS_S.values())}) AS width(s)
        CROSS JOIN LATERAL (
            SELECT * FROM windows WHERE series = s.id AND width_s = width.s AND NOT gone ORDER BY start DESC LIMIT 1
        ) AS w""",
        lambda wish: sorted(wish.widths),
    ),
    topics.INDEX: _Kind(
        topics.INDEX, "indices", "index_series", _INDEX, "s.index", "text",
        f"""SELECT {_INDEX} FROM index_series s CROSS JOIN LATERAL (
            SELECT * FROM indices WHERE series = s.id ORDER BY start DESC LIMIT 1
        ) AS w""",
        lambda wish: sorted(wish.indices), _name_numbers,
    ),
}  # fmt: skip


async def newest(connection: psycopg.AsyncConnection[Any], kind: str) -> Columns:
    """The newest row of every series (windows: and width), as columns; no number is NaN."""
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(_KINDS[kind].newest.encode())
        return _columns(_KINDS[kind], await cursor.fetchall())


async def numbers(connection: psycopg.AsyncConnection[Any]) -> tuple[dict[int, int], int]:
    """By partition the number of the last row that was stored to be published; and the database's time (epoch ms)."""
    rows = await (await connection.execute(f"SELECT part, out_seq, {_MS('now()')} FROM positions".encode())).fetchall()
    return {part: out_seq for part, out_seq, _ in rows}, rows[0][2] if rows else 0


async def since(
    connection: psycopg.AsyncConnection[Any], kind: str, wish: Wish, after: Mapping[int, int],
    until: Mapping[int, int], low_ms: int, high_ms: int, limit: int | None,
) -> list[tuple[int, Published]] | None:  # fmt: skip
    """Rows that a wish can want (places and categories are not looked at), published in [low_ms, high_ms), numbered
    above `after` and up to `until`: for each partition, in its order. None where they are more than `limit`.
    """
    this = _KINDS[kind]
    parameters = {
        "after": _by_part(after), "until": _by_part(until), "low": as_datetime(low_ms), "high": as_datetime(high_ms),
        "datasets": sorted(wish.datasets) or None, "sensors": sorted(wish.sensors) or None,
        "metrics": sorted(wish.metrics) or None, "chosen": this.wanted(wish) or None, "origins": sorted(wish.origins),
        "limit": None if limit is None else limit + 1,
    }  # fmt: skip
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(this.since().encode(), parameters)
        rows = await cursor.fetchall()
    if limit is not None and len(rows) > limit:
        return None
    of_part: dict[int, list[tuple[Any, ...]]] = {}
    for *row, part in rows:
        of_part.setdefault(part, []).append(tuple(row))
    return [(part, _published(kind, _columns(this, found))) for part, found in of_part.items()]


def _columns(kind: _Kind, rows: Sequence[tuple[Any, ...]]) -> Columns:
    columns: Columns = {name: [] for name in KINDS[kind.name]}
    for name, column in zip(columns, zip(*rows, strict=True), strict=False):
        columns[name] = [math.nan if value is None else value for value in column]
    kind.plain(columns)
    return columns


def _published(kind: str, columns: Columns) -> Published:
    made: dict[str, Any] = {}
    for name, dtype in KINDS[kind].items():
        if dtype is None:
            names = list(dict.fromkeys(columns[name]))
            at = {text: i for i, text in enumerate(names)}
            made[name] = Texts(names, np.array([at[text] for text in columns[name]], np.uint32))
        else:
            made[name] = np.array(columns[name], dtype)
    return Published(kind, made)


def _by_part(numbers: Mapping[int, int]) -> list[int]:
    return [numbers.get(part, -1) for part in range(max(numbers, default=-1) + 1)]
