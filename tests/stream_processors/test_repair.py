"""When dirty windows are made again."""

import numpy as np

from stream_processors.repair import DirtyMarks, as_columns, ranges
from stream_processors.windows import Kind, Marks


def marks(width_s: int, *starts: int, at_once: bool = False) -> Marks:
    return Marks(width_s, np.zeros(len(starts), np.int64), np.array(starts), at_once)


def new() -> DirtyMarks:
    return DirtyMarks(quiet_ms=5_000, max_delay_ms=60_000)


def test_a_narrow_window_is_due_at_once() -> None:
    dirty = new()
    dirty.add(marks(900, 0, at_once=True), log_ms=1_000)
    assert dirty.due(1_000, 10) == [(0, 900, 0, 0)]


def test_an_hour_waits_for_quiet() -> None:
    """
    late      x  x
    time      0--3-----8     quiet for 5 s at 8
    """
    dirty = new()
    dirty.add(marks(3600, 0), log_ms=100_000)
    dirty.add(marks(3600, 0), log_ms=103_000)
    assert dirty.due(107_999, 10) == []
    assert dirty.due(108_000, 10) == [(0, 3600, 0, 0)]


def test_and_at_the_latest_after_the_maximum_delay() -> None:
    dirty = new()
    for s in range(0, 59, 2):
        dirty.add(marks(3600, 0), log_ms=100_000 + s * 1000)
        assert dirty.due(100_000 + s * 1000, 10) == []
    dirty.add(marks(3600, 0), log_ms=159_999)
    assert dirty.due(160_000, 10) == [(0, 3600, 0, 0)]


def test_only_changes_go_to_the_table() -> None:
    dirty = new()
    assert len(dirty.add(marks(900, 0, 1, at_once=True), 5)) == 2
    assert dirty.add(marks(900, 0, at_once=True), 6) == []
    assert [mark.touched for _, mark in dirty.add(marks(3600, 0), 7)] == [7]
    assert [(mark.marked, mark.touched) for _, mark in dirty.add(marks(3600, 0), 9)] == [(7, 9)]
    assert [mark.touched for _, mark in dirty.add(marks(3600, 0, at_once=True), 11)] == [0]
    assert dirty.add(marks(3600, 0), 12) == []  # due already


def test_the_limit_and_removal() -> None:
    dirty = new()
    dirty.add(marks(900, *range(10), at_once=True), 1)
    due = dirty.due(1, 4)
    assert len(due) == 4
    dirty.remove(due)
    assert len(dirty) == 6
    assert [column.tolist() for column in as_columns([(0, 900, 1, 2)])] == [[900], [1], [2]]


def test_a_clock_that_was_set_back_makes_marks_due() -> None:
    dirty = new()
    dirty.add(marks(3600, 0), log_ms=10**15)
    assert dirty.due(100_000, 10) == [(0, 3600, 0, 0)]


def test_kinds_are_drained_apart() -> None:
    dirty = new()
    dirty.add(Marks(0, np.array([4]), np.array([7]), True, Kind.JUDGE), 1)
    dirty.add(marks(900, 0, at_once=True), 1)
    assert dirty.due(1, 10) == [(0, 900, 0, 0)]
    assert dirty.due(1, 10, Kind.JUDGE) == [(1, 0, 4, 7)]


def test_neighbouring_windows_are_one_stretch() -> None:
    slot, start = np.array([1, 0, 1, 1, 1, 0]), np.array([900, 0, 300, 600, 300, 600])
    assert [column.tolist() for column in ranges(slot, start, 300)] == [[0, 0, 1], [0, 600, 300], [300, 900, 1200]]
    assert [len(column) for column in ranges(slot[:0], start[:0], 300)] == [0, 0, 0]
