"""`GET /v1/{dataset}/readings` and `GET /v1/{dataset}/windows`: history in pages."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Request, Response

from api import formats, paging, params, places, state
from api.answers import answer, max_age_s
from api.openapi import OPERATIONS, route
from api.params import Asked
from api.queries import pages, series
from api.queries.readings import READINGS
from api.queries.windows import WINDOWS
from api.rows import TESTS, RangeMeta, ReadingRow, WindowRow
from api.state import AppState
from api.times import rfc3339, rfc3339_column
from schemas.datasets import Dataset
from schemas.readings import Origin

router = APIRouter(tags=["history"])

ORDER = "UTC day of start, then series, then start; the order of series never changes"
_ORIGINS = {int(origin): origin.name.lower() for origin in Origin}


@dataclass(frozen=True)
class History:
    """A page as the database gave it; `names` are (sensor, metric) by series, `cursor` is the next page's."""

    dataset: str
    rows: pages.Rows
    names: dict[int, tuple[str, str]]
    start: paging.Start
    cursor: str | None


@router.get("/v1/{dataset}/readings", **route("readings"))
async def readings(request: Request, dataset: str) -> Response:
    """Every value as it was measured, with its period, quality flag and revision."""
    here = state.of(request)
    asked, shown = _read(request, "readings")
    page = await _fetch(here, here.dataset(dataset), "readings", asked)
    return _answer(request, here, asked, shown, page, ReadingRow, reading_rows(here, page))


@router.get("/v1/{dataset}/windows", **route("windows"))
async def windows(request: Request, dataset: str) -> Response:
    """Readings aggregated per series over minutes, hours and days."""
    here = state.of(request)
    asked, shown = _read(request, "windows")
    page = await _fetch(here, here.dataset(dataset), "windows", asked)
    return _answer(request, here, asked, shown, page, WindowRow, window_rows(here, page, asked.width))


def _read(request: Request, noun: str) -> tuple[Asked, str]:
    """The query, and the format of the answer."""
    operation = OPERATIONS[noun]
    asked = params.read(operation.parameters, request.query_params.multi_items())
    return asked, formats.choose(asked.format, request.headers.get("accept", ""), operation.formats)


async def _fetch(here: AppState, dataset: Dataset, noun: str, asked: Asked) -> History:
    is_windows = noun == "windows"
    width = params.WIDTHS[asked.width]
    default_range_s = width.default_range_s if is_windows else params.READINGS_DEFAULT_RANGE_S
    query = paging.digest(noun, dataset.id, asked, asked.width if is_windows else "")
    start = paging.begin(here.cursors, asked, query, default_range_s, here.now_ms())
    limit = paging.limit(asked, here.settings)
    async with here.pool.connection() as connection:
        positions = start.positions or await series.positions(connection)
        chosen = pages.Filter(
            dataset.id, asked.sensor, asked.metric, asked.flag, asked.origin, width.seconds, asked.bbox,
            await _stays(connection, dataset, asked),
        )  # fmt: skip
        table = WINDOWS if is_windows else READINGS
        page = await pages.page(connection, table, chosen, start, positions, limit)
        names = await series.names(connection, np.unique(page.rows["series"]).tolist())
    cursor = page.after and paging.cursor_after(here.cursors, query, start, positions, page.after)
    return History(dataset.id, page.rows, names, start, cursor)


async def _stays(connection: series.Connection, dataset: Dataset, asked: Asked) -> list[tuple[str, int, int]]:
    if asked.bbox is None:
        return []
    return places.stays(await series.stored_registry(connection, dataset), dataset.id, asked.bbox)


def _answer(
    request: Request,
    here: AppState,
    asked: Asked,
    shown: str,
    page: History,
    kind: type[msgspec.Struct],
    rows: Sequence[msgspec.Struct],
) -> Response:
    dataset = here.dataset(page.dataset)
    meta = RangeMeta(
        rfc3339(page.start.from_ms), rfc3339(page.start.to_ms), ORDER, paging.limit(asked, here.settings),
        dataset.licence, dataset.attribution, TESTS,
    )  # fmt: skip
    url = f"{here.base_url(request)}{request.url.path}"
    next_url = page.cursor and paging.next_link(url, request.query_params.multi_items(), page.cursor)
    keep_s = max_age_s(page.start.to_ms, here.now_ms())
    return answer(request, kind, rows, meta, format=shown, max_age_s=keep_s, next_url=next_url)


def reading_rows(here: AppState, page: History) -> list[ReadingRow]:
    """The rows of an answer; a column at a time, for a page has up to 10,000."""
    rows = page.rows
    end = rows["start"] + rows["period_s"].astype(np.int64) * 1000
    return list(
        map(
            ReadingRow,
            repeat(page.dataset),
            *_names(here, page),
            rfc3339_column(rows["start"]),
            rfc3339_column(end),
            rows["period_s"].tolist(),
            _numbers(rows["value"]),
            rows["flag"].tolist(),
            rows["tests"].tolist(),
            rows["rev"].tolist(),
            map(_ORIGINS.__getitem__, rows["origin"].tolist()),
            rfc3339_column(rows["received"]),
        )
    )


def window_rows(here: AppState, page: History, width: str) -> list[WindowRow]:
    """The rows of an answer, a column at a time."""
    rows = page.rows
    end = rows["start"] + params.WIDTHS[width].seconds * 1000
    numbers = ("coverage", "mean", "min", "max", "std", "p50", "p95", "first", "last")
    return list(
        map(
            WindowRow,
            repeat(page.dataset),
            *_names(here, page),
            repeat(width),
            rfc3339_column(rows["start"]),
            rfc3339_column(end),
            rows["n"].tolist(),
            [None if n < 0 else n for n in rows["n_expected"].tolist()],
            *(_numbers(rows[name]) for name in numbers),
            rows["complete"].tolist(),
            rows["rev"].tolist(),
            rfc3339_column(rows["published"]),
        )
    )


def _names(here: AppState, page: History) -> tuple[list[str], list[str], list[str | None]]:
    """The columns sensor, metric, unit."""
    known = {
        key: (sensor, metric, here.unit(page.dataset, sensor, metric)) for key, (sensor, metric) in page.names.items()
    }
    found = [known[key] for key in page.rows["series"].tolist()]
    return [s for s, _, _ in found], [m for _, m, _ in found], [u for _, _, u in found]


def _numbers(column: npt.NDArray[Any]) -> list[float | None]:
    """NaN is null in every format."""
    return [value if value == value else None for value in column.tolist()]
