"""Whatever comes in: a value within the scale or no data, no infinity, no exception."""

import math
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.indices import daqi, eaqi, means, nowcast, us_aqi, who
from schemas.indices.days import HOUR_MS, Day, civil_day
from schemas.indices.hourly import INDICES, DailyPollutant, HourlyPollutant, Hours, daily_rows, hourly_rows
from schemas.indices.us_aqi_tables import TABLES

Array = npt.NDArray[Any]

ODD = (math.nan, math.inf, -math.inf, 0.0, -0.0, 5e-324, -5e-324, 1e308, -1e308, 1.7976931348623157e308, 1e12)
floats = st.sampled_from(ODD) | st.floats() | st.floats(-50, 2000)
columns = st.lists(floats, max_size=40).map(lambda values: np.array(values, np.float64))

HIGHEST = {"eaqi": 6, "daqi": 10}


@pytest.mark.parametrize(
    ("index", "metric"), [(name, metric) for name, index in INDICES.items() for metric in index.pollutants]
)
@settings(deadline=None)
@given(columns, st.sampled_from(sorted(TABLES)))
def test_an_index_is_within_its_scale(index: str, metric: str, column: Array, table: str) -> None:
    scores = {"eaqi": eaqi.score, "daqi": daqi.score, "who": who.score}
    scored = scores[index](metric, column) if index in scores else us_aqi.score(metric, column, table)
    value = scored.value[np.isfinite(scored.value)]
    assert not np.isinf(scored.value).any()
    assert ((scored.category < 0) == np.isnan(scored.value)).all()
    assert np.isnan(scored.value[~np.isfinite(column)]).all()
    assert (value >= (1 if index in HIGHEST else 0)).all()
    assert (value <= HIGHEST.get(index, math.inf)).all()
    if index in scores:  # those have a class for every concentration
        assert len(value) == np.isfinite(column).sum()


@settings(deadline=None)
@given(columns, st.sampled_from([1, 8, 24]))
def test_a_mean_is_a_number_where_enough_hours_are(column: Array, width: int) -> None:
    found = means.rolling(column, width)
    assert (np.isfinite(found.mean) == (found.hours >= means.needed(width))).all()
    assert not np.isinf(found.mean).any()
    mean, hours = means.mean_of(column, width)
    assert math.isfinite(mean) == (hours >= means.needed(width))


@settings(deadline=None)
@given(columns)
def test_a_nowcast_is_between_its_hours(column: Array) -> None:
    found = nowcast.pm(column)
    latest = np.isfinite(means.windows_of(column, 3)).sum(axis=1)
    assert (np.isfinite(found) == (latest >= 2)).all()
    if np.isfinite(found).any():
        hours = np.clip(column[np.isfinite(column)], -1e12, 1e12)
        least, most = hours.min(), hours.max()
        slack = 1e-9 * max(abs(least), abs(most)) + 1e-300
        assert np.nanmin(found) >= least - slack and np.nanmax(found) <= most + slack


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.lists(floats, max_size=4), st.integers(0, 100))
def test_a_nowcast_of_ozone_is_finite_and_not_negative(seed: int, odd: list[float], missing: int) -> None:
    rng = np.random.default_rng(seed)
    hours = rng.uniform(0, 80, 340)
    hours[rng.integers(340, size=missing)] = np.nan
    hours[rng.integers(340, size=len(odd))] = odd
    found = nowcast.o3(hours, 2)
    assert not np.isinf(found).any()
    assert (found[np.isfinite(found)] >= 0).all()


@settings(deadline=None)
@given(st.sampled_from(sorted(INDICES)), st.data())
def test_rows_of_any_hours(name: str, data: st.DataObject) -> None:
    """An hour that is infinite is a missing one: it takes no day's highest hour away."""
    index, zone = INDICES[name], ZoneInfo("America/Los_Angeles")
    metric = data.draw(st.sampled_from(sorted(index.pollutants)))
    value = np.array(data.draw(st.lists(floats, min_size=48, max_size=48)), np.float64)
    first_ms = 1_710_028_800_000  # 2024-03-10T00:00Z, the day on which the clocks went forward there
    hours = Hours(first_ms, value)
    cleaned = Hours(first_ms, np.where(np.isfinite(value), value, np.nan))

    def rows(of: Hours) -> Array:
        if isinstance(index.pollutants[metric], HourlyPollutant):
            return hourly_rows(index, metric, of, 24, zone).scored.value
        assert isinstance(index.pollutants[metric], DailyPollutant) and index.day_of is not None
        days: list[Day] = [index.day_of(first_ms + i * 24 * HOUR_MS, zone) for i in range(3)]
        return daily_rows(index, metric, of, days, zone).scored.value

    assert not np.isinf(rows(hours)).any()
    assert np.array_equal(rows(hours), rows(cleaned), equal_nan=True)


def test_the_day_on_which_clocks_go_forward_has_23_hours_of_the_calendar() -> None:
    assert civil_day(1_710_100_800_000, ZoneInfo("America/Los_Angeles")).hours == 23
