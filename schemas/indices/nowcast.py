"""EPA's NowCast: what the air is like now, from the hours before.

Particles (EPA-454/B-24-002, "How the NowCast is calculated"; checked against AirNow's own values of Hanoi): a weighted
mean of the last 12 hours that forgets faster the more the air changes. Ozone: EPA's NowCast R code (github.com/USEPA/
O3-Nowcast, 2019), read and written anew: partial least squares with all components, which is ordinary least squares.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.indices.means import windows_of
from schemas.indices.scale import within_reach

Array = npt.NDArray[Any]

PM_HOURS = 12
PM_LEAST_WEIGHT = 0.5
PM_LATEST_H, PM_LATEST_NEEDED = 3, 2

O3_HOURS = 336  # two weeks
O3_NEEDED = 252  # three quarters of them
O3_MOST_MISSING_IN_A_ROW = 7
O3_WINDOW_H = 96
O3_SLOPE, O3_INTERCEPT_PPB = 0.85, 4.5  # the surrogate's line
O3_BACK_H = 2  # a missing current hour takes an earlier one, so far back at the most
_MEAN_BEFORE_H, _MEAN_AFTER_H, _MEAN_NEEDED = 4, 3, 6
_FILL_REACH = 4
_DEPENDENT = 1e-9  # of the greatest; a column that adds less than this depends on the others


def pm(hours: Array) -> Array:
    """The NowCast (n) of n consecutive hourly means of PM2.5 or PM10 (ug/m3, NaN: missing), at the end of each hour.

    Hours before the first count as missing. NaN where fewer than 2 of the latest 3 hours are there. Negative means,
    which sensors give in clean air, are kept.
    """
    windows = windows_of(hours, PM_HOURS)[:, ::-1]  # newest first
    there = np.isfinite(windows)
    enough = there[:, :PM_LATEST_H].sum(axis=1) >= PM_LATEST_NEEDED
    found = np.full(len(hours), np.nan)
    if not enough.any():
        return found
    windows, there = windows[enough], there[enough]
    low = np.where(there, windows, np.inf).min(axis=1)
    high = np.where(there, windows, -np.inf).max(axis=1)
    with np.errstate(all="ignore"):
        ratio = np.where(high > 0, low / high, 1.0)  # no hour above zero: nothing to forget
    weight = np.clip(ratio, PM_LEAST_WEIGHT, 1.0)[:, None] ** np.arange(PM_HOURS)
    weight = np.where(there, weight, 0.0)
    found[enough] = (np.where(there, windows, 0.0) * weight).sum(axis=1) / weight.sum(axis=1)
    return found


def o3(hours: Array, count: int | None = None) -> Array:
    """The NowCasts of the last `count` (default: all) of n consecutive hourly means of ozone (ppb, NaN: missing).

    It foresees the 8-hour mean in which the hour is the fifth. Hours before the first count as missing. NaN where
    neither the hour nor one of the two before it is there, and where the model's own means are too few. Each needs
    the two weeks before it, and no more than two hours before those.
    """
    count = len(hours) if count is None else count
    padded = np.concatenate((np.full(O3_HOURS + O3_BACK_H, np.nan), within_reach(hours)))
    return np.array([_o3_at(padded, end) for end in range(len(padded) - count + 1, len(padded) + 1)], np.float64)


def _o3_at(padded: Array, end: int) -> float:
    """EPA's decisions for the hour before `end`."""
    window = padded[end - O3_HOURS : end]
    there = np.isfinite(window)
    latest = next((back for back in range(O3_BACK_H + 1) if there[-1 - back]), None)
    if latest is None:
        return np.nan
    if there.sum() < O3_NEEDED or _longest_gap(there) > O3_MOST_MISSING_IN_A_ROW:
        return max(O3_SLOPE * float(window[-1 - latest]) + O3_INTERCEPT_PPB, 0.0)
    if np.nansum(window) == 0:
        return 0.0
    return _o3_at(padded, end - latest) if latest else max(_modelled(window), 0.0)


def _longest_gap(there: Array) -> int:
    edges = np.flatnonzero(np.concatenate(([True], there, [True])))
    return int(np.diff(edges).max()) - 1


def _modelled(window: Array) -> float:
    """Least squares of the 8-hour means on the 96 hours that end at each, foretold for the last hour."""
    y = _means_8h(window)[O3_WINDOW_H - 1 :]
    known = np.isfinite(y)
    if (~known).mean() > 0.25:
        return np.nan
    x = np.lib.stride_tricks.sliding_window_view(_filled(window), O3_WINDOW_H)
    x_mean, y_mean = x[known].mean(axis=0), y[known].mean()
    slopes = _least_squares(x[known] - x_mean, y[known] - y_mean)
    return float(y_mean + (x[-1] - x_mean) @ slopes)


def _least_squares(x: Array, y: Array) -> Array:
    """By QR, which costs a fifth; by singular values, and then the least solution, where columns depend on others."""
    if len(x) >= x.shape[1]:
        q, r = np.linalg.qr(x)
        diagonal = np.abs(np.diag(r))
        if diagonal.min() > diagonal.max() * _DEPENDENT:
            solved: Array = np.linalg.solve(r, q.T @ y)
            return solved
    least: Array = np.linalg.lstsq(x, y, rcond=None)[0]
    return least


def _means_8h(window: Array) -> Array:
    """The mean over hours -4 to +3 of each hour; NaN where more than a quarter is missing, or beyond the window."""
    width = _MEAN_BEFORE_H + 1 + _MEAN_AFTER_H
    eights = np.lib.stride_tricks.sliding_window_view(window, width)
    n = np.isfinite(eights).sum(axis=1)
    means = np.full(len(window), np.nan)
    mean = np.nansum(eights, axis=1) / np.maximum(n, 1)
    means[_MEAN_BEFORE_H : len(window) - _MEAN_AFTER_H] = np.where(n >= _MEAN_NEEDED, mean, np.nan)
    return means


def _filled(window: Array) -> Array:
    """Gaps filled by the exponentially weighted mean of up to four hours on each side (imputeTS `na.ma`, k = 4): half
    the weight for each hour further off; more hours where those hold fewer than two values.
    """
    filled = window.copy()
    there = np.flatnonzero(np.isfinite(window))
    for i in np.flatnonzero(~np.isfinite(window)).tolist():
        distance = np.abs(there - i)
        reach = max(_FILL_REACH, int(np.partition(distance, 1)[1]))
        near = distance <= reach
        weight = 0.5 ** distance[near]
        filled[i] = (window[there[near]] * weight).sum() / weight.sum()
    return filled
