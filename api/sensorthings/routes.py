"""`GET /sensorthings/v1.1` and all below it."""

import msgspec
from fastapi import APIRouter, Depends, Request, Response

from api import params, state
from api.answers import has
from api.queries.sensorthings.entities import ENTITIES
from api.sensorthings.paths import no_such
from api.sensorthings.reader import Reader, etag_of
from schemas.quantities import QUANTITIES
from schemas.settings import Settings

router = APIRouter(include_in_schema=False)  # the service describes itself, in the standard's way

ROOT = "/sensorthings/v1.1"
MAX_AGE_S = 5

MQTT = "http://www.opengis.net/spec/iot_sensing/1.1/req/receive-updates-via-mqtt/receive-updates"
CONFORMANCE = [
    f"http://www.opengis.net/spec/iot_sensing/1.1/req/{name}"
    for name in (
        "datamodel", "resource-path/resource-path-to-entities", "request-data", "data-array/data-array",
    )
]  # fmt: skip


@router.get(ROOT)
@router.get(ROOT + "/")
async def root(request: Request) -> Response:
    """The service: its collections, and what of the standard it conforms to."""
    base = state.of(request).base_url(request) + ROOT
    value = [{"name": name, "url": f"{base}/{name}"} for name in ENTITIES]
    offered: dict[str, object] = {"conformance": CONFORMANCE}
    if endpoints := _mqtt_endpoints(state.of(request).settings, request.url.hostname or "localhost"):
        offered[MQTT] = {"endpoints": endpoints}
    return _answer(request, msgspec.json.encode({"value": value, "serverSettings": offered}))


def _mqtt_endpoints(settings: Settings, host: str) -> list[str]:
    """Where v1.1/Datastreams(id)/Observations can be subscribed to."""
    if not settings.mqtt_outlet_port:
        return []
    ports = (("mqtt", settings.mqtt_public_port), ("ws", settings.mqtt_public_websocket_port))
    return [f"{scheme}://{host}:{port}" for scheme, port in ports if port]


@router.get("/definitions/{metric}", dependencies=[Depends(params.takes_none)])
async def definition(request: Request, metric: str) -> Response:
    """What a metric is: the definition of an ObservedProperty that no public vocabulary has."""
    quantity = QUANTITIES.get(metric)
    if quantity is None:
        raise no_such(f"There is no quantity {metric!r}.", f"There are {', '.join(QUANTITIES)}.")
    return _answer(request, msgspec.json.encode(quantity))


@router.get(ROOT + "/{path:path}")
async def resource(request: Request, path: str) -> Response:
    """An entity, a collection, or a property."""
    here = state.of(request)
    reader: Reader = request.app.state.sensorthings
    site = here.base_url(request)
    body = await reader.answer(path, request.query_params.multi_items(), site, site + ROOT, here.now_ms())
    if body.content is None:
        return Response(status_code=204)
    return _answer(request, body.content, body.media_type, body.etag)


def _answer(request: Request, content: bytes, media_type: str = "application/json", etag: str = "") -> Response:
    headers = {
        "etag": etag or etag_of(content),
        "cache-control": f"public, max-age={MAX_AGE_S}",
    }
    if has(request.headers.get("if-none-match", ""), headers["etag"]):
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=media_type)
