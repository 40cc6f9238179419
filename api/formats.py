"""How rows are written: `FORMATS` is the registry. To add a format, add a writer and a line."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from api import arrow
from api.params import nearest
from api.problems import bad_parameter
from api.rows import IndexMeta, RangeMeta
from api.streams import (
    ArrowStream,
    CsvStream,
    GeojsonStream,
    JsonStream,
    NdjsonStream,
    ParquetStream,
    Sheet,
    Stream,
    csv_rows,
    features,
    lines,
)
from schemas.errors import RequestError

Struct = msgspec.Struct
_encoder = msgspec.json.Encoder()


@dataclass(frozen=True)
class Format:
    """`write(kind of row, rows, address of the next page, meta)` gives the body of a page. Only formats that carry
    `next` and `meta` show them; the `Link` header has the next page in any format. `stream` writes an export, `suffix`
    ends its file's name, `resumes`: the bytes after row N can be written without those before.
    """

    media_type: str
    suffix: str
    write: Callable[[type[Struct], Sequence[Struct], str | None, Struct], bytes]
    stream: Callable[[Sheet], Stream]
    resumes: bool = True


def write_json(kind: type[Struct], rows: Sequence[Struct], next_url: str | None, meta: Struct) -> bytes:
    """`{data, next, meta}`; NaN is null."""
    return b'{"data":%b,"next":%b,"meta":%b}' % tuple(map(_encoder.encode, (rows, next_url, meta)))


def write_ndjson(kind: type[Struct], rows: Sequence[Struct], next_url: str | None, meta: Struct) -> bytes:
    """A JSON object a line."""
    return _encoder.encode_lines(rows)


def write_csv(kind: type[Struct], rows: Sequence[Struct], next_url: str | None, meta: Struct) -> bytes:
    """RFC 4180 with LF, UTF-8, a header; null is empty, lists and objects are JSON in a field."""
    return lines([kind.__struct_encode_fields__]) + csv_rows(rows)


def write_geojson(kind: type[Struct], rows: Sequence[Struct], next_url: str | None, meta: Struct) -> bytes:
    """A FeatureCollection (RFC 7946) with `next` and `meta` beside the features. Of sensors and newest values those
    that have a place; of history every row, those without a place with the geometry null.
    """
    made = list(features(rows, isinstance(meta, RangeMeta | IndexMeta)))
    return _encoder.encode({"type": "FeatureCollection", "features": made, "next": next_url, "meta": meta})


def write_parquet(kind: type[Struct], rows: Sequence[Struct], next_url: str | None, meta: Struct) -> bytes:
    """A Parquet file, zstd; `next` and `meta` are in its metadata as JSON."""
    import pyarrow.parquet as pq

    notes = {"cityfeed.next": _encoder.encode(next_url), "cityfeed.meta": _encoder.encode(meta)}
    file = io.BytesIO()
    pq.write_table(arrow.table(kind, rows).replace_schema_metadata(notes), file, compression="zstd")
    return file.getvalue()


def write_arrow(kind: type[Struct], rows: Sequence[Struct], next_url: str | None, meta: Struct) -> bytes:
    """An Arrow IPC stream; `next` and `meta` are in its schema's metadata as JSON."""
    import pyarrow as pa

    notes = {"cityfeed.next": _encoder.encode(next_url), "cityfeed.meta": _encoder.encode(meta)}
    made = arrow.table(kind, rows).replace_schema_metadata(notes)
    file = io.BytesIO()
    with pa.ipc.new_stream(file, made.schema) as stream:
        stream.write_table(made)
    return file.getvalue()


FORMATS: dict[str, Format] = {
    "json": Format("application/json", "json", write_json, JsonStream),
    "ndjson": Format("application/x-ndjson", "ndjson", write_ndjson, NdjsonStream),
    "csv": Format("text/csv; charset=utf-8", "csv", write_csv, CsvStream),
    "geojson": Format("application/geo+json", "geojson", write_geojson, GeojsonStream),
    "parquet": Format("application/vnd.apache.parquet", "parquet", write_parquet, ParquetStream, False),
    "arrow": Format("application/vnd.apache.arrow.stream", "arrows", write_arrow, ArrowStream, False),
}


def choose(asked: str | None, accept: str, allowed: Sequence[str]) -> str:
    """The format's name: the one asked for, else the best of `Accept`, else the first allowed.

    Raises `RequestError`: 400 for a `format` that is not allowed here, 406 where Accept leaves nothing.
    """
    if asked is not None:
        if asked not in allowed:
            meant = nearest(asked, allowed)
            hint = f" Did you mean {meant!r}?" if meant else ""
            raise bad_parameter(
                "format", f"there is no format {asked!r} here.{hint}", "format is one of " + ", ".join(allowed)
            )
        return asked
    ranges = _accepted(accept)
    quality = {name: _quality(FORMATS[name].media_type.partition(";")[0], ranges) for name in allowed}
    best = max(allowed, key=lambda name: quality[name])
    if quality[best] > 0:
        return best
    types = ", ".join(FORMATS[name].media_type.partition(";")[0] for name in allowed)
    raise RequestError(
        406, "not-acceptable", "Not acceptable", f"Accept: {accept} leaves nothing that can be written here.",
        remedy=f"Accept one of {types}, or use format=" + "|".join(allowed),
    )  # fmt: skip


def _accepted(accept: str) -> list[tuple[str, float]]:
    """(media range, quality) of an Accept header; what can't be read counts as not there."""
    found: list[tuple[str, float]] = []
    for part in accept.split(","):
        kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    quality = float(parameter[2:])
                except ValueError:
                    quality = 0.0
        if "/" in kind:
            found.append((kind, quality))
    return found or [("*/*", 1.0)]


def _quality(media_type: str, ranges: list[tuple[str, float]]) -> float:
    """The quality that the most specific range gives the type (RFC 9110, 12.5.1); 0 where none matches."""
    for wanted in (media_type, media_type.partition("/")[0] + "/*", "*/*"):
        matching = [quality for kind, quality in ranges if kind == wanted]
        if matching:
            return max(matching)
    return 0.0
