"""Quality rules in the stream: one a file, each a function of columns.

To add a rule: a file here, a line in `EACH` or `STEPS`, its bits in `schemas.flags.Test`, its parameters in
`schemas.quality.Quality` and in `parameters.PARAMETERS`, its words in docs/quality.md. A rule takes columns and gives
a `Verdict`: where each of its tests fired, and which readings it could judge.

Rules of `EACH` need nothing but the reading. Rules of `STEPS` see the readings before it in event time; the verdict of
those with `of_previous` is about the one before.
"""

import functools
import operator
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from schemas.flags import Flag, Test, mask_of
from stream_processors.quality import (
    attenuated,
    climatology,
    clock,
    flat_line,
    gross_range,
    not_a_number,
    position,
    rate_of_change,
    sentinel,
    spike,
    time_gap,
)
from stream_processors.quality.columns import Columns, Steps, Verdict

Array = npt.NDArray[Any]

C = TypeVar("C", Columns, Steps)


@dataclass(frozen=True)
class Rule(Generic[C]):
    """A rule's function and the bits it may set."""

    judge: Callable[[C], Verdict]
    tests: Test
    of_previous: bool = False


EACH: dict[str, Rule[Columns]] = {
    "not_a_number": Rule(not_a_number.judge, Test.NOT_A_NUMBER),  # first: it and the next take the value away
    "sentinel": Rule(sentinel.judge, Test.SENTINEL),
    "gross_range": Rule(gross_range.judge, Test.GROSS_RANGE_FAIL | Test.GROSS_RANGE_SUSPECT),
    "climatology": Rule(climatology.judge, Test.CLIMATOLOGY_FAIL | Test.CLIMATOLOGY_SUSPECT),
    "position": Rule(position.judge, Test.POSITION_FAIL),
    "clock": Rule(clock.judge, Test.CLOCK_AHEAD | Test.CLOCK_BEHIND),
}

STEPS: dict[str, Rule[Steps]] = {
    "spike": Rule(spike.judge, Test.SPIKE_FAIL | Test.SPIKE_SUSPECT, of_previous=True),
    "rate_of_change": Rule(rate_of_change.judge, Test.RATE_OF_CHANGE_FAIL | Test.RATE_OF_CHANGE_SUSPECT),
    "flat_line": Rule(flat_line.judge, Test.FLAT_LINE_FAIL | Test.FLAT_LINE_SUSPECT),
    "attenuated": Rule(attenuated.judge, Test.ATTENUATED_FAIL | Test.ATTENUATED_SUSPECT),
    "time_gap": Rule(time_gap.judge, Test.TIME_GAP_FAIL | Test.TIME_GAP_SUSPECT),
}

RULES: dict[str, Rule[Columns] | Rule[Steps]] = {**EACH, **STEPS}

STEP_TESTS = functools.reduce(operator.or_, (rule.tests for rule in STEPS.values()))
"""The bits that rules of `STEPS` set."""

_OF_RANGE = ("not_a_number", "sentinel", "gross_range")
_UNJUDGED = np.array([Flag.NOT_EVALUATED, Flag.GOOD], np.uint8)
_MISSING, _FAIL, _SUSPECT = (np.uint32(mask_of(flag)) for flag in (Flag.MISSING, Flag.FAIL, Flag.SUSPECT))


@dataclass(frozen=True, slots=True)
class Judged:
    """Of n readings: the mask of the tests that fired, and whether any rule could judge it."""

    tests: Array
    evaluated: Array

    def flag(self) -> Array:
        """QARTOD's flags (n)."""
        return roll_up(self.tests, self.evaluated)


def roll_up(tests: Array, evaluated: Array) -> Array:
    """QARTOD's flag of each reading: 9 where there is no value, else the worst of 4 and 3, 1 where a rule judged it
    and none fired, 2 where none could (as ioos_qc's `qartod_compare`, but a sentinel is 9 whatever else fires).
    """
    flag = _UNJUDGED[evaluated.view(np.uint8)]
    if tests.any():
        for mask, worse in ((_SUSPECT, Flag.SUSPECT), (_FAIL, Flag.FAIL), (_MISSING, Flag.MISSING)):
            flag[(tests & mask) != 0] = worse
    return flag


def judge_each(columns: Columns) -> tuple[Judged, Array]:
    """What the rules of `EACH` say, and the values (n): NaN where there is none."""
    p, value = columns.parameters, columns.value
    tests, evaluated = np.zeros(len(value), np.uint32), p["evaluated"]
    unsure = np.flatnonzero(~((value >= p["sure_low"]) & (value <= p["sure_high"])))
    if len(unsure):  # of all others the rules of `_OF_RANGE` find nothing
        tests[unsure], valid = _out_of_range(columns.take(unsure))
        value = value.copy()
        value[unsure] = valid
        columns = replace(columns, value=value)
    for name, rule in EACH.items():
        if name in p.uses and name not in _OF_RANGE:
            _apply(rule.judge(columns), tests, evaluated)
    return Judged(tests, evaluated), value


def _out_of_range(columns: Columns) -> tuple[Array, Array]:
    """(tests, values) of n readings by the rules of `_OF_RANGE`; NaN where there is no value."""
    tests, evaluated = np.zeros(len(columns.value), np.uint32), np.zeros(len(columns.value), bool)
    for name in _OF_RANGE:
        _apply(EACH[name].judge(columns), tests, evaluated)
        missing = (tests & _MISSING) != 0  # there is no value for the rules that follow
        if missing.any():
            columns = replace(columns, value=np.where(missing, np.nan, columns.value))
    return tests, columns.value


def judge_steps(steps: Steps) -> tuple[Judged, Judged]:
    """What the rules of `STEPS` say of n readings, and of the one before each (rules with `of_previous`)."""
    n = len(steps.value)
    own, previous = (Judged(np.zeros(n, np.uint32), np.zeros(n, bool)) for _ in range(2))
    for name, rule in STEPS.items():
        if name in steps.parameters.uses:
            found = previous if rule.of_previous else own
            _apply(rule.judge(steps), found.tests, found.evaluated)
    return own, previous


def _apply(verdict: Verdict, tests: Array, evaluated: Array) -> None:
    """Put into the masks (n) what a rule says."""
    for test, fired in verdict.fired.items():
        tests |= fired * np.uint32(test)
    if verdict.judged is not None:
        evaluated |= verdict.judged
