"""`GET /v1/{dataset}/latest`: the newest value of every series, from memory; works with the database down."""

import msgspec
from fastapi import APIRouter, Request, Response

from api import formats, newest, paging, params, state
from api.answers import answer, http_date
from api.live.latest import LatestRow
from api.openapi import OPERATIONS, route
from api.params import Asked
from api.places import public_place
from api.rows import TESTS, LatestValueRow, ListMeta
from api.state import AppState
from api.times import rfc3339
from schemas.datasets import Dataset
from schemas.readings import Origin

router = APIRouter(tags=["now"])

MAX_AGE_S = 1
KIND = "latest"


@router.get("/v1/{dataset}/latest", **route("latest"))
async def latest(request: Request, dataset: str) -> Response:
    """The newest good, suspect or not evaluated reading of every series, by measurement time."""
    here = state.of(request)
    found = here.dataset(dataset)
    operation = OPERATIONS["latest"]
    asked = params.read(operation.parameters, request.query_params.multi_items())
    shown = formats.choose(asked.format, request.headers.get("accept", ""), operation.formats)
    now_ms, limit = here.now_ms(), paging.limit(asked, here.settings)
    plain = asked == Asked(limit=asked.limit, format=asked.format, metric=asked.metric)
    known = not asked.metric or (len(asked.metric) == 1 and asked.metric[0] in found.metrics)
    if shown in newest.FORMATS and plain and known:
        which = newest.All(dataset, *asked.metric)
        if len(here.newest.order(here.latest, which)) <= limit:
            return await _kept(request, here, found, which, shown, limit, now_ms)
    query = paging.digest("latest", dataset, asked)
    after = paging.key_of(here.cursors, asked, KIND, query)
    rows: list[LatestValueRow] = []
    next_url = None
    for row in here.latest.rows(dataset, set(asked.sensor) or None, set(asked.metric) or None):
        if after is not None and [row.sensor, row.metric] <= after:
            continue
        made = _row(here, row, now_ms, asked)
        if made is None:
            continue
        if len(rows) == limit:
            cursor = paging.cursor_at(here.cursors, KIND, query, [rows[-1].sensor, rows[-1].metric])
            url = f"{here.base_url(request)}{request.url.path}"
            next_url = paging.next_link(url, request.query_params.multi_items(), cursor)
            break
        rows.append(made)
    meta = ListMeta(limit, found.licence, found.attribution, rfc3339(now_ms), TESTS)
    same = [(row.sensor, row.metric, row.start, row.rev, row.flag, row.newer_failed, row.lon, row.lat) for row in rows]
    return answer(request, LatestValueRow, rows, meta, format=shown, max_age_s=MAX_AGE_S, next_url=next_url, same=same)


async def _kept(
    request: Request, here: AppState, dataset: Dataset, which: newest.All, shown: str, limit: int, now_ms: int
) -> Response:
    """All of them, which is what maps ask for, from pieces that are kept."""
    headers = {"cache-control": f"public, max-age={MAX_AGE_S}", "vary": "Accept, Accept-Encoding"}
    changes = here.registry.changes
    asked_etag = request.headers.get("if-none-match", "")
    if asked_etag and (etag := here.newest.has(asked_etag, here.latest, changes, which, shown)):
        return Response(status_code=304, headers=headers | {"etag": etag})
    meta = ListMeta(limit, dataset.licence, dataset.attribution, rfc3339(now_ms), TESTS)
    made = await here.newest.answer(
        here.latest, changes, which, shown, now_ms, msgspec.json.encode(meta),
        lambda row: _made(here, row, now_ms),
    )  # fmt: skip
    headers |= {"etag": made.etag, "last-modified": http_date(made.modified_ms)}
    if made.etag in asked_etag:
        return Response(status_code=304, headers=headers)
    encoding, body = await made.body(request.headers.get("accept-encoding", ""))
    if encoding is not None:
        headers["content-encoding"] = encoding
    return Response(body, headers=headers, media_type=formats.FORMATS[shown].media_type)


def _row(here: AppState, row: LatestRow, now_ms: int, asked: Asked) -> LatestValueRow | None:
    """The row of the answer; None where the box leaves it out."""
    made = _made(here, row, now_ms)
    if asked.bbox is not None and (made.lon is None or made.lat is None or not asked.bbox.contains(made.lon, made.lat)):
        return None
    return made


def _made(here: AppState, row: LatestRow, now_ms: int) -> LatestValueRow:
    registration = here.registry.at(row.dataset, row.sensor, row.start)
    place = public_place(registration)
    end_ms = row.start + row.period_s * 1000
    return LatestValueRow(
        row.dataset,
        row.sensor,
        row.metric,
        row.unit or here.unit(row.dataset, row.sensor, row.metric),
        rfc3339(row.start),
        rfc3339(end_ms),
        row.period_s,
        row.value,
        row.flag,
        row.tests,
        row.rev,
        Origin(row.origin).name.lower(),
        rfc3339(row.received),
        max(0, now_ms - end_ms) / 1000,  # a period that is not over yet has no age
        None if row.newer_failed is None else rfc3339(row.newer_failed),
        place and place[0],
        place and place[1],
        registration is not None,
        registration is not None and registration.demo,
    )
