"""The daily health of a road detector: the tests that Caltrans' PeMS makes of its loops.

From 05:00 to 21:59 of the city's day; the first test that matches is the verdict. Chen, Kwon and Varaiya, "The quality
of loop data and the health of California's freeway loop detectors" (PeMS, 2002), and PeMS' detector diagnostics.
Written for samples of 30 s; where a detector sends bins of five minutes, the shares are of those.
"""

from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

FROM_MINUTE, TO_MINUTE = 5 * 60, 22 * 60  # of the local day
ENOUGH = 0.60
NO_OCCUPANCY, NO_OCCUPANCY_RURAL = 0.59, 0.90
HIGH, HIGH_SHARE = 0.70, 0.20
NO_FLOW_SHARE, NO_OCCUPANCY_WITH_FLOW_SHARE = 0.02, 0.50
CONSTANT_BINS, CONSTANT = 48, 1e-5


class Health(StrEnum):
    """A day's verdict; all but `good` are faults, in the order in which they are looked for."""

    NO_DATA = "no-data"
    INSUFFICIENT = "insufficient-data"
    ZERO_OCCUPANCY = "zero-occupancy"
    HIGH_OCCUPANCY = "high-occupancy"
    INTERMITTENT = "intermittent"
    CONSTANT = "constant"
    GOOD = "good"


def health(volume: Array, occupancy: Array, expected: int, *, rural: bool = False) -> Health:
    """The verdict on a day's samples (n) in order of time: vehicles and occupancy (0 to 1), NaN where one is not there;
    `expected`: samples due by then.
    """
    there = np.isfinite(occupancy)
    occupancy, volume = occupancy[there], volume[there]
    n = len(occupancy)
    if not n:
        return Health.NO_DATA
    if n < ENOUGH * expected:
        return Health.INSUFFICIENT
    if np.mean(occupancy == 0) >= (NO_OCCUPANCY_RURAL if rural else NO_OCCUPANCY):
        return Health.ZERO_OCCUPANCY
    if np.mean(occupancy > HIGH) >= HIGH_SHARE:
        return Health.HIGH_OCCUPANCY
    if np.mean((volume == 0) & (occupancy > 0)) >= NO_FLOW_SHARE:
        return Health.INTERMITTENT
    if np.mean((volume > 0) & (occupancy == 0)) >= NO_OCCUPANCY_WITH_FLOW_SHARE:
        return Health.INTERMITTENT
    if n >= CONSTANT_BINS and _has_constant_run(occupancy):
        return Health.CONSTANT
    return Health.GOOD


def _has_constant_run(occupancy: Array) -> bool:
    moved = np.concatenate(([0.0], np.cumsum(np.abs(np.diff(occupancy)))))
    return bool((moved[CONSTANT_BINS - 1 :] - moved[: len(moved) - CONSTANT_BINS + 1] < CONSTANT).any())
