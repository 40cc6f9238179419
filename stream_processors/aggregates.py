"""What a window says of its readings: one implementation, a function of columns.

Fed from memory when a window closes and from stored readings when it is repaired, so both give the same bits.
To add an aggregate: a column in `Aggregates`, a line in `aggregate`, a column in schemas/tables.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.flags import COUNTED

Array = npt.NDArray[Any]

_IS_COUNTED = np.isin(np.arange(256), COUNTED)

COMPLETE_COVERAGE = 0.75
"""Share of a window's time that must be covered for it to count as complete: 75 %, as EPA asks of an hour
(45 minutes), a day (18 hours) and eight hours (6). 40 CFR part 50, appendices, and shared practice."""


@dataclass(frozen=True, slots=True)
class Aggregates:
    """Columns of length G, one row a window. NaN where nothing counted, `n_expected` -1 where the time that a
    reading stands for is not known (coverage is NaN then).

    `std` is of the population. `p50`, `p95` interpolate linearly between the two nearest readings (the
    definition of PostgreSQL's percentile_cont and numpy's default). `mean` is weighted where weights are known
    and sum to more than 0, over the readings that have one; else arithmetic. `first` and `last` are by start.
    `total`, `m2`, `weighted`, `weight` are what composes.
    """

    n: Array
    n_expected: Array
    coverage: Array
    mean: Array
    min: Array
    max: Array
    std: Array
    p50: Array
    p95: Array
    first: Array
    last: Array
    total: Array
    m2: Array
    weighted: Array
    weight: Array
    complete: Array


def aggregate(
    window: Array,
    window_end: Array,
    width_ms: int,
    start: Array,
    span_ms: Array,
    value: Array,
    flag: Array,
    weight: Array,
) -> Aggregates:
    """Aggregate the readings of G windows of one width.

    `window` (n): index of each reading's window, 0..G-1; `window_end` (G): epoch ms. Of each reading (n):
    `start` epoch ms, `span_ms` the time it stands for (0: not known), `value`, `flag` (QARTOD; only 1, 2 and 3
    count, and only numbers), `weight` (NaN: not known). Starts are unique within a window.
    """
    groups = len(window_end)
    longest_span_ms = np.zeros(groups, np.int64)  # also of what does not count: a window of failed readings expects
    np.maximum.at(longest_span_ms, window, span_ms)
    counted = _IS_COUNTED[flag.astype(np.uint8, copy=False)] & np.isfinite(value)
    columns = window, start, span_ms, value, weight
    if not counted.all():
        columns = tuple(column[counted] for column in columns)  # type: ignore[assignment]
    if not _is_sorted(columns[0], columns[1]):
        order = np.lexsort((columns[1], columns[0]))
        columns = tuple(column[order] for column in columns)  # type: ignore[assignment]
    window, start, span_ms, value, weight = columns
    n = np.bincount(window, minlength=groups)
    some = n > 0
    at = np.concatenate(([0], np.cumsum(n)[:-1]))  # where each window's readings begin
    begin = at[some]

    def spread(of_some: Array, dtype: Any = np.float64, empty: Any = np.nan) -> Array:
        full = np.full(groups, empty, dtype)
        full[some] = of_some
        return full

    def reduce(function: np.ufunc, column: Array) -> Array:
        return function.reduceat(column, begin) if len(column) else column[:0]

    total = spread(reduce(np.add, value))
    plain_mean = total / np.where(some, n, 1)
    m2 = spread(reduce(np.add, (value - plain_mean[window]) ** 2))
    known = np.isfinite(weight)
    if known.any():
        weight = np.where(known, weight, 0.0)
        weight_sum = spread(reduce(np.add, weight))
        weighted = spread(reduce(np.add, np.where(known, value, 0.0) * weight))
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(weight_sum > 0, weighted / weight_sum, plain_mean)
    else:
        mean, weight_sum = plain_mean, spread(np.zeros(len(begin)))
        weighted = weight_sum
    by_value = _sorted_within(value, begin, n[some])
    known_span = longest_span_ms > 0
    expected = np.where(known_span, np.rint(width_ms / np.where(known_span, longest_span_ms, 1)), -1).astype(np.int64)
    covered_ms = np.zeros(groups, np.int64)
    covered_ms[some] = reduce(np.add, _covered_ms(window, window_end, start, span_ms))
    coverage = np.where(known_span, covered_ms / width_ms, np.nan)
    return Aggregates(
        n=n,
        n_expected=expected,
        coverage=coverage,
        mean=mean,
        min=spread(by_value[begin]),
        max=spread(by_value[begin + n[some] - 1]),
        std=np.sqrt(m2 / np.where(some, n, 1)),
        p50=spread(_percentile(by_value, begin, n[some], 0.50)),
        p95=spread(_percentile(by_value, begin, n[some], 0.95)),
        first=spread(value[begin]),
        last=spread(value[begin + n[some] - 1]),
        total=total,
        m2=m2,
        weighted=weighted,
        weight=weight_sum,
        complete=np.nan_to_num(coverage) >= COMPLETE_COVERAGE,
    )


def _is_sorted(window: Array, start: Array) -> bool:
    """By window, then start."""
    return bool(((window[1:] > window[:-1]) | ((window[1:] == window[:-1]) & (start[1:] >= start[:-1]))).all())


def _sorted_within(value: Array, begin: Array, n: Array) -> Array:
    """The values sorted within each of k groups of `n` (k, at least 1) that begin at `begin`.

    Groups of like size are sorted together as the rows of a table, several times faster than one sort by two keys.
    """
    if len(n) and (n == n[0]).all():  # the usual case: nothing is missing
        return np.asarray(np.sort(value.reshape(len(n), -1), axis=1).ravel())
    by_value = np.empty_like(value)
    if not len(value):
        return by_value
    size = np.frexp(n.astype(np.float64) - 0.5)[1]  # 2 ** (size - 1) < n <= 2 ** size
    for of_size in np.unique(size).tolist():
        groups = np.flatnonzero(size == of_size)
        place = begin[groups][:, None] + np.arange(int(n[groups].max()))
        inside = place < (begin[groups] + n[groups])[:, None]
        table = np.where(inside, value[np.minimum(place, len(value) - 1)], np.inf)
        table.sort(axis=1)
        by_value[place[inside]] = table[inside]
    return by_value


def _percentile(by_value: Array, begin: Array, n: Array, q: float) -> Array:
    place = (n - 1) * q
    low = np.floor(place).astype(np.int64)
    high = np.minimum(low + 1, n - 1)
    share = place - low
    at: Array = by_value[begin + low] * (1.0 - share) + by_value[begin + high] * share
    return at


def _covered_ms(window: Array, window_end: Array, start: Array, span_ms: Array) -> Array:
    """The time (n) that each reading covers: its span, up to the next reading and to the window's end."""
    until = window_end[window]
    if len(start):
        same = window[1:] == window[:-1]
        until[:-1] = np.where(same, np.minimum(until[:-1], start[1:]), until[:-1])
    covered: Array = np.minimum(span_ms, until - start)
    return covered
