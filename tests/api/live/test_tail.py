"""Which record follows which; the rest of the tail is tested on a real Kafka (tests/integration/test_live.py)."""

import asyncio
import logging
from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition

from api.live.sources import Chain
from api.live.tail import Tail
from schemas import registry, wire
from schemas.registry import Registration
from schemas.settings import Settings
from schemas.topics import CLEAN, WINDOWS
from tests.api.live.feeding import T0, Feed, batch


def test_each_record_names_the_one_before_it() -> None:
    chain = Chain()
    assert chain.link(0, 7, 6) == "next"  # the first one heard of is taken as it is
    assert chain.link(0, 8, 7) == "next"
    assert chain.link(1, 0, -1) == "next"
    assert chain.link(0, 8, 7) == "repeat"
    assert chain.link(0, 7, 6) == "repeat"
    assert chain.link(0, 9, 8) == "next"
    assert chain.link(0, 12, 11) == "gap"
    assert chain.link(0, 13, 12) == "next"


def test_what_the_database_has_is_a_repeat() -> None:
    chain = Chain()
    chain.expect(0, 5)
    assert [chain.link(0, raw, raw - 1) for raw in (4, 5, 6)] == ["repeat", "repeat", "next"]
    chain.forget(0)
    assert chain.link(0, 2, 1) == "next"


def test_records_that_can_not_be_used_are_alarms_and_no_end(caplog: pytest.LogCaptureFixture) -> None:
    feed = Feed()
    link, _ = feed.client(mode="all", snapshot=False)
    tail = Tail(Settings(), feed.registry, feed.latest, feed.hub)

    def take(offset: int, value: bytes) -> None:
        tail._take_readings(0, offset, value)

    def clean(raw: int, minute: int) -> bytes:
        return wire.encode(wire.Record("clean", batch(("a", minute, 1.0)), raw=raw, prev_raw=raw - 1))

    with caplog.at_level(logging.ERROR):
        take(0, clean(0, 0))
        take(1, b"not ours")
        take(2, clean(2, 5))  # 1 is missing: an alarm, and the reading is heard all the same
        take(3, clean(2, 5))  # a repeat
        tail._take_registration(0, b"{")
        tail._take_registration(1, registry.encode(Registration("traffic", "a")))
    feed.hub.flush()
    assert [row["start"][14:16] for row in link.rows()] == ["00", "05"]
    assert caplog.text.count("ALARM") == 3
    assert feed.latest.positions == {0: 2}
    assert list(feed.registry.sensors("traffic")) == ["a"]


def test_a_log_of_published_rows_that_is_behind_holds_the_time_of_cursors_up() -> None:
    """Else a cursor would say that it has windows which were not read yet."""
    feed = Feed()
    tail = Tail(Settings(), feed.registry, feed.latest, feed.hub)
    windows, clean = TopicPartition(WINDOWS, 0), TopicPartition(CLEAN, 0)
    feed.hub.log_ms = 0
    tail._goal = {windows: 5}
    tail._heard[0] = T0 + 9_000, T0 + 9_000
    tail._next = {windows: 3, clean: 10}

    def note(tp: TopicPartition, timestamp: int, high: int) -> int:
        tail._note_time(tp, [SimpleNamespace(timestamp=timestamp)], high)
        return feed.hub.log_ms

    assert note(clean, T0 + 9_000, 10) == 0  # until all that was there at the start has been read
    tail._goal = {}
    assert note(windows, T0 + 1_000, 5) == T0 + 1_000
    assert note(clean, T0 + 9_000, 12) == T0 + 1_000
    tail._next[windows] = 5
    assert note(windows, T0 + 2_000, 5) == T0 + 9_000


async def test_an_exception_that_nobody_expected_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    feed = Feed()
    tail = Tail(Settings(), feed.registry, feed.latest, feed.hub)
    failures: list[BaseException] = []
    tail.failed = failures.append

    async def consume(pool: object) -> None:
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr(tail, "_run", consume)
    await tail.start(None)  # type: ignore[arg-type]
    async with asyncio.timeout(30):
        while not failures:
            await asyncio.sleep(0)
    assert [type(error) for error in failures] == [ZeroDivisionError]
    await tail.stop()
