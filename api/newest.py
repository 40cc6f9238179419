"""All newest values of a dataset as bytes, kept from answer to answer.

A map asks for all of them again and again, and little has changed each time. So each row's text is kept in two pieces,
before and after its age; an answer renews those of rows that changed and puts ages between. Whoever filters or pages
goes the plain way (`routes/latest.py`), which gives the same rows.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from api.compression import ENCODINGS, choose
from api.live.latest import Latest, LatestRow
from api.rows import LatestValueRow

Array = npt.NDArray[Any]
Make = Callable[[LatestRow], LatestValueRow]

FORMATS = {"json": (b'{"data":[', b"]"), "geojson": (b'{"type":"FeatureCollection","features":[', b"]")}
KEPT_MS = 1_000  # an answer is given again for so long, which is its `max-age`
_MARK = 123456789.125
_MARKED = b'"age_s":123456789.125'
_KEY = b'"age_s":'
_encode = msgspec.json.Encoder().encode


@dataclass
class Answer:
    """The body as of `made_ms`, by encoding; `etag` is of the rows without their ages, `modified_ms` the newest
    receipt.
    """

    etag: str
    made_ms: int
    modified_ms: int
    bodies: dict[str | None, bytes] = field(default_factory=dict)

    def body(self, accept_encoding: str) -> tuple[str | None, bytes]:
        """(encoding, body) that the client takes; packed once for all."""
        encoding = choose(accept_encoding)
        if encoding not in self.bodies:
            packer = ENCODINGS[str(encoding)]()
            self.bodies[encoding] = packer.compress(self.bodies[None]) + packer.flush()
        return encoding, self.bodies[encoding]


class _Pieces:
    """The rows of a dataset in a format."""

    def __init__(self) -> None:
        self.etag, self.etag_of = "", (-1, -1)
        self.known = -1
        self.registry_changes = -1
        self.order = np.zeros(0, np.int64)
        self.rows: Array = np.zeros(0)
        self.failed = np.zeros(0, np.int64)
        self.before: list[bytes] = []
        self.after: list[bytes] = []
        self.answer: Answer | None = None


class Newest:
    """Kept for each dataset and format."""

    def __init__(self) -> None:
        self._pieces: dict[tuple[str, str], _Pieces] = {}

    def answer(
        self, latest: Latest, registry_changes: int, dataset: str, format: str, now_ms: int, meta: bytes, make: Make
    ) -> Answer:
        """The answer as of now, at most `KEPT_MS` old. `meta` is JSON; `make` gives the row of an answer."""
        pieces = self._pieces.setdefault((dataset, format), _Pieces())
        known = pieces.answer
        etag = self._etag(pieces, latest, registry_changes, dataset, format)
        if known is not None and known.etag == etag and 0 <= now_ms - known.made_ms < KEPT_MS:
            return known
        self._renew(pieces, latest, registry_changes, dataset, format, make)
        modified = int(pieces.rows["received"].max()) if len(pieces.rows) else 0
        made = Answer(etag, now_ms, modified, {None: _written(pieces, format, now_ms, meta)})
        pieces.answer = made
        return made

    def has(self, etag_asked: str, latest: Latest, registry_changes: int, dataset: str, format: str) -> str | None:
        """The ETag of now, where it is the one asked for."""
        pieces = self._pieces.setdefault((dataset, format), _Pieces())
        etag = self._etag(pieces, latest, registry_changes, dataset, format)
        return etag if etag in etag_asked else None

    def _etag(self, pieces: _Pieces, latest: Latest, registry_changes: int, dataset: str, format: str) -> str:
        """Worked out again only after something came: a map that asks again costs next to nothing."""
        if pieces.etag_of == (latest.changes, registry_changes):
            return pieces.etag
        if pieces.known != len(latest):
            pieces.order = latest.order(dataset)
            pieces.known, pieces.registry_changes = len(latest), -1
        rows, failed = latest.columns(pieces.order)
        digest = hashlib.blake2b(f"{dataset} {format} {registry_changes} {pieces.known}".encode(), digest_size=9)
        digest.update(rows.tobytes())
        digest.update(failed.tobytes())
        pieces.etag, pieces.etag_of = f'W/"{digest.hexdigest()}"', (latest.changes, registry_changes)
        return pieces.etag

    def _renew(
        self, pieces: _Pieces, latest: Latest, registry_changes: int, dataset: str, format: str, make: Make
    ) -> None:
        rows, failed = latest.columns(pieces.order)
        if pieces.registry_changes != registry_changes:
            changed = np.arange(len(rows))
            pieces.before, pieces.after = [b""] * len(rows), [b""] * len(rows)
        else:
            changed = np.flatnonzero((_bytes(rows) != _bytes(pieces.rows)).any(axis=1) | (failed != pieces.failed))
        for i in changed.tolist():
            pieces.before[i], pieces.after[i] = _text(latest.row(int(pieces.order[i])), format, make)
        pieces.rows, pieces.failed, pieces.registry_changes = rows, failed, registry_changes


def _bytes(rows: Array) -> Array:
    return rows.view(np.uint8).reshape(len(rows), -1)


def _text(row: LatestRow | None, format: str, make: Make) -> tuple[bytes, bytes]:
    """The text before and after the age; empty where nothing is shown."""
    made = None if row is None else make(row)
    if made is None or (format == "geojson" and made.lon is None):
        return b"", b""
    marked = msgspec.structs.replace(made, age_s=_MARK)
    if format == "geojson":
        properties = msgspec.structs.asdict(marked)
        point = {"type": "Point", "coordinates": [properties.pop("lon"), properties.pop("lat")]}
        text = _encode({"type": "Feature", "geometry": point, "properties": properties})
    else:
        text = _encode(marked)
    before, _, after = text.partition(_MARKED)
    return before + _KEY, after + b","


def _written(pieces: _Pieces, format: str, now_ms: int, meta: bytes) -> bytes:
    head, foot = FORMATS[format]
    rows = pieces.rows
    if len(rows):
        ages = np.maximum(0, now_ms - rows["start"] - rows["period_s"].astype(np.int64) * 1000) / 1000
        shown = [*map(bool, pieces.before)]
        texts = _encode(np.where(shown, ages, 0.0).tolist())[1:-1].split(b",")
        triples = zip(pieces.before, texts, pieces.after, strict=True)
        parts = triples if all(shown) else (triple for triple, is_shown in zip(triples, shown, strict=True) if is_shown)
        body = b"".join(chain.from_iterable(parts))[:-1]
    else:
        body = b""
    return b'%b%b%b,"next":null,"meta":%b}' % (head, body, foot, meta)
