"""All newest values of a dataset, or of one metric of it, as bytes, kept from answer to answer.

A map asks for all of them again and again, and little has changed each time. So each row's text is kept in two pieces,
before and after its age; an answer renews those of rows that changed and puts ages between. Who filters more, or pages,
goes the plain way (`routes/latest.py`), which gives the same rows.

Answers are made and packed in a thread, one at a time, and meanwhile the former one is given: it says of which moment
it is. `AGES_MS` says how old one may be.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from api.compression import ENCODINGS, choose
from api.live.latest import Latest, LatestRow
from api.rows import LatestValueRow

log = logging.getLogger(__name__)

Array = npt.NDArray[Any]
Make = Callable[[LatestRow], LatestValueRow]

FORMATS = {"json": (b'{"data":[', b"]"), "geojson": (b'{"type":"FeatureCollection","features":[', b"]")}
AGES_MS = {True: (1_000, 2_000), False: (250, 500)}
"""Whether an answer still has the newest values -> until which age it is given, and until which while the next one is
made; then one waits for that.
"""
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

    async def body(self, accept_encoding: str) -> tuple[str | None, bytes]:
        """(encoding, body) that the client takes; packed once for all."""
        encoding = choose(accept_encoding)
        if encoding not in self.bodies:
            await asyncio.to_thread(self.pack, str(encoding))
        return encoding, self.bodies[encoding]

    def pack(self, encoding: str) -> None:
        """Make the body in an encoding."""
        packer = ENCODINGS[encoding]()
        self.bodies[encoding] = packer.compress(self.bodies[None]) + packer.flush()


class _Rows(NamedTuple):
    """The newest readings of a dataset, copied: `order` are their indices in `latest`."""

    latest: Latest
    order: Array
    rows: Array
    failed: Array
    registry_changes: int


class _Texts:
    """The rows' texts in a format, as they were made last."""

    def __init__(self, format: str) -> None:
        self._format = format
        self._made_of: _Rows | None = None
        self._before: list[bytes] = []
        self._after: list[bytes] = []

    def renew(self, now: _Rows, make: Make) -> None:
        """Make those anew whose row changed."""
        known, rows = self._made_of, now.rows
        if known is None or known.order is not now.order or known.registry_changes != now.registry_changes:
            changed = np.arange(len(rows))
            self._before, self._after = [b""] * len(rows), [b""] * len(rows)
        else:
            changed = np.flatnonzero((_bytes(rows) != _bytes(known.rows)).any(axis=1) | (now.failed != known.failed))
        for i in changed.tolist():
            row = now.latest.made(int(now.order[i]), rows[i], int(now.failed[i]))
            self._before[i], self._after[i] = _text(row, self._format, make)
        self._made_of = now

    def written(self, now_ms: int, meta: bytes) -> bytes:
        """All of them with their ages, as an answer."""
        assert self._made_of is not None
        head, foot = FORMATS[self._format]
        body, rows = b"", self._made_of.rows
        if len(rows):
            ages = np.maximum(0, now_ms - rows["start"] - rows["period_s"].astype(np.int64) * 1000) / 1000
            shown = [*map(bool, self._before)]
            texts = _encode(np.where(shown, ages, 0.0).tolist())[1:-1].split(b",")
            triples = zip(self._before, texts, self._after, strict=True)
            parts = triples if all(shown) else (t for t, is_shown in zip(triples, shown, strict=True) if is_shown)
            body = b"".join(chain.from_iterable(parts))[:-1]
        return b'%b%b%b,"next":null,"meta":%b}' % (head, body, foot, meta)


class All(NamedTuple):
    """Which newest values, all of them: of a dataset, or of a metric of it."""

    dataset: str
    metric: str = ""


class _Kept:
    """What is kept of them in a format."""

    def __init__(self, format: str) -> None:
        self.etag, self.etag_of = "", (-1, -1)
        self.texts = _Texts(format)
        self.answer: Answer | None = None
        self.making: asyncio.Future[None] | None = None


class Newest:
    """Kept for each dataset, metric and format; metrics must be those of the datasets, for they are few."""

    def __init__(self) -> None:
        self._orders: dict[All, tuple[int, Array]] = {}
        self._kept: dict[tuple[All, str], _Kept] = {}

    def order(self, latest: Latest, which: All) -> Array:
        """The indices (n,) of the series in `latest`, in order; the same array until one more is known."""
        known, order = self._orders.get(which, (-1, None))
        if order is None or known != len(latest):
            order = latest.order(*which)
            self._orders[which] = len(latest), order
        return order

    async def answer(
        self, latest: Latest, registry_changes: int, which: All, format: str, now_ms: int, meta: bytes, make: Make
    ) -> Answer:
        """The answer as of now, or one that is not older than `AGES_MS` says. `meta` is JSON; `make` gives the row of
        an answer, in a thread.
        """
        kept = self._kept.setdefault((which, format), _Kept(format))
        etag, known = self._etag(kept, latest, registry_changes, which, format), kept.answer
        age_ms, (fresh_ms, most_ms) = -1, (0, 0)
        if known is not None:
            age_ms, (fresh_ms, most_ms) = now_ms - known.made_ms, AGES_MS[known.etag == etag]
            if 0 <= age_ms < fresh_ms:
                return known
        if kept.making is None:
            order = self.order(latest, which)
            rows = _Rows(latest, order, *latest.columns(order), registry_changes)
            kept.making = asyncio.ensure_future(_made(kept, rows, etag, now_ms, meta, make))
        if known is None or not 0 <= age_ms < most_ms:
            await asyncio.shield(kept.making)
            known = kept.answer
        assert known is not None
        return known

    def has(self, etag_asked: str, latest: Latest, registry_changes: int, which: All, format: str) -> str | None:
        """The ETag of now, where it is the one asked for."""
        kept = self._kept.setdefault((which, format), _Kept(format))
        etag = self._etag(kept, latest, registry_changes, which, format)
        return etag if etag in etag_asked else None

    async def settled(self) -> None:
        """Return when nothing is being made."""
        making = [kept.making for kept in self._kept.values() if kept.making is not None]
        await asyncio.gather(*making, return_exceptions=True)

    def _etag(self, kept: _Kept, latest: Latest, registry_changes: int, which: All, format: str) -> str:
        """Worked out again only after something came: a map that asks again costs next to nothing."""
        if kept.etag_of == (latest.changes, registry_changes):
            return kept.etag
        rows, failed = latest.columns(self.order(latest, which))
        what = f"{which.dataset} {which.metric} {format} {registry_changes} {len(latest)}"
        digest = hashlib.blake2b(what.encode(), digest_size=9)
        digest.update(rows.tobytes())
        digest.update(failed.tobytes())
        kept.etag, kept.etag_of = f'W/"{digest.hexdigest()}"', (latest.changes, registry_changes)
        return kept.etag


async def _made(kept: _Kept, rows: _Rows, etag: str, now_ms: int, meta: bytes, make: Make) -> None:
    """Make the next answer, in the encodings in which the former one was wanted."""
    wanted = [] if kept.answer is None else [encoding for encoding in kept.answer.bodies if encoding is not None]

    def work() -> Answer:
        kept.texts.renew(rows, make)
        modified_ms = int(rows.rows["received"].max()) if len(rows.rows) else 0
        made = Answer(etag, now_ms, modified_ms, {None: kept.texts.written(now_ms, meta)})
        for encoding in wanted:
            made.pack(encoding)
        return made

    try:
        kept.answer = await asyncio.to_thread(work)
    except Exception:
        log.exception("the newest values could not be written")
        raise
    finally:
        kept.making = None


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
