"""QARTOD test 1, time gap: too long since the series' reading before.

As ioos_qc's `time_gap_test`, which flags the reading after the gap. There the first reading has the verdict of the
second one; here it has none, for it has no gap.
"""

from schemas.flags import Test
from stream_processors.quality.columns import NEVER_MS, Steps, Verdict
from stream_processors.quality.parameters import NO_LIMIT_MS


def judge(steps: Steps) -> Verdict:
    """The readings after a gap."""
    p = steps.parameters
    limited = (p["gap_suspect_ms"] < NO_LIMIT_MS) | (p["gap_fail_ms"] < NO_LIMIT_MS)
    if not limited.any():
        return Verdict({})
    known = steps.previous_start != NEVER_MS
    gap_ms = steps.start - steps.previous_start
    fail = known & (gap_ms > p["gap_fail_ms"])
    suspect = known & (gap_ms > p["gap_suspect_ms"]) & ~fail
    return Verdict({Test.TIME_GAP_FAIL: fail, Test.TIME_GAP_SUSPECT: suspect}, limited & known)
