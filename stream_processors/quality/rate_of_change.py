"""QARTOD test 7, rate of change: |x[n] - x[n-1]| over the seconds between their starts.

As ioos_qc's `rate_of_change_test` (which cuts times to whole seconds; here they are milliseconds): the first reading
of a series, and one after a reading without a value, pass.
"""

import numpy as np

from schemas.flags import Test
from stream_processors.quality.columns import Steps, Verdict


def judge(steps: Steps) -> Verdict:
    """The readings that changed too fast."""
    p = steps.parameters
    limit = p["rate_least"]
    judged = np.isfinite(limit) & np.isfinite(steps.value) if steps.judging else None
    seconds = (steps.start - steps.previous_start) / 1000  # of the first reading: many, of a change that is NaN
    rate = np.abs((steps.value - steps.previous) / seconds)
    if not (rate > limit).any():
        return Verdict({}, judged)
    fail = rate > p["rate_fail"]
    suspect = (rate > p["rate_suspect"]) & ~fail
    return Verdict({Test.RATE_OF_CHANGE_FAIL: fail, Test.RATE_OF_CHANGE_SUSPECT: suspect}, judged)
