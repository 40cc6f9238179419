"""`GET /v1/{dataset}/quality`: the data-quality report, a row for each series and UTC day."""

import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Request, Response

from api import formats, history, paging, params, quality, state
from api.answers import answer, max_age_s
from api.archive import past
from api.openapi import OPERATIONS, route
from api.queries import quality as queries
from api.queries import series
from api.queries.quality import HOUR_S
from api.rows import TESTS, QualityRow, RangeMeta
from api.state import AppState
from api.times import DAY_MS, rfc3339
from schemas.datasets import Dataset
from schemas.detector import METRICS, Health
from schemas.quality import Detector

router = APIRouter(tags=["history"])

DEFAULT_RANGE_S = 7 * params.DAY_S
PAIRS_PER_PAGE = 400  # a day of minutes each: about half a million readings; a page may be shorter than `limit`
KIND = "quality"
ORDER = "UTC day, then sensor, then metric"

Pair = tuple[int, str, str]
"""(day in epoch ms, sensor, metric): the order of rows."""


@router.get("/v1/{dataset}/quality", **route("quality"))
async def report(request: Request, dataset: str) -> Response:
    """How far each series' day can be trusted: completeness, lateness, flags and tests, agreement with neighbours."""
    here = state.of(request)
    found = here.dataset(dataset)
    operation = OPERATIONS["quality"]
    asked = params.read(operation.parameters, request.query_params.multi_items())
    shown = formats.choose(asked.format, request.headers.get("accept", ""), operation.formats)
    now_ms, limit = here.now_ms(), paging.limit(asked, here.settings)
    query = paging.digest("quality", dataset, asked)
    key = paging.key_of(here.cursors, asked, KIND, query)
    if key is None:
        begin = paging.begin(here.cursors, asked, query, DEFAULT_RANGE_S, now_ms)
        from_ms, to_ms = begin.from_ms // DAY_MS * DAY_MS, -(-begin.to_ms // DAY_MS) * DAY_MS
        after: Pair | None = None
    else:
        from_ms, to_ms, after = int(key[0]), int(key[1]), (int(key[2]), key[3], key[4])
    async with here.pool.connection() as connection:
        known = await series.chosen(connection, dataset, asked.sensor, asked.metric, with_first=True)
        most = min(limit, PAIRS_PER_PAGE)
        pairs = list(itertools.islice(_pairs(known, from_ms, min(to_ms, now_ms), after), most + 1))
        page = pairs[:most]
        async with _with_archive(here, connection, dataset, page, now_ms):
            rows = await _rows(here, connection, found, page, {(s, m): (k, first) for k, s, m, first in known}, now_ms)
    next_url = None
    if len(pairs) > len(page):
        last = [str(from_ms), str(to_ms), str(page[-1][0]), *page[-1][1:]]
        cursor = paging.cursor_at(here.cursors, KIND, query, last)
        url = f"{here.base_url(request)}{request.url.path}"
        next_url = paging.next_link(url, request.query_params.multi_items(), cursor)
    meta = RangeMeta(rfc3339(from_ms), rfc3339(to_ms), ORDER, limit, found.licence, found.attribution, TESTS)
    keep_s = max_age_s(to_ms, now_ms)
    return answer(request, QualityRow, rows, meta, format=shown, max_age_s=keep_s, next_url=next_url)


