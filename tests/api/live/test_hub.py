"""The hub: who hears what, in which order, and that a client that does not read harms itself alone."""

from typing import Any

import pytest

from api.live.messages import Close, Filter, Status
from tests.api.live.feeding import T0, Feed, batch, placed


def values(rows: list[dict[str, Any]]) -> list[tuple[str, float]]:
    return [(row["sensor"], row["value"]) for row in rows]


def test_a_row_is_as_the_data_model_has_it() -> None:
    feed = Feed()
    link, _ = feed.client(mode="all")
    feed.publish(batch(("a", 5, 88.5), tests=4, rev=2, flag=3))
    assert link.rows() == [
        {
            "dataset": "traffic", "sensor": "a", "metric": "speed", "unit": "km/h", "start": "2026-01-01T00:05:00.000Z",
            "period_s": 300, "value": 88.5, "flag": 3, "tests": 4, "rev": 2, "origin": "live",
            "received": "2026-01-01T01:00:00.000Z",
        }
    ]  # fmt: skip


def test_all_gets_every_reading_at_once_in_frames_without_a_gap() -> None:
    feed = Feed()
    link, _ = feed.client(mode="all", snapshot=False)
    feed.publish(batch(("a", 0, 1), ("b", 0, 2)))
    feed.publish(batch(("a", 5, 3)))
    assert values(link.rows()) == [("a", 1), ("b", 2), ("a", 3)]
    assert [m["seq"] for m in link.messages("data")] == [[1, 1], [2, 2]]


def test_what_comes_together_leaves_in_one_frame_unless_it_is_much() -> None:
    feed = Feed()
    link, _ = feed.client(mode="all", snapshot=False)
    feed.publish(batch(("a", 0, 1)), flush=False)
    feed.publish(batch(("b", 0, 2)), partition=1, flush=False)
    assert link.messages("data") == []
    feed.hub.flush()
    (data,) = link.messages("data")
    assert values(data["d"]) == [("a", 1), ("b", 2)] and data["cursor"] == feed.hub.cursor("readings")
    for minute in range(1, 7):
        feed.publish(batch(*((f"s{n}", minute, 0.0) for n in range(100))), flush=False)
    assert [len(m["d"]) for m in link.messages("data")] == [2]
    writes = len(link.writes)
    feed.hub.flush()
    assert len(link.writes) == writes + 1  # two frames, one write
    feed.hub.flush()
    assert [(len(m["d"]), m["seq"]) for m in link.messages("data")] == [(2, [1, 1]), (500, [2, 2]), (100, [3, 3])]


def test_latest_gets_the_newest_of_each_series_once_a_tick() -> None:
    feed = Feed()
    link, _ = feed.client(mode="latest", tick_ms=250, snapshot=False)
    feed.publish(batch(("a", 0, 1), ("b", 0, 2)))
    feed.publish(batch(("a", 5, 3)))
    assert link.messages("data") == []
    feed.hub.tick(1000)
    assert link.messages("data") == []
    feed.hub.tick(250)
    (data,) = link.messages("data")
    assert values(data["d"]) == [("a", 3), ("b", 2)]
    assert data["n_conflated"] == 1 and data["seq"] == [1, 1]
    feed.hub.tick(250)
    assert len(link.messages("data")) == 1


def test_latest_never_goes_back_in_time_but_takes_a_revision() -> None:
    feed = Feed()
    link, _ = feed.client(mode="latest", tick_ms=250, snapshot=False)
    for sent in (batch(("a", 10, 1)), batch(("a", 5, 2)), batch(("a", 10, 3), rev=2), batch(("a", 10, 9))):
        feed.publish(sent)
        feed.hub.tick(250)
    assert values(link.rows()) == [("a", 1), ("a", 3)]


def test_latest_is_told_when_the_value_it_shows_fails_its_checks() -> None:
    feed = Feed()
    link, _ = feed.client(mode="latest", tick_ms=250)
    feed.publish(batch(("a", 10, 1)))
    feed.hub.tick(250)
    feed.publish(batch(("b", 10, 5), flag=4))
    feed.publish(batch(("a", 10, 1), flag=4, rev=2))
    feed.hub.tick(250)
    assert [(r["sensor"], r["flag"]) for r in link.rows()] == [("a", 1), ("a", 4)]


