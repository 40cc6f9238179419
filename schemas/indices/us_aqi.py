"""EPA's Air Quality Index of concentrations that are averaged as its rule says.

The rule (40 CFR part 58, appendix G, 12; EPA-454/B-24-002): truncate the concentration, interpolate between the
breakpoints, round half up. A negative mean is 0. Above the last row the index goes on along that row ("you may use the
last two breakpoints"), as EPA's own AirData does: with the table of 2012 and of 2024, Lane County's smoke of 2020 is
there as 550 and as 1000, which is one mean of 576 ug/m3; PM10 up to 2024 goes on as concentration - 104. Such values
are marked `beyond`. Everything is reckoned in whole numbers, so no half and no last digit is at the mercy of a float.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.indices.scale import NO_DATA, Category, Scored, within_reach
from schemas.indices.us_aqi_tables import Breakpoints, breakpoints

Array = npt.NDArray[Any]

CATEGORIES = (
    Category("Good", "#00E400", 0),
    Category("Moderate", "#FFFF00", 1),
    Category("Unhealthy for Sensitive Groups", "#FF7E00", 2),
    Category("Unhealthy", "#FF0000", 3),
    Category("Very Unhealthy", "#8F3F97", 4),
    Category("Hazardous", "#7E0023", 5),
)
"""EPA's names and colours (EPA-454/B-24-002, tables 1 and 2)."""

UPPER = np.array([50, 100, 150, 200, 300])
"""The highest index of each category but the last."""

AVERAGING_H = {"pm25": 24, "pm10": 24, "o3": 8, "co": 8, "so2": 1, "no2": 1}
"""The averaging time, in hours, that the index of each pollutant is usually asked for."""

SO2_DAY_FROM_PPB = 305
"""From here the index of SO2 goes by the mean of the day, not of the hour."""


def truncate(concentration: Array, step: float) -> Array:
    """Whole `step`s of each concentration (n, finite), towards zero. Sums leave 35.39999999 where 35.4 is meant, so
    the ninth digit is rounded first; 35.45 stays 35.4. What no air can hold is cut, for integers end.
    """
    return np.trunc(np.round(within_reach(concentration) / step, 6)).astype(np.int64)


def score(metric: str, concentration: Array, table: str, hours: int | None = None) -> Scored:
    """The index of n concentrations in the metric's canonical unit, averaged over `hours` (default: `AVERAGING_H`).

    NaN and infinities are no data, and so is an hour of ozone below 125 ppb, of which the hour's index says nothing.
    Raises `KeyError` for a table or a pollutant that there is none of. SO2 of an hour: see `score_so2`.
    """
    rows = breakpoints(metric, AVERAGING_H[metric] if hours is None else hours, table)
    value = np.full(len(concentration), np.nan)
    beyond = np.zeros(len(concentration), bool)
    if rows is not None:
        there = np.flatnonzero(np.isfinite(concentration))
        value[there], beyond[there] = _interpolate(truncate(concentration[there], rows.step), rows)
    return Scored(value, categories(value), beyond)


def score_so2(hour: Array, day: Array, table: str) -> Scored:
    """The index of n highest hours of SO2 and the means of their days (NaN: not known), ppb.

    From 305 ppb the table has 24-hour values only: a day's mean of that height is looked up there, and an hour of it
    in a day below is 200 (EPA-454/B-24-002, "Calculating AQI values for SO2"). Before 2010 only the day counts.
    """
    of_day = score("so2", day, table, 24)
    if breakpoints("so2", 1, table) is None:
        return of_day
    of_hour = score("so2", np.where(np.isfinite(hour), np.minimum(hour, SO2_DAY_FROM_PPB - 1), np.nan), table, 1)
    value = np.fmax(of_hour.value, of_day.value)
    return Scored(value, categories(value), of_day.beyond)


def score_o3(mean_8h: Array, hour: Array, table: str) -> Scored:
    """The index of n eight-hour means of ozone and highest hours (NaN: not known), ppb: the higher of both."""
    eight, one = score("o3", mean_8h, table, 8), score("o3", hour, table, 1)
    value = np.fmax(eight.value, one.value)
    return Scored(value, categories(value), np.where(value == one.value, one.beyond, eight.beyond))


def categories(value: Array) -> Array:
    """The category of n index values."""
    found: Array = np.where(np.isfinite(value), np.searchsorted(UPPER, value), NO_DATA)
    return found


def _interpolate(steps: Array, rows: Breakpoints) -> tuple[Array, Array]:
    below = steps < rows.low[0]
    row = np.minimum(np.searchsorted(rows.high, steps), len(rows.high) - 1)
    low, width = rows.low[row], rows.high[row] - rows.low[row]
    rise = rows.index_high[row] - rows.index_low[row]
    index = rows.index_low[row] + (2 * rise * (steps - low) + width) // (2 * width)
    value = np.where(below, 0.0 if rows.low[0] == 0 else np.nan, index.astype(np.float64))
    return value, steps > rows.high[-1]
