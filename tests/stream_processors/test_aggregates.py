"""Each aggregate against a plain computation of the same thing."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_processors.aggregates import Aggregates, aggregate

WIDTH_MS = 3_600_000


def one_window(
    readings: list[tuple[int, float]],
    *,
    span_s: int = 300,
    flags: list[int] | None = None,
    weights: list[float] | None = None,
    width_ms: int = WIDTH_MS,
) -> Aggregates:
    """Aggregate (start in s, value) pairs of one window that begins at 0."""
    n = len(readings)
    return aggregate(
        np.zeros(n, np.int64),
        np.array([width_ms]),
        width_ms,
        np.array([start * 1000 for start, _ in readings], np.int64),
        np.full(n, span_s * 1000, np.int64),
        np.array([value for _, value in readings], float),
        np.array(flags or [1] * n, np.uint8),
        np.array(weights or [math.nan] * n, float),
    )


def percentile(values: list[float], q: float) -> float:
    ordered = sorted(values)
    place = (len(ordered) - 1) * q
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


values = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 3599), st.floats(-1e6, 1e6)),
    min_size=1,
    max_size=60,
    unique_by=lambda row: (row[0], row[1]),
)


@given(values, st.randoms())
def test_every_statistic_of_several_windows_in_any_order(rows: list[tuple[int, int, float]], random: object) -> None:
    random.shuffle(rows)  # type: ignore[attr-defined]
    present = sorted({window for window, _, _ in rows})
    index = {window: i for i, window in enumerate(present)}
    found = aggregate(
        np.array([index[w] for w, _, _ in rows]),
        np.array([(w + 1) * WIDTH_MS for w in present]),
        WIDTH_MS,
        np.array([w * WIDTH_MS + s * 1000 for w, s, _ in rows]),
        np.full(len(rows), 60_000),
        np.array([v for _, _, v in rows]),
        np.ones(len(rows), np.uint8),
        np.full(len(rows), math.nan),
    )
    for window in present:
        i = index[window]
        in_order = [v for w, s, v in sorted(rows, key=lambda row: row[:2]) if w == window]
        assert found.n[i] == len(in_order)
        assert found.n_expected[i] == 60
        assert found.mean[i] == pytest.approx(statistics.fmean(in_order), rel=1e-9, abs=1e-6)
        assert found.std[i] == pytest.approx(statistics.pstdev(in_order), rel=1e-6, abs=1e-6)
        assert found.p50[i] == pytest.approx(percentile(in_order, 0.5), rel=1e-9, abs=1e-6)
        assert found.p95[i] == pytest.approx(percentile(in_order, 0.95), rel=1e-9, abs=1e-6)
        assert (found.min[i], found.max[i]) == (min(in_order), max(in_order))
        assert (found.first[i], found.last[i]) == (in_order[0], in_order[-1])


def test_only_good_unevaluated_and_suspect_numbers_count() -> None:
    found = one_window([(0, 1.0), (300, 2.0), (600, 3.0), (900, 100.0), (1200, math.nan)], flags=[1, 2, 3, 4, 9])
    assert (found.n[0], found.mean[0], found.max[0]) == (3, 2.0, 3.0)


def test_a_window_whose_readings_all_failed_has_no_values_but_says_what_was_expected() -> None:
    found = one_window([(0, 5.0), (300, 6.0)], flags=[4, 4])
    assert (found.n[0], found.n_expected[0], found.coverage[0], found.complete[0]) == (0, 12, 0.0, False)
    assert all(math.isnan(getattr(found, name)[0]) for name in ("mean", "min", "max", "std", "p50", "first", "last"))


def test_the_mean_is_weighted_where_weights_are_known() -> None:
    found = one_window([(0, 30.0), (300, 60.0)], weights=[10.0, 30.0])
    assert found.mean[0] == pytest.approx((30 * 10 + 60 * 30) / 40)
    assert (found.weighted[0], found.weight[0], found.total[0]) == (2100.0, 40.0, 90.0)


def test_readings_without_a_weight_do_not_weigh_but_count() -> None:
    found = one_window([(0, 30.0), (300, 60.0), (600, 99.0)], weights=[10.0, 30.0, math.nan])
    assert found.mean[0] == pytest.approx(52.5)
    assert (found.n[0], found.max[0]) == (3, 99.0)


def test_weights_that_sum_to_zero_leave_the_arithmetic_mean() -> None:
    assert one_window([(0, 30.0), (300, 60.0)], weights=[0.0, 0.0]).mean[0] == 45.0


# Coverage, drawn: one character is five minutes of an hour, x covered.


@pytest.mark.parametrize(
    ("drawn", "span_s", "starts_s", "coverage", "n_expected", "complete"),
    [
        ("xxxxxxxxxxxx a complete five-minute series", 300, range(0, 3600, 300), 1.0, 12, True),
        ("xxxxxxxxx... 45 minutes are enough", 300, range(0, 2700, 300), 0.75, 12, True),
        ("xxxxxxxx.... 40 are not", 300, range(0, 2400, 300), 8 / 12, 12, False),
        ("xxxxxxxxxxxx one-minute series", 60, range(0, 3600, 60), 1.0, 60, True),
        ("x........... one minute of sixty", 60, [0], 1 / 60, 60, False),
        ("xxxxxxxxxxxx an hourly series in its own hour", 3600, [0], 1.0, 1, True),
        (".....xxxxxxx what reaches past the end is not counted", 3600, [1500], 2100 / 3600, 1, False),
        ("xx.......... overlapping readings cover once", 300, [0, 60, 300], 600 / 3600, 12, False),
    ],
)
def test_coverage(
    drawn: str, span_s: int, starts_s: range | list[int], coverage: float, n_expected: int, complete: bool
) -> None:
    found = one_window([(s, 1.0) for s in starts_s], span_s=span_s)
    assert found.coverage[0] == pytest.approx(coverage), drawn
    assert (found.n_expected[0], bool(found.complete[0])) == (n_expected, complete), drawn


def test_coverage_of_a_series_without_period_or_cadence_is_not_known() -> None:
    found = one_window([(0, 1.0), (60, 2.0)], span_s=0)
    assert found.n_expected[0] == -1
    assert math.isnan(found.coverage[0])
    assert not found.complete[0]


def test_no_windows_at_all() -> None:
    empty = np.zeros(0)
    found = aggregate(empty.astype(int), empty.astype(int), 60_000, *(empty.astype(int),) * 2, empty, empty, empty)
    assert len(found.n) == len(found.mean) == 0
