from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from schemas.indices import nowcast
from schemas.indices.days import HOUR_MS, standard_day
from schemas.indices.hourly import INDICES, DailyPollutant, HourlyPollutant, Hours, daily_rows, hourly_rows, rescore
from schemas.quantities import QUANTITIES

LA = ZoneInfo("America/Los_Angeles")
MIDNIGHT = int(datetime.fromisoformat("2024-07-10T00:00:00-08:00").timestamp() * 1000)  # in standard time
DAY = standard_day(MIDNIGHT, LA)


def of_day(index: str, metric: str, hours: Hours) -> tuple[float, float, int]:
    rows = daily_rows(INDICES[index], metric, hours, [DAY], LA)
    return float(rows.scored.value[0]), float(rows.averages.concentration[0]), int(rows.averages.hours[0])


def test_the_day_of_particles_is_its_24_hours() -> None:
    hours = np.full(72, 9.0)
    hours[24:48] = np.arange(24)
    value, mean, n = of_day("us-aqi", "pm25", Hours(MIDNIGHT - 24 * HOUR_MS, hours))
    assert (value, mean, n) == (55, 11.5, 24)


def test_a_day_with_17_hours_has_no_index() -> None:
    hours = np.full(24, 9.0)
    hours[:7] = np.nan
    value, mean, n = of_day("us-aqi", "pm25", Hours(MIDNIGHT, hours))
    assert np.isnan([value, mean]).all()
    assert n == 17


#   standard time   00 .. 06 | 07 .................. 23 | 00 .. 06 of the next day
#   17 means                   start here, and reach ------------>|
def test_ozone_has_the_17_means_that_start_from_07_to_23() -> None:
    hours = np.full(48, 30.0)
    hours[:7] = 200.0  # before 07:00: in no mean of this day, but it is the day's highest hour
    hours[24:31] = 80.0  # 00:00 to 06:59 of the next day: in the mean that starts at 23:00
    rows = daily_rows(INDICES["us-aqi"], "o3", Hours(MIDNIGHT, hours), [DAY], LA)
    assert rows.averages.concentration[0] == (30 + 7 * 80) / 8
    assert rows.averages.supplement[0] == 200.0
    assert rows.averages.hours[0] == rows.averages.expected[0] == 17


def test_twelve_means_of_ozone_are_too_few() -> None:
    hours = np.full(31, 30.0)
    hours[7:14] = np.nan
    assert of_day("us-aqi", "o3", Hours(MIDNIGHT, hours))[2] == 12
    assert np.isnan(of_day("us-aqi", "o3", Hours(MIDNIGHT, hours))[0])
    hours[13] = 30.0  # now the mean that starts at 11:00 has six
    assert of_day("us-aqi", "o3", Hours(MIDNIGHT, hours))[1:] == (30.0, 13)


def test_carbon_monoxide_has_the_means_that_end_in_the_day() -> None:
    hours = np.full(48, 1.0)
    hours[17:24] = 9.0  # the seven hours before midnight, and one of the day
    hours[24] = 9.0
    assert of_day("us-aqi", "co", Hours(MIDNIGHT - 24 * HOUR_MS, hours))[1] == 9.0


def test_nitrogen_dioxide_has_the_highest_hour() -> None:
    hours = np.full(24, 20.0)
    hours[5] = 101.0
    assert of_day("us-aqi", "no2", Hours(MIDNIGHT, hours))[:2] == (101, 101.0)


def test_the_citys_day_has_the_hours_of_its_clocks() -> None:
    """The 25 hours of 3 November 2024 in Los Angeles."""
    index = INDICES["who"]
    assert index.day_of is not None
    day = index.day_of(int(datetime.fromisoformat("2024-11-03T12:00:00-08:00").timestamp() * 1000), LA)
    rows = daily_rows(index, "pm25", Hours(day.start_ms, np.full(25, 30.0)), [day], LA)
    assert (rows.averages.hours[0], rows.averages.expected[0], rows.scored.value[0]) == (25, 25, 2.0)


