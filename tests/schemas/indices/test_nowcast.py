import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.indices import nowcast, us_aqi
from tests.schemas.indices.official import hanoi, needs_originals, read

HOURS = st.lists(st.one_of(st.floats(-10, 900), st.just(np.nan)), min_size=1, max_size=40)


@needs_originals
@pytest.mark.parametrize(("year", "hours", "far"), [(2016, 8335, 4), (2018, 8018, 9)])
def test_hanois_nowcast(year: int, hours: int, far: int) -> None:
    """AirNow's own values, which are rounded or truncated to 0.1. Those that are off are in the first hours of the
    year, of which the file does not have the hours before.
    """
    raw, published, _ = hanoi(year)
    ours = nowcast.pm(raw)
    both = np.isfinite(ours) & np.isfinite(published)
    off = both & (np.abs(ours - published) > 0.11)
    assert both.sum() == hours
    assert off.sum() == far
    assert off[12:].sum() == 0
    assert both.sum() == np.isfinite(ours).sum()  # where we say something, so does AirNow


@needs_originals
def test_hanois_nowcast_in_all() -> None:
    off = hours = 0
    for year in (2016, 2018):
        raw, published, _ = hanoi(year)
        ours = nowcast.pm(raw)
        both = np.isfinite(ours) & np.isfinite(published)
        off += int((np.abs(ours - published)[both] > 0.11).sum())
        hours += int(both.sum())
    assert off / hours < 0.001


@needs_originals
@pytest.mark.parametrize("year", [2016, 2018])
def test_hanois_index_of_the_published_nowcast(year: int) -> None:
    _, published, aqi = hanoi(year)
    there = np.isfinite(published) & np.isfinite(aqi)
    assert there.sum() > 8000
    assert np.flatnonzero(us_aqi.score("pm25", published[there], "2012").value != aqi[there]).tolist() == []


@needs_originals
def test_epas_ozone_example() -> None:
    """The figure is that of EPA's R code on its example, 19.5845 ppb."""
    hours = [
        np.nan if row["Value"] == "NULL" else float(row["Value"])
        for row in read("o3-nowcast-example", "ExampleData.csv")
    ]
    assert nowcast.o3(np.array(hours), 1)[0] == pytest.approx(19.5845, abs=0.001)


def test_constant_air_is_its_own_nowcast() -> None:
    assert nowcast.pm(np.full(20, 7.5))[1:].tolist() == [7.5] * 19


def test_changing_air_forgets_by_half() -> None:
    """w = 1/2: (40 + 10/2 + 10/4) / (1 + 1/2 + 1/4)."""
    assert nowcast.pm(np.array([10.0, 10.0, 40.0]))[-1] == pytest.approx(47.5 / 1.75)


#   hour     1  2  3  4  5
#   there    x  x  .  x  .      at 3: 1 and 2 are there; at 4: 2 and 4; at 5: only 4
def test_two_of_the_latest_three_hours_must_be_there() -> None:
    found = nowcast.pm(np.array([10.0, 10.0, np.nan, 10.0, np.nan]))
    assert np.isfinite(found).tolist() == [False, True, True, True, False]


def test_hours_older_than_twelve_do_not_count() -> None:
    assert nowcast.pm(np.array([500.0] + [10.0] * 12))[-1] == 10.0


@pytest.mark.parametrize("hours", [[-1.0, -2.0, -3.0], [0.0, 0.0, 0.0], [-1.0, 0.0, -1.0]])
def test_air_below_zero_has_a_nowcast_within_its_hours(hours: list[float]) -> None:
    assert min(hours) <= nowcast.pm(np.array(hours))[-1] <= max(hours)


@given(HOURS)
def test_a_nowcast_is_between_the_lowest_and_the_highest_hour(hours: list[float]) -> None:
    found = nowcast.pm(np.array(hours))
    for i, value in enumerate(found.tolist()):
        window = np.array(hours[max(0, i - 11) : i + 1])
        if np.isfinite(value):
            assert np.nanmin(window) - 1e-9 <= value <= np.nanmax(window) + 1e-9


