"""How rows are written: `FORMATS` is the registry. To add a format, add a writer and a line."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import compress
from types import SimpleNamespace
from typing import Any

import msgspec

from api.params import nearest
from api.problems import bad_parameter
from schemas.errors import RequestError

Struct = msgspec.Struct
_encoder = msgspec.json.Encoder()
_CRLF = "\r\n"


@dataclass(frozen=True)
class Format:
    """`write(kind of row, rows, address of the next page, meta)` gives the body. Only formats that carry `next` and
    `meta` show them; the `Link` header has the next page in any format.
    """

    media_type: str
    write: Callable[[type[Struct], Sequence[Struct], str | None, Struct], bytes]


def write_json(kind: type[Struct], rows: Sequence[Struct], next_url: str | None, meta: Struct) -> bytes:
    """`{data, next, meta}`; NaN is null."""
    return b'{"data":%b,"next":%b,"meta":%b}' % tuple(map(_encoder.encode, (rows, next_url, meta)))


def write_ndjson(kind: type[Struct], rows: Sequence[Struct], next_url: str | None, meta: Struct) -> bytes:
    """A JSON object a line."""
    return _encoder.encode_lines(rows)


def write_csv(kind: type[Struct], rows: Sequence[Struct], next_url: str | None, meta: Struct) -> bytes:
    """RFC 4180 with LF, UTF-8, a header; null is empty, lists and objects are JSON in a field."""
    columns = [_cells(column) for column in zip(*map(msgspec.structs.astuple, rows), strict=True)]
    lines: list[str] = []
    # The writer quotes what is in its line end; so that a lone CR is quoted too, that is CRLF until here.
    writer = csv.writer(SimpleNamespace(write=lines.append), lineterminator=_CRLF)
    writer.writerow(kind.__struct_encode_fields__)
    writer.writerows(zip(*columns, strict=True))
    return "".join([line.removesuffix(_CRLF) + "\n" for line in lines]).encode()


def write_geojson(kind: type[Struct], rows: Sequence[Struct], next_url: str | None, meta: Struct) -> bytes:
    """A FeatureCollection (RFC 7946) of the rows that have a place, with `next` and `meta` beside the features."""
    features: list[dict[str, Any]] = []
    for row in rows:
        properties = msgspec.structs.asdict(row)
        lon, lat = properties.pop("lon"), properties.pop("lat")
        if lon is not None:
            point = {"type": "Point", "coordinates": [lon, lat]}
            features.append({"type": "Feature", "geometry": point, "properties": properties})
    return _encoder.encode({"type": "FeatureCollection", "features": features, "next": next_url, "meta": meta})


FORMATS: dict[str, Format] = {
    "json": Format("application/json", write_json),
    "ndjson": Format("application/x-ndjson", write_ndjson),
    "csv": Format("text/csv; charset=utf-8", write_csv),
    "geojson": Format("application/geo+json", write_geojson),
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


def _cells(column: Sequence[Any]) -> Sequence[Any]:
    """A column's values as CSV has them; the first that is there says of which type all are."""
    sample = next(compress(column, map(_there, column)), None)
    if isinstance(sample, bool):
        return ["" if v is None else "true" if v else "false" for v in column]
    if isinstance(sample, list | dict | Struct):
        return ["" if v is None else _encoder.encode(v).decode() for v in column]
    return column


def _there(value: Any) -> bool:
    return value is not None
