"""`GET /v1/{dataset}/index`: air quality indices, their history and the newest."""

import msgspec
import numpy as np
from fastapi import APIRouter, Request, Response

from api import formats, history, indices, paging, params, places, state
from api.answers import answer, max_age_s
from api.history import Query
from api.openapi import OPERATIONS, route
from api.params import Asked
from api.queries import indices as queries
from api.queries import pages, series
from api.state import AppState

router = APIRouter(tags=["indices"])

LATEST_MAX_AGE_S = 30
KIND = "index"
_LATEST_ORDER = "sensor, index, metric"


@router.get("/v1/{dataset}/index", **route("index"))
async def index_(request: Request, dataset: str) -> Response:
    """Air quality indices of sensors: US AQI of official days, NowCast, European, British, WHO's values; each with its
    category, colour and advice, and with the hours that it is of.
    """
    here = state.of(request)
    found = here.dataset(dataset)
    operation = OPERATIONS["index"]
    asked = params.read(operation.parameters, request.query_params.multi_items())
    shown = formats.choose(asked.format, request.headers.get("accept", ""), operation.formats)
    query = history.query("index", found, asked, here.now_ms())
    kind = query.kind(shown)
    if asked.latest:
        return await _latest(request, here, query, kind, shown)
    return await _history(request, here, query, kind, shown)


async def _history(request: Request, here: AppState, query: Query, kind: type[msgspec.Struct], shown: str) -> Response:
    now_ms, asked, limit = here.now_ms(), query.asked, paging.limit(query.asked, here.settings)
    start = paging.begin(here.cursors, asked, query.digest, query.noun.default_range_s(asked), now_ms, "index")
    async with here.pool.connection() as connection:
        positions = start.positions or await series.positions(connection)
        chosen = await history.filter_of(here, connection, query, start, now_ms)
        page = await pages.page(connection, query.noun.table, chosen, start, positions, limit)
        made = await indices.batch(here, connection, query, kind, chosen, page.rows, positions)
    cursor = page.after and paging.cursor_after(here.cursors, query.digest, start, positions, page.after)
    end = paging.end_cursor(here.cursors, positions, start.made_ms)
    meta = indices.meta(query, history.ORDER, limit, start.from_ms, start.to_ms, end)
    url = f"{here.base_url(request)}{request.url.path}"
    next_url = cursor and paging.next_link(url, request.query_params.multi_items(), cursor)
    keep_s = max_age_s(start.to_ms, now_ms)
    rows = made.made or []
    modified_ms = int(page.rows["published"].max()) if rows else None
    return answer(
        request, kind, rows, meta, format=shown, max_age_s=keep_s, next_url=next_url, same=rows, modified_ms=modified_ms
    )


async def _latest(request: Request, here: AppState, query: Query, kind: type[msgspec.Struct], shown: str) -> Response:
    asked, dataset = query.asked, query.dataset.id
    if asked.as_of_ms is not None:
        raise history.contradiction("latest", "The newest rows are those of now.", "Leave `as_of` or `latest` away.")
    now_ms, limit = here.now_ms(), paging.limit(asked, here.settings)
    digest = paging.digest("index-latest", dataset, asked)
    after = paging.key_of(here.cursors, asked, KIND, digest)
    chosen = pages.Filter(dataset, asked.sensor, asked.metric, indices=history.indices_of(query))
    async with here.pool.connection() as connection:
        positions = await series.positions(connection)
        newest = await queries.newest(connection, chosen)
        of = await queries.names(connection, np.unique(newest["series"]).tolist())
        keys = [list(of[key]) for key in newest["series"].tolist()]
        kept = [i for i, key in enumerate(keys) if _inside(here, dataset, key[0], int(newest["start"][i]), asked)]
        left = [i for i in kept if after is None or keys[i] > after]
        made = await indices.batch(here, connection, query, kind, chosen, newest[left[:limit]], positions, now_ms)
    next_url = None
    if len(left) > limit:
        cursor = paging.cursor_at(here.cursors, KIND, digest, keys[left[limit - 1]])
        url = f"{here.base_url(request)}{request.url.path}"
        next_url = paging.next_link(url, request.query_params.multi_items(), cursor)
    meta = indices.meta(query, _LATEST_ORDER, limit, None, now_ms)
    same = [(*keys[i], int(newest["start"][i]), int(newest["rev"][i])) for i in left[:limit]]
    return answer(
        request, kind, made.made or [], meta, format=shown, max_age_s=LATEST_MAX_AGE_S, next_url=next_url, same=same
    )


def _inside(here: AppState, dataset: str, sensor: str, at_ms: int, asked: Asked) -> bool:
    if asked.bbox is None:
        return True
    place = places.public_place(here.registry.at(dataset, sensor, at_ms))
    return place is not None and asked.bbox.contains(*place)
