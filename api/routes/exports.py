"""`GET /v1/{dataset}/export` and `GET /v1/exports/{id}`: whole answers as files, their proof, and how they go on."""

from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from api import history, openapi, paging, params, state
from api.catalog import package
from api.catalog.entry import Entry
from api.exports import exports
from api.exports.answer import ExportAnswer
from api.exports.rows import Source
from api.formats import FORMATS
from api.head import HEAD
from api.openapi import route
from api.paging import Positions
from api.problems import bad_parameter
from api.queries.exports import Export
from api.rows import ExportStatus
from api.state import AppState
from api.times import rfc3339

router = APIRouter(tags=["exports"])

_NOT_STORED = {"cache-control": "no-store"}


def _status_answers() -> dict[int | str, dict[str, Any]]:
    content: dict[str, Any] = {
        "application/json": {"schema": {"anyOf": [{"$ref": "#/components/schemas/ExportStatus"}, {"type": "object"}]}}
    }
    for name, format in FORMATS.items():
        if name != "json":
            content[format.media_type.partition(";")[0]] = {"schema": {"type": "string", "format": "binary"}}
    return {
        200: {"description": "Its state; with `after_row` or `after_byte`, the bytes after it.", "content": content},
        "default": {"description": "A problem (RFC 9457)."},
    }


@router.get(
    "/v1/exports/{id}",
    operation_id="export-status",
    response_class=Response,
    responses=_status_answers(),
    openapi_extra={"parameters": [openapi.parameter("after_row"), openapi.parameter("after_byte")]},
)
async def export_status(request: Request, id: str) -> Response:
    """What an export is of, how far it has come and, once it is complete, how many rows and which SHA-256 it has; with
    `after_row` or `after_byte`, the bytes that follow that row or byte of the same file.
    """
    here = state.of(request)
    asked = params.read(("after_row", "after_byte"), request.query_params.multi_items())
    found = await exports.find(here, id, here.now_ms())
    if asked.after_row is None and asked.after_byte is None:
        return Response(
            msgspec.json.encode(_status(here, found, here.base_url(request))), 200, _NOT_STORED, "application/json"
        )
    after = exports.After(asked.after_row or 0, asked.after_byte or 0)
    if after.row and after.byte:
        raise history.contradiction(
            "after_byte", "`after_row` and `after_byte` both say where to go on.", "Give one of them."
        )
    if after.row and not FORMATS[found.format].resumes:
        raise bad_parameter(
            "after_row", f"a {found.format} file can't be cut between rows",
            "after_byte=N goes on after N bytes; after_row=0 gives the same file from its start.",
        )  # fmt: skip
    if found.state == "complete" and after.row > found.rows:
        raise exports.beyond("after_row", found.rows, "rows")
    if found.state == "complete" and after.byte > found.bytes:
        raise exports.beyond("after_byte", found.bytes, "bytes")
    return _answer(request, await exports.again(here, found), after)


@router.get(
    "/v1/exports/{id}/datapackage.json",
    operation_id="export-package",
    response_class=Response,
    responses={
        200: {"description": "A Frictionless data package.", "content": {"application/json": {}}},
        "default": {"description": "A problem (RFC 9457)."},
    },
)
async def export_package(request: Request, id: str) -> Response:
    """An export as a Frictionless data package: licence, columns with units and privacy rules and, once the export is
    complete, the size and SHA-256 of its file.
    """
    here = state.of(request)
    params.read((), request.query_params.multi_items())
    found = await exports.find(here, id, here.now_ms())
    dataset, base_url = here.dataset(found.dataset), here.base_url(request)
    facts = await here.measured.facts(here.pool, here.latest, here.registry, [dataset.id], here.now_ms())
    entry = Entry(dataset, facts[dataset.id], here.city, base_url)
    proven = (found.bytes, found.sha256) if found.state == "complete" else (None, None)
    kind = exports.kind_of(here, found)
    made = package.of_export(entry, found.noun, kind, found.format, f"{base_url}/v1/exports/{id}", *proven)
    return Response(msgspec.json.encode(made), 200, _NOT_STORED, "application/json")


@router.get("/v1/{dataset}/export", **route("export"))
async def export(request: Request, dataset: str) -> Response:
    """All rows of a query as a file, without a limit. Its `Link` header names the address that proves that it is
    complete and from which it goes on where it broke off.
    """
    here = state.of(request)
    items = request.query_params.multi_items()
    found = here.dataset(dataset)
    accept = request.headers.get("accept", "")
    if request.scope.get(HEAD):
        return Response(None, 200, _NOT_STORED, exports.media_type(found, items, accept, here.now_ms()))
    return _answer(request, await exports.begin(here, found, items, accept, here.now_ms()), exports.After())


def _answer(request: Request, source: Source, after: exports.After) -> Response:
    export = source.export
    format = FORMATS[export.format]
    day = rfc3339(export.taken_ms - paging.STORED_WITHIN_MS)[:19].replace(":", "").replace("-", "")
    headers = _NOT_STORED | {
        "content-disposition": f'attachment; filename="{export.dataset}-{export.noun}-{day}Z.{format.suffix}"',
        "link": f'<{source.here.base_url(request)}/v1/exports/{export.id}>; rel="describedby"',
        "x-accel-buffering": "no",
    }
    if request.scope.get(HEAD):
        return Response(None, 200, headers, format.media_type)
    return ExportAnswer(source, after, format.media_type, headers)


def _status(here: AppState, export: Export, base_url: str) -> ExportStatus:
    url = f"{base_url}/v1/exports/{export.id}"
    dataset = here.dataset(export.dataset)
    return ExportStatus(
        export.id,
        export.dataset,
        export.noun,
        export.format,
        [f"{name}={value}" for name, value in export.query],
        rfc3339(export.from_ms),
        rfc3339(export.to_ms),
        export.state,
        rfc3339(export.taken_ms),
        rfc3339(export.updated_ms),
        export.rows,
        export.bytes if export.state == "complete" else None,
        export.sha256 if export.state == "complete" else None,
        {kind: {str(part): at for part, at in parts.items()} for kind, parts in export.positions.items()},
        paging.end_cursor(
            here.cursors, Positions(export.positions["readings"], export.positions["windows"]), export.taken_ms
        ),
        dataset.licence,
        dataset.attribution,
        {
            "self": url,
            "data": f"{url}?after_row=0",
            "dataset": f"{base_url}/v1/{export.dataset}",
            "package": f"{url}/datapackage.json",
        },
    )
