"""The daily health of a road detector: the tests that Caltrans' PeMS makes of its loops.

From 05:00 to 21:59 of the city's day; the first test that matches is the verdict. Chen, Kwon and Varaiya, "The quality
of loop data and the health of California's freeway loop detectors" (PeMS, 2002), and PeMS' detector diagnostics.
Written for samples of 30 s; where a detector sends bins of five minutes, the shares are of those. The figures are the
defaults of `schemas.quality.Detector`; a dataset or a sensor may have its own.
"""

from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from schemas.flags import Test
from schemas.quality import Detector

Array = npt.NDArray[Any]

METRICS = ("occupancy", "volume", "speed")
"""The series of a detector: judged by the first two, flagged all three."""


class Health(StrEnum):
    """A day's verdict; all but `good` are faults, in the order in which they are looked for."""

    NO_DATA = "no-data"
    INSUFFICIENT = "insufficient-data"
    ZERO_OCCUPANCY = "zero-occupancy"
    HIGH_OCCUPANCY = "high-occupancy"
    INTERMITTENT = "intermittent"
    CONSTANT = "constant"
    GOOD = "good"


TESTS: dict[Health, Test] = {
    Health.INSUFFICIENT: Test.DETECTOR_INSUFFICIENT_DATA,
    Health.ZERO_OCCUPANCY: Test.DETECTOR_ZERO_OCCUPANCY,
    Health.HIGH_OCCUPANCY: Test.DETECTOR_HIGH_OCCUPANCY,
    Health.INTERMITTENT: Test.DETECTOR_INTERMITTENT,
    Health.CONSTANT: Test.DETECTOR_CONSTANT,
}
"""The test that a verdict puts on the readings of its day; a day without data has none."""


def health(
    volume: Array, occupancy: Array, expected: int, limits: Detector, *, span_s: int = 300, rural: bool = False
) -> Health:
    """The verdict on a day's samples (n) in order of time: vehicles and occupancy (0 to 1), NaN where one is not there;
    `expected`: samples due by then; `span_s`: the time from one to the next.
    """
    there = np.isfinite(occupancy)
    occupancy, volume = occupancy[there], volume[there]
    n = len(occupancy)
    if not n:
        return Health.NO_DATA
    if n < limits.least_samples * expected:
        return Health.INSUFFICIENT
    if np.mean(occupancy == 0) >= (limits.zero_occupancy_rural if rural else limits.zero_occupancy):
        return Health.ZERO_OCCUPANCY
    if np.mean(occupancy > limits.high) >= limits.high_occupancy:
        return Health.HIGH_OCCUPANCY
    if np.mean((volume == 0) & (occupancy > 0)) >= limits.no_flow:
        return Health.INTERMITTENT
    if np.mean((volume > 0) & (occupancy == 0)) >= limits.no_occupancy:
        return Health.INTERMITTENT
    if _has_constant_run(occupancy, max(2, limits.constant_s // max(span_s, 1)), limits.constant):
        return Health.CONSTANT
    return Health.GOOD


def _has_constant_run(occupancy: Array, bins: int, least: float) -> bool:
    """Whether so many samples in a row moved by less than `least` in all."""
    if len(occupancy) < bins:
        return False
    moved = np.concatenate(([0.0], np.cumsum(np.abs(np.diff(occupancy)))))
    return bool((moved[bins - 1 :] - moved[: len(moved) - bins + 1] < least).any())


def day_of(at_ms: int, zone: ZoneInfo) -> date:
    """The city's day that a moment (epoch ms) belongs to."""
    return datetime.fromtimestamp(at_ms / 1000, zone).date()


def day_ms(day: date, zone: ZoneInfo) -> tuple[int, int]:
    """[from, to) of the city's day, epoch ms: 23 to 25 hours."""
    return _moment(day, 0, zone), _moment(day, 24, zone)


def judged_ms(day: date, zone: ZoneInfo, limits: Detector) -> tuple[int, int]:
    """[from, to) of the samples that a day's verdict is made of, epoch ms."""
    return _moment(day, limits.from_hour, zone), _moment(day, limits.to_hour, zone)


def _moment(day: date, hour: int, zone: ZoneInfo) -> int:
    local = datetime.combine(day, time()) + timedelta(hours=hour)
    return int(local.replace(tzinfo=zone).astimezone(UTC).timestamp() * 1000)