@pytest.mark.parametrize(
    ("wanted", "heard"),
    [
        (Filter(), "abcd"),
        (Filter(dataset=("traffic",)), "abc"),
        (Filter(metric=("pm25", "volume")), "d"),
        (Filter(sensor=("a", "d")), "ad"),
        (Filter(sensor=("a", "d"), dataset=("traffic",)), "a"),
        (Filter(flag=(3, 4)), "b"),
        (Filter(origin=("import",)), "c"),
        (Filter(origin=("import", "live")), "abcd"),
        (Filter(bbox=(0, 0, 10, 10)), "a"),
        (Filter(bbox=(170, -10, -170, 10)), "b"),
    ],
)
def test_filters(wanted: Filter, heard: str) -> None:
    feed = Feed((placed("traffic", "a", 5, 5), placed("traffic", "b", -175, 0)))
    link, _ = feed.client(mode="all", filter=wanted, snapshot=False)
    feed.publish(batch(("a", 0, 1)))
    feed.publish(batch(("b", 0, 1), flag=3))
    feed.publish(batch(("c", 0, 1), origin=1))
    feed.publish(batch(("d", 0, 1), metric="pm25", dataset="air-quality"))
    expected = heard if wanted.origin else heard.replace("c", "")
    assert "".join(row["sensor"] for row in link.rows()) == expected


def test_a_box_does_not_tell_more_of_a_place_than_is_public() -> None:
    feed = Feed((placed("traffic", "a", -118.2437, 34.0522, public_precision_m=1000),))
    tight, _ = feed.client(mode="all", filter=Filter(bbox=(-118.2438, 34.0521, -118.2436, 34.0523)))
    wide, _ = feed.client(mode="all", filter=Filter(bbox=(-118.27, 34.03, -118.22, 34.08)))
    feed.publish(batch(("a", 0, 1)))
    assert tight.rows() == [] and len(wide.rows()) == 1


def test_a_mobile_sensor_is_where_its_reading_says() -> None:
    feed = Feed()
    link, _ = feed.client(mode="all", filter=Filter(bbox=(0, 0, 1, 1)))
    nowhere = float("nan")
    feed.publish(batch(("a", 0, 1), ("a", 1, 2), ("a", 2, 3), lon=[5.0, 0.5, nowhere], lat=[0.5, 0.5, nowhere]))
    assert values(link.rows()) == [("a", 2)]


def test_a_snapshot_has_the_state_in_parts_and_then_come_the_changes() -> None:
    feed = Feed()
    feed.publish(batch(*((f"s{i:04}", 0, float(i)) for i in range(1203))))
    link, _ = feed.client(mode="latest", tick_ms=250)
    subscribed, *parts = link.messages()
    cursor = feed.hub.cursor("readings")
    assert subscribed == {"type": "subscribed", "id": "s", "ch": 1, "seq": 0, "cursor": cursor, "recovered": None}
    assert [(p["part"], p["last"], len(p["d"])) for p in parts] == [(0, False, 500), (1, False, 500), (2, True, 203)]
    assert values(link.rows()) == [(f"s{i:04}", i) for i in range(1203)]
    feed.publish(batch(("s0000", 5, -1)))
    feed.hub.tick(250)
    assert link.messages("data")[0]["seq"] == [1, 1]


def test_a_snapshot_of_nothing_still_comes() -> None:
    link, _ = Feed().client()
    assert link.messages("snapshot")[0]["d"] == [] and link.messages("snapshot")[0]["last"]


def test_a_snapshot_says_when_a_newer_reading_failed() -> None:
    feed = Feed()
    feed.publish(batch(("a", 0, 1)))
    feed.publish(batch(("a", 5, 999), flag=4))
    link, _ = feed.client()
    (row,) = link.rows()
    assert row["value"] == 1 and row["newer_failed"] == "2026-01-01T00:05:00.000Z"


def test_a_slow_client_in_latest_gets_one_frame_for_what_it_missed() -> None:
    feed = Feed()
    slow, member = feed.client(mode="latest", tick_ms=250, snapshot=False)
    quick, _ = feed.client(mode="latest", tick_ms=250, snapshot=False)
    feed.publish(batch(("a", 0, 1)))
    feed.hub.tick(250)
    slow.writable = False
    for minute, value in ((5, 2.0), (10, 3.0), (15, 4.0)):
        feed.publish(batch(("a", minute, value), ("b", minute, value)))
        feed.hub.tick(250)
    assert [m["seq"] for m in slow.messages("data")] == [[1, 1]]
    slow.writable = True
    member.flush()
    assert [m["seq"] for m in slow.messages("data")] == [[1, 1], [2, 4]]
    late = slow.messages("data")[1]
    assert values(late["d"]) == [("a", 4), ("b", 4)] and late["n_conflated"] == 4
    assert [m["seq"] for m in quick.messages("data")] == [[1, 1], [2, 2], [3, 3], [4, 4]]
    feed.publish(batch(("a", 20, 5)))
    feed.hub.tick(250)
    assert slow.messages("data")[-1]["seq"] == [5, 5]


