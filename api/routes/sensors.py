"""`GET /v1/{dataset}/sensors` and one sensor of it: the registry, and who is heard of without being in it."""

from fastapi import APIRouter, Request, Response

from api import formats, paging, params, state
from api.answers import answer
from api.openapi import OPERATIONS, route
from api.places import public_place
from api.rows import DeviceRow, ListMeta, PlaceRow, SensorRow, SeriesRow
from api.state import AppState
from api.times import rfc3339
from schemas.datasets import Metric
from schemas.errors import RequestError
from schemas.quality import set_rules
from schemas.registry import FOREVER_MS, Device, Registration
from schemas.units import ALIASES

router = APIRouter(tags=["sensors"])

MAX_AGE_S = 30
KIND = "sensors"


@router.get("/v1/{dataset}/sensors", **route("sensors"))
async def sensors(request: Request, dataset: str) -> Response:
    """Every sensor of a dataset with its places, device and series; by id."""
    here = state.of(request)
    found = here.dataset(dataset)
    operation = OPERATIONS["sensors"]
    asked = params.read(operation.parameters, request.query_params.multi_items())
    shown = formats.choose(asked.format, request.headers.get("accept", ""), operation.formats)
    now_ms, limit = here.now_ms(), paging.limit(asked, here.settings)
    query = paging.digest("sensors", dataset, asked)
    after = paging.key_of(here.cursors, asked, KIND, query)
    rows: list[SensorRow] = []
    next_url = None
    for sensor, metrics in sorted(here.metrics_by_sensor(dataset).items()):
        if (after is not None and [sensor] <= after) or (asked.sensor and sensor not in asked.sensor):
            continue
        if asked.metric and metrics.isdisjoint(asked.metric):
            continue
        row = sensor_row(here, dataset, sensor, metrics, now_ms)
        if asked.bbox and (row.lon is None or row.lat is None or not asked.bbox.contains(row.lon, row.lat)):
            continue
        if len(rows) == limit:
            cursor = paging.cursor_at(here.cursors, KIND, query, [rows[-1].sensor])
            url = f"{here.base_url(request)}{request.url.path}"
            next_url = paging.next_link(url, request.query_params.multi_items(), cursor)
            break
        rows.append(row)
    meta = ListMeta(limit, found.licence, found.attribution)
    return answer(request, SensorRow, rows, meta, format=shown, max_age_s=MAX_AGE_S, next_url=next_url)


@router.get("/v1/{dataset}/sensors/{sensor}", **route("sensor"))
async def sensor(request: Request, dataset: str, sensor: str) -> Response:
    """One sensor with its places, device and series."""
    here = state.of(request)
    found = here.dataset(dataset)
    operation = OPERATIONS["sensor"]
    asked = params.read(operation.parameters, request.query_params.multi_items())
    shown = formats.choose(asked.format, request.headers.get("accept", ""), operation.formats)
    metrics = here.metrics_by_sensor(dataset).get(sensor)
    if metrics is None:
        raise RequestError(
            404, "unknown-sensor", "No such sensor",
            f"{sensor!r} is not registered in {dataset}, and nothing was heard of it.", "sensor",
            f"/v1/{dataset}/sensors lists them.",
        )  # fmt: skip
    meta = ListMeta(licence=found.licence, attribution=found.attribution)
    rows = [sensor_row(here, dataset, sensor, metrics, here.now_ms())]
    return answer(request, SensorRow, rows, meta, format=shown, max_age_s=MAX_AGE_S)


def sensor_row(here: AppState, dataset: str, sensor: str, metrics: set[str], now_ms: int) -> SensorRow:
    """A sensor as it is at `now_ms`; what is not valid any more keeps its name and loses its place."""
    known = here.registry.registrations(dataset, sensor)
    now = here.registry.at(dataset, sensor, now_ms)
    newest = now or (known[-1] if known else Registration(dataset, sensor))
    place = public_place(now)
    return SensorRow(
        dataset,
        sensor,
        newest.site.name or None,
        bool(known),
        newest.demo,
        place and place[0],
        place and place[1],
        newest.site.height_m,
        newest.site.surroundings or None,
        newest.public_precision_m,
        _device(newest.device),
        [_series(here, dataset, sensor, metric) for metric in sorted(metrics)],
        [_place(*validity) for validity in here.registry.validities(dataset, sensor)],
    )


def _series(here: AppState, dataset: str, sensor: str, metric: str) -> SeriesRow:
    rule = here.registry.rule(dataset, sensor, metric)
    unit = here.unit(dataset, sensor, metric)
    general = set_rules(here.dataset(dataset).metrics.get(metric, Metric()))
    own = {name: of for name, of in set_rules(rule.metric).items() if of != general.get(name)}
    return SeriesRow(metric, unit, ALIASES.get(rule.unit, rule.unit) or unit, rule.period_s, rule.cadence_s, own)


def _place(since: int, until: int, registration: Registration) -> PlaceRow:
    place = public_place(registration)
    return PlaceRow(
        rfc3339(since) if since > 0 else None,
        rfc3339(until) if until < FOREVER_MS else None,
        registration.site.name or None,
        place and place[0],
        place and place[1],
        registration.site.height_m,
        registration.site.surroundings or None,
        _device(registration.device),
    )


def _device(device: Device) -> DeviceRow:
    parts = (device.make, device.model, device.serial, device.firmware, device.owner)
    return DeviceRow(*(part or None for part in parts))
