"""Windows, indices and amendments on the live feed: their rows, filters, state, and coming back to them."""

from typing import Any

import numpy as np
import pytest

from api.live.messages import Filter
from api.live.rows_tail import RowsTail
from schemas import published
from schemas.published import AMENDED, INDEX, WINDOWS, Published, Texts
from tests.api.live.feeding import T0, Feed, batch

TABLES: dict[str, Any] = {"windows": WINDOWS, "index": INDEX, "readings.amended": AMENDED}
USUAL: dict[str, Any] = {
    "dataset": "air-quality", "sensor": "a", "metric": "pm25", "index": "nowcast", "category": "Good", "table": "2024",
    "driver": "pm25", "source": "pm25", "start": T0, "end": T0 + 3_600_000, "width_s": 3600, "n": 12, "rev": 1,
    "complete": 1, "coverage": 1.0, "published": T0, "received": T0, "period_s": 60, "flag": 1, "source_rev": 1,
}  # fmt: skip


def record(kind: str, *rows: dict[str, Any]) -> bytes:
    columns: dict[str, Any] = {}
    for name, dtype in TABLES[kind].items():
        values = [row.get(name, USUAL.get(name, 0)) for row in rows]
        if dtype is None:
            names = list(dict.fromkeys(values))
            columns[name] = Texts(names, np.array([names.index(v) for v in values]))
        else:
            columns[name] = np.array(values, dtype)
    return published.encode(Published(kind, columns))


class RowsFeed(Feed):
    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.tail = RowsTail(self.hub)
        self.sent = 0

    def rows(self, kind: str, *rows: dict[str, Any], tick: int = 250) -> None:
        self.tail.take(kind.removeprefix("readings."), 0, self.sent, record(kind, *rows))
        self.sent += 1
        self.hub.flush()
        self.hub.tick(tick)


def test_a_window_is_as_rest_has_it() -> None:
    feed = RowsFeed()
    link, _ = feed.client(topic="windows", mode="all", snapshot=False)
    feed.rows("windows", {"out_seq": 1, "mean": 7.5, "std": float("nan"), "n_expected": -1})
    (row,) = link.rows()
    assert row["width"] == "1h" and row["end"] == "2026-01-01T01:00:00.000Z" and row["mean"] == 7.5
    assert row["std"] is None and row["n_expected"] is None and row["unit"] == "ug/m3" and row["rev"] == 1


@pytest.mark.parametrize(
    ("kind", "wanted", "heard"),
    [
        ("windows", Filter(), [1, 2, 3]),
        ("windows", Filter(width=("1h", "1d")), [1, 3]),
        ("windows", Filter(sensor=("b",)), [2]),
        ("windows", Filter(origin=("import",)), [4]),
        ("index", Filter(), [1, 2, 3]),
        ("index", Filter(index=("eaqi",)), [2]),
        ("index", Filter(category=("Moderate", "Fair")), [2, 3]),
        ("index", Filter(metric=("overall",)), [3]),
    ],
)
@pytest.mark.parametrize("mode", ["all", "latest"])
def test_filters(kind: str, wanted: Filter, heard: list[int], mode: str) -> None:
    feed = RowsFeed()
    link, _ = feed.client(topic=kind, mode=mode, tick_ms=250, filter=wanted, snapshot=False)
    feed.rows(
        kind,
        {"out_seq": 1, "rev": 1},
        {"out_seq": 2, "rev": 2, "sensor": "b", "width_s": 300, "index": "eaqi", "category": "Fair"},
        {"out_seq": 3, "rev": 3, "metric": "overall", "width_s": 86_400, "category": "Moderate"},
        {"out_seq": 4, "rev": 4, "sensor": "c", "origin": 1},
    )
    assert sorted(row["rev"] for row in link.rows()) == heard
    late, _ = feed.client(topic=kind, mode=mode, tick_ms=250, filter=wanted)
    assert sorted(row["rev"] for row in late.rows()) == heard  # the snapshot


