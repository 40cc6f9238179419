"""Index rows of one sensor from its hours: which rows a changed hour changes, and what they are. Pure.

    hour changed            h
    rows of hours           h ... h + before_h          (the NowCast of particles: twelve)
    rows before             the missing hours right before h: h says that the sensor is still there
    rows of days            the days whose hours, or 8-hour means, have h; and the day before, which is over now

A missing hour has a row, which may say "no data", where the sensor was heard again within a day; a longer silence has
none. A day has a row as soon as three quarters of it are there, or when the next day has begun. So whether a row is
there, as what it says, depends on the stored hours near it alone, and not on the order in which they came.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from schemas.indices.days import HOUR_MS, Day
from schemas.indices.hourly import (
    INDICES,
    OVERALL,
    Averages,
    HourlyPollutant,
    Hours,
    Index,
    Rows,
    daily_rows,
    hourly_rows,
)
from schemas.indices.overall import worst
from schemas.indices.scale import NO_DATA, Scored

Array = npt.NDArray[Any]

GAP_H = 23
"""So many missing hours in a row have rows of their own; the sensor was silent where there are more."""
DAY_H = 24
_REACH_OF_DAYS_H = 2 * 25 + GAP_H  # the day before and the day after the changed hour's, or a gap


@dataclass(frozen=True, slots=True)
class SensorHours:
    """The hours of a sensor, n in a row from `first_ms`: the mean of each pollutant, the highest 15-minute mean of
    those whose index asks for it (NaN: missing), and whether anything in the hour came live.
    """

    first_ms: int
    means: dict[str, Array]
    quarters: dict[str, Array]
    live: Array

    def of(self, index: Index, metric: str) -> Array:
        """The column that an index goes by."""
        pollutant = index.pollutants[metric]
        quarters = isinstance(pollutant, HourlyPollutant) and pollutant.of_quarters
        return self.quarters.get(metric, np.full(len(self.live), np.nan)) if quarters else self.means[metric]


@dataclass(frozen=True, slots=True)
class IndexRows:
    """Rows of one index and metric (a pollutant, or `overall`), columns of length n. `wanted` False: only to take the
    place of a row that is there. `driver` is the pollutant of each value, None where there is none.
    """

    index: str
    metric: str
    rows: Rows
    wanted: Array
    driver: list[str | None]
    origin: Array


def reach_h(metric: str) -> tuple[int, int]:
    """So many hours before a changed hour of a pollutant, and after it, the rows that it changes need."""
    pollutants = [index.pollutants[metric] for index in INDICES.values() if metric in index.pollutants]
    before, after = (max(getattr(p, name) for p in pollutants) for name in ("before_h", "after_h"))
    return before + _REACH_OF_DAYS_H, before + after + _REACH_OF_DAYS_H


def make(name: str, hours: SensorHours, changed: Mapping[str, list[int]], zone: ZoneInfo) -> Iterator[IndexRows]:
    """The rows of an index that changed hours (starts in epoch ms, by pollutant) change.

    `hours` must reach as far before the first and after the last of them as `reach_h` says: before, the farthest of
    all pollutants, for the overall row needs each; after, of those that changed.
    """
    index = INDICES[name]
    metrics = [metric for metric in index.pollutants if metric in hours.means]
    touched = {metric: starts for metric, starts in changed.items() if metric in metrics}
    if not touched:
        return
    if index.day_of is None:
        for begin, end in _segments(_touched_hours(index, hours, touched)):
            yield from _of_hours(name, index, hours, metrics, begin, end, zone)
    else:
        yield from _of_days(name, index, hours, metrics, _touched_days(index, touched, zone), zone)


def _touched_hours(index: Index, hours: SensorHours, touched: Mapping[str, list[int]]) -> Array:
    mask = np.zeros(len(hours.live), bool)
    for metric, starts in touched.items():
        there = np.isfinite(hours.of(index, metric))
        newest = int(np.flatnonzero(there)[-1]) if there.any() else -1
        for start in starts:
            at = (start - hours.first_ms) // HOUR_MS
            before = np.flatnonzero(there[max(at - GAP_H - 1, 0) : at])
            begin = max(at - GAP_H - 1, 0) + int(before[-1]) + 1 if len(before) else at
            end = min(at + max(index.pollutants[metric].before_h, GAP_H), newest) + 1
            mask[begin : max(end, at + 1)] = True
    return mask


def _touched_days(index: Index, touched: Mapping[str, list[int]], zone: ZoneInfo) -> list[Day]:
    assert index.day_of is not None
    days: dict[Day, None] = {}
    for metric, starts in touched.items():
        pollutant = index.pollutants[metric]
        for start in starts:
            for shift in {0, pollutant.before_h, -pollutant.after_h}:
                day = index.day_of(start + shift * HOUR_MS, zone)
                days |= {day: None, index.day_of(day.start_ms - 1, zone): None}
    return sorted(days, key=lambda day: day.start_ms)


def _of_hours(
    name: str, index: Index, hours: SensorHours, metrics: list[str], begin: int, end: int, zone: ZoneInfo
) -> Iterator[IndexRows]:
    made: dict[str, Rows] = {}
    wanted: dict[str, Array] = {}
    origin = (~hours.live[begin:end]).astype(np.int64)
    for metric in metrics:
        column = hours.of(index, metric)
        made[metric] = hourly_rows(index, metric, Hours(hours.first_ms, column[:end]), end - begin, zone)
        wanted[metric] = _heard(np.isfinite(column))[begin:end]
        yield IndexRows(name, metric, made[metric], wanted[metric], _drivers(metric, made[metric].scored), origin)
    yield _overall(name, made, wanted, origin)


def _of_days(
    name: str, index: Index, hours: SensorHours, metrics: list[str], days: list[Day], zone: ZoneInfo
) -> Iterator[IndexRows]:
    made: dict[str, Rows] = {}
    wanted: dict[str, Array] = {}
    live = Hours(hours.first_ms, np.where(hours.live, 1.0, 0.0))
    origin = np.array([0 if np.nansum(live.between(day.start_ms, day.end_ms)) else 1 for day in days], np.int64)
    for metric in metrics:
        column = Hours(hours.first_ms, hours.of(index, metric))
        made[metric] = rows = daily_rows(index, metric, column, days, zone)
        some = np.array([_some(column, day.start_ms, day.end_ms) for day in days])
        over = np.array([_some(column, day.end_ms, day.end_ms + DAY_H * HOUR_MS) for day in days])
        wanted[metric] = some & (over | np.isfinite(rows.averages.concentration))
        yield IndexRows(name, metric, rows, wanted[metric], _drivers(metric, rows.scored), origin)
    yield _overall(name, made, wanted, origin)


def _some(hours: Hours, start_ms: int, end_ms: int) -> bool:
    return bool(np.isfinite(hours.between(start_ms, end_ms)).any())


def _overall(name: str, made: Mapping[str, Rows], wanted: Mapping[str, Array], origin: Array) -> IndexRows:
    """The worst pollutant's row, hours and all, but without its concentration; without one, the most hours that any
    pollutant had.
    """
    scored, drivers = worst({metric: _only(rows.scored, wanted[metric]) for metric, rows in made.items()})
    names = list(made)
    hours = np.array([np.where(wanted[metric], rows.averages.hours, 0) for metric, rows in made.items()])
    expected = np.array([rows.averages.expected for rows in made.values()])
    row = np.array([names.index(d) if d else int(hours[:, i].argmax()) for i, d in enumerate(drivers)], np.int64)
    column = np.arange(len(drivers))
    none = np.full(len(drivers), np.nan)
    told = hours[row, column]
    averages = Averages(none, none, told, np.where(told > 0, expected[row, column], 0))
    first = made[names[0]]
    rows = Rows(first.start, first.end, averages, first.table, scored)
    return IndexRows(name, OVERALL, rows, np.any(list(wanted.values()), axis=0), drivers, origin)


def _only(scored: Scored, wanted: Array) -> Scored:
    """The values of rows that are there."""
    category = np.where(wanted, scored.category, NO_DATA)
    return Scored(np.where(wanted, scored.value, np.nan), category, scored.beyond & wanted)


def _drivers(metric: str, scored: Scored) -> list[str | None]:
    return [metric if there else None for there in np.isfinite(scored.value).tolist()]


def _heard(there: Array) -> Array:
    """Whether an hour (n) is there, or is one of at most `GAP_H` missing ones between two that are."""
    place = np.arange(len(there))
    far = 10 * len(there) + 10 * GAP_H
    before = np.maximum.accumulate(np.where(there, place, -far))
    after = np.minimum.accumulate(np.where(there, place, far)[::-1])[::-1]
    heard: Array = after - before <= GAP_H + 1
    return heard


def _segments(mask: Array) -> list[tuple[int, int]]:
    """The runs [begin, end) of a mask."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
