"""The week as the present: the same after any restart, never ahead of time, spread over the interval."""

from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deploy.replay.feed import batches
from deploy.replay.sample import Week, read_weeks
from deploy.replay.shift import WEEK_MS, newest_bin, phase_of, published_ms, whole_weeks

ORIGIN_MS = int(datetime.fromisoformat("2012-03-01T00:00:00-08:00").timestamp() * 1000)
NOW_MS = int(datetime.fromisoformat("2026-11-23T12:00:00Z").timestamp() * 1000)
SAMPLE = Path(__file__).parents[3] / "deploy" / "sample_city"
MOMENTS = st.integers(ORIGIN_MS, ORIGIN_MS + 100 * 52 * WEEK_MS)

# two sensors, one with a gap: 2,016 bins of five minutes
VALUES = np.column_stack([np.arange(2016.0), np.arange(2016.0) + 0.5, np.where(np.arange(2016) % 3, 7.0, np.nan)])
WEEK = Week("traffic", ORIGIN_MS, 300_000, (("a", "speed"), ("a", "volume"), ("b", "speed")), VALUES)


def bin_of(week: Week, moment_ms: int) -> int:
    return (moment_ms - week.origin_ms) // week.step_ms


@given(MOMENTS)
def test_a_moment_has_the_recorded_value_of_its_weekday_and_time(moment_ms: int) -> None:
    row = WEEK.row(0, bin_of(WEEK, moment_ms))
    recorded = ORIGIN_MS + int(row["speed"]) * WEEK.step_ms  # the value is the number of the bin
    assert row["t"] <= moment_ms < row["t"] + WEEK.step_ms
    then, now = (datetime.fromtimestamp(t / 1000, UTC) for t in (recorded, row["t"]))
    assert (then.weekday(), then.time()) == (now.weekday(), now.time())
    assert (row["t"] - recorded) % WEEK_MS == 0


@given(MOMENTS, st.lists(st.integers(1, 12 * 3600_000), min_size=1, max_size=6), st.integers(0, 3600_000))
def test_restarts_change_nothing(start_ms: int, pauses_ms: list[int], tail_ms: int) -> None:
    """One long play, and one that is stopped and started again in between, publish the same rows once each."""
    end_ms = start_ms + sum(pauses_ms) + tail_ms

    def played(stops_ms: list[int]) -> list[tuple[int, int]]:
        return sorted(
            (due.sensor, k)
            for after, until in pairwise(stops_ms)
            for due in WEEK.due(after, until)
            for k in range(due.first, due.last + 1)
        )

    stops_ms = [start_ms]
    for pause_ms in pauses_ms:
        stops_ms.append(stops_ms[-1] + pause_ms)
    assert played([start_ms, end_ms]) == played([*stops_ms, end_ms])


@given(MOMENTS, st.floats(0, 1, exclude_max=True))
def test_nothing_is_published_before_it_is_over_nor_later_than_an_interval_after(now_ms: int, phase: float) -> None:
    step_ms = 300_000
    k = newest_bin(ORIGIN_MS, step_ms, phase, now_ms)
    assert published_ms(ORIGIN_MS, step_ms, phase, k) <= now_ms < published_ms(ORIGIN_MS, step_ms, phase, k + 1)
    end_ms = ORIGIN_MS + (k + 1) * step_ms
    assert end_ms <= published_ms(ORIGIN_MS, step_ms, phase, k) < end_ms + step_ms


@given(MOMENTS)
def test_the_next_reading_is_the_first_after_now(now_ms: int) -> None:
    next_ms = WEEK.next_ms(now_ms)
    assert next_ms > now_ms
    assert list(WEEK.due(now_ms, next_ms - 1)) == []
    assert len(list(WEEK.due(now_ms, next_ms))) >= 1


@given(MOMENTS, st.integers(0, 60 * 52 * WEEK_MS))
def test_a_shift_is_whole_weeks_and_the_newest_is_at_most_a_week_old(last_ms: int, later_ms: int) -> None:
    now_ms = last_ms + later_ms
    shift_ms = whole_weeks(last_ms, now_ms)
    assert shift_ms % WEEK_MS == 0
    assert now_ms - WEEK_MS < last_ms + shift_ms <= now_ms


def test_the_phases_of_the_sample_are_spread_and_something_moves_every_few_seconds() -> None:
    loops = next(week for week in read_weeks(SAMPLE) if week.dataset == "traffic")
    phases = sorted(loops.phases)
    assert all(0 <= phase < 1 for phase in phases)
    assert max(b - a for a, b in pairwise(phases)) < 0.05
    moments = []
    now_ms = NOW_MS
    while now_ms < NOW_MS + 300_000:
        now_ms = loops.next_ms(now_ms)
        moments.append(now_ms)
    gaps_s = [(b - a) / 1000 for a, b in pairwise(moments)]
    assert sum(gaps_s) / len(gaps_s) < 2
    assert phase_of("traffic", "773869") == phase_of("traffic", "773869") != phase_of("traffic", "773870")


def test_the_newest_reading_is_the_one_before_a_gap() -> None:
    for minutes in range(0, 60, 5):
        now_ms = NOW_MS + minutes * 60_000
        newest = WEEK.newest_ms(now_ms)
        for sensor, name in enumerate(WEEK.sensors):
            k = bin_of(WEEK, newest[name])
            assert len(WEEK.row(sensor, k)) > 1
            last = newest_bin(ORIGIN_MS, 300_000, phase_of("traffic", name), now_ms)
            assert all(len(WEEK.row(sensor, gap)) == 1 for gap in range(k + 1, last + 1)) and k <= last


def test_a_gap_is_not_published() -> None:
    assert WEEK.row(1, 3) == {"t": ORIGIN_MS + 3 * 300_000}
    assert WEEK.row(1, 4) == {"t": ORIGIN_MS + 4 * 300_000, "speed": 7.0}
    after_ms = ORIGIN_MS + WEEK_MS
    made = [made for _, made in batches([WEEK], "cityfeed", after_ms, after_ms + 86_400_000)]
    assert sum(b.readings for b in made) == sum(
        len(WEEK.row(due.sensor, k)) - 1
        for due in WEEK.due(after_ms, after_ms + 86_400_000)
        for k in range(due.first, due.last + 1)
    )