def test_an_hour_names_the_table_of_its_day() -> None:
    before = int(datetime.fromisoformat("2024-05-05T22:00:00-08:00").timestamp() * 1000)
    rows = hourly_rows(INDICES["nowcast"], "pm25", Hours(before, np.full(4, 9.1)), 4, LA)
    assert rows.table == ["2015", "2015", "2024", "2024"]
    assert rows.scored.value[1:].tolist() == [38, 51, 51]
    assert rows.end.tolist() == (rows.start + HOUR_MS).tolist()


@pytest.mark.parametrize("name", INDICES)
def test_a_row_needs_no_hours_beyond_its_reach(name: str) -> None:
    """Else a late hour would change rows that nobody makes again."""
    index = INDICES[name]
    rng = np.random.default_rng(1)
    for metric, pollutant in index.pollutants.items():
        n = 420
        hours = np.round(rng.gamma(2, 20, n), 1)
        hours[rng.choice(n, 20, replace=False)] = np.nan
        if isinstance(pollutant, HourlyPollutant):
            full = hourly_rows(index, metric, Hours(MIDNIGHT, hours), 3, LA)
            kept = hours[-(pollutant.before_h + 3) :]
            some = hourly_rows(index, metric, Hours(MIDNIGHT + (n - len(kept)) * HOUR_MS, kept), 3, LA)
        else:
            assert isinstance(pollutant, DailyPollutant)
            assert index.day_of is not None
            day = index.day_of(MIDNIGHT + 100 * HOUR_MS, LA)
            full = daily_rows(index, metric, Hours(MIDNIGHT, hours), [day], LA)
            first = day.start_ms - pollutant.before_h * HOUR_MS
            needed = Hours(MIDNIGHT, hours).between(first, day.end_ms + pollutant.after_h * HOUR_MS)
            some = daily_rows(index, metric, Hours(first, needed), [day], LA)
        for a, b in ((full.averages, some.averages), (full.scored, some.scored)):
            for column in a.__slots__:
                assert np.array_equal(getattr(a, column), getattr(b, column), equal_nan=True), (metric, column)


@pytest.mark.parametrize("name", INDICES)
def test_too_few_hours_give_no_value(name: str) -> None:
    index = INDICES[name]
    for metric, pollutant in index.pollutants.items():
        nothing = Hours(MIDNIGHT, np.full(40, np.nan))
        rows = (
            hourly_rows(index, metric, nothing, 5, LA)
            if isinstance(pollutant, HourlyPollutant)
            else daily_rows(index, metric, nothing, [DAY], LA)
        )
        assert np.isnan(rows.scored.value).all()
        assert (rows.scored.category == -1).all()
        assert (rows.averages.hours == 0).all()


def test_stored_averages_can_be_scored_by_another_table() -> None:
    index = INDICES["us-aqi"]
    none = np.full(2, np.nan)
    scored = rescore(index, "pm25", np.array([10.0, 10.0]), none, ["2012", "2024"])
    assert scored.value.tolist() == [42, 53]


def test_hours_beyond_the_column_are_missing() -> None:
    hours = Hours(10 * HOUR_MS, np.array([1.0, 2.0, 3.0]))
    assert np.array_equal(hours.between(9 * HOUR_MS, 12 * HOUR_MS), [np.nan, 1, 2], equal_nan=True)
    assert np.array_equal(hours.between(12 * HOUR_MS, 14 * HOUR_MS), [3, np.nan], equal_nan=True)
    assert np.isnan(hours.between(0, 3 * HOUR_MS)).all()
    assert np.isnan(hours.between(20 * HOUR_MS, 23 * HOUR_MS)).all()
    assert len(hours.between(0, 3 * HOUR_MS)) == len(hours.between(20 * HOUR_MS, 23 * HOUR_MS)) == 3


def test_hours_are_those_that_start_in_a_day_of_a_zone_half_an_hour_off() -> None:
    hours = Hours(0, np.arange(48.0))
    assert hours.between(HOUR_MS // 2, 25 * HOUR_MS - HOUR_MS // 2).tolist() == list(range(1, 25))


def test_every_pollutant_is_a_quantity_and_says_its_averaging() -> None:
    for index in INDICES.values():
        for metric, pollutant in index.pollutants.items():
            assert metric in QUANTITIES
            assert pollutant.averaging
        assert index.source
    assert INDICES["nowcast"].pollutants["o3"].before_h == nowcast.O3_HOURS + nowcast.O3_BACK_H - 1
