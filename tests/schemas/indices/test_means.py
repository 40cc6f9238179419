import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.indices.means import mean_of, needed, rolling


@pytest.mark.parametrize(("width", "hours"), [(1, 1), (8, 6), (17, 13), (23, 18), (24, 18), (25, 19)])
def test_three_quarters_must_be_there(width: int, hours: int) -> None:
    assert needed(width) == hours


def test_a_mean_of_too_few_hours_is_none() -> None:
    hours = np.array([1.0, 2, np.nan, 4, 5, np.nan, 7, 8, np.nan])
    means = rolling(hours, 8)
    assert means.hours.tolist() == [1, 2, 2, 3, 4, 4, 5, 6, 5]
    assert np.isfinite(means.mean).tolist() == [False] * 7 + [True, False]
    assert means.mean[7] == 27 / 6


def test_a_day_with_too_few_hours_has_no_mean() -> None:
    hours = np.full(24, 10.0)
    hours[:6] = np.nan
    assert mean_of(hours, 24) == (10.0, 18)
    hours[6] = np.nan
    assert np.isnan(mean_of(hours, 24)[0])


@given(st.lists(st.one_of(st.floats(-100, 100), st.just(np.nan)), min_size=10, max_size=60), st.integers(0, 30))
def test_a_mean_does_not_depend_on_where_the_column_begins(hours: list[float], cut: int) -> None:
    whole, part = rolling(np.array(hours), 8), rolling(np.array(hours[cut:]), 8)
    assert np.array_equal(whole.mean[cut + 7 :], part.mean[7:], equal_nan=True)
