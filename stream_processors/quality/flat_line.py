"""QARTOD test 8, flat line: the last values differ by less than a tolerance, for so many seconds.

As ioos_qc's `flat_line_test`: the seconds are turned into a number of readings (there by the median interval of the
file, here by the series' cadence), and a reading is flagged where the range of it and so many before it is below the
tolerance; values that are missing are passed over, and the first readings of a series pass.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.flags import Test
from stream_processors.quality.columns import Steps, Verdict

Array = npt.NDArray[Any]

_SAMPLES = 8


def judge(steps: Steps) -> Verdict:
    """The readings that end a flat line."""
    p = steps.parameters
    judged = None
    if steps.judging:
        judged = ((p["flat_suspect_n"] > 0) | (p["flat_fail_n"] > 0)) & np.isfinite(steps.value)
    moved = np.abs(steps.value - steps.previous) >= p["flat_tolerance"]
    rows = np.flatnonzero(~moved & np.isfinite(steps.value))
    if not len(rows):  # the usual case: all of them moved
        return Verdict({}, judged)
    suspect = _flat(steps, rows, "flat_suspect_n")
    # What is flat for longer is flat for the shorter time too, so only that is looked at further back.
    fail = _flat(steps, rows[suspect[rows] | (p["flat_suspect_n"][rows] == 0)], "flat_fail_n")
    return Verdict({Test.FLAT_LINE_FAIL: fail, Test.FLAT_LINE_SUSPECT: suspect & ~fail}, judged)


def _flat(steps: Steps, rows: Array, back: str) -> Array:
    """Where the range of each value and so many before it is below the tolerance; `rows`: those that may be flat.

    Most are told from a few values; only what is flat in those is looked at in full.
    """
    flat = np.zeros(len(steps.value), bool)
    back_n, tolerance = steps.parameters[back][rows], steps.parameters["flat_tolerance"][rows]
    keep = np.flatnonzero((back_n > 0) & (back_n <= steps.reach(rows)))
    if len(keep):
        few = back_n[keep] * np.arange(_SAMPLES, -1, -1)[:, None] // _SAMPLES
        keep = keep[_spread(steps, rows[keep], few) < tolerance[keep]]
    if len(keep):
        everything = np.minimum(np.arange(int(back_n[keep].max()) + 1)[:, None], back_n[keep])
        keep = keep[_spread(steps, rows[keep], everything) < tolerance[keep]]
    flat[rows[keep]] = True
    return flat


def _spread(steps: Steps, rows: Array, lag: Array) -> Array:
    """The range of the values `lag` back from each row; what is missing is passed over."""
    value, _ = steps.back(rows, lag, starts=False)
    return np.asarray(np.fmax.reduce(value, axis=0) - np.fmin.reduce(value, axis=0))
