"""QARTOD test 9 (attenuated signal): the standard deviation of the last `period_s` is below a limit.

As ioos_qc's `attenuated_signal_test` with `test_period` and `min_obs`: of the population, over the values in
(t - period, t]; with fewer than `min_obs` of them there is no verdict. At most one value more than the series'
cadence gives is looked at, so that a sensor that sends faster costs no more.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.flags import Test
from stream_processors.quality.columns import Steps, Verdict

Array = npt.NDArray[Any]

_SAMPLES = 8


def judge(steps: Steps) -> Verdict:
    """The readings that end an attenuated period."""
    p = steps.parameters
    size = p["attenuated_n"]
    rows = np.flatnonzero((size > 0) & np.isfinite(steps.value) & ~(_moved(steps) & p["evaluated"]))
    rows = rows[~(_lively(steps, rows) & p["evaluated"][rows])]  # what surely passes, and is judged by others
    if not len(rows):
        return Verdict({})
    fail, suspect, judged = (np.zeros(len(size), bool) for _ in range(3))
    size, chosen = size[rows], p.take(rows)
    lag = np.arange(int(size.max()))[:, None]
    value, start = steps.back(rows, np.minimum(lag, size - 1), starts=True)
    inside = (lag < size) & (start > steps.start[rows] - chosen["attenuated_ms"]) & np.isfinite(value)
    count, deviation = _deviation(value, inside)
    enough = count >= chosen["attenuated_min_obs"]
    fail[rows] = enough & (deviation < chosen["attenuated_fail"])
    suspect[rows] = enough & (deviation < chosen["attenuated_suspect"])
    judged[rows] = enough
    return Verdict({Test.ATTENUATED_FAIL: fail, Test.ATTENUATED_SUSPECT: suspect & ~fail}, judged)


def _deviation(value: Array, inside: Array) -> tuple[Array, Array]:
    """(count, standard deviation) of columns (W, k). Rows are added one after the other, so what is left out changes
    no bit: the same values give the same result however they were laid out.
    """
    count = inside.sum(axis=0)
    some = np.maximum(count, 1)
    mean = np.add.reduce(np.where(inside, value, 0.0), axis=0) / some
    squares = np.where(inside, (value - mean) ** 2, 0.0)
    return count, np.sqrt(np.add.reduce(squares, axis=0) / some)


def _moved(steps: Steps) -> Array:
    """As `_lively`, from the reading and the one before it alone: that shows most of them."""
    p = steps.parameters
    inside = steps.previous_start > steps.start - p["attenuated_ms"]
    moved = steps.value - steps.previous
    return np.asarray(inside & (moved * moved > 2 * p["attenuated_squares"]))


def _lively(steps: Steps, rows: Array) -> Array:
    """Where a few values of the period alone show a deviation above both limits: the squares of a part, from its own
    mean, are at most those of the whole (`attenuated_squares`).
    """
    p = steps.parameters.take(rows)
    size = p["attenuated_n"]
    lag = (size - 1) * np.arange(_SAMPLES)[:, None] // (_SAMPLES - 1)
    value, start = steps.back(rows, lag, starts=True)
    inside = (start > steps.start[rows] - p["attenuated_ms"]) & np.isfinite(value)
    inside[1:] &= lag[1:] > lag[:-1]
    count, deviation = _deviation(value, inside)
    lively: Array = deviation**2 * count > p["attenuated_squares"]
    return lively
