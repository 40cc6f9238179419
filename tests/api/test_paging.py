"""Ranges, cursors between pages, links."""

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.cursor import Cursor, Cursors
from api.paging import (
    Key,
    Positions,
    Start,
    begin,
    cursor_after,
    cursor_at,
    digest,
    key_of,
    limit,
    next_link,
)
from api.params import Asked
from api.places import Bbox
from api.times import FIRST_MS
from schemas.errors import RequestError
from schemas.settings import Settings

CURSORS = Cursors(b"key")
QUERY = digest("readings", "traffic", Asked())
HOUR_MS = 3_600_000


def test_without_a_range_it_is_the_last_of_the_default() -> None:
    assert begin(CURSORS, Asked(), QUERY, 3600, 10 * HOUR_MS) == Start(9 * HOUR_MS, 10 * HOUR_MS)


def test_to_alone_ends_the_default_range() -> None:
    assert begin(CURSORS, Asked(to_ms=5 * HOUR_MS), QUERY, 3600, 10 * HOUR_MS) == Start(4 * HOUR_MS, 5 * HOUR_MS)


def test_from_alone_goes_to_now() -> None:
    assert begin(CURSORS, Asked(from_ms=HOUR_MS), QUERY, 3600, 10 * HOUR_MS) == Start(HOUR_MS, 10 * HOUR_MS)


@pytest.mark.parametrize(("from_ms", "to_ms"), [(5, 5), (6, 5), (10 * HOUR_MS, None)])
def test_an_empty_range_is_refused(from_ms: int, to_ms: int | None) -> None:
    with pytest.raises(RequestError, match="not before") as refused:
        begin(CURSORS, Asked(from_ms=from_ms, to_ms=to_ms), QUERY, 3600, 10 * HOUR_MS)
    assert (refused.value.status, refused.value.kind) == (400, "bad-range")


MS = st.integers(-62_135_596_800_000, 253_402_300_799_999)
POSITIONS = st.dictionaries(st.integers(0, 1023), st.integers(-1, 2**62), max_size=8)


@given(MS, MS, st.integers(1, 2**31 - 1), MS, POSITIONS, POSITIONS)
def test_the_next_page_begins_where_the_cursor_says(
    from_ms: int, to_ms: int, series: int, start_ms: int, readings: dict[int, int], windows: dict[int, int]
) -> None:
    start, positions, after = Start(from_ms, to_ms), Positions(readings, windows), Key(series, start_ms)
    text = cursor_after(CURSORS, QUERY, start, positions, after)
    again = begin(CURSORS, Asked(cursor=text), QUERY, 3600, 0)
    assert again == Start(from_ms, to_ms, after, positions)
    assert begin(CURSORS, Asked(cursor=text, from_ms=from_ms, to_ms=to_ms), QUERY, 3600, 0) == again


def test_the_cursor_of_the_largest_kafka_is_read() -> None:
    positions = dict.fromkeys(range(1024), 3 << 44 | 123456)
    text = cursor_after(CURSORS, QUERY, Start(0, 1), Positions(positions, positions), Key(1, 5))
    assert begin(CURSORS, Asked(cursor=text), QUERY, 3600, 0).positions == Positions(positions, positions)


def cursor() -> str:
    return cursor_after(CURSORS, QUERY, Start(0, HOUR_MS), Positions({0: 1}, {0: 1}), Key(1, 5))


@pytest.mark.parametrize("asked", [{"from_ms": 1}, {"to_ms": HOUR_MS + 1}])
def test_a_cursor_keeps_its_range(asked: dict[str, int]) -> None:
    with pytest.raises(RequestError, match=r"another `(from|to)`"):
        begin(CURSORS, Asked(cursor=cursor(), **asked), QUERY, 3600, 0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "other",
    [
        digest("windows", "traffic", Asked()),
        digest("readings", "air-quality", Asked()),
        digest("readings", "traffic", Asked(sensor=("a",))),
        digest("readings", "traffic", Asked(metric=("a",))),
        digest("readings", "traffic", Asked(flag=(1,))),
        digest("readings", "traffic", Asked(origin=(1,))),
        digest("readings", "traffic", Asked(bbox=Bbox(1, 2, 3, 4))),
        digest("readings", "traffic", Asked(), "1h"),
    ],
)
def test_a_cursor_goes_with_its_filter(other: bytes) -> None:
    with pytest.raises(RequestError, match="another address or filter"):
        begin(CURSORS, Asked(cursor=cursor()), other, 3600, 0)


