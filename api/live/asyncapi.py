"""`GET /asyncapi.json`: the live feed and the MQTT topics as an AsyncAPI 3 document.

The messages and their schemas are made from the types that the code itself sends and reads (`messages.DOCUMENTED`,
`schemas.public_mqtt`, `schemas.registry`), so that the document cannot say something else. Operations are the
server's: what it receives a client sends.
"""

from typing import Any, get_args
from urllib.parse import urlsplit

import msgspec
from fastapi import APIRouter, Depends, Request, Response

from api import params, state
from api.live import messages
from api.rows import WindowRow
from schemas.public_mqtt import PublicValue, public_topic
from schemas.quantities import QUANTITIES
from schemas.registry import Registration
from schemas.settings import Settings

router = APIRouter()

PATH = "/asyncapi.json"
_SCHEMAS = "#/components/schemas/"

SSE_EVENTS = ("subscribed", "snapshot", "data", "hb", "status", "going_away")
"""The messages that server-sent events carry; what a client would say is in the query."""

DESCRIPTION = """\
City sensor data as it comes in. Residents and apps listen on the websocket (`cityfeed.v1.json`, no key needed) or on
the public, read-only MQTT topics; sensors publish on MQTT. Close codes of the websocket: 40xx stop, 41xx back off with
jitter, 42xx come back now with the last cursor. Unknown types and fields are to be ignored: v1 only grows.
"""

