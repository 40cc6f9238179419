"""What an export is, from its query to its proof."""

import asyncio
import contextlib
import hashlib
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import psycopg_pool

from api import formats, history, indices, params
from api.exports.ahead import ahead
from api.exports.rows import Made, Source, pieces
from api.formats import FORMATS
from api.openapi import OPERATIONS
from api.paging import Start, check_range
from api.problems import RETRY_AFTER_S, bad_parameter
from api.queries import exports, pages, series
from api.queries.exports import Export
from api.queries.pool import answers
from api.rows import TESTS, RangeMeta
from api.state import AppState
from api.streams import Sheet
from api.times import FIRST_MS, rfc3339
from schemas.datasets import Dataset
from schemas.errors import RequestError

PIECES_AHEAD = 2  # that are made and wait until the client has taken those before
SAY_EVERY_MS = 3_000
BROKEN_AFTER_MS = 30_000  # a running one that said nothing for so long has lost its process
_DAY_MS = 86_400_000


@dataclass(frozen=True)
class After:
    """Where an export goes on: after a row, or after a byte of what was made from the first row on."""

    row: int = 0
    byte: int = 0


async def begin(here: AppState, dataset: Dataset, items: Sequence[tuple[str, str]], accept: str, now_ms: int) -> Source:
    """A new export, recorded as running. Raises `RequestError` for a query that makes no sense."""
    query, shown = _read(dataset, items, accept, now_ms)
    query.kind(shown)
    from_ms = FIRST_MS if query.asked.from_ms is None else query.asked.from_ms
    to_ms = now_ms if query.asked.to_ms is None else query.asked.to_ms
    check_range(query.asked, from_ms, to_ms)
    start = Start(from_ms, to_ms)
    async with here.pool.connection() as connection:
        positions = await series.positions(connection)
        chosen = await _known(here, connection, query, start, now_ms)
        export = Export(
            secrets.token_hex(16), dataset.id, query.noun.name, shown, list(items), _kept(chosen), from_ms, to_ms,
            {"readings": positions.readings, "windows": positions.windows}, now_ms, now_ms,
        )  # fmt: skip
        forget_ms = now_ms - here.settings.export_keep_days * _DAY_MS
        await exports.add(connection, export, forget_ms)
    return _source(here, query, export, chosen)


async def _known(
    here: AppState, connection: pages.Connection, query: history.Query, start: Start, now_ms: int
) -> pages.Filter:
    if not query.of_index:
        return await history.filter_of(here, connection, query, start, now_ms, known=True)
    return await indices.known(connection, await history.filter_of(here, connection, query, start, now_ms))


async def find(here: AppState, id: str, now_ms: int) -> Export:
    """A recorded export; one whose process is gone is broken. Raises `RequestError` 404."""
    async with here.pool.connection() as connection:
        export = await exports.find(connection, id)
    if export is None or export.dataset not in here.city.datasets:
        raise RequestError(
            404, "unknown-export", "No such export", f"There is no export {id!r}, or it is older than "
            f"{here.settings.export_keep_days} days.", "id", "/v1/{dataset}/export makes one.",
        )  # fmt: skip
    if export.state in ("running", "proving") and now_ms - export.updated_ms > BROKEN_AFTER_MS:
        return msgspec.structs.replace(export, state="broken")
    return export


async def again(here: AppState, export: Export) -> Source:
    """An export that is there, to be written again."""
    dataset = here.dataset(export.dataset)
    query, _ = _read(dataset, export.query, FORMATS[export.format].media_type, export.taken_ms)
    chosen = pages.Filter(
        dataset.id, query.asked.sensor, query.asked.metric, query.asked.flag, query.asked.origin,
        params.WIDTHS[query.asked.width].seconds if query.width else 0, query.asked.bbox,
        [(s, since, until) for s, since, until in export.chosen["stays"]], query.asked.as_of_ms, query.asked.gaps,
        (), query.width, history.indices_of(query),
    )  # fmt: skip
    due = {key: (step, since, until) for key, step, since, until in export.chosen["due"]}
    async with here.pool.connection() as connection:
        if query.of_index:
            return _source(here, query, export, await indices.known(connection, chosen))
        found = await series.chosen(connection, dataset.id, query.asked.sensor, query.asked.metric, with_first=False)
    known = tuple(
        pages.Series(key, sensor, metric, here.unit(dataset.id, sensor, metric), *due.get(key, (0, 0, 0)))
        for key, sensor, metric, _ in found
    )
    lost = tuple((key, since, until) for key, since, until in export.chosen.get("lost", ()))
    return _source(here, query, export, replace(chosen, series=known, lost=lost))


def _read(dataset: Dataset, items: Sequence[tuple[str, str]], accept: str, now_ms: int) -> tuple[history.Query, str]:
    operation = OPERATIONS["export"]
    asked = params.read(operation.parameters, items)
    shown = formats.choose(asked.format, accept, operation.formats)
    # What the noun's own address does not know is unknown here too.
    own = OPERATIONS[asked.of].parameters
    params.read((*own, "of"), [(name, text) for name, text in items if name != "of"])
    return history.query(asked.of, dataset, asked, now_ms), shown


def _kept(chosen: pages.Filter) -> dict[str, Any]:
    due = [(s.id, s.step_s, s.since_ms, s.until_ms) for s in chosen.series if chosen.gaps]
    return {"stays": chosen.stays, "due": due, "lost": chosen.lost}


