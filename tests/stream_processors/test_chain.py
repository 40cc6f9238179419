"""Which clean records follow."""

import pytest

from schemas.errors import GapError
from schemas.readings import readings
from schemas.wire import Record
from stream_processors.chain import Item, follow
from stream_processors.store import Position

ONE = readings([("d", "s")], [("m", "")], sensor=[0], value=[1.0], start=[0], received=0)


def at(next_offset: int = 5, raw: int | None = 4) -> dict[int, Position]:
    return {0: Position(next_offset, raw, tick=7, epoch=1, log_epoch=0, out_seq=3, published_seq=2)}


def item(offset: int, raw: int, prev_raw: int, tick: int = 0) -> Item:
    record = Record("clean", tick=tick, raw=raw, prev_raw=prev_raw) if tick else Record("clean", ONE, 0, raw, prev_raw)
    return Item(0, offset, record, crc=1000 + offset)


def test_records_follow_and_the_positions_move_with_them() -> None:
    before = at()
    found = follow([item(5, 5, 4), item(6, 8, 5, tick=99), item(7, 9, 8)], before, {0: 7})
    assert [one.offset for one in found.accepted] == [5, 7]
    after = found.positions[0]
    assert (after.next_offset, after.raw, after.crc, after.tick, found.ticks) == (8, 9, 1007, 99, {0: 99})
    assert before == at(), "what was given stays as it is"


def test_a_repeat_is_passed_over_and_its_place_is_taken() -> None:
    found = follow([item(5, 3, 2), item(6, 4, 3), item(7, 5, 4)], at(), {})
    assert ([one.offset for one in found.accepted], found.repeats, found.positions[0].next_offset) == ([7], 2, 8)


def test_what_was_stored_already_is_not_looked_at() -> None:
    found = follow([item(3, 9, 1), item(4, 4, 3)], at(), {})
    assert (found.accepted, found.repeats, found.positions) == ([], 0, at())


def test_a_gap_stops() -> None:
    with pytest.raises(GapError, match="offset 5 follows raw 5, but the last one stored is raw 4"):
        follow([item(5, 6, 5)], at(), {})


def test_after_a_log_that_broke_any_record_is_the_next() -> None:
    found = follow([item(5, 900, 899), item(6, 901, 900)], at(raw=None), {})
    assert [one.record.raw for one in found.accepted] == [900, 901]
