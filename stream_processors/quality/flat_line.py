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
    limited = (p["flat_suspect_n"] > 0) | (p["flat_fail_n"] > 0)
    if not limited.any():
        return Verdict({})
    number = np.isfinite(steps.value)
    fail = _flat(steps, p["flat_fail_n"], number)
    suspect = _flat(steps, p["flat_suspect_n"], number) & ~fail
    return Verdict({Test.FLAT_LINE_FAIL: fail, Test.FLAT_LINE_SUSPECT: suspect}, limited & number)


def _flat(steps: Steps, back_n: Array, number: Array) -> Array:
    """Where the range of each value and the `back_n` before it is below the tolerance.

    Most readings are told from the one before, or from a few; only what is flat in those is looked at in full.
    """
    flat = np.zeros(len(back_n), bool)
    tolerance = steps.parameters["flat_tolerance"]
    moved = np.abs(steps.value - steps.previous) >= tolerance
    rows = np.flatnonzero((back_n > 0) & number & ~moved)
    if not len(rows):
        return flat
    deepest = int(back_n[rows].max())
    for lag in (
        back_n[rows] * np.arange(_SAMPLES, -1, -1)[:, None] // _SAMPLES,
        np.arange(deepest + 1)[:, None],
    ):
        reach = back_n[rows]
        value, _ = steps.back(rows, np.minimum(lag, reach))
        _, first = steps.back(rows, reach)
        spread = np.fmax.reduce(value, axis=0) - np.fmin.reduce(value, axis=0)
        rows = rows[(spread < tolerance[rows]) & (first > -(1 << 62))]
        if not len(rows):
            return flat
    flat[rows] = True
    return flat
