"""`GET /v1/{dataset}/readings` and `GET /v1/{dataset}/windows`: history in pages."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from api import aggregates, columns, formats, history, paging, params, state
from api.answers import answer, max_age_s
from api.archive import past
from api.history import Query
from api.openapi import OPERATIONS, route
from api.paging import Positions
from api.problems import RETRY_AFTER_S
from api.queries import pages, series
from api.rows import TESTS, RangeMeta
from api.state import AppState
from api.times import rfc3339
from schemas.errors import RequestError

router = APIRouter(tags=["history"])

BEHIND_S, BEHIND_LOOK_S = 5.0, 0.1
ON_LOOP_ROWS = 2_000  # more of them take milliseconds to write, in which others would wait


@router.get("/v1/{dataset}/readings", **route("readings"))
async def readings(request: Request, dataset: str) -> Response:
    """Every value as it was measured, with its period, quality flag and revision."""
    return await _page(request, dataset, "readings")


@router.get("/v1/{dataset}/windows", **route("windows"))
async def windows(request: Request, dataset: str) -> Response:
    """Readings aggregated per series over minutes, hours and days; on demand over local days, weeks and months, and
    over sensors and areas.
    """
    return await _page(request, dataset, "windows")


async def _page(request: Request, dataset: str, noun: str) -> Response:
    here = state.of(request)
    found = here.dataset(dataset)
    operation = OPERATIONS[noun]
    asked = params.read(operation.parameters, request.query_params.multi_items())
    shown = formats.choose(asked.format, request.headers.get("accept", ""), operation.formats)
    now_ms = here.now_ms()
    query = history.query(noun, found, asked, now_ms)
    kind = query.kind(shown)
    limit = paging.limit(asked, here.settings)
    if query.grouped:
        made = await aggregates.page(here, query, kind, limit, now_ms)
        rows = made.rows
        return _answer(request, here, query, shown, kind, rows, made.start, limit, made.cursor, made.end, rows)
    start = paging.begin(here.cursors, asked, query.digest, query.noun.default_range_s(asked), now_ms, noun)
    async with here.pool.connection() as connection:
        positions = start.positions or await series.positions(connection)
        if asked.cursor is not None and start.after is None:
            await _reached(connection, positions)
        chosen = await history.filter_of(here, connection, query, start, now_ms)
        async with past.of(connection, here.archive, dataset, start.from_ms, now_ms) as archived:
            page = await pages.page(connection, query.noun.table, chosen, start, positions, limit, archived)
        batch = await history.batch(here, connection, query, page.rows, shown == "geojson")
    cursor = page.after and paging.cursor_after(here.cursors, query.digest, start, positions, page.after)
    modified_ms = _newest(page.rows["published"]) if "published" in (page.rows.dtype.names or ()) else None
    end = paging.end_cursor(here.cursors, positions, start.made_ms)

    def write() -> Response:
        rows = columns.structs(kind, query.columns, batch)
        return _answer(request, here, query, shown, kind, rows, start, limit, cursor, end, batch.content, modified_ms)

    return write() if len(batch) <= ON_LOOP_ROWS else await asyncio.to_thread(write)


async def _reached(connection: series.Connection, positions: Positions) -> None:
    """A cursor of the live feed may be ahead of the database, by a fraction of a second when all is well."""
    for _ in range(int(BEHIND_S / BEHIND_LOOK_S)):
        stored = await series.positions(connection)
        pairs = ((positions.readings, stored.readings), (positions.windows, stored.windows))
        if all(there.get(part, -1) >= at for asked, there in pairs for part, at in asked.items()):
            return
        await asyncio.sleep(BEHIND_LOOK_S)
    raise RequestError(
        503, "not-stored-yet", "Not stored yet", "The cursor is ahead of what is stored.", "cursor",
        f"Ask again in {RETRY_AFTER_S} s: what the live feed has shown is stored soon.",
    )  # fmt: skip


def _newest(moments_ms: columns.Array) -> int | None:
    return int(moments_ms.max()) if len(moments_ms) else None


def _answer(
    request: Request,
    here: AppState,
    query: Query,
    shown: str,
    kind: type[msgspec.Struct],
    rows: Sequence[msgspec.Struct],
    start: paging.Start,
    limit: int,
    cursor: str | None,
    end: str,
    same: Any,
    modified_ms: int | None = None,
) -> Response:
    dataset = query.dataset
    meta = RangeMeta(
        rfc3339(start.from_ms),
        rfc3339(start.to_ms),
        query.order,
        limit,
        dataset.licence,
        dataset.attribution,
        TESTS,
        end,
    )
    url = f"{here.base_url(request)}{request.url.path}"
    next_url = cursor and paging.next_link(url, request.query_params.multi_items(), cursor)
    keep_s = max_age_s(start.to_ms, here.now_ms())
    return answer(
        request, kind, rows, meta, format=shown, max_age_s=keep_s, next_url=next_url, same=same, modified_ms=modified_ms
    )
