"""`GET /v1/{dataset}/measures`: traffic measures of road sections."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import msgspec
import numpy as np
from fastapi import APIRouter, Request, Response

from api import columns, formats, measures, paging, params, state
from api.answers import answer, max_age_s
from api.archive import past
from api.newest import All
from api.openapi import OPERATIONS, route
from api.params import WIDTHS, Asked
from api.problems import bad_parameter
from api.queries import series, traffic
from api.queries.pages import Connection
from api.queries.traffic import HOUR_S
from api.rows import MeasureRow, MeasuresMeta
from api.state import AppState
from api.times import DAY_MS, FIRST_MS, rfc3339
from schemas.datasets import Dataset
from schemas.errors import RequestError
from schemas.sections import Section
from schemas.traffic import FREE_FLOW_DAYS

router = APIRouter(tags=["traffic"])

KIND = "measures"
ORDER = "start, then section"
RANGE_S, MOST_RANGE_S = 6 * 3600, 7 * 86_400
LATEST_MAX_AGE_S = 30
SOURCES = "Highway Capacity Manual, 7th edition; FHWA, Urban Congestion Report: documentation and definitions"
_WIDTHS = ("5m", "15m", "1h")


class _Found(NamedTuple):
    rows: list[MeasureRow]
    from_ms: int
    to_ms: int


@router.get("/v1/{dataset}/measures", **route("measures"))
async def measures_(request: Request, dataset: str) -> Response:
    """Traffic of road sections: flow-weighted speed, travel time index, delay, level of service, congestion; and which
    sections have not been heard of.
    """
    here = state.of(request)
    found = here.dataset(dataset)
    operation = OPERATIONS["measures"]
    asked = params.read(operation.parameters, request.query_params.multi_items())
    asked = asked if "width" in request.query_params else replace(asked, width="15m")
    shown = formats.choose(asked.format, request.headers.get("accept", ""), operation.formats)
    if asked.width not in _WIDTHS:
        raise bad_parameter("width", f"there are no measures of {asked.width}", "width is one of " + ", ".join(_WIDTHS))
    kind = columns.kind_of(MeasureRow, _fields(asked))
    now_ms, limit = here.now_ms(), paging.limit(asked, here.settings)
    digest = paging.digest("measures", dataset, asked, asked.width)
    after = paging.key_of(here.cursors, asked, KIND, digest)
    async with here.pool.connection() as connection:
        made = await _find(connection, here, found, asked, now_ms)
    keyed = sorted(((row.start or "", row.section), row) for row in made.rows)
    left = [(key, row) for key, row in keyed if after is None or list(key) > after]
    next_url = None
    if len(left) > limit:
        url = f"{here.base_url(request)}{request.url.path}"
        cursor = paging.cursor_at(here.cursors, KIND, digest, list(left[limit - 1][0]))
        next_url = paging.next_link(url, request.query_params.multi_items(), cursor)
    rows = [_shown(kind, row) for _, row in left[:limit]]
    meta = MeasuresMeta(
        rfc3339(made.from_ms), rfc3339(made.to_ms), ORDER, limit, found.licence, found.attribution, SOURCES
    )
    keep_s = LATEST_MAX_AGE_S if asked.latest else max_age_s(made.to_ms, now_ms)
    return answer(request, kind, rows, meta, format=shown, max_age_s=keep_s, next_url=next_url)


async def _find(connection: Connection, here: AppState, dataset: Dataset, asked: Asked, now_ms: int) -> _Found:
    width_ms = WIDTHS[asked.width].seconds * 1000
    from_ms, to_ms = _range(asked, dataset, now_ms)
    sensors = await traffic.sensors_with_speed(connection, dataset.id)
    sections = _chosen(measures.sections_of(dataset.id, here.city.sections, sensors), asked)
    parts = sorted({part.sensor for section in sections for part in section.parts})
    zone, span_ms = here.city.info.time_zone, FREE_FLOW_DAYS * DAY_MS
    async with _with_archive(here, connection, dataset, parts, HOUR_S, max(FIRST_MS, to_ms - span_ms), to_ms, now_ms):
        learned = await traffic.free_flow(connection, dataset.id, parts, to_ms, zone)
    newest = await traffic.newest(connection, dataset.id, parts, width_ms // 1000) if asked.latest else {}
    heard_ms = _heard(here, dataset.id) if asked.latest else {}
    begin_ms = max(FIRST_MS, from_ms - measures.LEAD_MS)
    async with _with_archive(here, connection, dataset, parts, width_ms // 1000, begin_ms, to_ms, now_ms):
        found = await traffic.windows(connection, dataset.id, parts, width_ms // 1000, begin_ms, to_ms)
    windows = measures.by_series(found)
    what = measures.Asked(dataset.id, from_ms, to_ms, width_ms, now_ms if asked.latest else None)
    rows: list[MeasureRow] = []
    for section in sections:
        made = list(measures.rows_of(what, section, windows, learned))
        if asked.latest:
            starts = [newest[part.sensor] for part in section.parts if part.sensor in newest]
            heard = [heard_ms[part.sensor] for part in section.parts if part.sensor in heard_ms]
            heard_last = max([*heard, *(start + width_ms for start in starts)], default=None)
            stale = measures.is_stale(heard_last, _span_s(here, section), now_ms)
            made = [] if stale else made[-1:]
            made = made or [measures.row_without_numbers(what, section, max(starts, default=None), stale)]
        rows += made
    return _Found(rows, from_ms, to_ms)


@contextlib.asynccontextmanager
async def _with_archive(
    here: AppState, connection: Connection, dataset: Dataset, sensors: Sequence[str], width_s: int,
    from_ms: int, to_ms: int, now_ms: int,
) -> AsyncIterator[None]:  # fmt: skip
    """Within the block readings of `width_s` are there, which are windows themselves, also those of the archive."""
    days = range(from_ms // DAY_MS, -(-to_ms // DAY_MS))
    async with past.of(connection, here.archive, dataset.id, from_ms, now_ms) as archived:
        if archived is None or not any(width_s in archived.days[day].periods for day in archived.among(days)):
            yield
            return
        found = await series.chosen(connection, dataset.id, sensors, ("speed", "volume"), with_first=False)
        async with archived.over(connection, days, {key: (sensor, metric) for key, sensor, metric, _ in found}):
            yield


def _heard(here: AppState, dataset: str) -> dict[str, int]:
    """By sensor: the end of its newest reading of speed, which is known long before its window is closed."""
    order = here.newest.order(here.latest, All(dataset, "speed"))
    rows, _ = here.latest.columns(order)
    ends = rows["start"] + rows["period_s"].astype(np.int64) * 1000
    return {here.latest.keys[i][1]: end for i, end in zip(order.tolist(), ends.tolist(), strict=True)}


def _span_s(here: AppState, section: Section) -> int:
    """Of its parts the most seconds from one reading to the next."""
    rules = [here.registry.rule(section.dataset, part.sensor, "speed") for part in section.parts]
    return max((rule.cadence_s or rule.period_s for rule in rules), default=0)


def _range(asked: Asked, dataset: Dataset, now_ms: int) -> tuple[int, int]:
    if asked.latest:
        # The newest window that is closed ended a width and the dataset's lateness ago at the most, if all is well.
        looks_back_s = 2 * WIDTHS[asked.width].seconds + dataset.lateness_s + dataset.silence_s
        return now_ms - looks_back_s * 1000 - measures.SILENT_AFTER_MS, now_ms
    to_ms = now_ms if asked.to_ms is None else asked.to_ms
    from_ms = max(FIRST_MS, to_ms - RANGE_S * 1000) if asked.from_ms is None else asked.from_ms
    if not 0 < to_ms - from_ms <= MOST_RANGE_S * 1000:
        raise RequestError(
            400, "bad-range", "The range is empty or too long", "Measures are of at most 7 days in one answer.",
            "to" if asked.from_ms is None else "from",
            "Ask for the weeks one after the other: from=2026-01-01T00:00:00Z&to=2026-01-08T00:00:00Z",
        )  # fmt: skip
    return from_ms, to_ms


def _chosen(sections: list[Section], asked: Asked) -> list[Section]:
    """Those asked for by id, or that have one of the sensors."""
    return [
        section
        for section in sections
        if (not asked.section or section.id in asked.section)
        if (not asked.sensor or {part.sensor for part in section.parts} & set(asked.sensor))
    ]


def _fields(asked: Asked) -> tuple[str, ...]:
    known = MeasureRow.__struct_encode_fields__
    for name in asked.fields:
        if name not in known:
            raise bad_parameter("fields", f"there is no field {name!r} here", "fields are some of " + ",".join(known))
    return asked.fields


def _shown(kind: type[msgspec.Struct], row: MeasureRow) -> msgspec.Struct:
    return row if kind is MeasureRow else kind(*(getattr(row, name) for name in kind.__struct_encode_fields__))
