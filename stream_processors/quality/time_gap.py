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
    limit_ms = p["gap_least_ms"]
    known = steps.previous_start != NEVER_MS
    gap_ms = steps.start - steps.previous_start
    judged = (limit_ms < NO_LIMIT_MS) & known if steps.judging else None
    if not (known & (gap_ms > limit_ms)).any():
        return Verdict({}, judged)
    fail = known & (gap_ms > p["gap_fail_ms"])
    suspect = known & (gap_ms > p["gap_suspect_ms"]) & ~fail
    return Verdict({Test.TIME_GAP_FAIL: fail, Test.TIME_GAP_SUSPECT: suspect}, judged)