@given(HOURS, st.integers(0, 40))
def test_a_nowcast_does_not_depend_on_where_the_column_begins(hours: list[float], cut: int) -> None:
    whole, part = nowcast.pm(np.array(hours)), nowcast.pm(np.array(hours[cut:]))
    assert np.array_equal(whole[cut + 11 :], part[11:], equal_nan=True)


def ozone(n: int = 400) -> np.ndarray:
    hour = np.arange(n)
    return 30 + 20 * np.sin(hour / 24 * 2 * np.pi) + np.random.default_rng(6).normal(0, 3, n)


def test_ozone_with_little_history_goes_by_the_surrogate() -> None:
    assert nowcast.o3(np.array([40.0]))[0] == pytest.approx(0.85 * 40 + 4.5)
    assert nowcast.o3(ozone()[-251:], 1)[0] == pytest.approx(0.85 * ozone()[-1] + 4.5)


def test_ozone_after_a_long_gap_goes_by_the_surrogate() -> None:
    hours = ozone()
    hours[300:307] = np.nan  # seven in a row may be missing
    seven = nowcast.o3(hours, 1)[0]
    hours[307] = np.nan
    assert seven != pytest.approx(0.85 * hours[-1] + 4.5)
    assert nowcast.o3(hours, 1)[0] == pytest.approx(0.85 * hours[-1] + 4.5)


def test_a_missing_hour_of_ozone_takes_the_nowcast_before_up_to_two_hours_back() -> None:
    hours = ozone()
    before = nowcast.o3(hours[:-3], 1)[0]
    for missing in (1, 2):
        gone = np.concatenate((hours[:-3], np.full(missing, np.nan)))
        assert nowcast.o3(gone, 1)[0] == before
    assert np.isnan(nowcast.o3(np.concatenate((hours[:-3], np.full(3, np.nan))), 1)[0])


def test_ozone_is_never_below_zero() -> None:
    assert nowcast.o3(np.zeros(340), 1)[0] == 0.0
    assert nowcast.o3(np.array([-60.0]))[0] == 0.0


def test_ozone_foretells_a_regular_day() -> None:
    hour = np.arange(400)
    regular = 40 + 20 * np.sin(hour / 24 * 2 * np.pi)
    mean_8h = np.mean(40 + 20 * np.sin(np.arange(400 - 1 - 4, 400 + 3) / 24 * 2 * np.pi))
    assert nowcast.o3(regular, 1)[0] == pytest.approx(mean_8h, abs=0.01)


def test_some_hours_are_as_all_hours() -> None:
    hours = ozone(350)
    hours[[20, 200, 349]] = np.nan
    assert np.array_equal(nowcast.o3(hours)[-4:], nowcast.o3(hours, 4), equal_nan=True)
    assert np.array_equal(nowcast.o3(hours, 2), nowcast.o3(hours[-339:], 2), equal_nan=True)


def test_gaps_are_filled_by_the_neighbours_that_weigh_less_with_distance() -> None:
    filled = nowcast._filled(np.array([10.0, np.nan, 20.0, 30.0, 40.0, 50.0, 60.0]))
    weights = np.array([1 / 2, 1 / 2, 1 / 4, 1 / 8, 1 / 16])
    assert filled[1] == pytest.approx((np.array([10, 20, 30, 40, 50]) * weights).sum() / weights.sum())
    assert filled[[0, 2, 3]].tolist() == [10.0, 20.0, 30.0]


def plain_pm(hours: list[float]) -> float:
    """EPA's definition once more, an hour at a time, of twelve hours, newest first."""
    if sum(math.isfinite(c) for c in hours[:3]) < 2:
        return math.nan
    there = [c for c in hours if math.isfinite(c)]
    weight = max(min(there) / max(there), 0.5) if max(there) > 0 else 1.0
    shares = [(weight**i, c) for i, c in enumerate(hours) if math.isfinite(c)]
    return sum(w * c for w, c in shares) / sum(w for w, _ in shares)


@given(st.lists(st.one_of(st.floats(-5, 1000), st.just(math.nan), st.just(math.inf)), min_size=12, max_size=12))
def test_a_nowcast_is_what_its_definition_says(hours: list[float]) -> None:
    found = float(nowcast.pm(np.array(hours[::-1]))[-1])
    assert found == pytest.approx(plain_pm(hours), rel=1e-9, abs=1e-9, nan_ok=True)
