"""What each address takes and gives: `OPERATIONS` is the table that routes and the OpenAPI document share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from fastapi import FastAPI, Response
from fastapi.openapi.utils import get_openapi

from api import columns, examples
from api.formats import FORMATS
from api.params import PARAMETERS
from api.problems import MEDIA_TYPE, PROBLEMS, Problem
from api.rows import (
    AggregateRow,
    ArchiveIndex,
    DatasetRow,
    ExportStatus,
    GapRow,
    IndexMeta,
    IndexRow,
    LatestIndexRow,
    LatestValueRow,
    ListMeta,
    MeasureRow,
    MeasuresMeta,
    QualityRow,
    RangeMeta,
    ReadingRow,
    SensorRow,
    WindowRow,
)
from schemas.settings import Settings

DESCRIPTION = """\
City sensor data as open data: what is measured now, and all that was. No key is needed; CORS is open for GET.

* **Times** are RFC 3339, in answers UTC with `Z` and milliseconds, in queries with any offset (`+` is `%2B` there).
  `from` is inclusive, `to` exclusive.
* **Filters**: a repeated parameter is OR, different ones are AND. An unknown parameter is an error.
* **Formats** by `format=` or `Accept`; the names are the same in all of them. JSON is `{data, next, meta}`.
* **Pages**: follow `next` (in the body, and in the `Link` header for every format) until there is none. A page may
  hold fewer rows than `limit`, even none, and still have a `next`. All pages of one query show history as it stood
  at the first one: what comes in meanwhile is neither repeated nor in the way.
* **Order** of history: UTC day of `start`, then series, then `start`. The order of series never changes.
* **Flags** are QARTOD's: 1 good, 2 not evaluated, 3 suspect, 4 fail, 9 missing. `tests` says which tests fired.
* **Errors** are RFC 9457 problems with a stable `type`, the parameter at fault, and what would be right.

The live feed is a websocket at `/v1/live`, subprotocol `cityfeed.v1.json`.
"""


@dataclass(frozen=True)
class Operation:
    """An address: its query parameters, its formats (the first is the default), its row and an example of it."""

    parameters: tuple[str, ...]
    formats: tuple[str, ...]
    row: type[msgspec.Struct]
    meta: type[msgspec.Struct]
    example: msgspec.Struct
    example_meta: msgspec.Struct
    problems: tuple[str, ...]
    other_rows: tuple[type[msgspec.Struct], ...] = ()


_TABLE = ("json", "ndjson", "csv", "parquet", "arrow")
_ALL = (*_TABLE, "geojson")
_REFUSED = ("unknown-parameter", "not-acceptable")
_HISTORY_REFUSED = (*_REFUSED, "unknown-dataset", "database-unavailable")
_HISTORY = ("from", "to", "sensor", "metric", "bbox")
_STATE = ("gaps", "as_of", "fields")
_PAGE = ("limit", "cursor", "format")

OPERATIONS: dict[str, Operation] = {
    "datasets": Operation(
        ("q", "category", "department", "type", "format"), _TABLE, DatasetRow, ListMeta, examples.DATASET,
        examples.LIST_META, _REFUSED,
    ),
    "dataset": Operation(
        ("format",), _TABLE, DatasetRow, ListMeta, examples.DATASET, examples.LIST_META, (*_REFUSED, "unknown-dataset")
    ),
    "sensors": Operation(
        ("sensor", "metric", "bbox", *_PAGE), _ALL, SensorRow, ListMeta, examples.SENSOR,
        examples.LIST_META, (*_REFUSED, "unknown-dataset"),
    ),
    "sensor": Operation(
        ("format",), _ALL, SensorRow, ListMeta, examples.SENSOR, examples.LIST_META,
        (*_REFUSED, "unknown-sensor"),
    ),
    "latest": Operation(
        ("sensor", "metric", "bbox", *_PAGE), _ALL, LatestValueRow, ListMeta, examples.LATEST,
        examples.LATEST_META, (*_REFUSED, "unknown-dataset"),
    ),
    "readings": Operation(
        (*_HISTORY, "flag", "origin", *_STATE, *_PAGE), _ALL, ReadingRow, RangeMeta, examples.READING,
        examples.HISTORY_META, _HISTORY_REFUSED,
    ),
    "windows": Operation(
        ("width", *_HISTORY, "agg", "group", "tz", *_STATE, *_PAGE), _ALL, WindowRow, RangeMeta,
        examples.WINDOW, examples.HISTORY_META, _HISTORY_REFUSED, (AggregateRow,),
    ),
    "index": Operation(
        ("index", "table", "latest", "lang", *_HISTORY, "as_of", "fields", *_PAGE), _ALL, IndexRow, IndexMeta,
        examples.INDEX, examples.INDEX_META, _HISTORY_REFUSED, (LatestIndexRow,),
    ),
    "gaps": Operation(
        ("from", "to", "sensor", *_PAGE), _TABLE, GapRow, RangeMeta, examples.GAP, examples.GAPS_META, _HISTORY_REFUSED,
    ),
    "measures": Operation(
        ("section", "sensor", "width", "latest", "from", "to", "fields", *_PAGE), _TABLE, MeasureRow, MeasuresMeta,
        examples.MEASURE, examples.MEASURES_META, _HISTORY_REFUSED,
    ),
    "quality": Operation(
        ("from", "to", "sensor", "metric", *_PAGE), _TABLE, QualityRow, RangeMeta, examples.QUALITY,
        examples.QUALITY_META, _HISTORY_REFUSED,
    ),
    "export": Operation(
        ("of", "width", *_HISTORY, "flag", "origin", "agg", "group", "tz", "index", "table", "lang", *_STATE, "format"),
        _ALL, ReadingRow,
        RangeMeta, examples.READING, examples.HISTORY_META, (*_HISTORY_REFUSED, "too-many-exports"),
        (WindowRow, AggregateRow, IndexRow),
    ),
}  # fmt: skip

_REF = "#/components/schemas/{name}"


def route(noun: str) -> dict[str, Any]:
    """The keyword arguments of the route's decorator."""
    operation = OPERATIONS[noun]
    return {
        "name": noun,
        "operation_id": noun,
        "response_class": Response,
        "response_model": None,
        "responses": {"default": {"description": "A problem (RFC 9457)."}},  # without one, FastAPI adds its 422
        "openapi_extra": {"parameters": [_parameter(name, operation) for name in operation.parameters]},
    }


