"""Verdicts of closed hours and days: hours beside the neighbours', and the daily health of road detectors.

They look at series of other partitions, or at a whole day, so they can't be told in the stream. Whoever makes an hour
(again) asks for the verdict on it, and on the hours of the sensors around it; whoever makes a detector's day asks for
that. The rows that ask (table `verdicts_due`) are written in the transaction of the change, and the fenced owner of a
sensor answers: the readings that have another verdict now are amended, with the next `rev`. So verdicts end as a
function of the stored readings, in whatever order these came:

    owner of b   hour of b made  --asks-->  p(b), p(a)
    owner of a                              reads the hours of a, b, c; amends a's readings

All these tests are suspect: averages count the same readings as before, so a verdict changes no window and asks for
no other verdict. Sensors stand where they were registered when an hour was judged.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import IntEnum
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from schemas.detector import METRICS, TESTS, day_ms, day_of, health, judged_ms
from schemas.flags import Test
from schemas.neighbours import judge_one
from stream_processors.amend import put_amended
from stream_processors.owner import HOUR_S, Owner, Work
from stream_processors.quality import roll_up
from stream_processors.repair import ranges
from stream_processors.series import Key
from stream_processors.store import Store

Array = npt.NDArray[Any]

MOST_VERDICTS = 2_000  # asked-for ones answered in one transaction
_HOUR_MS, _DAY_S = HOUR_S * 1000, 86_400
RULES: dict[str, Test] = {"neighbours": Test.NEIGHBOURS_SUSPECT, "detector": Test(sum(TESTS.values()))}
"""The bits that each rule may set."""


class Asked(IntEnum):
    """What a row of `verdicts_due` asks for."""

    HOUR = 0
    DAY = 1


@dataclass(frozen=True, slots=True)
class Verdict:
    """The tests of `mask` that the readings of [begin, end) (epoch ms) of a series have; `tests` 0: none."""

    slot: int
    begin: int
    end: int
    tests: int


# -- asking -------------------------------------------------------------------------------------------------


async def ask(work: Work, width_s: int, slot: Array, start: Array) -> None:
    """Ask for the verdicts that windows of one width (n), made just now, bear on."""
    columns, rows = work.owner.table.columns, []
    if width_s == HOUR_S:
        asking = columns["compared"][slot]
        due = work.owner.log_ms() + work.owner.settings.repair_quiet_s * 1000  # the hours around it close as well
        for s, t in zip(slot[asking].tolist(), start[asking].tolist(), strict=True):
            series = int(columns["id"][s])
            rows += [(part, int(Asked.HOUR), series, t, due) for part in _parts_around(work.owner, s, t)]
    elif width_s == _DAY_S:
        asking = columns["has_health"][slot]
        for s, t in zip(slot[asking].tolist(), start[asking].tolist(), strict=True):
            part, series = int(columns["part"][s]), int(columns["id"][s])
            rows += [(part, int(Asked.DAY), series, begin, due) for begin, due in _days(work.owner, s, t)]
    await work.store.put_verdicts_due(rows)


def _parts_around(owner: Owner, slot: int, at_ms: int) -> set[int]:
    """The partitions of a sensor that has neighbours, and of these."""
    dataset, sensor, metric = owner.table.keys[slot]
    near = owner.places(dataset).near(sensor, at_ms, owner.reach_m(dataset, metric))
    return {owner.part((dataset, name, metric)) for name in (sensor, *near)} if near else set()


def _days(owner: Owner, slot: int, start: int) -> Iterable[tuple[int, int]]:
    """(start of the city's day, when it is over in log time) of the days that a UTC day is a part of."""
    key = owner.table.keys[slot]
    limits = owner.registry.rule(*key[:2], METRICS[0]).metric.detector
    if limits is None:
        return
    zone, silence_ms = ZoneInfo(owner.registry.time_zone), int(owner.table.columns["silence_ms"][slot])
    for day in sorted({day_of(start, zone), day_of(start + _DAY_S * 1000 - 1, zone)}):
        yield day_ms(day, zone)[0], judged_ms(day, zone, limits)[1] + silence_ms


# -- answering ----------------------------------------------------------------------------------------------


async def answer(owner: Owner, store: Store) -> bool:
    """Give the verdicts that are due, some of them; whether there may be more. Raises what the store raises."""
    asked = await store.verdicts_due(list(owner.positions), owner.log_ms(), MOST_VERDICTS)
    if not asked:
        return False
    async with owner.transaction(store) as work:
        hours = {(key, start) for _, kind, key, start in asked if kind == Asked.HOUR}
        days = {(key[:2], start) for _, kind, key, start in asked if kind == Asked.DAY}
        await _amend(work, await _of_hours(work, hours), int(RULES["neighbours"]))
        await _amend(work, await _of_days(work, days), int(RULES["detector"]))
        await store.drop_verdicts_due([number for number, *_ in asked])
    return len(asked) == MOST_VERDICTS


async def _amend(work: Work, verdicts: list[Verdict], mask: int) -> None:
    """Readings that have another verdict now are amended."""
    if not verdicts:
        return
    table = np.array([(v.slot, v.begin, v.end, v.tests) for v in verdicts], np.int64)
    ids = work.owner.table.columns["id"][table[:, 0]]
    loaded = await work.store.readings_unlike(ids, table[:, 1], table[:, 2], table[:, 3], mask)
    wanted = loaded.pop("wanted")
    if not len(wanted):
        return
    tests = (loaded["tests"] & ~mask) | wanted
    flag = roll_up(tests.astype(np.uint32), np.ones(len(tests), bool))  # such metrics have a range: all are evaluated
    await put_amended(work, loaded, flag, tests)


async def _of_hours(work: Work, hours: set[tuple[Key, int]]) -> list[Verdict]:
    """The verdicts on hours that changed, and on those of this owner's sensors around them."""
    owner = work.owner
    around: dict[tuple[Key, int], list[Key]] = {}  # of each hour to judge, whose hours it is held against
    for (dataset, sensor, metric), start in hours:
        places = owner.places(dataset)
        for name in (sensor, *places.near(sensor, start, owner.reach_m(dataset, metric))):
            limits = owner.registry.rule(dataset, name, metric).metric.neighbours
            key = (dataset, name, metric)
            if limits is not None and owner.table.slot(key) is not None and (key, start) not in around:
                near = places.near(name, start, limits.radius_m)
                around[key, start] = [(dataset, other, metric) for other in near]
    needed = {(key, start) for (own, start), others in around.items() for key in (own, *others)}
    means = await _means(work, needed)
    verdicts = []
    for (key, start), others in around.items():
        limits = owner.registry.rule(*key).metric.neighbours
        slot = owner.table.slot(key)
        assert limits is not None and slot is not None
        own = means.get((key, start), np.nan)
        suspect = judge_one(own, [means.get((other, start), np.nan) for other in others], limits)
        verdicts.append(Verdict(slot, start, start + _HOUR_MS, int(RULES["neighbours"]) if suspect else 0))
    return verdicts


async def _means(work: Work, needed: set[tuple[Key, int]]) -> dict[tuple[Key, int], float]:
    """The stored means of hours, of any partition."""
    keys = sorted({key for key, _ in needed})
    ids = await work.store.find_series(keys)
    key_of = {number: key for key, number in ids.items()}
    wanted = [(ids[key], start) for key, start in needed if key in ids]
    if not wanted:
        return {}
    number, start = np.array(wanted, np.int64).T
    series, begin, end = ranges(number, start, _HOUR_MS)
    rules = [work.owner.registry.rule(*key_of[one]) for one in series.tolist()]
    span_s = np.array([max(rule.period_s, rule.cadence_s) for rule in rules], np.int64)
    found = await work.store.means_between(HOUR_S, series, begin, end, span_s)
    rows = zip(found["series"].tolist(), found["start"].tolist(), found["value"].tolist(), strict=True)
    return {(key_of[one], at // _HOUR_MS * _HOUR_MS): value for one, at, value in rows}


async def _of_days(work: Work, days: set[tuple[tuple[str, str], int]]) -> list[Verdict]:
    """The verdicts on detectors' days, of each of its series."""
    owner = work.owner
    zone = ZoneInfo(owner.registry.time_zone)
    verdicts: list[Verdict] = []
    of_day = {(sensor, day_of(start, zone)) for sensor, start in days}
    samples = await _samples(work, of_day, zone)
    for sensor, day in of_day:
        rule = owner.registry.rule(*sensor, METRICS[0])
        if (limits := rule.metric.detector) is None:
            continue
        (begin, end), span_s = judged_ms(day, zone, limits), rule.cadence_s or rule.period_s
        placed = owner.registry.at(*sensor, begin)
        occupancy, volume = samples[sensor, day]
        verdict = health(
            np.array([volume.get(at, np.nan) for at in sorted(occupancy)]),
            np.array([occupancy[at] for at in sorted(occupancy)]),
            (end - begin) // (max(span_s, 1) * 1000), limits, span_s=span_s,
            rural=placed is not None and placed.site.surroundings == "rural",
        )  # fmt: skip
        tests = int(TESTS.get(verdict, 0))
        for metric in METRICS:
            known = owner.registry.rule(*sensor, metric).metric
            slot = owner.table.slot((*sensor, metric))
            if slot is not None and (known.fail or known.suspect):
                verdicts.append(Verdict(slot, *day_ms(day, zone), tests))
    return verdicts


async def _samples(
    work: Work, days: set[tuple[tuple[str, str], date]], zone: ZoneInfo
) -> Mapping[tuple[tuple[str, str], date], tuple[dict[int, float], dict[int, float]]]:
    """(occupancy, volume) of each detector's day by start, whatever their flags, for the verdict is on what it sent."""
    owner, ids = work.owner, work.owner.table.columns["id"]
    found = {of: ({}, {}) for of in days}  # type: ignore[var-annotated]
    wanted, of_range = [], []
    for sensor, day in days:
        limits = owner.registry.rule(*sensor, METRICS[0]).metric.detector
        for i, metric in enumerate(METRICS[:2]):
            slot = owner.table.slot((*sensor, metric))
            if slot is not None and limits is not None:
                wanted.append((int(ids[slot]), *judged_ms(day, zone, limits)))
                of_range.append(((sensor, day), i))
    if not wanted:
        return found
    series, begin, end = np.array(wanted, np.int64).T
    loaded = await work.store.readings_between(series, begin, end)
    by_series: dict[int, list[int]] = {}
    for number, one in enumerate(series.tolist()):
        by_series.setdefault(one, []).append(number)
    rows = zip(loaded["series"].tolist(), loaded["start"].tolist(), loaded["value"].tolist(), strict=True)
    for one, at, value in rows:
        if value == value:
            for number in by_series[one]:
                if begin[number] <= at < end[number]:
                    of, i = of_range[number]
                    found[of][i][at] = value
    return found