def _source(here: AppState, query: history.Query, export: Export, chosen: pages.Filter) -> Source:
    dataset = query.dataset
    meta: msgspec.Struct = RangeMeta(
        rfc3339(export.from_ms), rfc3339(export.to_ms), query.order, 0, dataset.licence, dataset.attribution, TESTS
    )
    if query.of_index:
        meta = indices.meta(query, query.order, 0, export.from_ms, export.to_ms)
    notes = {
        "cityfeed.export": export.id,
        "cityfeed.dataset": dataset.id,
        "cityfeed.of": export.noun,
        "cityfeed.query": msgspec.json.encode(export.query).decode(),
        "cityfeed.taken": rfc3339(export.taken_ms),
        "cityfeed.positions": _positions(export),
        "cityfeed.licence": dataset.licence,
        "cityfeed.attribution": dataset.attribution,
    }
    kind = query.kind(export.format)
    return Source(here, query, kind, export, chosen, Sheet(kind, query.columns, meta, notes))


def _positions(export: Export) -> str:
    """Always the same text, for it is among the file's bytes."""
    parts = {kind: {str(part): at for part, at in at_parts.items()} for kind, at_parts in export.positions.items()}
    return msgspec.json.encode(parts, order="sorted").decode()


def media_type(dataset: Dataset, items: Sequence[tuple[str, str]], accept: str, now_ms: int) -> str:
    """The media type that an export would have. Raises `RequestError` for a query that makes no sense."""
    query, shown = _read(dataset, items, accept, now_ms)
    query.kind(shown)
    return FORMATS[shown].media_type


def kind_of(here: AppState, export: Export) -> type[msgspec.Struct]:
    """The kind of row that an export has."""
    query, shown = _read(here.dataset(export.dataset), export.query, FORMATS[export.format].media_type, export.taken_ms)
    return query.kind(shown)


async def stream(source: Source, after: After, sent: Any) -> AsyncGenerator[bytes]:
    """The export's bytes after a row or a byte, on a connection of its own; `sent` is a hash of hashlib's, and is
    updated with them. On the way and at the end it is said how far it came; whoever stops in the middle (a client that
    went away) leaves it broken, and the connection is given up at once. Raises `RequestError` after its end.
    """
    here, id = source.here, source.export.id
    made, n_bytes, n_rows = Made(steps=list(source.export.steps)), 0, 0
    whole = hashlib.sha256() if after.byte else sent  # of all bytes from the first row on, where those are made
    said_ms, state = here.now_ms(), "broken"
    try:
        async with _connection(here) as connection:
            try:
                found = ahead(pieces(source, connection, made, after.row), PIECES_AHEAD)
                async with contextlib.aclosing(found):
                    async for piece, n_rows in found:
                        rest = piece[max(0, after.byte - n_bytes) :]
                        n_bytes += len(piece)
                        if after.byte:
                            whole.update(piece)
                        if rest:
                            sent.update(rest)
                            yield rest
                        if here.now_ms() - said_ms >= SAY_EVERY_MS:
                            said_ms = here.now_ms()
                            await _say(source, "running", n_rows, made.steps, 0 if after.row else n_bytes, None)
                state = "proving" if after.row else "complete"
            finally:
                if state == "broken":
                    await give_up(connection)
    finally:
        sha256 = whole.hexdigest() if state == "complete" else None
        # Also where the client goes at this very moment: its end is said all the same.
        await asyncio.shield(_say(source, state, n_rows, made.steps, 0 if after.row else n_bytes, sha256))
        if state == "proving" and source.export.state != "complete":
            here.prove(prove(here, id))
    if after.byte > n_bytes:
        raise beyond("after_byte", n_bytes, "bytes")


def beyond(name: str, most: int, what: str) -> RequestError:
    """The refusal to go on after the end."""
    return bad_parameter(name, f"the export has {most} {what}", f"{name} is at most {most}.")


@contextlib.asynccontextmanager
async def _connection(here: AppState) -> AsyncIterator[pages.Connection]:
    try:
        connection = await here.exports.getconn()
    except psycopg_pool.PoolTimeout:
        if not await answers(here.pool):
            raise
        raise RequestError(
            503, "too-many-exports", "Too many exports at once",
            f"{here.settings.exports_at_once} exports are being written, as many as can be at a time.",
            remedy=f"Ask again in {RETRY_AFTER_S} s.",
        ) from None  # fmt: skip
    try:
        yield connection
    finally:
        await here.exports.putconn(connection)


async def _say(
    source: Source, state: str, n_rows: int, steps: Sequence[tuple[int, int]], n_bytes: int, sha256: str | None
) -> None:
    here = source.here
    async with here.pool.connection() as connection:
        await exports.move(connection, source.export.id, state, here.now_ms(), n_rows, n_bytes, sha256, steps)


async def give_up(connection: pages.Connection) -> None:
    """End what the connection does: the database is told, then it is closed; the pool makes another."""
    try:
        await connection.cancel_safe(timeout=1.0)
    finally:
        await connection.close()


async def prove(here: AppState, id: str) -> None:
    """Make a resumed export once more from its first row, for nobody: now all its bytes have a digest."""
    source = await again(here, await find(here, id, here.now_ms()))
    async with contextlib.aclosing(stream(source, After(), hashlib.sha256())) as made:
        async for _ in made:
            await asyncio.sleep(0)
