"""`GET /v1/{dataset}/index`: air quality indices, their history and the newest."""

from dataclasses import replace

import msgspec
import numpy as np
from fastapi import APIRouter, Request, Response

from api import columns, formats, index, paging, params, places, state
from api.answers import answer, max_age_s
from api.history import ORDER
from api.openapi import OPERATIONS, route
from api.params import DAY_S, Asked
from api.problems import bad_parameter
from api.queries import indices, pages, series
from api.rows import IndexMeta, IndexRow, LatestIndexRow
from api.state import AppState
from api.times import rfc3339
from schemas.datasets import Dataset
from schemas.indices.hourly import INDICES

router = APIRouter(tags=["indices"])

HOURLY_RANGE_S, DAILY_RANGE_S = 7 * DAY_S, 31 * DAY_S
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
    names = _indices(found, asked)
    kind = _kind(asked)
    if asked.latest:
        return await _latest(request, here, found, asked, names, kind, shown)
    return await _history(request, here, found, asked, names, kind, shown)


async def _history(
    request: Request, here: AppState, dataset: Dataset, asked: Asked, names: tuple[str, ...],
    kind: type[msgspec.Struct], shown: str,
) -> Response:  # fmt: skip
    now_ms, limit = here.now_ms(), paging.limit(asked, here.settings)
    digest = paging.digest("index", dataset.id, asked)
    range_s = DAILY_RANGE_S if all(INDICES[name].day_of for name in names) else HOURLY_RANGE_S
    start = paging.begin(here.cursors, asked, digest, range_s, now_ms, "index")
    async with here.pool.connection() as connection:
        positions = start.positions or await series.positions(connection)
        chosen = await _filter(connection, dataset, asked, names)
        page = await pages.page(connection, indices.INDICES, chosen, start, positions, limit)
        rows = await _rows(connection, dataset.id, page.rows, asked, kind)
    cursor = page.after and paging.cursor_after(here.cursors, digest, start, positions, page.after)
    meta = _meta(dataset, names, asked, ORDER, limit, start.from_ms, start.to_ms)
    url = f"{here.base_url(request)}{request.url.path}"
    next_url = cursor and paging.next_link(url, request.query_params.multi_items(), cursor)
    keep_s = max_age_s(start.to_ms, now_ms)
    return answer(request, kind, rows, meta, format=shown, max_age_s=keep_s, next_url=next_url)


async def _latest(
    request: Request, here: AppState, dataset: Dataset, asked: Asked, names: tuple[str, ...],
    kind: type[msgspec.Struct], shown: str,
) -> Response:  # fmt: skip
    now_ms, limit = here.now_ms(), paging.limit(asked, here.settings)
    digest = paging.digest("index-latest", dataset.id, asked)
    after = paging.key_of(here.cursors, asked, KIND, digest)
    async with here.pool.connection() as connection:
        newest = await indices.newest(connection, await _filter(connection, dataset, asked, names))
        of = await indices.names(connection, np.unique(newest["series"]).tolist())
        keys = [list(of[key]) for key in newest["series"].tolist()]
        kept = [i for i, key in enumerate(keys) if _inside(here, dataset.id, key[0], int(newest["start"][i]), asked)]
        left = [i for i in kept if after is None or keys[i] > after]
        rows = await _rows(connection, dataset.id, newest[left[:limit]], asked, kind, now_ms)
    next_url = None
    if len(left) > limit:
        cursor = paging.cursor_at(here.cursors, KIND, digest, keys[left[limit - 1]])
        url = f"{here.base_url(request)}{request.url.path}"
        next_url = paging.next_link(url, request.query_params.multi_items(), cursor)
    meta = _meta(dataset, names, asked, _LATEST_ORDER, limit, None, now_ms)
    same = [(*keys[i], int(newest["start"][i]), int(newest["rev"][i])) for i in left[:limit]]
    return answer(request, kind, rows, meta, format=shown, max_age_s=LATEST_MAX_AGE_S, next_url=next_url, same=same)


async def _rows(
    connection: series.Connection, dataset: str, rows: pages.Rows, asked: Asked, kind: type[msgspec.Struct],
    now_ms: int | None = None,
) -> list[msgspec.Struct]:  # fmt: skip
    names = await indices.names(connection, np.unique(rows["series"]).tolist())
    values = index.as_stored(rows)
    if asked.table:
        overall = [i for i, key in enumerate(rows["series"].tolist()) if names[key][2] == "overall"]
        of = {names[int(rows["series"][i])] for i in overall}
        starts = sorted({int(rows["start"][i]) for i in overall})
        beside = await indices.beside(
            connection, dataset, sorted({i for _, i, _ in of}), sorted({s for s, _, _ in of}), starts
        )
        values = index.by_table(rows, names, asked.table, beside)
    return index.index_rows(kind, dataset, rows, names, values, asked.lang, now_ms)


async def _filter(
    connection: series.Connection, dataset: Dataset, asked: Asked, names: tuple[str, ...]
) -> pages.Filter:
    chosen = pages.Filter(dataset.id, asked.sensor, asked.metric, bbox=asked.bbox, indices=names)
    if asked.bbox is None or asked.latest:
        return chosen
    registry = await series.stored_registry(connection, dataset)
    return replace(chosen, stays=places.stays(registry, dataset.id, asked.bbox))


def _inside(here: AppState, dataset: str, sensor: str, at_ms: int, asked: Asked) -> bool:
    if asked.bbox is None:
        return True
    place = places.public_place(here.registry.at(dataset, sensor, at_ms))
    return place is not None and asked.bbox.contains(*place)


def _indices(dataset: Dataset, asked: Asked) -> tuple[str, ...]:
    """The indices that are asked for. Raises `RequestError` 400 for a table that none of them has."""
    names = asked.index or dataset.indices
    tables = {table for name in names for table in INDICES[name].tables}
    if asked.table and asked.table not in tables:
        raise bad_parameter(
            "table", f"{', '.join(names)} has no table {asked.table!r}", "table is one of " + ", ".join(sorted(tables))
        )
    return names


def _kind(asked: Asked) -> type[msgspec.Struct]:
    row = LatestIndexRow if asked.latest else IndexRow
    known = row.__struct_encode_fields__
    for name in asked.fields:
        if name not in known:
            meant = params.nearest(name, known)
            raise bad_parameter(
                "fields", f"there is no field {name!r} here" + (f"; did you mean {meant!r}?" if meant else ""),
                "fields are some of " + ",".join(known),
            )  # fmt: skip
    return columns.kind_of(row, asked.fields)


def _meta(
    dataset: Dataset, names: tuple[str, ...], asked: Asked, order: str, limit: int, from_ms: int | None, to_ms: int
) -> IndexMeta:
    return IndexMeta(
        None if from_ms is None else rfc3339(from_ms), rfc3339(to_ms), order, limit, dataset.licence,
        dataset.attribution, asked.lang, {name: INDICES[name].title for name in names},
        {name: INDICES[name].source for name in names},
        {metric: rule.text(metric) for metric, rule in dataset.corrections.items()},
    )  # fmt: skip
