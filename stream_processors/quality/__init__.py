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

_OF_RANGE = frozenset({"not_a_number", "sentinel", "gross_range"})
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
    tests = np.zeros(len(value), np.uint32)
    evaluated = p["evaluated"]
    sure = (value >= p["sure_low"]) & (value <= p["sure_high"])
    silent = _OF_RANGE if sure.all() else frozenset[str]()  # the usual case: these find nothing
    for name, rule in EACH.items():
        if name not in p.uses or name in silent:
            continue
        verdict = rule.judge(columns)
        for test, fired in verdict.fired.items():
            if fired.any():
                tests[fired] |= np.uint32(test)
                if test.flag is Flag.MISSING:  # there is no value for the rules that follow
                    columns = replace(columns, value=np.where(fired, np.nan, columns.value))
        if verdict.judged is not None:
            evaluated |= verdict.judged
    return Judged(tests, evaluated), columns.value


def judge_steps(steps: Steps) -> tuple[Judged, Judged]:
    """What the rules of `STEPS` say of n readings, and of the one before each (rules with `of_previous`)."""
    n = len(steps.value)
    own, previous = (Judged(np.zeros(n, np.uint32), np.zeros(n, bool)) for _ in range(2))
    for name, rule in STEPS.items():
        if name not in steps.parameters.uses:
            continue
        verdict = rule.judge(steps)
        found = previous if rule.of_previous else own
        for test, fired in verdict.fired.items():
            found.tests[fired] |= np.uint32(test)
        if verdict.judged is not None:
            found.evaluated[verdict.judged] = True
    return own, previous