def test_what_is_sent_again_after_a_restart_is_heard_once() -> None:
    feed = RowsFeed()
    link, _ = feed.client(topic="windows", mode="all", snapshot=False)
    feed.rows("windows", {"out_seq": 3, "rev": 1}, {"out_seq": 5, "rev": 2})
    feed.rows("windows", {"out_seq": 3, "rev": 1}, {"out_seq": 5, "rev": 2}, {"out_seq": 6, "rev": 3})
    feed.rows("windows", {"out_seq": 3, "rev": 1})
    assert [row["rev"] for row in link.rows()] == [1, 2, 3]


def test_the_newest_window_is_the_state_and_one_that_is_gone_leaves_it() -> None:
    feed = RowsFeed()
    feed.rows("windows", {"out_seq": 1, "start": T0 + 3_600_000}, {"out_seq": 2, "rev": 2})
    link, _ = feed.client(topic="windows", tick_ms=250)
    assert [row["start"] for row in link.rows()] == ["2026-01-01T01:00:00.000Z"]
    feed.rows("windows", {"out_seq": 3, "rev": 2, "start": T0 + 3_600_000, "gone": 1, "n": 0})
    assert [row["n"] for row in link.rows()] == [12, 0]
    late, _ = feed.client(topic="windows", tick_ms=250)
    assert late.rows() == []


def test_coming_back_goes_on_after_the_number() -> None:
    feed = RowsFeed()
    link, _ = feed.client(topic="index", mode="all", snapshot=False)
    feed.rows("index", {"out_seq": 1, "rev": 1}, {"out_seq": 4, "rev": 2})
    cursor = link.messages("data")[0]["cursor"]
    feed.rows("index", {"out_seq": 7, "rev": 3})
    back, _ = feed.client(topic="index", mode="all", snapshot=False, cursor=cursor)
    assert back.messages("subscribed")[0]["recovered"] is True
    assert [row["rev"] for row in back.rows()] == [3]
    readings, _ = feed.client(mode="all", cursor=cursor)
    assert readings.messages("subscribed")[0]["reason"] == "bad_cursor"


def test_an_amendment_is_a_reading_with_a_higher_rev() -> None:
    feed = RowsFeed()
    everything, _ = feed.client(mode="all", snapshot=False)
    newest, _ = feed.client(mode="latest", tick_ms=250, snapshot=False)
    feed.publish(batch(("a", 0, 5.0), metric="pm25", dataset="air-quality"))
    feed.hub.tick(250)
    cursor = everything.messages("data")[0]["cursor"]
    feed.rows("readings.amended", {"out_seq": 9, "rev": 2, "value": 5.0, "flag": 4, "tests": 8, "period_s": 300})
    assert [(r["rev"], r["flag"]) for r in everything.rows()] == [(1, 1), (2, 4)]
    assert [(r["rev"], r["flag"]) for r in newest.rows()] == [(1, 1), (2, 4)]
    assert feed.latest.rows("air-quality") == []  # what failed is not a latest value
    back, _ = feed.client(mode="all", snapshot=False, cursor=cursor)
    assert [(r["rev"], r["tests"]) for r in back.rows()] == [(2, 8)]


def test_filters_of_other_topics_are_refused() -> None:
    feed = RowsFeed()
    for topic, wanted in (
        ("readings", Filter(width=("1h",))),
        ("windows", Filter(flag=(1,))),
        ("index", Filter(width=("1h",))),
    ):
        with pytest.raises(Exception, match="has no filter"):
            feed.client(topic=topic, filter=wanted)
    for wrong in (Filter(width=("2h",)), Filter(width=("1h", ""))):
        with pytest.raises(Exception, match="is none of"):
            feed.client(topic="windows", filter=wrong)
    with pytest.raises(Exception, match="no topic 'events'"):
        feed.client(topic="events")
