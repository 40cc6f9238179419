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
_FEW = 4096  # so many values are looked at in no more time than some of them
_TOGETHER = 8  # so many readings of a series in a row are looked at together


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
    if not len(rows):
        return flat
    back_n, tolerance = steps.parameters[back][rows], steps.parameters["flat_tolerance"][rows]
    keep = np.flatnonzero((back_n > 0) & (back_n <= steps.reach(rows)))
    for share in (1, 2):  # the other end, then the middle
        if len(keep):
            value, _ = steps.back(rows[keep], back_n[keep] // share, starts=False)
            keep = keep[~(np.abs(steps.value[rows[keep]] - value) >= tolerance[keep])]
    if len(keep) * int(back_n.max()) > _FEW:
        few = back_n[keep] * np.arange(_SAMPLES, -1, -1)[:, None] // _SAMPLES
        keep = keep[_spread(steps, rows[keep], few) < tolerance[keep]]
    if len(keep):
        keep = keep[_whole_spread(steps, rows[keep], back_n[keep]) < tolerance[keep]]
    flat[rows[keep]] = True
    return flat


def _spread(steps: Steps, rows: Array, lag: Array) -> Array:
    """The range of the values `lag` back from each row; what is missing is passed over."""
    value, _ = steps.back(rows, lag, starts=False)
    return np.asarray(np.fmax.reduce(value, axis=0) - np.fmin.reduce(value, axis=0))


def _whole_spread(steps: Steps, rows: Array, back_n: Array) -> Array:
    """The range (k) of the values of each row and `back_n` before it. Readings of one series that follow each other
    share nearly all of these, so they are looked at together.
    """
    lag = np.arange(int(back_n.max()) + 1)[:, None]
    if len(rows) * len(lag) <= _FEW:
        return _spread(steps, rows, np.minimum(lag, back_n))
    found = np.empty(len(rows))
    edge = np.ones(len(rows) + 1, bool)
    series = steps.parameters.rows[rows]
    edge[1:-1] = (np.diff(series) != 0) | (np.diff(rows) != 1) | (np.diff(back_n) != 0)
    begin = np.flatnonzero(edge)
    length = np.diff(begin)
    single = np.repeat(length < _TOGETHER, length)
    for at in np.flatnonzero(length >= _TOGETHER).tolist():
        part = slice(begin[at], begin[at + 1])
        n, many = int(back_n[begin[at]]), int(length[at])
        value, _ = steps.back(rows[part][-1:], np.arange(n + many - 1, -1, -1)[:, None], starts=False)
        found[part] = _sliding_range(value[:, 0], n + 1)
    if single.any():
        found[single] = _spread(steps, rows[single], np.minimum(lag, back_n[single]))
    return found


def _sliding_range(value: Array, n: int) -> Array:
    """The range of each n values in a row (n or more values), by doubling: of 2, 4, 8, ... and of two that overlap."""
    low, high, width = value, value, 1
    while 2 * width <= n:
        low, high = np.fmin(low[:-width], low[width:]), np.fmax(high[:-width], high[width:])
        width *= 2
    if rest := n - width:
        low, high = np.fmin(low[:-rest], low[rest:]), np.fmax(high[:-rest], high[rest:])
    return np.asarray(high - low)