def test_a_slow_client_in_all_is_closed_when_its_queue_is_full() -> None:
    feed = Feed(live_queue_frames=3)
    slow, member = feed.client(mode="all", snapshot=False)
    quick, _ = feed.client(mode="all", snapshot=False)
    slow.writable = False
    for minute in range(3):
        feed.publish(batch(("a", minute, minute)))
    assert slow.closed is None
    slow.writable = True
    member.flush()
    assert values(slow.rows()) == [("a", 0), ("a", 1), ("a", 2)]
    slow.writable = False
    for minute in range(3, 7):
        feed.publish(batch(("a", minute, minute)))
    assert slow.closed is not None and slow.closed[0] == Close.SLOW
    feed.hub.disconnect(member)
    assert values(quick.rows()) == [("a", m) for m in range(7)]


def test_a_client_that_does_not_drain_is_cut_off() -> None:
    feed = Feed(live_drain_timeout_s=5)
    link, _ = feed.client(mode="latest", tick_ms=250)
    link.writable = False
    assert [feed.hub.drop_stalled(t) for t in (100.0, 104.9)] == [0, 0]
    link.writable = True
    assert [feed.hub.drop_stalled(t) for t in (105.0,)] == [0]
    link.writable = False
    assert [feed.hub.drop_stalled(t) for t in (106.0, 110.9, 111.0)] == [0, 0, 1]
    assert link.aborted and not feed.hub.members
    feed.publish(batch(("a", 0, 1)))
    feed.hub.tick(250)


def test_one_encoding_for_the_whole_group(monkeypatch: pytest.MonkeyPatch) -> None:
    feed = Feed()
    links = [feed.client(mode="all", snapshot=False)[0] for _ in range(5)]
    feed.publish(batch(("a", 0, 1)))
    assert all(link.frames[-1] is links[0].frames[-1] for link in links)


def test_unsubscribe_ends_it_and_the_group_with_its_last_member() -> None:
    feed = Feed()
    link, member = feed.client(mode="all", snapshot=False)
    feed.publish(batch(("a", 0, 1)))
    feed.hub.unsubscribe(member, "s")
    feed.hub.unsubscribe(member, "s")
    feed.publish(batch(("a", 5, 2)))
    assert values(link.rows()) == [("a", 1)]
    feed.subscribe(member, mode="all", snapshot=False)
    assert link.messages("subscribed")[-1]["ch"] == 2


def test_heartbeats_carry_the_cursors_of_what_was_sent() -> None:
    feed = Feed()
    link, member = feed.client(mode="all", snapshot=False)
    feed.subscribe(member, "t", mode="latest", tick_ms=5000, snapshot=False)
    before = feed.hub.cursor("readings")
    feed.publish(batch(("a", 0, 1)))
    feed.hub.heartbeat(T0, 42)
    (hb,) = link.messages("hb")
    # Channel 2 has a change that waits for its tick: its cursor must not cover it yet.
    assert hb == {
        "type": "hb", "t": "2026-01-01T00:00:00.000Z", "lag_ms": 42,
        "cursors": {"1": feed.hub.cursor("readings"), "2": before},
    }  # fmt: skip
    feed.hub.tick(5000)
    feed.publish(batch(("b", 0, 1), metric="volume", flag=4))  # nothing for channel 2: only its cursor moves
    feed.hub.heartbeat(T0, 42)
    assert link.messages("hb")[-1]["cursors"] == {"1": feed.hub.cursor("readings"), "2": feed.hub.cursor("readings")}
    link.writable = False
    feed.hub.heartbeat(T0, 42)
    assert len(link.messages("hb")) == 2


def test_a_broken_source_is_told_to_all_and_to_who_comes_later() -> None:
    feed = Feed()
    first, _ = feed.client(subscribe=False)
    feed.hub.tell(Status("readings", None, "nothing came for 5 s"))
    second, _ = feed.client(subscribe=False)
    feed.hub.tell(Status("readings", "2026-01-01T00:00:00.000Z", None))
    third, _ = feed.client(subscribe=False)
    assert [len(link.messages("status")) for link in (first, second, third)] == [2, 2, 0]


def test_goodbye() -> None:
    feed = Feed()
    link, member = feed.client(subscribe=False)
    feed.hub.say_goodbye(member, 1234)
    assert link.messages() == [{"type": "going_away", "reconnect_in_ms": 1234}]
    assert link.closed is not None and link.closed[0] == Close.SHUTDOWN


def test_what_the_database_fills_in_later_reaches_clients_of_latest() -> None:
    feed = Feed()
    feed.publish(batch(("a", 10, 1)))
    link, _ = feed.client(mode="latest", tick_ms=250, snapshot=False)
    everything, _ = feed.client(mode="all", snapshot=False)
    other = Feed()
    other.publish(batch(("a", 5, 7), ("b", 5, 8)))
    feed.hub.refresh("readings", feed.latest.load(other.latest.rows("traffic")))
    feed.hub.tick(250)
    assert values(link.rows()) == [("b", 8)] and everything.rows() == []
