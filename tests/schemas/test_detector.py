"""A detector's day."""

import numpy as np
import pytest

from schemas.detector import Health, health

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
    assert health(volume, occupancy, N) is verdict


def test_a_rural_road_may_be_empty_for_longer() -> None:
    empty = part(0.8)
    assert health(VOLUME * ~empty, np.where(empty, 0, OCCUPANCY), N, rural=True) is not Health.ZERO_OCCUPANCY