@contextlib.asynccontextmanager
async def _with_archive(
    here: AppState, connection: series.Connection, dataset: str, page: Sequence[Pair], now_ms: int
) -> AsyncIterator[None]:
    """Within the block the readings of the page's days are there, also those that are in the archive alone."""
    # A detector's day is one of the city's zone, which begins or ends in the UTC day beside it.
    days = range(page[0][0] // DAY_MS - 1, page[-1][0] // DAY_MS + 2) if page else range(0)
    since_ms = days[0] * DAY_MS if page else now_ms
    async with past.of(connection, here.archive, dataset, since_ms, now_ms) as archived:
        moved = archived.among(days) if archived else []
        if archived is None or not moved:
            yield
            return
        hours = any(HOUR_S in archived.days[day].periods for day in moved)  # neighbours are compared by them
        sensors = () if hours else sorted({sensor for _, sensor, _ in page})
        found = await series.chosen(connection, dataset, sensors, (), with_first=False)
        async with archived.over(connection, days, {key: (sensor, metric) for key, sensor, metric, _ in found}):
            yield


def _pairs(
    known: Sequence[tuple[int, str, str, int | None]], from_ms: int, to_ms: int, after: Pair | None
) -> Iterator[Pair]:
    """The rows behind `after`: of each series from the day of its first reading on."""
    ordered = sorted((sensor, metric, first) for _, sensor, metric, first in known if first is not None)
    begin_ms = max(from_ms, min((first for *_, first in ordered), default=to_ms) // DAY_MS * DAY_MS)
    for day in range(begin_ms if after is None else max(begin_ms, after[0]), to_ms, DAY_MS):
        for sensor, metric, first in ordered:
            pair = (day, sensor, metric)
            if day + DAY_MS > first and (after is None or pair > after):
                yield pair


async def _rows(
    here: AppState, connection: series.Connection, dataset: Dataset, page: Sequence[Pair],
    known: dict[tuple[str, str], tuple[int, int | None]], now_ms: int,
) -> list[QualityRow]:  # fmt: skip
    days = await queries.days(connection, [(known[sensor, metric][0], day) for day, sensor, metric in page])
    agreed = await _agreements(here, connection, dataset, page)
    until_ms = now_ms - dataset.lateness_s * 1000
    detectors = await _detectors(here, connection, dataset, page, until_ms)
    rows = []
    for day_ms, sensor, metric in page:
        key, first_ms = known[sensor, metric]
        due_ms = history.expected(here.registry, dataset.id, sensor, first_ms, until_ms)
        if not days[key, day_ms].n and due_ms[1] <= day_ms < until_ms:
            continue  # the sensor was taken away before
        rule = here.registry.rule(dataset.id, sensor, metric)
        rows.append(
            quality.row(
                dataset, sensor, metric, here.unit(dataset.id, sensor, metric), day_ms,
                quality.span_s(rule, days[key, day_ms]), due_ms, days[key, day_ms],
                agreed.get((day_ms, sensor, metric)), detectors.get((day_ms, sensor)) if metric in METRICS else None,
            )
        )  # fmt: skip
    return rows


async def _detectors(
    here: AppState, connection: series.Connection, dataset: Dataset, page: Sequence[Pair], until_ms: int
) -> dict[tuple[int, str], Health]:
    """By day and sensor, of the sensors that send occupancy."""
    wanted = sorted({(day, sensor) for day, sensor, metric in page if metric in METRICS})
    wanted = [(day, sensor) for day, sensor in wanted if _detector(here, dataset, sensor) is not None]
    if not wanted:
        return {}
    known = await series.chosen(
        connection, dataset.id, sorted({sensor for _, sensor in wanted}), ("occupancy", "volume"), with_first=False
    )
    key_of = {(sensor, metric): key for key, sensor, metric, _ in known}
    wanted = [(day, sensor) for day, sensor in wanted if (sensor, "occupancy") in key_of]
    zone = ZoneInfo(here.city.info.time_zone)
    limits = {sensor: _detector(here, dataset, sensor) or Detector() for _, sensor in wanted}
    spans = [quality.detector_span(day, zone, limits[sensor]) for day, sensor in wanted]
    of = list(zip(wanted, spans, strict=True))
    occupancy = await queries.samples(connection, [(key_of[s, "occupancy"], *span) for (_, s), span in of])
    volume = await queries.samples(connection, [(key_of.get((s, "volume"), -1), *span) for (_, s), span in of])
    found: dict[tuple[int, str], Health] = {}
    for ((day, sensor), span), flow, share in zip(of, volume, occupancy, strict=True):
        rule = here.registry.rule(dataset.id, sensor, "occupancy")
        placed = here.registry.at(dataset.id, sensor, day)
        rural = placed is not None and placed.site.surroundings == "rural"
        span_s = rule.cadence_s or rule.period_s
        verdict = quality.detector(flow, share, span, until_ms, span_s, limits[sensor], rural)
        if verdict is not None:
            found[day, sensor] = verdict
    return found


def _detector(here: AppState, dataset: Dataset, sensor: str) -> Detector | None:
    return here.registry.rule(dataset.id, sensor, "occupancy").metric.detector


async def _agreements(
    here: AppState, connection: series.Connection, dataset: Dataset, page: Sequence[Pair]
) -> dict[Pair, quality.Agreement]:
    """Of the metrics that are compared with neighbours."""
    found: dict[Pair, quality.Agreement] = {}
    for metric in {metric for _, _, metric in page}:
        limits = dataset.quality("", metric).neighbours
        if limits is None:
            continue
        mine = [pair for pair in page if pair[2] == metric]
        from_ms, to_ms = mine[0][0], mine[-1][0] + DAY_MS
        near = quality.neighbours_of(here.registry, dataset.id, {sensor for _, sensor, _ in mine}, limits, from_ms)
        everyone = sorted({*near, *(name for names in near.values() for name in names)})
        if not everyone:
            continue
        known = await series.chosen(connection, dataset.id, everyone, (metric,), with_first=False)
        key_of = {sensor: key for key, sensor, _, _ in known}
        hours = await queries.hours(connection, list(key_of.values()), from_ms, to_ms)
        for sensor, names in near.items():
            if sensor not in key_of:
                continue
            others = [hours[key_of[name]] for name in names if name in key_of]
            by_day = quality.agreement(hours[key_of[sensor]], others, limits)
            for i, agreement in enumerate(by_day):
                found[from_ms + i * DAY_MS, sensor, metric] = agreement
    return found
