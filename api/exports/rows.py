"""The rows of an export, piece by piece: days in order, as stored at the export's positions.

So rows and bytes of an export are the same whenever and wherever they are made: a broken one goes on in another
process, after late data came and rows were revised.
"""

import asyncio
import itertools
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from api import aggregates, columns, history, indices
from api.archive import past
from api.archive.past import Past
from api.exports.ahead import ahead
from api.formats import FORMATS
from api.history import Query
from api.paging import Positions, Start
from api.queries import copies, exports, pages
from api.queries.exports import Export
from api.queries.pages import Connection, Filter
from api.state import AppState
from api.streams import PIECE_ROWS, Sheet

PIECE_BYTES = 1 << 20
BATCHES_AHEAD = 2  # of rows that are read and wait to be written

_NO_ROWS = np.zeros(0, [("series", "i4")])


@dataclass
class Made:
    """How far an export is: rows of all before, and of each statement's first day the rows before it."""

    rows: int = 0
    steps: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True)
class Source:
    """All that the rows of an export depend on."""

    here: AppState
    query: Query
    kind: type[msgspec.Struct]
    export: Export
    chosen: Filter
    sheet: Sheet

    @property
    def start(self) -> Start:
        return Start(self.export.from_ms, self.export.to_ms)

    @property
    def positions(self) -> Positions:
        return Positions(self.export.positions["readings"], self.export.positions["windows"])

    @property
    def written_by_database(self) -> bool:
        """Whether the bytes come from the database as they are."""
        return self.export.format == "csv" and not self.query.grouped and not self.query.of_index


async def pieces(
    source: Source, connection: Connection, made: Made, after_row: int = 0
) -> AsyncGenerator[tuple[bytes, int]]:
    """The bytes that follow row `after_row`, each with the number of rows up to its end; of 0 all, with what stands
    before the first row. `made` is kept up to date: its `steps` may be those known of an earlier run.
    """
    stream = FORMATS[source.export.format].stream(source.sheet)
    if after_row == 0:
        yield stream.begin(), 0
    elif hasattr(stream, "skip"):
        stream.skip()
    if source.query.grouped:
        async with aclosing(_grouped(source, connection, after_row)) as batches:
            async for batch in batches:
                made.rows += len(batch)
                yield stream.rows(batch), made.rows
    elif source.written_by_database:
        async with aclosing(_texts(source, connection, made, after_row)) as texts:
            async for text in texts:
                yield text
    else:
        n = after_row
        # Rows of indices are made here, on the event loop: a few at a time.
        rows_each = PIECE_ROWS if source.query.of_index else stream.rows_per_piece
        rows = _cut(_rows(source, connection, made, after_row), rows_each, exactly=rows_each > PIECE_ROWS)
        async with aclosing(ahead(rows, BATCHES_AHEAD)) as cut:
            async for some in cut:
                batch = await _batch(source, some)
                # In a thread: pyarrow needs no interpreter while it writes, and the next rows come in meanwhile.
                written = await asyncio.to_thread(stream.rows, batch)
                for i in range(0, len(written), PIECE_BYTES):  # a group of Arrow has 9 MB
                    yield written[i : i + PIECE_BYTES], n + (len(batch) if i + PIECE_BYTES >= len(written) else 0)
                n += len(batch)
    yield await asyncio.to_thread(stream.end), made.rows


async def _texts(
    source: Source, connection: Connection, made: Made, after_row: int
) -> AsyncGenerator[tuple[bytes, int]]:
    """Pieces of CSV as the database writes it."""
    outputs = [source.query.columns[name].sql for name in source.kind.__struct_encode_fields__]
    query = pages.statement(source.query.noun.table, source.chosen, outputs, "FORMAT csv")
    async with aclosing(_statements(source, connection, made, after_row)) as statements:
        async for bounds in statements:
            async with aclosing(copies.text(connection, query, bounds)) as texts:
                async for text, n in texts:
                    made.rows += n
                    yield text, made.rows


async def _rows(source: Source, connection: Connection, made: Made, after_row: int) -> AsyncGenerator[pages.Rows]:
    """Rows as the database has them."""
    table = source.query.noun.table
    query = pages.statement(table, source.chosen, *pages.binary(table))
    async with aclosing(_statements(source, connection, made, after_row)) as statements:
        async for bounds in statements:
            async with aclosing(copies.binary(connection, query, bounds)) as bodies:
                async for body in bodies:
                    rows = pages.decode_rows(body, table)
                    made.rows += len(rows)
                    yield rows


