"""`GET /v1/archive/{dataset}` and the files below it: closed days as Parquet and csv.gz, with ranges and digests."""

import asyncio
import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response
from starlette.responses import StreamingResponse

from api import params, state
from api.answers import has, is_since
from api.archive.past import unavailable
from api.archive.store import MEDIA_TYPES, SUFFIXES, Day, Index
from api.head import HEAD
from api.problems import render
from api.rows import ArchiveDay, ArchiveFile, ArchiveIndex
from api.state import AppState
from api.times import rfc3339
from api.trailers import repr_digest
from schemas.errors import RequestError

router = APIRouter(tags=["archive"])

PIECE_BYTES = 1 << 20  # of a bucket, each is a request
_NAME = re.compile(r"(\d\d)(?:\.r([1-9]\d{0,5}))?\.(parquet|csv\.gz)", re.ASCII)
_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII | re.IGNORECASE)
_DIGITS = 18  # more are beyond the end of any file
_FOREVER, _A_WHILE = "public, max-age=31536000, immutable", "public, max-age=300"
_INDEX_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The days there are, newest revisions.",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ArchiveIndex"}}},
    },
    "default": {"description": "A problem (RFC 9457)."},
}
_FILE = {media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in MEDIA_TYPES.values()}
_FILE_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file.", "content": _FILE},
    206: {"description": "The range that was asked for.", "content": _FILE},
    304: {"description": "Unchanged (If-None-Match)."},
    "default": {"description": "A problem (RFC 9457)."},
}


@router.get("/v1/archive/{dataset}", operation_id="archive", response_class=Response, responses=_INDEX_ANSWERS)
async def archive(request: Request, dataset: str) -> Response:
    """The files of a dataset's closed UTC days, with rows, bytes and SHA-256. A day that late data changed has a new
    revision; the older ones stay.
    """
    here = state.of(request)
    here.dataset(dataset)
    params.read((), request.query_params.multi_items())
    index = await _index(here, dataset)
    url = f"{here.base_url(request)}/v1/archive/{dataset}"
    newest = index.newest()
    days = [_day(day, url, newest[day.day].revision == day.revision) for day in index.days]
    body = msgspec.json.encode(ArchiveIndex(dataset, days))
    headers = {"cache-control": _A_WHILE, "etag": f'W/"{hashlib.blake2b(body, digest_size=9).hexdigest()}"'}
    if has(request.headers.get("if-none-match", ""), headers["etag"]):
        return Response(status_code=304, headers=headers)
    return Response(body, 200, headers, "application/json")


def _day(day: Day, url: str, newest: bool) -> ArchiveDay:
    files = {
        kind: ArchiveFile(f"{url}/{file.path}", MEDIA_TYPES[kind], file.bytes, file.sha256)
        for kind, file in day.files.items()
    }
    return ArchiveDay(day.day, day.revision, newest, day.rows, rfc3339(day.made), files)


@router.get(
    "/v1/archive/{dataset}/{year}/{month}/{name}", operation_id="archive-file", response_class=Response,
    responses=_FILE_ANSWERS,
)  # fmt: skip
async def archive_file(request: Request, dataset: str, year: str, month: str, name: str) -> Response:
    """A day's file: `20.parquet` is its newest revision, `20.r1.parquet` the first; also `.csv.gz`."""
    here = state.of(request)
    here.dataset(dataset)
    params.read((), request.query_params.multi_items())
    day, kind, plain = _find(await _index(here, dataset), year, month, name)
    file = day.files[kind]
    made = datetime.fromtimestamp(day.made // 1000, UTC)
    url = f"{here.base_url(request)}/v1/archive/{dataset}"
    headers = {
        "etag": f'"{file.sha256[:32]}"',
        "last-modified": format_datetime(made, usegmt=True),
        "accept-ranges": "bytes",
        "repr-digest": repr_digest(bytes.fromhex(file.sha256)),
        "cache-control": _A_WHILE if plain else _FOREVER,
        "content-location": f"{url}/{file.path}",
        "link": f'<{url}>; rel="collection"',
    }
    if _unchanged(request, headers["etag"], made):
        return Response(status_code=304, headers=headers)
    try:
        first, last, status = _range(request, (headers["etag"], headers["last-modified"]), file.bytes)
    except RequestError as e:
        return render(e, {"content-range": f"bytes */{file.bytes}"})
    if status == 206:
        headers["content-range"] = f"bytes {first}-{last}/{file.bytes}"
    headers["content-length"] = str(last - first + 1)
    if request.scope.get(HEAD):
        return Response(None, status, headers, MEDIA_TYPES[kind])
    try:
        opened = await asyncio.to_thread(here.archive.open, f"{dataset}/{file.path}")
    except OSError as e:
        raise unavailable(e) from e
    pieces = _pieces(opened, first, last)
    return StreamingResponse(pieces, status, headers, MEDIA_TYPES[kind])


async def _index(here: AppState, dataset: str) -> Index:
    try:
        return await asyncio.to_thread(here.archive.index, dataset)
    except (OSError, msgspec.DecodeError) as e:
        raise unavailable(e) from e


def _find(index: Index, year: str, month: str, name: str) -> tuple[Day, str, bool]:
    found = _NAME.fullmatch(name)
    if found is not None and re.fullmatch(r"\d{4}/\d\d", f"{year}/{month}", re.ASCII):
        number, revision, suffix = found.groups()
        kind = next(kind for kind, known in SUFFIXES.items() if known == suffix)
        for day in reversed(index.days):
            if day.day == f"{year}-{month}-{number}" and revision in (None, str(day.revision)):
                return day, kind, revision is None
    raise RequestError(
        404, "not-found", "Not found", f"The archive has no {year}/{month}/{name}.", "name",
        f"/v1/archive/{index.dataset} lists the files: such as 2026/11/20.parquet, 20.r1.parquet, 20.csv.gz.",
    )  # fmt: skip


def _unchanged(request: Request, etag: str, made: datetime) -> bool:
    asked = request.headers.get("if-none-match")
    if asked is not None:
        return has(asked.replace("W/", ""), etag)
    since = request.headers.get("if-modified-since")
    return since is not None and is_since(since, format_datetime(made, usegmt=True))


def _range(request: Request, known: tuple[str, str], size: int) -> tuple[int, int, int]:
    """(first byte, last byte, status). Several ranges, other units, an If-Range that is not `known`: the whole file."""
    asked = _RANGE.fullmatch(request.headers.get("range", "").strip())
    if asked is None or asked.groups() == ("", "") or request.headers.get("if-range", known[0]) not in known:
        return 0, size - 1, 200
    first, last = (number if len(number) <= _DIGITS else "9" * _DIGITS for number in asked.groups())
    if first == "":
        begin, end = max(0, size - int(last)), size - 1
    else:
        begin, end = int(first), min(int(last), size - 1) if last else size - 1
    if begin >= size or end < begin:
        raise RequestError(
            416, "bad-byte-range", "The range is not in the file", f"The file has {size} bytes.", "Range",
            f"Range: bytes=0-{size - 1}",
        )  # fmt: skip
    return begin, end, 206


def _pieces(file: Any, first: int, last: int) -> Iterator[bytes]:
    with file:
        file.seek(first)
        left = last - first + 1
        while left and (piece := file.read(min(left, PIECE_BYTES))):
            left -= len(piece)
            yield piece
