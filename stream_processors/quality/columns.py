"""What the quality rules see of n readings, and what they say."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy.typing as npt

from schemas.flags import Test
from stream_processors.quality.parameters import Chosen

Array = npt.NDArray[Any]

NEVER_MS = -(1 << 62)
"""The start of a reading that is not there."""


class Back(Protocol):
    """See `Steps`."""

    def __call__(self, rows: Array, lag: Array, *, starts: bool) -> tuple[Array, Array | None]: ...


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

    def take(self, rows: Array) -> "Columns":
        """Some of the readings."""
        lon, lat = (None if at is None else at[rows] for at in (self.lon, self.lat))
        return Columns(
            self.value[rows], self.source_value[rows], self.start[rows], self.period_s[rows], self.received[rows],
            self.live[rows], lon, lat, self.parameters.take(rows), self.climates,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Steps:
    """n readings of many series, each with those before it in event time.

    `value` is NaN where there is none (a sentinel). `previous` and `before` are the values one and two readings back,
    `previous_start` and `before_start` their starts: `NEVER_MS` where the series had not so many. `reach(rows)` says
    how many readings there are before `rows` (k), at least `parameters["keep"]` of them; `back(rows, lag, starts=...)`
    gives (value, start) of those `lag` (..., k) back, NaN and `NEVER_MS` where there are not so many; start None where
    nobody asked. `judging`: some reading may be judged by nothing else, so that it matters which rules could judge it.
    """

    value: Array
    start: Array
    parameters: Chosen
    previous: Array
    previous_start: Array
    before: Array
    before_start: Array
    reach: Callable[[Array], Array]
    back: Back
    judging: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """A mask (n) of where each test fired, and one of the readings that the rule could judge (None: none, or
    nobody asked)."""

    fired: dict[Test, Array]
    judged: Array | None = None
