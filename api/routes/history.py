"""`GET /v1/{dataset}/readings` and `GET /v1/{dataset}/windows`: history in pages."""

from collections.abc import Sequence

import msgspec
from fastapi import APIRouter, Request, Response

from api import aggregates, columns, formats, history, paging, params, state
from api.answers import answer, max_age_s
from api.history import Query
from api.openapi import OPERATIONS, route
from api.queries import pages, series
from api.rows import TESTS, RangeMeta
from api.state import AppState
from api.times import rfc3339

router = APIRouter(tags=["history"])


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
        return _answer(request, here, query, shown, kind, made.rows, made.start, limit, made.cursor)
    start = paging.begin(here.cursors, asked, query.digest, query.noun.default_range_s(asked), now_ms)
    async with here.pool.connection() as connection:
        positions = start.positions or await series.positions(connection)
        chosen = await history.filter_of(here, connection, query, start, now_ms)
        page = await pages.page(connection, query.noun.table, chosen, start, positions, limit)
        batch = await history.batch(here, connection, query, page.rows, shown == "geojson")
    rows = columns.structs(kind, query.columns, batch)
    cursor = page.after and paging.cursor_after(here.cursors, query.digest, start, positions, page.after)
    return _answer(request, here, query, shown, kind, rows, start, limit, cursor)


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
) -> Response:
    dataset = query.dataset
    meta = RangeMeta(
        rfc3339(start.from_ms), rfc3339(start.to_ms), query.order, limit, dataset.licence, dataset.attribution, TESTS
    )
    url = f"{here.base_url(request)}{request.url.path}"
    next_url = cursor and paging.next_link(url, request.query_params.multi_items(), cursor)
    keep_s = max_age_s(start.to_ms, here.now_ms())
    return answer(request, kind, rows, meta, format=shown, max_age_s=keep_s, next_url=next_url)
