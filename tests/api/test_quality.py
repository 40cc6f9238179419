"""The parts of the data-quality report."""

from zoneinfo import ZoneInfo

import numpy as np
import pytest

from api import quality
from api.quality import Agreement, agreement, neighbours_of, score
from api.queries.quality import Day
from api.rows import QualityRow
from schemas.datasets import Dataset, parse_datasets, shipped_files
from schemas.detector import Health
from schemas.flags import Flag, Test
from schemas.quality import Detector, Neighbours
from schemas.registry import Registration, Registry, Site

DAY_MS = 86_400_000
DAY = 1_794_700_800_000
DATASETS = parse_datasets(shipped_files())
TRAFFIC: Dataset = DATASETS["traffic"]


def day(n: int, *, lateness: tuple[float, float] | None = (1.0, 30.0), **flags: int) -> Day:
    counted = {flag: flags.get(flag.name.lower(), 0) for flag in Flag}
    tests = {test: 0 for test in Test} | {Test.SPIKE_FAIL: counted[Flag.FAIL]}
    return Day(n, lateness, n - counted[Flag.FAIL], 50.0, 80.0, counted, tests)


def row(
    of: Day,
    agreed: Agreement | None = None,
    until_ms: int = DAY + 9 * DAY_MS,
    span_s: int = 300,
    since_ms: int = DAY - DAY_MS,
) -> QualityRow:
    return quality.row(TRAFFIC, "a", "speed", "km/h", DAY, span_s, (since_ms, until_ms), of, agreed)


def test_a_score_is_the_product_of_its_parts_and_they_are_shown() -> None:
    made = row(day(144, good=100, suspect=24, fail=20, lateness=(10.0, 600.0)), Agreement(20, 5))
    assert (made.n, made.n_expected, made.completeness) == (144, 288, 0.5)
    assert (made.good, made.suspect, made.fail, made.missing) == pytest.approx((100 / 144, 24 / 144, 20 / 144, 0))
    assert (made.score_completeness, made.score_timeliness, made.score_validity, made.score_agreement) == pytest.approx(
        (0.5, 0.5, 112 / 144, 0.75)
    )
    assert made.score == pytest.approx(100 * 0.5 * 0.5 * 112 / 144 * 0.75, abs=0.05)
    assert made.tests == {"spike-fail": 20}


def test_what_is_not_known_is_null_and_left_out() -> None:
    made = row(day(10, good=10, lateness=None), None, span_s=0)
    assert (made.n_expected, made.completeness, made.lateness_p50_s, made.neighbour_hours) == (None,) * 4
    assert (made.score, made.score_validity, made.score_agreement) == (100.0, 1.0, None)
    assert score(None, None) is None
    assert row(day(10, good=10), Agreement(0, 0)).score_agreement is None


def test_a_day_without_readings_is_there_and_scores_nothing() -> None:
    made = row(day(0, lateness=None))
    assert (made.n, made.n_expected, made.completeness, made.good, made.score) == (0, 288, 0.0, None, 0.0)


def test_of_a_day_that_is_not_over_only_what_is_due_is_expected() -> None:
    made = row(day(12, good=12), until_ms=DAY + 3_600_000)
    assert (made.n_expected, made.completeness) == (12, 1.0)
    assert row(day(0), until_ms=DAY - 1).n_expected == 0
    begun = row(day(12, good=12), until_ms=DAY + 7_200_000, since_ms=DAY + 3_600_000)
    assert (begun.n_expected, begun.completeness) == (12, 1.0), "nothing is due of a sensor before it is there"


def test_a_day_of_one_value_is_constant() -> None:
    same = Day(30, None, 30, 55.0, 55.0, dict.fromkeys(Flag, 0) | {Flag.GOOD: 30}, dict.fromkeys(Test, 0))
    assert row(same).constant and not row(day(30, good=30)).constant


def test_neighbours_are_those_within_the_radius() -> None:
    registry = Registry(DATASETS)
    for sensor, lat in (("a", 34.0), ("b", 34.005), ("c", 34.1)):
        registry.apply(Registration("traffic", sensor, site=Site(lon=-118.0, lat=lat)))
    registry.apply(Registration("traffic", "nowhere"))
    limits = Neighbours(1000, suspect=40)
    assert neighbours_of(registry, "traffic", {"a", "c", "nowhere", "unknown"}, limits, DAY) == {"a": ["b"], "c": []}


def test_a_detectors_day_is_that_of_the_city() -> None:
    """Los Angeles: eight hours behind UTC in November."""
    since, until = quality.detector_span(DAY, ZoneInfo("America/Los_Angeles"), Detector())
    assert (since - DAY, until - DAY) == (13 * 3_600_000, 30 * 3_600_000)
    starts = range(since, until, 300_000)
    occupancy = {start: 0.1 + 0.01 * (i % 7) for i, start in enumerate(starts)}
    volume = {start: 50.0 for start in starts}
    assert quality.detector(volume, occupancy, (since, until), until, 300, Detector(), False) is Health.GOOD
    assert (
        quality.detector(volume, dict.fromkeys(occupancy, 0.2), (since, until), until, 300, Detector(), False)
        is Health.CONSTANT
    )
    half = dict(list(occupancy.items())[:100])
    assert quality.detector(volume, half, (since, until), until, 300, Detector(), False) is Health.INSUFFICIENT
    assert (
        quality.detector(volume, half, (since, until), list(half)[-1] + 300_000, 300, Detector(), False) is Health.GOOD
    )
    assert quality.detector({}, {}, (since, until), since, 300, Detector(), False) is None


def test_agreement_is_by_day() -> None:
    own = np.full(48, 60.0)
    own[30:34] = 150
    others = [np.full(48, 62.0), np.full(48, 64.0), np.where(np.arange(48) < 24, 61.0, np.nan)]
    limits = Neighbours(1000, suspect=40, min_sensors=2)
    assert agreement(own, others, limits) == [Agreement(24, 0), Agreement(24, 4)]
    assert agreement(own, [], limits) == [Agreement(0, 0)] * 2
