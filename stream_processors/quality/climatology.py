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
    value, climates, climate = columns.value, columns.climates, columns.parameters["climate"]
    month = _month(columns.start)
    low, high = np.maximum(climates[..., 0], climates[..., 2]), np.minimum(climates[..., 1], climates[..., 3])
    judged = _of_month(_is_set(climates), climate, month) & np.isfinite(value)
    outside = (value < _of_month(low, climate, month)) | (value > _of_month(high, climate, month))
    if not outside.any():
        return Verdict({}, judged)
    span = _of_month(climates, climate, month)
    fail = (value < span[:, 0]) | (value > span[:, 1])
    return Verdict({Test.CLIMATOLOGY_FAIL: fail, Test.CLIMATOLOGY_SUSPECT: outside & ~fail}, judged)


def has_span(start: Array, parameters: Chosen, climates: Array) -> Array:
    """The mask (n) of the readings whose month has a span."""
    return _of_month(_is_set(climates), parameters["climate"], _month(start))


def _is_set(climates: Array) -> Array:
    return np.asarray(np.isfinite(climates).any(axis=-1))


def _month(start: Array) -> Array | int:
    """The months of the year, January 0, of n starts; of a batch that is of one month, as nearly all are, that one."""
    if len(start):
        first, last = _months(np.array([start.min(), start.max()])).tolist()
        if first == last:
            return int(first % 12)
    return np.asarray(_months(start) % 12)


def _months(start: Array) -> Array:
    months: Array = start.astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64)
    return months


def _of_month(table: Array, climate: Array, month: Array | int) -> Array:
    """What a table by climate and month (C, 12, ...) has for each reading (n, ...)."""
    chosen: Array = table[:, month][climate] if isinstance(month, int) else table[climate, month]
    return chosen