def test_the_digest_is_of_the_filter_alone() -> None:
    same = Asked(1, 2, ("b", "a"), limit=5, cursor="x", format="csv")
    assert digest("readings", "t", same) == digest("readings", "t", Asked(sensor=("a", "b")))
    assert digest("readings", "t", Asked(sensor=("x",))) != digest("readings", "t", Asked(metric=("x",)))


def test_a_cursor_of_the_live_feed_shows_history_as_it_stood_there() -> None:
    text = CURSORS.encode_feed(Cursor({"readings": {0: 7}, "windows": {0: 3}}, made_ms=5))
    assert begin(CURSORS, Asked(cursor=text, from_ms=1), QUERY, 3600, 10) == Start(
        1, 10, None, Positions({0: 7}, {0: 3})
    )


def test_a_cursor_of_the_live_feed_goes_with_its_topic() -> None:
    """Else a page would be of nothing, as if nothing had been stored."""
    index = CURSORS.encode_feed(Cursor({"index": {0: 3}}, made_ms=5))
    assert begin(CURSORS, Asked(cursor=index), QUERY, 3600, 10, "index").positions == Positions({}, {0: 3})
    for topic in ("readings", "windows"):
        with pytest.raises(RequestError, match=f"it is of index and says nothing of {topic}"):
            begin(CURSORS, Asked(cursor=index), QUERY, 3600, 10, topic)


def test_the_live_feed_can_read_what_a_page_ended_with() -> None:
    start, positions = Start(0, HOUR_MS), Positions({0: 1}, {0: 9})
    read = CURSORS.decode_feed(cursor_after(CURSORS, QUERY, start, positions, Key(1, 5)))
    assert [read.of(topic) for topic in ("readings", "amended", "windows", "index")] == [{0: 1}, {0: 9}, {0: 9}, {0: 9}]
    assert Cursor({"windows": {}}).of("readings") is None


@pytest.mark.parametrize("body", [{}, {"at": 1}, {"at": {"readings": {"x": 1}}}, {"at": {}, "page": ["x"]}])
def test_a_signed_cursor_with_another_content_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match="content"):
        begin(CURSORS, Asked(cursor=CURSORS.encode("feed", body)), QUERY, 3600, 0)


def test_lists_in_memory_go_on_behind_a_key() -> None:
    query = digest("latest", "traffic", Asked())
    assert key_of(CURSORS, Asked(), "latest", query) is None
    text = cursor_at(CURSORS, "latest", query, ["s1", "speed"])
    assert key_of(CURSORS, Asked(cursor=text), "latest", query) == ["s1", "speed"]
    with pytest.raises(RequestError, match="another address"):
        key_of(CURSORS, Asked(cursor=text), "latest", digest("latest", "air-quality", Asked()))
    with pytest.raises(RequestError, match="kind 'latest'"):
        key_of(CURSORS, Asked(cursor=text), "sensors", query)


def test_the_limit() -> None:
    settings = Settings(page_limit_default=10, page_limit_max=20)
    assert limit(Asked(), settings) == 10
    assert limit(Asked(limit=20), settings) == 20
    with pytest.raises(RequestError, match="21") as refused:
        limit(Asked(limit=21), settings)
    assert "at most 20" in str(refused.value.remedy)
    assert limit(Asked(), Settings(page_limit_default=100, page_limit_max=20)) == 20


def test_the_next_link_keeps_the_query() -> None:
    items = [("from", "2026-01-31T00:00:00+01:00"), ("sensor", "a"), ("cursor", "old"), ("sensor", "b")]
    link = urlsplit(next_link("http://city.example/v1/traffic/readings", items, "n-_w"))
    assert link.path == "/v1/traffic/readings"
    assert parse_qsl(link.query) == [
        ("from", "2026-01-31T00:00:00+01:00"), ("sensor", "a"), ("sensor", "b"), ("cursor", "n-_w"),
    ]  # fmt: skip


def test_the_default_range_does_not_begin_before_the_first_year() -> None:
    asked = Asked(to_ms=FIRST_MS + 1)
    assert begin(CURSORS, asked, QUERY, 86_400, 0).from_ms == FIRST_MS
