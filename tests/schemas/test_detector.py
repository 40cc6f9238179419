"""A detector's day."""

from datetime import date
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from schemas.detector import Health, day_ms, day_of, health, judged_ms
from schemas.quality import Detector

N = 204  # bins of five minutes from 05:00 to 21:59
DICE = np.random.default_rng(3)
VOLUME = DICE.integers(20, 150, N).astype(float)
OCCUPANCY = DICE.uniform(0.02, 0.3, N)


def part(share: float) -> np.ndarray:
    """A mask of the first so many bins."""
    return np.arange(N) < round(share * N)


@pytest.mark.parametrize(
    ("volume", "occupancy", "verdict"),
    [
        (VOLUME, OCCUPANCY, Health.GOOD),
        (VOLUME, np.full(N, np.nan), Health.NO_DATA),
        (VOLUME, np.where(part(0.41), np.nan, OCCUPANCY), Health.INSUFFICIENT),
        (VOLUME * ~part(0.6), np.where(part(0.6), 0, OCCUPANCY), Health.ZERO_OCCUPANCY),
        (VOLUME, np.where(part(0.2), 0.71, OCCUPANCY), Health.HIGH_OCCUPANCY),
        (np.where(part(0.025), 0, VOLUME), OCCUPANCY, Health.INTERMITTENT),
        (VOLUME, np.where(part(0.55), 0, OCCUPANCY), Health.INTERMITTENT),
        (VOLUME, np.where(part(48 / N), 0.11, OCCUPANCY), Health.CONSTANT),
        (VOLUME, np.where(part(47 / N), 0.11, OCCUPANCY), Health.GOOD),
        (np.full(N, np.nan), OCCUPANCY, Health.GOOD),
    ],
)
def test_the_first_test_that_matches_is_the_verdict(volume: np.ndarray, occupancy: np.ndarray, verdict: Health) -> None:
    assert health(volume, occupancy, N, Detector()) is verdict


def test_a_rural_road_may_be_empty_for_longer() -> None:
    empty = part(0.8)
    assert (
        health(VOLUME * ~empty, np.where(empty, 0, OCCUPANCY), N, Detector(), rural=True) is not Health.ZERO_OCCUPANCY
    )


def test_a_sensor_has_limits_of_its_own() -> None:
    steady = np.where(part(24 / N), 0.11, OCCUPANCY)
    assert health(VOLUME, steady, N, Detector()) is Health.GOOD
    assert health(VOLUME, steady, N, Detector(constant_s=7200)) is Health.CONSTANT
    assert health(VOLUME, steady, 2 * N, Detector(least_samples=0.4)) is Health.GOOD
    half_minutes = np.repeat(steady, 10)
    assert health(np.repeat(VOLUME, 10), half_minutes, 10 * N, Detector(constant_s=7200), span_s=30) is Health.CONSTANT


def test_a_day_is_as_long_as_the_citys() -> None:
    """Los Angeles on 8 March 2026 has no hour from 02:00 to 03:00."""
    zone, day, hour_ms = ZoneInfo("America/Los_Angeles"), date(2026, 3, 8), 3_600_000
    begin, end = day_ms(day, zone)
    assert (end - begin) // hour_ms == 23
    assert [(at - begin) // hour_ms for at in judged_ms(day, zone, Detector())] == [4, 21]
    assert (day_of(begin, zone), day_of(begin - 1, zone)) == (day, date(2026, 3, 7))
