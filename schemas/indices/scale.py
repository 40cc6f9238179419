"""What an index says of concentrations: a value, a category, and whether the value is beyond the official scale."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

NO_DATA = -1
"""The category where there is no value."""

MOST = 1e12
"""More than any concentration is, in any unit, and little enough to reckon with in integers."""


@dataclass(frozen=True)
class Category:
    """A class of an index. `name` is the authority's own; `colour` is its official one, #RRGGBB; `severity` says
    which advice fits, 0 (enjoy the air) to 5 (an emergency), see advice.py.
    """

    name: str
    colour: str
    severity: int


@dataclass(frozen=True, slots=True)
class Scored:
    """Columns of length n: `value` (NaN: no data), `category` (place in the index's categories, -1: no data),
    `beyond`: the concentration is above the official table and the value was extrapolated, or stands for "at least".
    """

    value: Array
    category: Array
    beyond: Array


def within_reach(concentration: Array) -> Array:
    """Concentrations (n) at most `MOST` from 0; NaN for NaN and infinities."""
    return np.where(np.isfinite(concentration), np.clip(concentration, -MOST, MOST), np.nan)


def banded(concentration: Array, upper: Array) -> Scored:
    """The band, 1 to len(upper) + 1, of each concentration (n): the first whose upper bound it does not exceed.

    A negative mean is in the first band. What a sum's last bits add to a value does not lift it into the next band.
    """
    clean = np.round(concentration, 9)
    band = np.searchsorted(upper, clean, side="left").astype(np.float64) + 1
    there = np.isfinite(concentration)
    value = np.where(there, band, np.nan)
    category = np.where(there, band - 1, NO_DATA).astype(np.int64)
    return Scored(value, category, np.zeros(len(value), bool))
