"""Readings by series and time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_processors import ordering

PAIRS = st.lists(st.tuples(st.integers(0, 5), st.integers(-1, 7)), max_size=40)


@given(PAIRS, st.sampled_from([0, 70_000]))
def test_the_order_is_by_series_and_start_and_what_is_equal_stays(pairs: list[tuple[int, int]], more: int) -> None:
    """More series than 16 bits hold are ordered in another way."""
    series, start = np.array(pairs, np.int64).reshape(-1, 2).T
    series = series + more
    found = ordering.order(series, ordering.keys(series, start)).tolist()
    assert found == sorted(range(len(pairs)), key=lambda i: (pairs[i], i))


@given(PAIRS)
def test_distinct_pairs(pairs: list[tuple[int, int]]) -> None:
    series, start = np.array([pair for pair in pairs if pair[1] >= 0], np.int64).reshape(-1, 2).T
    found = zip(*(column.tolist() for column in ordering.distinct(series, start)), strict=True)
    assert list(found) == sorted({pair for pair in pairs if pair[1] >= 0})


@pytest.mark.parametrize("start_ms", [0, 1_800_000_000_000, (1 << 43) - 1])
def test_keys_come_apart_again(start_ms: int) -> None:
    key = ordering.keys(np.array([0, 1_000_000], np.int32), np.array([start_ms, start_ms]))
    series, start = ordering.of_keys(key)
    assert (series.tolist(), start.tolist()) == ([0, 1_000_000], [start_ms, start_ms])
