"""Rolling means of hours, with the coverage that they must have."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.indices.scale import within_reach

Array = npt.NDArray[Any]

COVERAGE = Fraction(3, 4)
"""Three quarters of the hours: 6 of 8, 18 of 24 (40 CFR part 50, appendices N, K and U; Defra asks for the same)."""


@dataclass(frozen=True, slots=True)
class Means:
    """Columns of length n: `mean` (NaN where too few hours were there) and how many `hours` were."""

    mean: Array
    hours: Array


def needed(width: int) -> int:
    """How many of `width` hours must be there."""
    return -(-width * COVERAGE.numerator // COVERAGE.denominator)


def rolling(hours: Array, width: int) -> Means:
    """The mean of the `width` hours up to and with each of n consecutive hourly means (NaN: missing).

    Hours before the first count as missing. Each mean is summed by itself, so that it does not depend on where the
    column begins.
    """
    windows = windows_of(hours, width)
    there = np.isfinite(windows)
    n = there.sum(axis=1)
    mean = np.where(there, windows, 0.0).sum(axis=1) / np.maximum(n, 1)
    return Means(np.where(n >= needed(width), mean, np.nan), n)


def windows_of(hours: Array, width: int) -> Array:
    """The `width` hours up to and with each of n hours, oldest first: (n, width); those before the first are NaN.
    Infinities are NaN too, and what no air can hold is cut, for sums of it end.
    """
    padded = np.concatenate((np.full(width, np.nan), within_reach(hours)))
    windows: Array = np.lib.stride_tricks.sliding_window_view(padded, width)[1:]
    return windows


def mean_of(hours: Array, wanted: int) -> tuple[float, int]:
    """The mean of the hours that are there, NaN where they are fewer than three quarters of `wanted`; and how many."""
    there = within_reach(hours)[np.isfinite(hours)]
    enough = len(there) >= needed(wanted)
    return (float(there.sum() / len(there)) if enough else np.nan), len(there)
