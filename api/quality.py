"""The data-quality report: how far a series' day can be trusted, in parts that are shown."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from api.queries.quality import Day
from api.rows import QualityRow
from api.times import DAY_MS, rfc3339
from schemas import neighbours
from schemas.datasets import Dataset
from schemas.detector import Health, health, judged_ms
from schemas.flags import Flag, fired_tests
from schemas.quality import Detector, Neighbours
from schemas.registry import Registry, SeriesRule

Array = npt.NDArray[Any]

SUSPECT_WORTH = 0.5  # a suspect reading counts half in the score
CONSTANT_FROM = 24  # so many equal readings in a day are no coincidence


@dataclass(frozen=True, slots=True)
class Agreement:
    """Hours of a day that could be compared with the neighbours' median, and those far from it."""

    hours: int
    suspect: int


def row(
    dataset: Dataset, sensor: str, metric: str, unit: str | None, day_ms: int, span_s: int, due_ms: tuple[int, int],
    day: Day, agreement: Agreement | None, detector: Health | None = None,
) -> QualityRow:  # fmt: skip
    """The row of a series' day. `span_s`: the time between its readings (0: not known); `due_ms`: from when to when
    readings are expected of it.
    """
    since_ms, until_ms = due_ms
    due = min(day_ms + DAY_MS, until_ms) - max(day_ms, since_ms)
    expected = max(due // (span_s * 1000), 0) if span_s else None
    share = {flag: count / day.n if day.n else None for flag, count in day.flags.items()}
    completeness = None if not expected else min(day.n / expected, 1.0)
    timeliness = None
    if day.lateness_s is not None:
        timeliness = min(1.0, max(dataset.lateness_s, 1) / max(day.lateness_s[1], 1e-9))
    validity = None
    if day.n:
        good = day.flags[Flag.GOOD] + day.flags[Flag.NOT_EVALUATED] + SUSPECT_WORTH * day.flags[Flag.SUSPECT]
        validity = good / day.n
    agreed = None
    if agreement is not None and agreement.hours:
        agreed = 1 - agreement.suspect / agreement.hours
    return QualityRow(
        dataset.id, sensor, metric, unit, rfc3339(day_ms), rfc3339(day_ms + DAY_MS), day.n, expected, completeness,
        day.lateness_s and day.lateness_s[0], day.lateness_s and day.lateness_s[1],
        share[Flag.GOOD], share[Flag.NOT_EVALUATED], share[Flag.SUSPECT], share[Flag.FAIL], share[Flag.MISSING],
        {fired_tests(test)[0]: count for test, count in day.tests.items() if count},
        day.counted >= CONSTANT_FROM and day.least == day.greatest,
        agreement.hours if agreement else None, agreement.suspect if agreement else None,
        detector and detector.value,
        score(completeness, timeliness, validity, agreed), completeness, timeliness, validity, agreed,
    )  # fmt: skip


def span_s(rule: SeriesRule, day: Day) -> int:
    """Seconds from one reading to the next, 0: not known. Readings that say another period than the registered one come
    as often as they say, as in windows: a series that nobody registered has the dataset's period until then.
    """
    if day.period_s and day.period_s != rule.period_s:
        return day.period_s
    return rule.cadence_s or rule.period_s


def detector_span(day_ms: int, zone: ZoneInfo, limits: Detector) -> tuple[int, int]:
    """From when to when (epoch ms) a detector is judged: 05:00 to 21:59 of the city's day of the same date."""
    return judged_ms(datetime.fromtimestamp(day_ms / 1000, UTC).date(), zone, limits)


def detector(
    volume: dict[int, float],
    occupancy: dict[int, float],
    span: tuple[int, int],
    until_ms: int,
    span_s: int,
    limits: Detector,
    rural: bool,
) -> Health | None:
    """The verdict on a detector's day from its values by start; None while nothing is due."""
    due = (min(span[1], until_ms) - span[0]) // (max(span_s, 1) * 1000)
    if due <= 0:
        return None
    starts = sorted(occupancy)
    return health(
        np.array([volume.get(start, np.nan) for start in starts]), np.array([occupancy[s] for s in starts]), due,
        limits, span_s=span_s, rural=rural,
    )  # fmt: skip


def score(*parts: float | None) -> float | None:
    """0 to 100: the product of the parts that are known, so that one that is bad is not made good by the others."""
    known = [part for part in parts if part is not None]
    return round(100 * float(np.prod(known)), 1) if known else None


def neighbours_of(
    registry: Registry, dataset: str, sensors: set[str], limits: Neighbours, at_ms: int
) -> dict[str, list[str]]:
    """By each of `sensors` that has a place: the sensors within the radius, by the places that hold at a moment."""
    places = neighbours.Places(registry, dataset)
    return {
        sensor: places.near(sensor, at_ms, limits.radius_m)
        for sensor in sensors
        if (r := registry.at(dataset, sensor, at_ms)) is not None and r.site.lon is not None and r.site.lat is not None
    }


def agreement(own: Array, others: list[Array], limits: Neighbours) -> list[Agreement]:
    """By day, of whole hours (H): a sensor's means and its neighbours'."""
    if not others:
        return [Agreement(0, 0)] * (len(own) // 24)
    mean = np.vstack((own, *others))
    near = np.zeros((len(mean), len(mean)), bool)
    near[0, 1:] = True
    judged, suspect = neighbours.judge(mean, near, limits)
    return [
        Agreement(int(j), int(s))
        for j, s in zip(judged[0].reshape(-1, 24).sum(axis=1), suspect[0].reshape(-1, 24).sum(axis=1), strict=True)
    ]