def document(app: FastAPI, settings: Settings) -> dict[str, Any]:
    """The OpenAPI document of the application."""
    made = get_openapi(
        title="cityfeed",
        version=app.version,
        openapi_version="3.1.0",
        summary="Real-time city data as open data",
        description=DESCRIPTION,
        routes=app.routes,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        servers=[{"url": settings.api_public_url or "/"}],
        tags=[
            {"name": "datasets", "description": "What there is."},
            {"name": "sensors", "description": "What measures, and where."},
            {"name": "now", "description": "The newest value of every series."},
            {"name": "history", "description": "Every reading, and windows of them."},
            {"name": "catalog", "description": "What there is, for those who harvest catalogs."},
            {"name": "indices", "description": "Air quality indices, with advice."},
            {"name": "traffic", "description": "Measures of road sections."},
            {"name": "archive", "description": "Closed days as files."},
            {"name": "exports", "description": "Whole answers as files, proven complete."},
            {"name": "live", "description": "The websocket feed."},
            {"name": "operations", "description": "For those who run it."},
        ],
    )
    kinds = (
        {row for operation in OPERATIONS.values() for row in (operation.row, *operation.other_rows)}
        | {o.meta for o in OPERATIONS.values()}
        | {Problem, ExportStatus, ArchiveIndex}
    )
    _, components = msgspec.json.schema_components(sorted(kinds, key=lambda k: k.__name__), ref_template=_REF)
    made.setdefault("components", {}).setdefault("schemas", {}).update(components)
    for get in (path["get"] for path in made["paths"].values()):
        if get["operationId"] in OPERATIONS:
            # Put in here, for FastAPI drops what is null in an example.
            get["responses"] = _responses(OPERATIONS[get["operationId"]])
        for parameter in get.get("parameters", ()):
            if parameter["name"] == "limit":
                parameter["schema"] |= {"maximum": settings.page_limit_max, "default": settings.page_limit_default}
    return made


def _responses(operation: Operation) -> dict[str, Any]:
    return (
        {"200": _answer(operation), "304": {"description": "Unchanged (If-None-Match)."}}
        | {str(PROBLEMS[kind][0]): _problem(kind) for kind in operation.problems}
        | {"default": {"description": "A problem (RFC 9457).", "content": _problem_content()}}
    )


def _parameter(name: str, operation: Operation) -> dict[str, Any]:
    made = parameter(name)
    if name == "format":
        made["schema"] |= {"enum": list(operation.formats), "default": operation.formats[0]}
    return made


def parameter(name: str) -> dict[str, Any]:
    """A query parameter as the document describes it."""
    parameter = PARAMETERS[name]
    made: dict[str, Any] = {
        "name": name,
        "in": "query",
        "required": False,
        "description": parameter.description,
        "schema": dict(parameter.schema),
    }
    if parameter.repeats:
        made |= {"style": "form", "explode": True}
    if parameter.example is not None:
        made["example"] = parameter.example
    return made


def _answer(operation: Operation) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for name in operation.formats:
        body: dict[str, Any] = {"schema": _SCHEMAS[name](operation)}
        if name not in _BINARY:
            body["example"] = _example(name, operation)
        content[FORMATS[name].media_type.partition(";")[0]] = body
    headers = {
        "Link": {"description": 'The next page: `<address>; rel="next"`.', "schema": {"type": "string"}},
        "ETag": {"description": "For If-None-Match.", "schema": {"type": "string"}},
        "Cache-Control": {"description": "How long it may be kept.", "schema": {"type": "string"}},
    }
    return {"description": (operation.row.__doc__ or "").strip(), "headers": headers, "content": content}


