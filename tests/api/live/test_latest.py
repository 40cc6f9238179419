"""Latest values in columns against a plain dict of one row at a time."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.live.latest import Latest, LatestRow
from schemas.readings import Readings, readings
from schemas.wire import Record

SENSORS = [("traffic", "a"), ("traffic", "b"), ("air-quality", "a")]
METRICS = [("speed", "km/h"), ("pm25", "ug/m3")]


class Plain(NamedTuple):
    sensor: int
    metric: int
    start: int
    rev: int
    flag: int


class Model:
    """One row at a time, two newest usable rows and the newest failed start of each series."""

    def __init__(self) -> None:
        self.newest: dict[tuple[int, int], Plain] = {}
        self.before: dict[tuple[int, int], Plain] = {}
        self.failed: dict[tuple[int, int], int] = {}

    def take(self, row: Plain) -> None:
        key = row.sensor, row.metric
        newest, before = self.newest.get(key), self.before.get(key)
        usable = row.flag in (1, 2, 3)
        if usable and (newest is None or row.start > newest.start):
            if newest:
                self.before[key] = newest
            self.newest[key] = row
        elif newest and row.start == newest.start and row.rev > newest.rev:
            if usable:
                self.newest[key] = row
            elif before:
                self.newest[key] = self.before.pop(key)
            else:
                del self.newest[key]
        elif usable and newest and row.start < newest.start:
            if before is None or row.start > before.start or (row.start == before.start and row.rev > before.rev):
                self.before[key] = row
        elif before and row.start == before.start and row.rev > before.rev:
            del self.before[key]
        if not usable:
            self.failed[key] = max(row.start, self.failed.get(key, row.start))
        elif self.failed.get(key) == row.start:
            del self.failed[key]


rows = st.lists(
    st.builds(
        Plain,
        sensor=st.integers(0, 2),
        metric=st.integers(0, 1),
        start=st.integers(0, 6),
        rev=st.integers(1, 3),
        flag=st.sampled_from([1, 2, 3, 4, 9]),
    ),
    max_size=12,
)


def columns(batch: list[Plain]) -> Readings:
    return readings(
        SENSORS, METRICS, sensor=[r.sensor for r in batch], metric=[r.metric for r in batch],
        start=[r.start for r in batch], rev=[r.rev for r in batch], flag=[r.flag for r in batch],
        value=[100.0 * r.start + r.rev for r in batch], received=[7] * len(batch), period_s=60,
    )  # fmt: skip


@given(st.lists(rows, max_size=8), st.sampled_from([0, 64]))
def test_columns_are_the_plain_rules(batches: list[list[Plain]], few: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("api.live.latest.FEW", few)  # the way of small batches, and the way of big ones
        compare(batches)


def compare(batches: list[list[Plain]]) -> None:
    latest, model = Latest(), Model()
    for offset, batch in enumerate(batches):
        series = latest.apply(Record("clean", columns(batch)), 3, offset)
        assert [latest.keys[i] for i in series] == [(*SENSORS[r.sensor], METRICS[r.metric][0]) for r in batch]
        for row in batch:
            model.take(row)
    found = {
        (SENSORS.index((r.dataset, r.sensor)), [m for m, _ in METRICS].index(r.metric)): r
        for dataset in ("traffic", "air-quality")
        for r in latest.rows(dataset)
    }
    assert {k: (r.start, r.rev, r.flag, r.value) for k, r in found.items()} == {
        k: (r.start, r.rev, r.flag, 100.0 * r.start + r.rev) for k, r in model.newest.items()
    }
    for key, row in found.items():
        failed = model.failed.get(key, -1)
        assert row.newer_failed == (failed if failed > row.start else None)
    if batches:
        assert latest.positions == {3: len(batches) - 1}


@given(rows)
def test_a_repeat_changes_nothing(batch: list[Plain]) -> None:
    once, twice = Latest(), Latest()
    batch = [r for r in batch if r.rev == 1]
    once.apply(Record("clean", columns(batch)), 0, 0)
    for offset in (0, 0):
        twice.apply(Record("clean", columns(batch)), 0, offset)
    assert once.rows("traffic") == twice.rows("traffic")


def row(start: int, value: float | None = 1.0, **more: int) -> LatestRow:
    wanted = {"flag": 1, "tests": 0, "rev": 1, "origin": 0, "received": 7} | more
    return LatestRow("traffic", "a", "speed", "km/h", start, 300, value, **wanted)


def test_rows_of_the_database_never_replace_newer_ones_of_the_log() -> None:
    latest = Latest()
    assert latest.load([row(5)]) == [0]
    latest.apply(Record("clean", columns([Plain(0, 0, 6, 1, 1)])), 0, 0)
    assert latest.load([row(5), row(6)]) == []
    assert latest.rows("traffic")[0].start == 6
    assert latest.load([row(8, newer_failed=9)]) == [0]
    assert latest.rows("traffic")[0].newer_failed == 9
    latest.apply(Record("clean", columns([Plain(0, 0, 10, 1, 4)])), 0, 1)
    assert latest.load([row(10)]) == []
    assert latest.rows("traffic")[0] == row(8, newer_failed=10)


def test_rows_are_ordered_and_chosen() -> None:
    latest = Latest()
    latest.apply(Record("clean", columns([Plain(s, m, 1, 1, 1) for s in (2, 1, 0) for m in (1, 0)])), 0, 0)
    assert [(r.sensor, r.metric) for r in latest.rows("traffic")] == [
        ("a", "pm25"), ("a", "speed"), ("b", "pm25"), ("b", "speed")
    ]  # fmt: skip
    assert [r.sensor for r in latest.rows("traffic", ["b", "b", "zz"], ["speed"])] == ["b"]
    assert latest.rows("nowhere") == [] and latest.rows("traffic", [], None) == []
    assert latest.rows("air-quality")[0].unit == "ug/m3"


def test_it_grows() -> None:
    latest = Latest()
    names = [("traffic", f"s{i}") for i in range(3000)]
    n = len(names)
    counted = np.arange(n)
    batch = readings(names, METRICS, sensor=counted, start=counted, value=counted, received=counted, flag=1)
    latest.apply(Record("clean", batch), 0, 0)
    found = latest.rows("traffic")
    assert len(found) == n and all(r.value == r.start == int(r.sensor[1:]) for r in found)


def test_a_value_that_is_not_there_is_none() -> None:
    latest = Latest()
    latest.load([row(1, None)])
    assert latest.rows("traffic")[0].value is None
