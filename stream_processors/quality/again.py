"""Judge stored readings again, where a late or corrected one changed what stands around them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stream_processors.quality.parameters import Chosen
from stream_processors.quality.sequence import judge_again

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Stored readings around marks, n rows sorted by series and start, each once. `series`: dense small integers;
    `touched`: the reading is one of the marks; Of each series at least `keep` + 1
    readings before each mark and `keep` + 1 after it are here, or all there are.
    """

    series: Array
    start: Array
    value: Array
    flag: Array
    tests: Array
    touched: Array
    parameters: Chosen


def changed(stretch: Stretch, climates: Array) -> tuple[Array, Array, Array]:
    """(rows, flag, tests): the readings of the stretch whose flag or tests are others now, and those.

    A mark bears on itself, on the reading before it (its next one is another now) and on the `keep` after it.
    """
    near = _near(stretch)
    judged = judge_again(stretch.series, stretch.start, stretch.value, stretch.tests, stretch.parameters, climates)
    flag = judged.flag()
    rows = np.flatnonzero(near & ((flag != stretch.flag) | (judged.tests != stretch.tests)))
    return rows, flag[rows], judged.tests[rows]


def _near(stretch: Stretch) -> Array:
    """The rows that a mark bears on."""
    n = len(stretch.series)
    edge = np.zeros(n + 1, np.int64)
    marks = np.flatnonzero(stretch.touched)
    begin = np.searchsorted(stretch.series, stretch.series[marks], side="left")
    end = np.searchsorted(stretch.series, stretch.series[marks], side="right")
    np.add.at(edge, np.maximum(marks - 1, begin), 1)
    np.add.at(edge, np.minimum(marks + stretch.parameters["keep"][marks] + 1, end), -1)
    return np.asarray(np.cumsum(edge[:-1]) > 0)