_READING = {
    "type": "object",
    "title": "Reading",
    "description": "What a sensor measured at `t`; each further key is a metric. SenML (RFC 8428) is taken too.",
    "required": ["t"],
    "properties": {
        "t": {
            "description": "When the measurement began: RFC 3339 with an offset, or whole epoch milliseconds.",
            "oneOf": [{"type": "string", "format": "date-time"}, {"type": "integer"}],
        },
        "period_s": {"type": "number", "minimum": 0, "description": "How long it lasted, in seconds."},
        "rev": {"type": "integer", "minimum": 1, "description": "Higher than before to correct the same reading."},
        "lon": {"type": "number", "minimum": -180, "maximum": 180},
        "lat": {"type": "number", "minimum": -90, "maximum": 90},
        "origin": {"type": "string", "enum": ["live", "import"]},
        "unit": {"type": "string", "description": "UCUM, where there is one metric."},
        "units": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "additionalProperties": {"type": ["number", "null"]},
    "examples": [{"t": "2026-01-01T00:00:00Z", "period_s": 60, "pm25": 7.1, "temperature": 19.5}],
}


@router.get(
    PATH, dependencies=[Depends(params.takes_none)], tags=["live"],
    summary="AsyncAPI 3 document of the live feed and MQTT", response_model=None,
)  # fmt: skip
async def asyncapi(request: Request) -> Response:
    """Every message of the websocket, and of MQTT in and out, with its JSON Schema."""
    here = state.of(request)
    body = document(here.settings, here.base_url(request), request.app.version)
    return Response(msgspec.json.encode(body), media_type="application/json")


def message_schemas(ref_template: str, *more: type) -> dict[str, Any]:
    """JSON Schemas of every message of the websocket, and of more types, by name; `{name}` in references.

    `d` has rows of the topic that was asked for: readings, windows or indices.
    """
    rows = (messages.Row, WindowRow, messages.IndexRow)
    _, found = msgspec.json.schema_components((*messages.DOCUMENTED, *rows, *more), ref_template=ref_template)
    refs, _ = msgspec.json.schema_components(rows, ref_template=ref_template)
    for schema in found.values():
        if schema["properties"].get("d", {}).get("items") == refs[0]:
            schema["properties"]["d"]["items"] = {"anyOf": list(refs)}
    return found


def document(settings: Settings, base_url: str, version: str) -> dict[str, Any]:
    """The document, for a server that is reached at `base_url`."""
    address = urlsplit(base_url)
    schemas = message_schemas(_SCHEMAS + "{name}", PublicValue, Registration)
    described = {_tag(kind): _message(kind) for kind in messages.DOCUMENTED}
    received = [tag for tag in described if tag in _client_tags()]
    sent = [tag for tag in described if tag not in received]
    mqtt = {
        "reading": {"name": "reading", "summary": "What a sensor measured.", "payload": {"oneOf": [
            {"$ref": _SCHEMAS + "SensorReading"}, {"type": "array", "items": {"$ref": _SCHEMAS + "SensorReading"}},
        ]}},
        "registration": {"name": "registration", "summary": "What a sensor is and where it stands; retained.",
                         "payload": {"$ref": _SCHEMAS + "Registration"}},
        "public_value": {"name": "public_value", "summary": "The newest reading of a series; retained.",
                         "payload": {"$ref": _SCHEMAS + "PublicValue"}},
    }  # fmt: skip
    return {
        "asyncapi": "3.0.0",
        "id": "urn:cityfeed:live:v1",
        "info": {
            "title": "cityfeed live", "version": version, "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": _servers(settings, address.scheme, address.netloc, address.hostname or settings.api_host),
        "channels": {"live": _live(address.path, [*received, *sent]), "sse": _sse(address.path)}
        | _mqtt_channels(settings.mqtt_topic_prefix),
        "operations": {
            "hear_clients": _operation("receive", "live", received, "What a client says; `hello` comes first."),
            "tell_clients": _operation("send", "live", sent, "What a client hears."),
            "tell_listeners": _operation("send", "sse", list(SSE_EVENTS), "What a reader of server-sent events hears."),
            "take_readings": _operation("receive", "readings", ["reading"], "Sensors publish with QoS 1."),
            "take_registrations": _operation("receive", "registrations", ["registration"], "Who a sensor is."),
            "publish_newest": _operation("send", "public", ["public_value"], "Read-only for everyone."),
        },
        "components": {"messages": described | mqtt, "schemas": schemas | {"SensorReading": _READING}},
    }  # fmt: skip


def _client_tags() -> set[str]:
    return {_tag(kind) for kind in get_args(messages.ClientMessage)}


def _struct(kind: Any) -> Any:
    return getattr(kind, "__origin__", kind)


def _tag(kind: Any) -> str:
    return str(_struct(kind).__struct_config__.tag)


def _message(kind: Any) -> dict[str, Any]:
    (reference,), _ = msgspec.json.schema_components((kind,), ref_template=_SCHEMAS + "{name}")
    summary = (_struct(kind).__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")
    return {"name": _tag(kind), "summary": summary, "payload": reference}


def _servers(settings: Settings, scheme: str, netloc: str, hostname: str) -> dict[str, Any]:
    """The public MQTT listeners are where the API is, as far as the world sees it; sensors' broker is a setting."""
    found = {
        "websocket": {"host": netloc, "protocol": "wss" if scheme == "https" else "ws",
                      "description": "The live feed."},
        "http": {"host": netloc, "protocol": scheme, "description": "The same as server-sent events."},
        "sensors": {"host": f"{settings.mqtt_host}:{settings.mqtt_port}", "protocol": "mqtt",
                    "description": "Where sensors publish."},
    }  # fmt: skip
    if settings.mqtt_public_port:
        public = f"{hostname}:{settings.mqtt_public_port}"
        found["public_mqtt"] = {"host": public, "protocol": "mqtt", "description": "Read-only."}
    if settings.mqtt_public_websocket_port:
        public = f"{hostname}:{settings.mqtt_public_websocket_port}"
        found["public_mqtt_websocket"] = {"host": public, "protocol": "ws", "description": "The same by websocket."}
    return found


def _refs(section: str, names: list[str]) -> list[dict[str, str]]:
    return [{"$ref": f"#/{section}/{name}"} for name in names]


def _live(path: str, tags: list[str]) -> dict[str, Any]:
    return {
        "address": f"{path}/v1/live",
        "title": "The live feed",
        "description": f"Subprotocol `{messages.SUBPROTOCOL}`; text frames of one JSON object, told apart by `type`.",
        "servers": _refs("servers", ["websocket"]),
        "messages": {tag: {"$ref": f"#/components/messages/{tag}"} for tag in tags},
        "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
    }


def _sse(path: str) -> dict[str, Any]:
    return {
        "address": f"{path}/v1/sse",
        "title": "The live feed as server-sent events",
        "description": "`event` is the message's type, `data` the message, `id` the cursor to come back with"
        " (Last-Event-ID). Event `reset` is a `subscribed` whose `recovered` is false: what was missed can't be given.",
        "servers": _refs("servers", ["http"]),
        "messages": {tag: {"$ref": f"#/components/messages/{tag}"} for tag in SSE_EVENTS},
        "bindings": {"http": {"bindingVersion": "0.3.0"}},
    }


def _mqtt_channels(prefix: str) -> dict[str, Any]:
    parameters = {
        "dataset": {"description": "The dataset's id, such as air-quality."},
        "sensor": {"description": "The sensor's id, unique in its dataset."},
    }
    metric = {"metric": {"description": "What is measured.", "examples": sorted(QUANTITIES)[:5]}}
    series = public_topic(prefix, "{dataset}", "{sensor}", "{metric}")
    chosen = {
        "readings": (f"{prefix}/v1/{{dataset}}/{{sensor}}", "reading", ["sensors"], parameters),
        "registrations": (f"{prefix}/v1/{{dataset}}/{{sensor}}/meta", "registration", ["sensors"], parameters),
        "public": (series, "public_value", [], parameters | metric),
    }
    return {
        name: {
            "address": address, "parameters": words, "messages": {tag: {"$ref": f"#/components/messages/{tag}"}},
            **({"servers": _refs("servers", servers)} if servers else {}),
        }
        for name, (address, tag, servers, words) in chosen.items()
    }  # fmt: skip


def _operation(action: str, channel: str, tags: list[str], summary: str) -> dict[str, Any]:
    return {
        "action": action,
        "summary": summary,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": _refs(f"channels/{channel}/messages", tags),
    }
