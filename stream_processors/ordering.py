"""Readings by their series and their time: one integer for both, and their order."""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_START_BITS = 43  # epoch ms until the year 2248; with 20 bits of series a key fits 63


def keys(series: Array, start: Array) -> Array:
    """One integer for each (series, start): a small integer, and epoch ms."""
    return np.asarray((series.astype(np.int64) << _START_BITS) + start)


def of_keys(key: Array) -> tuple[Array, Array]:
    """(series, start) that `keys` put together."""
    return key >> _START_BITS, key & ((1 << _START_BITS) - 1)


def distinct(series: Array, start: Array) -> tuple[Array, Array]:
    """Each (series, start) once, in order."""
    return of_keys(np.unique(keys(series, start)))


def order(series: Array, key: Array) -> Array:
    """The order of n readings by key; what is equal stays as it came.

    Most come in the order of time, so that a stable sort by series is enough: of small integers that is a radix sort,
    several times faster.
    """
    if (key[1:] >= key[:-1]).all():
        return np.arange(len(key))
    small = series.max(initial=0) < 1 << 16
    by_series = np.argsort(series.astype(np.uint16) if small else series, kind="stable")
    sorted_key = key[by_series]
    is_sorted = (sorted_key[1:] >= sorted_key[:-1]).all()
    return np.asarray(by_series if is_sorted else np.argsort(key, kind="stable"))
