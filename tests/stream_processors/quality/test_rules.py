"""Each rule by itself, on series of a few readings; test_oracle.py holds them against ioos_qc."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.datasets import Metric, Position
from schemas.flags import Test, fired_tests
from schemas.quality import Attenuated, Clock, FlatLine, RateOfChange, Season, Spike, TimeGap
from stream_processors.quality import STEP_TESTS, Judged, roll_up
from stream_processors.quality.parameters import LEAST_KEPT, NO_CLIMATE, Table, climate, parameters
from stream_processors.quality.sequence import Batch, Sequence
from tests.stream_processors.quality.series import each, judge, rows

AUGUST = 1_564_617_600_000  # 2019-08-01T00:00Z
MINUTE = 60_000


def fired(metric: Metric, value: list[float], start: Any = None, **columns: Any) -> list[str]:
    """The tests that fired, a text a reading."""
    of = rows(AUGUST + np.arange(len(value)) * MINUTE if start is None else start, value)
    if columns:
        return [" ".join(fired_tests(int(t))) for t in each(metric, of, **columns)[0].tests]
    return [" ".join(fired_tests(int(t))) for t in judge(metric, of)[0].tests]


def test_gross_range_has_its_ends_in_the_span() -> None:
    metric = Metric(fail=(0, 10), suspect=(2, 8))
    assert fired(metric, [-1, 0, 1, 2, 8, 9, 10, 11]) == [
        "gross-range-fail", "gross-range-suspect", "gross-range-suspect", "", "", "gross-range-suspect",
        "gross-range-suspect", "gross-range-fail",
    ]  # fmt: skip


def test_a_sentinel_is_compared_in_the_sources_unit_and_leaves_no_value() -> None:
    metric = Metric(fail=(0, 10), sentinels=(-999, 65535))
    source = np.array([-999.0, 41.0, 65535.0])  # degrees Fahrenheit
    judged, value = each(metric, rows(AUGUST, (source - 32) / 1.8), source_value=source)
    assert judged.tests.tolist() == [Test.SENTINEL, 0, Test.SENTINEL]
    assert judged.flag().tolist() == [9, 1, 9]
    assert [math.isnan(v) for v in value] == [True, False, True]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_missing_whatever_else_fires(value: float) -> None:
    judged, values = each(Metric(fail=(0, 10)), rows(AUGUST, [value, 3.0]))
    assert (judged.flag().tolist(), judged.tests.tolist()) == ([9, 1], [Test.NOT_A_NUMBER, 0])
    assert math.isnan(values[0])


def test_climatology_goes_by_the_month_in_utc() -> None:
    metric = Metric(climatology=(Season((8,), (10, 30), (0, 40)), Season((9, 10), suspect=(5, 25))))
    september = AUGUST + 31 * 86_400_000
    start = [AUGUST, AUGUST, september - 1, september, september, AUGUST - 1]
    value = [9, 41, 28, 28, 41, 99]
    assert fired(metric, value, start=np.array(start), source_value=np.array(value)) == [
        "climatology-suspect", "climatology-fail", "", "climatology-suspect", "climatology-suspect", "",
    ]  # fmt: skip
    judged, _ = each(metric, rows(start, value))
    assert judged.flag().tolist() == [3, 4, 1, 3, 3, 2], "July has no span: not evaluated"


def test_climates_are_tables_by_month() -> None:
    table = climate(Metric(climatology=(Season((1, 12), suspect=(1, 2)),)))
    assert table[0].tolist() == table[11].tolist() == [-math.inf, math.inf, 1, 2]
    assert (table[1:11] == NO_CLIMATE[1:11]).all()


def test_a_place_out_of_the_box_or_nowhere_on_earth_fails() -> None:
    lon, lat = np.array([13.4, 13.4, 20.0, np.nan, np.nan]), np.array([52.5, 91.0, 52.5, 52.5, np.nan])
    box = Position((13.0, 52.0, 14.0, 53.0))
    assert fired(Metric(), [1.0] * 5, lon=lon, lat=lat, position=box) == [
        "", "position-fail", "position-fail", "position-fail", "",
    ]  # fmt: skip
    assert fired(Metric(), [1.0] * 5, lon=lon, lat=lat)[2] == "", "without a box, anywhere on Earth"


def test_clocks_that_are_ahead_or_behind_are_suspect_but_not_those_of_imports() -> None:
    metric = Metric(clock=Clock(ahead_s=30, behind_s=3600))
    start = np.array([0, 31_000, 30_000, -3_660_000, -3_661_000]) + AUGUST
    columns = {"received": np.full(5, AUGUST), "period_s": np.full(5, 60, np.int32)}
    assert fired(metric, [1.0] * 5, start, **columns) == ["", "clock-ahead", "", "", "clock-behind"]
    assert not any(fired(metric, [1.0] * 5, start, live=np.zeros(5, bool), **columns))


def test_a_spike_is_flagged_and_by_steps_its_neighbours_are_not() -> None:
    value = [10.0, 10.0, 50.0, 10.0, 10.0]
    assert fired(Metric(spike=Spike(15, 30)), value) == ["", "spike-suspect", "spike-fail", "spike-suspect", ""]
    assert fired(Metric(spike=Spike(15, 30, "differential")), value) == ["", "", "spike-fail", "", ""]
    assert fired(Metric(spike=Spike(15, 30, "differential")), [10, 10, 50, 50, 10]) == [""] * 5, "a step is no spike"


def test_rate_of_change_is_per_second_and_knows_the_time_between() -> None:
    metric = Metric(rate_of_change=RateOfChange(0.1, 1.0))
    start = AUGUST + np.array([0, 10_000, 20_000, 320_000, 320_500])
    assert fired(metric, [0, 2, 13, 40, 41], start) == [
        "", "rate-of-change-suspect", "rate-of-change-fail", "", "rate-of-change-fail",
    ]  # fmt: skip


def test_a_flat_line_is_flagged_once_it_has_lasted() -> None:
    metric = Metric(cadence_s=60, flat_line=FlatLine(0.1, 180, 300))
    value = [1, 2, 2, 2.05, 2, 2, 2, 2, 3]
    assert fired(metric, value) == [*[""] * 4, *["flat-line-suspect"] * 2, *["flat-line-fail"] * 2, ""][: len(value)]


@given(
    st.lists(st.sampled_from((1.0, 1.0, 1.0, 1.04, 1.2, float("nan"))), min_size=30, max_size=90), st.integers(2, 25)
)
def test_flat_lines_are_the_same_however_they_are_looked_at(values: list[float], back: int) -> None:
    """Many readings of a series at once are looked at together; one at a time by itself."""
    metric = Metric(cadence_s=60, flat_line=FlatLine(0.1, suspect_s=back * 60))
    start = np.arange(len(values)) * 60_000
    rows = np.repeat(parameters(metric, 60), 1)

    def in_batches(size: int) -> list[bool]:
        table, sequence = Table(), Sequence()
        found: list[bool] = []
        table.append(rows)
        sequence.expect(np.zeros(1, np.int64), rows["keep"])
        for at in range(0, len(values), size):
            of = np.zeros(len(start[at : at + size]), np.int64)
            one, none = np.ones(len(of), np.int32), np.zeros(len(of), np.uint32)
            judged, _ = sequence.take(
                Batch(of, start[at : at + size], np.array(values[at : at + size]), one, one * 60, none,
                      start[at : at + size], table.take(of), Judged(none, none > 0))
            )  # fmt: skip
            found += ((judged.tests & int(Test.FLAT_LINE_SUSPECT)) != 0).tolist()
        return found

    def spread(i: int) -> float:
        known = [value for value in values[i - back : i + 1] if value == value]
        return max(known) - min(known)

    slow = [i >= back and values[i] == values[i] and spread(i) < 0.1 for i in range(len(values))]
    assert in_batches(1) == in_batches(len(values)) == in_batches(17) == slow


def test_without_a_cadence_what_counts_readings_is_not_judged() -> None:
    row = parameters(Metric(flat_line=FlatLine(0.1, 180)), 0)
    assert (row["flat_suspect_n"][0], row["keep"][0]) == (0, LEAST_KEPT)


def test_a_signal_that_hardly_moves_is_attenuated() -> None:
    metric = Metric(cadence_s=60, attenuated=Attenuated(240, 3, suspect=0.2, fail=0.01))
    value = [5.0, 5.0, 5.1, 5.0, 5.1, 9.0, 5.0, 5.0, 5.0, 5.0, 5.0]
    assert fired(metric, value) == [
        *["", ""], *["attenuated-suspect"] * 3, *[""] * 4, "attenuated-fail", "attenuated-fail",
    ]  # fmt: skip


def test_the_reading_after_a_gap_is_flagged() -> None:
    metric = Metric(time_gap=TimeGap(60, 3600))
    start = AUGUST + np.array([0, 60_000, 121_000, 4_000_000])
    assert fired(metric, [1.0] * 4, start) == ["", "", "time-gap-suspect", "time-gap-fail"]


def test_the_roll_up_takes_the_worst_and_says_what_was_not_judged() -> None:
    tests = [0, 0, Test.SPIKE_SUSPECT, Test.SPIKE_SUSPECT | Test.GROSS_RANGE_FAIL, Test.SENTINEL | Test.SPIKE_FAIL]
    evaluated = np.array([True, False, True, True, True])
    assert roll_up(np.array(tests, np.uint32), evaluated).tolist() == [1, 2, 3, 4, 9]


def test_the_bits_of_the_rules_of_order() -> None:
    assert Test.SPIKE_FAIL in STEP_TESTS and Test.GROSS_RANGE_FAIL not in STEP_TESTS


ANY = st.one_of(
    st.floats(), st.sampled_from([math.nan, math.inf, -0.0, 5e-324, 9.9e99, -9.9e99, 1e100, 1e308, 50.0, 50.0, 51.0])
)
LIMIT = st.sampled_from([5e-324, 0.1, 1.0, 9e99])
EXTREME = st.builds(
    Metric,
    cadence_s=st.sampled_from([0, 1, 60]),
    fail=st.sampled_from([None, (-9e99, 9e99), (0.0, 1e-300), (0, 1000)]),
    sentinels=st.sampled_from([(), (-0.0,), (50.0, 9e99)]),
    climatology=st.sampled_from([(), (Season((1, 12), (-9e99, 9e99)),)]),
    spike=st.builds(Spike, suspect=LIMIT, method=st.sampled_from(["average", "differential"])),
    rate_of_change=st.builds(RateOfChange, suspect=LIMIT),
    flat_line=st.builds(FlatLine, tolerance=LIMIT, suspect_s=st.just(120), fail_s=st.sampled_from([None, 600])),
    attenuated=st.builds(Attenuated, period_s=st.just(600), min_obs=st.just(2), suspect=LIMIT),
    time_gap=st.just(TimeGap(suspect_s=604_800)),
)
YEAR_1, YEAR_9999 = -62_135_596_800_000, 253_402_300_799_999
WHEN = st.one_of(st.integers(0, 50).map(lambda i: AUGUST + i * MINUTE), st.sampled_from([0, 1, YEAR_1, YEAR_9999]))


@given(EXTREME, st.lists(st.tuples(WHEN, ANY, st.integers(0, 2), st.integers(1, 3)), max_size=30))
def test_whatever_is_measured_has_a_flag_and_no_value_is_infinite(
    metric: Metric, readings: list[tuple[int, float, int, int]]
) -> None:
    start, value, series, rev = zip(*readings, strict=True) if readings else ((),) * 4
    of = rows(np.array(start, np.int64), np.array(value, float), np.array(series, np.int64), np.array(rev, np.int32))
    judged, values = each(metric, of)
    assert (np.isnan(values) | (np.abs(values) < 1e100)).all()
    assert ((judged.flag() == 9) == np.isnan(values)).all()
    assert (
        judged.flag() == [f for i in range(len(start)) for f in each(metric, of.take(np.array([i])))[0].flag()]
    ).all()
    if readings:
        assert set(judge(metric, of)[0].flag().tolist()) <= {1, 2, 3, 4, 9}
