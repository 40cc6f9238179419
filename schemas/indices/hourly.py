"""A sensor's hours in, the rows of every index out: what the processors store, and what a table asked for makes again.

An index is a function of hourly means. `INDICES` says of each pollutant how it is averaged and which hours a row needs
beyond its own: a late hour changes at most those rows, and the processors make just those again, by these functions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from schemas.indices import daqi, eaqi, nowcast, us_aqi, who
from schemas.indices.days import HOUR_MS, Day, civil_day, standard_day
from schemas.indices.means import mean_of, needed, rolling
from schemas.indices.scale import NO_DATA, Category, Scored, within_reach
from schemas.indices.us_aqi_tables import TABLES, table_of

Array = npt.NDArray[Any]

OVERALL = "overall"
"""The metric of the row that has the worst pollutant's index."""


@dataclass(frozen=True, slots=True)
class Hours:
    """Consecutive hourly means of one metric (canonical unit, NaN: missing), the first one's start in epoch ms."""

    first_ms: int
    value: Array

    def between(self, start_ms: int, end_ms: int) -> Array:
        """The hours that start in [start_ms, end_ms); missing: those beyond the column, and infinities."""
        begin, end = (-(-(at - self.first_ms) // HOUR_MS) for at in (start_ms, end_ms))
        inside = within_reach(self.value[max(begin, 0) : max(end, 0)])
        before = min(max(-begin, 0), end - begin)
        return np.concatenate((np.full(before, np.nan), inside, np.full(end - begin - before - len(inside), np.nan)))


@dataclass(frozen=True, slots=True)
class Averages:
    """Columns of length n: the concentration that the index is of (NaN: too few hours), how many hours were there of
    how many, and `supplement`: what the rule looks at besides (SO2: the day's mean; ozone: the day's highest hour).
    """

    concentration: Array
    supplement: Array
    hours: Array
    expected: Array


def _of_hour(hours: Array, count: int) -> Averages:
    there = np.isfinite(hours[-count:]).astype(np.int64)
    return Averages(hours[-count:], np.full(count, np.nan), there, np.ones(count, np.int64))


def _of_day(hours: Hours, day: Day) -> tuple[float, float, int, int]:
    mean, there = mean_of(hours.between(day.start_ms, day.end_ms), day.hours)
    return mean, np.nan, there, day.hours


@dataclass(frozen=True)
class Pollutant:
    """How an index averages a pollutant. `before_h`, `after_h`: hours that a row needs besides its own hour or day."""

    averaging: str
    before_h: int = 0
    after_h: int = 0


@dataclass(frozen=True)
class HourlyPollutant(Pollutant):
    """`average(hours)` of n consecutive hours gives the averages at the end of the last `count`."""

    average: Callable[[Array, int], Averages] = _of_hour
    of_quarters: bool = False  # its hours are the highest 15-minute means of hours, not means


@dataclass(frozen=True)
class DailyPollutant(Pollutant):
    """`average(hours, day)`: concentration, supplement, hours there, hours expected of one day."""

    average: Callable[[Hours, Day], tuple[float, float, int, int]] = _of_day


@dataclass(frozen=True)
class Index:
    """An index. `day_of` is None where rows are of hours. `score(metric, concentration, supplement, table)`.

    `table_of(date)` is the table of a row; `tables` are all that may be asked for. `digits`: of the value.
    """

    title: str
    source: str
    categories: tuple[Category, ...]
    pollutants: dict[str, Pollutant]
    score: Callable[[str, Array, Array, str], Scored]
    tables: tuple[str, ...]
    day_of: Callable[[int, ZoneInfo], Day] | None = None
    digits: int = 0

    def table_at(self, moment_ms: int, zone: ZoneInfo) -> str:
        """The table in force at a moment (its day in local standard time)."""
        return self.tables[0] if len(self.tables) == 1 else table_of(standard_day(moment_ms, zone).date)


@dataclass(frozen=True, slots=True)
class Rows:
    """Values of one index and pollutant, columns of length n; [`start`, `end`) in epoch ms."""

    start: Array
    end: Array
    averages: Averages
    table: list[str]
    scored: Scored


# -- averages ---------------------------------------------------------------------------------------------------------


def _rolling(width: int) -> Callable[[Array, int], Averages]:
    def average(hours: Array, count: int) -> Averages:
        means = rolling(hours[-(count + width - 1) :], width)
        return Averages(means.mean[-count:], np.full(count, np.nan), means.hours[-count:], np.full(count, width))

    return average


def _nowcast(width: int, function: Callable[[Array, int], Array]) -> Callable[[Array, int], Averages]:
    def average(hours: Array, count: int) -> Averages:
        there = rolling(hours, width).hours[-count:]
        return Averages(function(hours, count), np.full(count, np.nan), there, np.full(count, width))

    return average


def _highest_hour(hours: Hours, day: Day) -> tuple[float, float, int, int]:
    of_day = hours.between(day.start_ms, day.end_ms)
    mean, there = mean_of(of_day, day.hours)
    return (float(np.nanmax(of_day)) if np.isfinite(mean) else np.nan), mean, there, day.hours


def _highest_mean_8h(first_h: int, count: int | None = None) -> Callable[[Hours, Day], tuple[float, float, int, int]]:
    """The highest of the 8-hour means that start from `first_h` hours after midnight on, `count` of them (default: as
    many as the day has hours); three quarters of them must be there, each with 6 hours. Hours: how many means.
    """

    def average(hours: Hours, day: Day) -> tuple[float, float, int, int]:
        wanted = day.hours if count is None else count
        begin = day.start_ms + first_h * HOUR_MS
        means = rolling(hours.between(begin, begin + (wanted + 7) * HOUR_MS), 8).mean[7:]
        there = int(np.isfinite(means).sum())
        of_day = hours.between(day.start_ms, day.end_ms)
        enough = there >= needed(wanted)
        highest = float(np.nanmax(means)) if enough else np.nan
        hour = float(np.nanmax(of_day)) if np.isfinite(of_day).sum() >= needed(day.hours) else np.nan
        return highest, hour, there, wanted

    return average


# -- the indices ------------------------------------------------------------------------------------------------------


def _score_us(metric: str, concentration: Array, supplement: Array, table: str) -> Scored:
    if metric == "so2":
        return us_aqi.score_so2(concentration, supplement, table)
    if metric == "o3":
        return us_aqi.score_o3(concentration, supplement, table)
    return us_aqi.score(metric, concentration, table)


def _without_table(score: Callable[[str, Array], Scored]) -> Callable[[str, Array, Array, str], Scored]:
    return lambda metric, concentration, _supplement, _table: score(metric, concentration)


_PM_NOWCAST = HourlyPollutant(
    "NowCast of 12 hours", nowcast.PM_HOURS - 1, 0, _nowcast(nowcast.PM_HOURS, lambda h, n: nowcast.pm(h)[-n:])
)
_EPA_SOURCE = "US EPA, 40 CFR part 58, appendix G; EPA-454/B-24-002"

INDICES: dict[str, Index] = {
    "us-aqi": Index(
        "US Air Quality Index of the official day",
        _EPA_SOURCE,
        us_aqi.CATEGORIES,
        {
            "pm25": DailyPollutant("mean of 24 hours, local standard time"),
            "pm10": DailyPollutant("mean of 24 hours, local standard time"),
            "o3": DailyPollutant(
                "highest of the 17 8-hour means that start from 07:00 to 23:00, local standard time", 0, 7,
                _highest_mean_8h(7, 17),
            ),
            "co": DailyPollutant("highest 8-hour mean that ends in the day, local standard time", 7, 0,
                                 _highest_mean_8h(-7)),
            "so2": DailyPollutant("highest hour and mean of 24 hours, local standard time", 0, 0, _highest_hour),
            "no2": DailyPollutant("highest hour, local standard time", 0, 0, _highest_hour),
        },
        _score_us, tuple(TABLES), standard_day,
    ),
    "nowcast": Index(
        "US Air Quality Index now, by the NowCast",
        _EPA_SOURCE + "; github.com/USEPA/O3-Nowcast",
        us_aqi.CATEGORIES,
        {
            "pm25": _PM_NOWCAST,
            "pm10": _PM_NOWCAST,
            "o3": HourlyPollutant(
                "NowCast of 336 hours", nowcast.O3_HOURS + nowcast.O3_BACK_H - 1, 0,
                _nowcast(nowcast.O3_HOURS, nowcast.o3),
            ),
        },
        lambda metric, concentration, _supplement, table: us_aqi.score(metric, concentration, table),
        tuple(TABLES),
    ),
    "eaqi": Index(
        "European Air Quality Index",
        "European Environment Agency, airindex.eea.europa.eu, bands of 2024",
        eaqi.CATEGORIES,
        {metric: HourlyPollutant("mean of the hour") for metric in eaqi.UPPER},
        _without_table(eaqi.score), (eaqi.TABLE,),
    ),
    "daqi": Index(
        "UK Daily Air Quality Index",
        "COMEAP 2011; Defra 2013",
        daqi.CATEGORIES,
        {
            "pm25": HourlyPollutant("running mean of 24 hours", 23, 0, _rolling(24)),
            "pm10": HourlyPollutant("running mean of 24 hours", 23, 0, _rolling(24)),
            "o3": HourlyPollutant("running mean of 8 hours", 7, 0, _rolling(8)),
            "no2": HourlyPollutant("mean of the hour"),
            "so2": HourlyPollutant("highest 15-minute mean of the hour", of_quarters=True),
        },
        _without_table(daqi.score), (daqi.TABLE,),
    ),
    "who": Index(
        "Times the WHO guideline value of 2021",
        "WHO global air quality guidelines, 2021",
        who.CATEGORIES,
        {
            **{metric: DailyPollutant("mean of the day") for metric in who.GUIDELINE if metric != "o3"},
            "o3": DailyPollutant("highest 8-hour mean that ends in the day", 7, 0, _highest_mean_8h(-7)),
        },
        _without_table(who.score), (who.TABLE,), civil_day, 2,
    ),
}  # fmt: skip
"""Name in queries -> index."""

OF_QUARTERS = frozenset(
    metric
    for index in INDICES.values()
    for metric, pollutant in index.pollutants.items()
    if isinstance(pollutant, HourlyPollutant) and pollutant.of_quarters
)
"""Pollutants whose 15-minute means an index goes by."""


def hourly_rows(index: Index, metric: str, hours: Hours, count: int, zone: ZoneInfo) -> Rows:
    """The rows of the last `count` hours of a column that has the hours that they need (or all that there are)."""
    pollutant = index.pollutants[metric]
    assert isinstance(pollutant, HourlyPollutant)
    averages = pollutant.average(hours.value, count)
    start = hours.first_ms + (len(hours.value) - count + np.arange(count, dtype=np.int64)) * HOUR_MS
    return _rows(index, metric, start, start + HOUR_MS, averages, zone)


def daily_rows(index: Index, metric: str, hours: Hours, days: Sequence[Day], zone: ZoneInfo) -> Rows:
    """The rows of days, of a column that has the hours that they need (or all that there are)."""
    pollutant = index.pollutants[metric]
    assert isinstance(pollutant, DailyPollutant)
    columns = np.array([pollutant.average(hours, day) for day in days], np.float64).reshape(-1, 4).T
    averages = Averages(columns[0], columns[1], columns[2].astype(np.int64), columns[3].astype(np.int64))
    start = np.array([day.start_ms for day in days], np.int64)
    return _rows(index, metric, start, np.array([day.end_ms for day in days], np.int64), averages, zone)


def rescore(index: Index, metric: str, concentration: Array, supplement: Array, tables: Sequence[str]) -> Scored:
    """The index of n stored averages, each with its table."""
    value, beyond = np.full(len(tables), np.nan), np.zeros(len(tables), bool)
    category = np.full(len(tables), NO_DATA)
    names = np.array(tables, object)
    for table in dict.fromkeys(tables):
        rows = np.flatnonzero(names == table)
        scored = index.score(metric, concentration[rows], supplement[rows], table)
        value[rows], category[rows], beyond[rows] = scored.value, scored.category, scored.beyond
    return Scored(value, category, beyond)


def _rows(index: Index, metric: str, start: Array, end: Array, averages: Averages, zone: ZoneInfo) -> Rows:
    tables = [index.table_at(moment, zone) for moment in start.tolist()]
    scored = rescore(index, metric, averages.concentration, averages.supplement, tables)
    return Rows(start, end, averages, tables, scored)
