"""QARTOD test 5, climatology: outside what is usual in this month of the year (UTC, of the reading's start).

As ioos_qc's `climatology_test` with period "month": ends belong to the span, fail before suspect, and a month that
has no span is not judged.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.flags import Test
from stream_processors.quality.columns import Columns, Verdict
from stream_processors.quality.parameters import Chosen

Array = npt.NDArray[Any]


def judge(columns: Columns) -> Verdict:
    """The readings out of their month's fail span, and those out of its suspect span only."""
    span = _span(columns.start, columns.parameters, columns.climates)
    value = columns.value
    fail = (value < span[:, 0]) | (value > span[:, 1])
    suspect = (value < span[:, 2]) | (value > span[:, 3])
    judged = np.isfinite(span).any(axis=1) & np.isfinite(value)
    return Verdict({Test.CLIMATOLOGY_FAIL: fail, Test.CLIMATOLOGY_SUSPECT: suspect & ~fail}, judged)


def has_span(start: Array, parameters: Chosen, climates: Array) -> Array:
    """The mask (n) of the readings whose month has a span."""
    return np.asarray(np.isfinite(_span(start, parameters, climates)).any(axis=1))


def _span(start: Array, parameters: Chosen, climates: Array) -> Array:
    month = start.astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64) % 12
    span: Array = climates[parameters["climate"], month]
    return span
