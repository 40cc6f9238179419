"""Coming back with a cursor: what was missed, once, from wherever the cursor stands."""

import json
from typing import Any

import pytest

from api.cursor import Cursor, Page
from api.live import catching, groups
from api.live.frames import payload_of
from api.live.hub import Resume
from api.live.messages import Filter
from tests.api.live.feeding import CURSORS, T0, Feed, StallingLink, batch, split


def values(link: StallingLink, kind: str = "data") -> list[float]:
    return [row["value"] for message in link.messages(kind) for row in message["d"]]


def test_mode_all_hears_what_it_missed_and_then_what_comes() -> None:
    feed = Feed()
    first, member = feed.client(mode="all", snapshot=False)
    feed.publish(batch(("a", 0, 1)))
    feed.hub.disconnect(member)
    feed.publish(batch(("a", 1, 2), ("b", 1, 3)))
    feed.publish(batch(("a", 2, 4)), partition=1)
    back, _ = feed.client(mode="all", snapshot=False, cursor=first.messages("data")[-1]["cursor"])
    (subscribed,) = back.messages("subscribed")
    assert subscribed["recovered"] is True and "reason" not in subscribed
    feed.publish(batch(("a", 3, 5)))
    assert values(back) == [2, 3, 4, 5]
    seqs = [m["seq"] for m in back.messages("data")]
    assert [m.get("replay", False) for m in back.messages("data")] == [
        True,
        False,
    ]
    assert seqs == [[subscribed["seq"] + n] * 2 for n in (1, 2)]
    assert back.messages("data")[-1]["cursor"] == feed.hub.cursor("readings")


@pytest.mark.parametrize("mode", ["all", "latest"])
def test_who_leaves_again_on_the_way_is_where_it_was_at_the_time_that_it_was(mode: Any) -> None:
    """Logs of numbered rows are looked up by a cursor's time: an old place with a new time would leave out rows."""
    feed = Feed()
    first, member = feed.client(mode=mode, snapshot=False)
    feed.hub.disconnect(member)
    old = first.messages("subscribed")[0]["cursor"]
    feed.publish(batch(("a", 1, 2)))
    feed.hub.log_ms += 3_600_000
    back, _ = feed.client(mode=mode, snapshot=False, cursor=old)
    for message in (back.messages("subscribed")[0], back.messages("data")[0]):
        assert CURSORS.decode_feed(message["cursor"]).made_ms == T0
    feed.publish(batch(("a", 3, 5)))
    feed.hub.tick(1000)
    assert CURSORS.decode_feed(back.messages("data")[-1]["cursor"]).made_ms == T0 + 3_600_000


def test_a_cursor_inside_a_record_goes_on_inside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "FRAME_ROWS", 2)
    monkeypatch.setattr(catching, "FRAME_ROWS", 2)
    feed = Feed()
    first, _ = feed.client(mode="all", snapshot=False)
    feed.publish(batch(*(("a", minute, minute) for minute in range(5))))
    cursors = [message["cursor"] for message in first.messages("data")]
    assert [CURSORS.decode_feed(text).within for text in cursors] == [{0: 2}, {0: 4}, {}]
    for cursor, missed in zip(cursors, ([2, 3, 4], [4], []), strict=True):
        back, _ = feed.client(mode="all", snapshot=False, cursor=cursor)
        assert values(back) == missed
        again, _ = feed.client(mode="all", snapshot=False, cursor=cursor)  # of the same catch
        assert values(again) == missed


def test_mode_latest_hears_the_newest_of_what_changed() -> None:
    feed = Feed()
    first, member = feed.client(mode="latest", tick_ms=250)
    feed.publish(batch(("a", 0, 1), ("b", 0, 1)))
    feed.hub.tick(250)
    cursor = first.messages("data")[-1]["cursor"]
    feed.hub.disconnect(member)
    feed.publish(batch(("a", 1, 2), ("a", 2, 3)))
    feed.publish(batch(("b", 0, 9), rev=2, flag=4))  # what the client shows has failed
    feed.publish(batch(("a", 1, 8)))  # late: older than what is sent
    back, _ = feed.client(mode="latest", tick_ms=250, snapshot=False, cursor=cursor)
    assert back.messages("subscribed")[0]["recovered"] is True
    assert [(r["sensor"], r["value"], r["flag"]) for r in back.rows()] == [("a", 3, 1), ("b", 9, 4)]


