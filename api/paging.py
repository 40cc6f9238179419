"""Pages of history: the range they cover, the cursor between them, the link to the next.

The first page fixes three things, and the cursor carries them: the range (so that "the last 24 hours" does not
move), a digest of the filter, and the POSITIONS, how far each partition was stored. Rows stored later are left out
of all further pages, and rows revised later appear as they were: all pages together are the history as it stood
at the first one.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple
from urllib.parse import urlencode

import msgspec

from api.cursor import PUBLISHED, Cursor, Cursors, Page, bad_cursor
from api.params import Asked
from api.problems import bad_parameter
from api.times import FIRST_MS
from schemas.errors import RequestError
from schemas.settings import Settings

STORED_WITHIN_MS = 60_000
"""What the live feed has shown is stored by then: a cursor of history looks for what followed from so long ago on."""


class Key(NamedTuple):
    """Where a page ended: its last row in the order (UTC day of start, series, start). `series` is the database's
    key; `start` is epoch ms.
    """

    series: int
    start_ms: int


class Positions(msgspec.Struct, frozen=True):
    """How far each partition was stored, both by partition number and inclusive: the `position` of readings and the
    `out_seq` of windows.
    """

    readings: dict[int, int]
    windows: dict[int, int]


@dataclass(frozen=True)
class Start:
    """Where a page of history begins: the range [from_ms, to_ms), and for a page after the first the rest. `made_ms`:
    what came after the positions was stored after this moment (epoch ms); it stays from page to page.
    """

    from_ms: int
    to_ms: int
    after: Key | None = None
    positions: Positions | None = None
    made_ms: int = field(default=0, compare=False)


def digest(noun: str, dataset: str, asked: Asked, width: str = "") -> bytes:
    """Eight bytes that are equal for equal filters: everything but range, limit, cursor, fields and format."""
    box = asked.bbox and (asked.bbox.west, asked.bbox.south, asked.bbox.east, asked.bbox.north)
    chosen = (sorted(asked.sensor), sorted(asked.metric), sorted(asked.flag), sorted(asked.origin))
    shown = (asked.tz, sorted(asked.group), asked.gaps, asked.as_of_ms)
    of_index = (sorted(asked.index), asked.table, asked.lang, sorted(asked.section))
    parts = (noun, dataset, width, chosen, box, shown, of_index)
    return hashlib.blake2b(msgspec.msgpack.encode(parts), digest_size=8).digest()


def begin(
    cursors: Cursors, asked: Asked, query: bytes, default_range_s: int, now_ms: int, topic: str = "readings"
) -> Start:
    """The page that is asked for. A cursor without a page (of the live feed, of a last page) fixes the positions: the
    range as it stood there; `topic` is what the rows are of. Raises `RequestError` for a cursor of another query or
    topic, or an empty range.
    """
    positions, made_ms = None, now_ms - STORED_WITHIN_MS
    if asked.cursor is not None:
        cursor = cursors.decode_feed(asked.cursor)
        if cursor.of(topic) is None:
            raise bad_cursor(f"it is of {' and '.join(sorted(cursor.at))} and says nothing of {topic}")
        published = cursor.of("windows" if topic == "readings" else topic)
        positions = Positions(cursor.of("readings") or {}, published or {})
        made_ms = cursor.made_ms
        if cursor.page is not None:
            return replace(_next(cursor.page, asked, query, positions), made_ms=made_ms)
    to_ms = now_ms if asked.to_ms is None else asked.to_ms
    from_ms = max(FIRST_MS, to_ms - default_range_s * 1000) if asked.from_ms is None else asked.from_ms
    check_range(asked, from_ms, to_ms)
    return Start(from_ms, to_ms, None, positions, made_ms)


def check_range(asked: Asked, from_ms: int, to_ms: int) -> None:
    """Raises `RequestError` for an empty range; it names what was given."""
    if from_ms >= to_ms:
        why = "`from` is not before `to`." if asked.from_ms is not None else "There is no moment before this `to`."
        raise RequestError(
            400, "bad-range", "The range is empty", why, "to" if asked.from_ms is None else "from",
            "`from` is inclusive, `to` exclusive and by default now: from=2026-01-31T00:00:00Z&to=2026-02-01T00:00:00Z",
        )  # fmt: skip


def _next(page: Page, asked: Asked, query: bytes, positions: Positions) -> Start:
    if page.query != query:
        raise bad_cursor("it belongs to a query with another address or filter")
    for name, given, fixed in (("from", asked.from_ms, page.from_ms), ("to", asked.to_ms, page.to_ms)):
        if given is not None and given != fixed:
            raise bad_cursor(f"it belongs to a query with another `{name}`")
    return Start(page.from_ms, page.to_ms, Key(*page.after), positions)


def cursor_after(cursors: Cursors, query: bytes, start: Start, positions: Positions, after: Key) -> str:
    """The cursor of the page that follows; the live feed takes it too, and goes on from the positions."""
    at = {"readings": positions.readings, PUBLISHED: positions.windows}
    page = Page(query, start.from_ms, start.to_ms, after)
    return cursors.encode_feed(Cursor(at, page=page, made_ms=start.made_ms))


def end_cursor(cursors: Cursors, positions: Positions, made_ms: int) -> str:
    """The cursor of what was stored at these positions: the live feed goes on from it, and pages show its state."""
    at = {"readings": positions.readings, PUBLISHED: positions.windows}
    return cursors.encode_feed(Cursor(at, made_ms=made_ms))


def key_of(cursors: Cursors, asked: Asked, kind: str, query: bytes) -> list[str] | None:
    """For lists in memory: the key of the last row before this page, None for the first page.

    Raises `RequestError` for a cursor of another query.
    """
    if asked.cursor is None:
        return None
    body = cursors.decode(kind, asked.cursor)
    if body["query"] != query:
        raise bad_cursor("it belongs to a query with another address or filter")
    return [str(part) for part in body["after"]]


def cursor_at(cursors: Cursors, kind: str, query: bytes, key: list[str]) -> str:
    """For lists in memory: the cursor of the page that follows the row with this key."""
    return cursors.encode(kind, {"query": query, "after": key})


def limit(asked: Asked, settings: Settings) -> int:
    """Rows of the page. Raises `RequestError` for more than the settings allow."""
    if asked.limit is None:
        return min(settings.page_limit_default, settings.page_limit_max)
    if asked.limit > settings.page_limit_max:
        raise bad_parameter(
            "limit", f"{asked.limit} is more than a page holds",
            f"limit is at most {settings.page_limit_max}; follow the `next` links for more.",
        )  # fmt: skip
    return asked.limit


def next_link(url: str, items: Iterable[tuple[str, str]], cursor: str) -> str:
    """The address of the next page: this one's query with another cursor."""
    kept = [(name, value) for name, value in items if name != "cursor"]
    return f"{url}?{urlencode([*kept, ('cursor', cursor)])}"
