"""What the quality rules see of n readings, and what they say."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from schemas.flags import Test
from stream_processors.quality.parameters import Chosen

Array = npt.NDArray[Any]

NEVER_MS = -(1 << 62)
"""The start of a reading that is not there."""


@dataclass(frozen=True, slots=True)
class Columns:
    """n readings, each by itself. `source_value` is in the source's unit, `value` in the canonical one; `start`,
    `received` epoch ms; `live`: not imported; `lon`, `lat` None where no reading has a place, NaN where one has none.
    `climates` (C, 12, 4) are those that the parameters name.
    """

    value: Array
    source_value: Array
    start: Array
    period_s: Array
    received: Array
    live: Array
    lon: Array | None
    lat: Array | None
    parameters: Chosen
    climates: Array


@dataclass(frozen=True, slots=True)
class Steps:
    """n readings of many series, each with those before it in event time.

    `value` is NaN where there is none (a sentinel). `previous` and `before` are the values one and two readings back,
    `previous_start` and `before_start` their starts: `NEVER_MS` where the series had not so many. `back(rows, lag)`
    gives (value, start) of the readings `lag` back from `rows` (lag (..., k) of rows (k)), NaN and `NEVER_MS` where
    there are not so many; at most `parameters["keep"]` back. `judging`: some reading
    may be judged by nothing else, so that it matters which rules could judge it.
    """

    value: Array
    start: Array
    parameters: Chosen
    previous: Array
    previous_start: Array
    before: Array
    before_start: Array
    back: Callable[[Array, Array], tuple[Array, Array]]
    judging: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """A mask (n) of where each test fired, and one of the readings that the rule could judge (None: none, or
    nobody asked)."""

    fired: dict[Test, Array]
    judged: Array | None = None