def _example(name: str, operation: Operation) -> Any:
    kind, row = operation.row, operation.example
    if name == "geojson" and "lon" not in kind.__struct_encode_fields__:
        kind = columns.kind_of(kind, (*kind.__struct_encode_fields__, *columns.PLACE))
        row = kind(**msgspec.structs.asdict(row), lon=-118.2437, lat=34.0522)
    written = FORMATS[name].write(kind, [row], None, operation.example_meta)
    return msgspec.json.decode(written) if name in ("json", "geojson") else written.decode()


def _ref(kind: type[msgspec.Struct]) -> dict[str, str]:
    return {"$ref": _REF.format(name=kind.__name__)}


def _envelope(operation: Operation) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["data", "next", "meta"],
        "properties": {
            "data": {"type": "array", "items": _item(operation)},
            "next": {"type": ["string", "null"], "description": "Address of the next page; null: this was the last."},
            "meta": _ref(operation.meta),
        },
    }


def _item(operation: Operation) -> dict[str, Any]:
    if "fields" not in operation.parameters:
        return _ref(operation.row)
    some = {"type": "object", "minProperties": 1, "description": "With `fields` or `agg`: the fields asked for."}
    return {"anyOf": [*map(_ref, (operation.row, *operation.other_rows)), some]}


def _features(operation: Operation) -> dict[str, Any]:
    point = {
        "type": "object",
        "required": ["type", "coordinates"],
        "properties": {
            "type": {"const": "Point"},
            "coordinates": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
        },
    }
    feature = {
        "type": "object",
        "required": ["type", "geometry", "properties"],
        "properties": {
            "type": {"const": "Feature"},
            "geometry": {"anyOf": [point, {"type": "null"}]},
            "properties": {"type": "object"},
        },
    }
    return {
        "type": "object",
        "required": ["type", "features"],
        "properties": {
            "type": {"const": "FeatureCollection"},
            "features": {"type": "array", "items": feature},
            "next": {"type": ["string", "null"]},
            "meta": _ref(operation.meta),
        },
    }


def _text(operation: Operation) -> dict[str, Any]:
    return {"type": "string"}


def _bytes(operation: Operation) -> dict[str, Any]:
    return {"type": "string", "format": "binary"}


_BINARY = ("parquet", "arrow")
_SCHEMAS: dict[str, Any] = {
    "json": _envelope, "ndjson": _text, "csv": _text, "geojson": _features, "parquet": _bytes, "arrow": _bytes,
}  # fmt: skip


def _problem(kind: str) -> dict[str, Any]:
    return {"description": PROBLEMS[kind][1], "content": _problem_content(kind)}


def _problem_content(kind: str = "unknown-parameter") -> dict[str, Any]:
    return {MEDIA_TYPE: {"schema": _ref(Problem), "example": msgspec.to_builtins(EXAMPLE_PROBLEMS[kind])}}


def cached(app: FastAPI, settings: Settings) -> Callable[[], dict[str, Any]]:
    """For `app.openapi`: the document, made when it is first asked for."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = document(app, settings)
        return app.openapi_schema

    return openapi


EXAMPLE_PROBLEMS: dict[str, Problem] = {
    "unknown-parameter": Problem(
        "/problems/unknown-parameter", "Unknown parameter", 400,
        "There is no parameter 'form' here. Did you mean 'from'?", "form", "Use 'from'; all of them: from, to, sensor.",
    ),
    "unknown-dataset": Problem(
        "/problems/unknown-dataset", "No such dataset", 404, "There is no dataset 'trafic'. Did you mean 'traffic'?",
        "dataset", "Datasets: air-quality, traffic",
    ),
    "unknown-sensor": Problem(
        "/problems/unknown-sensor", "No such sensor", 404,
        "'7' is not registered in traffic, and nothing was heard of it.", "sensor", "/v1/traffic/sensors lists them.",
    ),
    "contradictory-parameters": Problem(
        "/problems/contradictory-parameters", "Parameters contradict each other", 400,
        "`agg` and `fields` both choose fields.", "agg", "Give one of them.",
    ),
    "not-acceptable": Problem(
        "/problems/not-acceptable", "Not acceptable", 406,
        "Accept: image/png leaves nothing that can be written here.", None, "Accept one of application/json, text/csv",
    ),
    "too-many-exports": Problem(
        "/problems/too-many-exports", "Too many exports at once", 503,
        "4 exports are being written, as many as can be at a time.", None, "Ask again in 5 s.",
    ),
    "database-unavailable": Problem(
        "/problems/database-unavailable", "The database is not available", 503,
        "History can't be read at the moment; /v1/{dataset}/latest and the live feed go on.", None, "Ask again in 5 s.",
    ),
}  # fmt: skip