async def _statements(
    source: Source, connection: Connection, made: Made, after_row: int
) -> AsyncGenerator[dict[str, Any]]:
    """The parameters of the statements that give the rows after `after_row`. Before each, `made.rows` says how many
    there are before its first.
    """
    table, chosen = source.query.noun.table, source.chosen
    if not chosen.series:
        return
    each = pages.days_per_statement(len(chosen.series))
    parameters = pages.parameters_of(chosen, source.start, source.positions)
    names = {s.id: (s.sensor, s.metric) for s in chosen.series}
    async with _archived(source, connection) as archived:
        days = await pages.days_of(connection, table, chosen, source.start, each, archived)
        days, made.rows = _from_step(days, made.steps, after_row)
        spans = (pages.pieces(some, chosen, archived) for some in pages.spans(days, each))
        for some, moved in itertools.chain.from_iterable(spans):
            bounds = parameters | pages.bounds_of(some) | {"limit": None, "offset": 0}
            async with archived.over(connection, some, names) if moved and archived else nullcontext():
                if made.rows < after_row:
                    n = await exports.count(connection, pages.select(table, chosen, "r.start"), bounds)
                    if made.rows + n <= after_row:
                        made.rows += n
                        continue
                    bounds["offset"] = after_row - made.rows
                    made.rows = after_row
                elif not made.steps or made.steps[-1][0] < some[0]:
                    made.steps.append((some[0], made.rows))
                yield bounds


def _archived(source: Source, connection: Connection) -> AbstractAsyncContextManager[Past | None]:
    """What of the export's days is in the archive alone; of indices nothing ever is."""
    if source.query.of_index:
        return nullcontext()
    here, export = source.here, source.export
    return past.of(connection, here.archive, export.dataset, export.from_ms, here.now_ms())


async def _cut(parts: AsyncGenerator[pages.Rows], n: int, exactly: bool) -> AsyncGenerator[pages.Rows]:
    """The same rows, at most `n` at a time as soon as they are there; or `exactly` so many but for the last."""
    waiting: list[pages.Rows] = []
    async with aclosing(parts):
        async for part in parts:
            waiting.append(part)
            if sum(map(len, waiting)) >= n or not exactly:
                rows = np.concatenate(waiting)
                whole = len(rows) - len(rows) % n if exactly else len(rows)
                for i in range(0, whole, n):
                    yield rows[i : min(i + n, whole)]
                waiting = [rows[whole:]]
    if any(map(len, waiting)):
        yield np.concatenate(waiting)


def _from_step(days: Sequence[int], steps: Sequence[tuple[int, int]], after_row: int) -> tuple[Sequence[int], int]:
    """The days from the last known step that is not behind `after_row`, and the rows before them."""
    known = [(day, rows) for day, rows in steps if rows <= after_row]
    if not known or after_row == 0:
        return days, 0
    return [day for day in days if day >= known[-1][0]], known[-1][1]


async def _batch(source: Source, rows: pages.Rows) -> columns.Batch:
    if source.query.of_index:
        async with source.here.pool.connection() as other:
            return await indices.batch(
                source.here, other, source.query, source.kind, source.chosen, rows, source.positions
            )
    if source.export.format == "geojson":
        async with source.here.pool.connection() as other:
            return await history.batch(source.here, other, source.query, rows, True)
    names = {s.id: (s.sensor, s.metric, s.unit) for s in source.chosen.series}
    return columns.Batch(source.export.dataset, rows, names, source.query.width, source.chosen.width_s)


async def _grouped(source: Source, connection: Connection, after_row: int) -> AsyncGenerator[columns.Batch]:
    rows = 0
    async with _archived(source, connection) as archived:
        found = aggregates.all_rows(
            source.here, connection, source.query, source.kind, source.start, source.positions, source.export.taken_ms,
            archived,
        )  # fmt: skip
        async with aclosing(found):
            async for made in found:
                skipped = max(0, min(len(made), after_row - rows))
                rows += len(made)
                if made[skipped:]:
                    yield columns.Batch(source.export.dataset, _NO_ROWS, {}, made=made[skipped:])
