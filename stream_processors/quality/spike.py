"""QARTOD test 6, spike: a value that sticks out between its two neighbours.

Method "average": |x[n-1] - (x[n-2] + x[n]) / 2|. Method "differential": the smaller of |x[n-1] - x[n-2]| and
|x[n] - x[n-1]| where they go in opposite directions, which leaves the neighbours of a high spike alone.

The reading n judges the one before it, so this verdict is about the PREVIOUS reading of each: in the stream it is
an amendment. As ioos_qc's `spike_test`: the first and the newest reading of a series, and one
whose neighbour has no value, are not judged; neighbours are the readings next to it, however far in time.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.flags import Test
from stream_processors.quality.columns import NEVER_MS, Steps, Verdict

Array = npt.NDArray[Any]


def judge(steps: Steps) -> Verdict:
    """Of each reading's PREVIOUS one: whether it is a spike."""
    p = steps.parameters
    by_step, limit = p["spike_by_step"], p["spike_least"]
    height = _by_step(steps) if by_step.any() else np.zeros(len(limit))
    if not by_step.all():
        height = np.where(by_step, height, np.abs(steps.previous - (steps.before + steps.value) / 2))
    judged = None
    if steps.judging:
        around = np.isfinite(steps.value) & np.isfinite(steps.previous) & np.isfinite(steps.before)
        judged = np.isfinite(limit) & (steps.before_start != NEVER_MS) & around
    if not (height > limit).any():
        return Verdict({}, judged)
    fail = height > p["spike_fail"]
    return Verdict({Test.SPIKE_FAIL: fail, Test.SPIKE_SUSPECT: (height > p["spike_suspect"]) & ~fail}, judged)


def _by_step(steps: Steps) -> Array:
    """The smaller one of the steps up to and down from each PREVIOUS reading; 0 where both go one way."""
    up, down = steps.previous - steps.before, steps.previous - steps.value
    smaller: Array = np.minimum(np.abs(up), np.abs(down))
    smaller[up * down < 0] = 0.0
    return smaller
