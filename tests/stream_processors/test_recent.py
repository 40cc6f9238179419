"""The memory of repeats against a plain dict."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_processors.recent import Recent

rows = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 12), st.integers(1, 3), st.sampled_from([1.0, 2.0, float("nan")])),
    min_size=1,
    max_size=12,
)


def take(recent: Recent, batch: list[tuple[int, int, int, float]], received: int) -> tuple[list[bool], list[bool]]:
    series, start, rev, value = (np.array(column) for column in zip(*batch, strict=True))
    repeated, conflict = recent.repeats(series, start, rev, value, np.full(len(batch), received))
    return repeated.tolist(), conflict.tolist()


@settings(max_examples=300)
@given(st.lists(rows, max_size=30))
def test_it_tells_what_a_dict_tells(batches: list[list[tuple[int, int, int, float]]]) -> None:
    recent = Recent(horizon_ms=10**9)
    model: dict[tuple[int, int], tuple[int, float]] = {}
    for batch in batches:
        expected = []
        for series, start, rev, value in batch:
            known = model.get((series, start), (0, 0.0))
            if rev > known[0]:
                model[series, start] = (rev, value)
                expected.append((False, False))
            else:
                same = value == known[1] or (value != value and known[1] != known[1])
                expected.append((True, rev == known[0] and not same))
        assert list(zip(*take(recent, batch, 0), strict=True)) == expected


def test_what_was_received_before_the_horizon_is_forgotten() -> None:
    recent = Recent(horizon_ms=100)
    for i in range(50):
        take(recent, [(0, i, 1, 1.0), (0, i, 1, 1.0)], received=i * 10)
        assert len(recent) <= 32
    assert take(recent, [(0, 49, 1, 1.0)], received=500) == ([True], [False])
    assert take(recent, [(0, 0, 1, 1.0)], received=500) == ([False], [False])


def test_newer_readings_are_not_looked_up() -> None:
    recent = Recent(horizon_ms=10**9)
    for i in range(100):
        take(recent, [(0, i, 1, 1.0), (1, i, 1, 1.0)], received=i)
    assert recent._runs == []


def test_it_is_bounded_and_forgets_the_oldest() -> None:
    recent = Recent(horizon_ms=10**9, most=1_000)
    for i in range(5_000):
        take(recent, [(0, i, 1, 1.0)], received=i)
        assert len(recent) <= 1_000
    assert take(recent, [(0, 4_999, 1, 1.0)], 6_000) == ([True], [False])
    assert take(recent, [(0, 0, 1, 1.0)], 6_000) == ([False], [False])
