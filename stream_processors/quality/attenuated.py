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
from stream_processors.quality.parameters import Chosen

Array = npt.NDArray[Any]

_SAMPLES = 8
_FEW = 4096  # so many values are looked at in no more time than some of them


def judge(steps: Steps) -> Verdict:
    """The readings that end an attenuated period."""
    p = steps.parameters
    size = p["attenuated_n"]
    sure = _apart(steps.previous, steps.previous_start, steps.value, steps.start, p)
    if steps.judging:  # what surely passes is left out where others judge it
        sure &= p["evaluated"]
    rows = np.flatnonzero(~sure & (size > 0) & np.isfinite(steps.value))
    for passes, from_values in ((_far, 0), (_half_way, 0), (_lively, _FEW)):  # each tells most, and costs more
        if len(rows) and len(rows) * int(size[rows].max()) > from_values:
            sure = passes(steps, rows)
            if steps.judging:
                sure &= p["evaluated"][rows]
            rows = rows[~sure]
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


def _apart(value: Array, start: Array | None, own: Array, own_start: Array, p: Chosen) -> Array:
    """Where one value of the period is so far from the reading's own that both limits are passed (see `_lively`)."""
    apart = own - value
    found: Array = (start > own_start - p["attenuated_ms"]) & (apart * apart > 2 * p["attenuated_squares"])
    return found


def _far(steps: Steps, rows: Array) -> Array:
    """`_apart`, by the value at the other end of the period."""
    p = steps.parameters.take(rows)
    there = steps.back(rows, np.maximum(p["attenuated_n"] - 2, 0), starts=True)
    return _apart(*there, steps.value[rows], steps.start[rows], p)


def _half_way(steps: Steps, rows: Array) -> Array:
    """`_apart`, by the value in the middle of the period."""
    p = steps.parameters.take(rows)
    there = steps.back(rows, p["attenuated_n"] // 2, starts=True)
    return _apart(*there, steps.value[rows], steps.start[rows], p)


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