@pytest.mark.parametrize("topic_at", [{}, {"windows": {0: 1}}])
def test_a_cursor_of_another_topic_or_of_somebody_else_is_told_from_an_old_one(topic_at: Any) -> None:
    feed = Feed(live_ring_bytes=0)
    feed.publish(batch(("a", 0, 1)))
    old = feed.hub.cursor("readings")
    feed.publish(batch(("a", 1, 2)))
    for cursor, reason in (
        ("forged", "bad_cursor"),
        (CURSORS.encode_feed(Cursor(topic_at)), "bad_cursor"),
        (old[:-2] + ("AA" if old[-2:] != "AA" else "BB"), "bad_cursor"),
        (old, "too_far"),
    ):
        link, _ = feed.client(mode="all", snapshot=False, cursor=cursor, filter=Filter(dataset=("traffic",)))
        subscribed, snapshot = link.messages()
        assert subscribed["recovered"] is False and subscribed["reason"] == reason
        assert snapshot["type"] == "snapshot" and values(link, "snapshot") == [2]  # though none was asked for
        assert len(subscribed.get("history", ())) == (reason == "too_far")


def test_what_can_not_be_given_has_an_address() -> None:
    feed = Feed(live_ring_bytes=0, api_public_url="https://city.example/")
    feed.publish(batch(("a", 0, 1)))
    old = feed.hub.cursor("readings")
    feed.publish(batch(("a", 1, 2)))
    wanted = Filter(sensor=("a",), metric=("speed",), bbox=(0, 0, 1, 1), flag=(1, 3))
    link, _ = feed.client(mode="all", cursor=old, filter=wanted)
    (subscribed,) = link.messages("subscribed")
    assert subscribed["history"] == [
        f"https://city.example/v1/{dataset}/readings?from=2025-12-31T22%3A00%3A00.000Z&sensor=a&metric=speed"
        f"&flag=1&flag=3&origin=live&bbox=0%2C0%2C1%2C1&cursor={subscribed['cursor']}"
        for dataset in ("air-quality", "traffic")
    ]


def test_the_cursor_of_a_page_of_history_is_taken() -> None:
    feed = Feed()
    for n in range(3):
        feed.publish(batch(("a", n, n)))
    page = CURSORS.encode_feed(Cursor({"readings": {0: 1}, "published": {0: 9}}, page=Page(b"q", 0, 1, (1, 5))))
    link, _ = feed.client(mode="all", cursor=page)
    assert link.messages("subscribed")[0]["recovered"] is True and values(link) == [2]


def test_much_is_left_to_a_task_and_the_group_waits_for_it() -> None:
    feed = Feed()
    cursor = feed.hub.cursor("readings")
    for n in range(500):
        feed.publish(batch(("a", n, n)))
    asked: list[Resume] = []
    feed.hub.later = asked.append
    link, member = feed.client(mode="all", cursor=cursor)
    assert link.messages() == [] and len(asked) == 1
    feed.hub.unsubscribe(member, "s")
    group = asked[0].group
    feed.publish(batch(("a", 500, 500)))
    assert feed.hub.coming(group.wish) is group
    feed.hub.arrived(group)
    feed.hub.arrived(group)
    assert feed.hub.coming(group.wish) is not group


def test_many_who_come_back_with_one_cursor_cost_one_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    feed = Feed()
    cursor = feed.hub.cursor("readings")
    feed.publish(batch(*((f"s{n}", 0, n) for n in range(50))))
    reads: list[int] = []
    read = feed.hub.read
    monkeypatch.setattr(feed.hub, "read", lambda *args: reads.append(1) or read(*args))  # type: ignore[func-returns-value]
    for n in range(20):
        link, _ = feed.client(mode="all", snapshot=False, cursor=cursor)
        assert len(values(link)) == 50 + n
        feed.publish(batch(("late", n, n)))
    assert len(reads) == 20


def test_frames_that_were_joined_can_be_told_apart() -> None:
    feed = Feed()
    link, _ = feed.client(mode="all", snapshot=False)
    feed.publish(batch(("a", 0, 1)))
    (frame,) = split(link.writes[-1])
    assert json.loads(payload_of(frame))["d"][0]["start"] == "2026-01-01T00:00:00.000Z" and T0 % 1000 == 0
