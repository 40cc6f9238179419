"""Quality rules in the stream: one a file, each a function of columns.

To add a rule: a file here, a line in `RULES`, a bit in `schemas.flags.Test`, its parameters in
`schemas.datasets.Metric`. A rule takes `Columns` and gives, for each of its tests, the rows where it fired.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.flags import Flag, Test
from stream_processors.quality import gross_range, sentinel
from stream_processors.quality.columns import Columns

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Rule:
    """A rule: its function gives a mask (n,) for each test it holds, with the flag that the test gives."""

    name: str
    judge: Callable[[Columns], dict[Test, Array]]
    flags: dict[Test, Flag]


RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule("sentinel", sentinel.judge, {Test.SENTINEL: Flag.MISSING}),
        Rule(
            "gross_range",
            gross_range.judge,
            {Test.GROSS_RANGE_FAIL: Flag.FAIL, Test.GROSS_RANGE_SUSPECT: Flag.SUSPECT},
        ),
    )
}

_SEVERITY = {Flag.MISSING: 4, Flag.FAIL: 3, Flag.SUSPECT: 2, Flag.GOOD: 1, Flag.NOT_EVALUATED: 0}
_BY_SEVERITY = np.array([flag for flag, _ in sorted(_SEVERITY.items(), key=lambda item: item[1])], np.uint8)


def judge(columns: Columns) -> tuple[Array, Array]:
    """(flag, tests) of n readings: the roll-up of all rules, and the bit mask of the tests that fired.

    A sentinel is no value at all, so it is 9 whatever else fires; otherwise the worst wins (4, 3), and a reading
    that no test judged is 2 (not evaluated), one that passed at least one is 1 (QARTOD's roll-up, as ioos_qc does).
    """
    severity = np.where(columns.evaluated, np.int8(1), np.int8(0))
    tests = np.zeros(len(columns.value), np.uint32)
    for rule in RULES.values():
        for test, fired in rule.judge(columns).items():
            if not fired.any():
                continue
            tests |= np.where(fired, np.uint32(test), np.uint32(0))
            severity = np.where(fired, np.maximum(severity, _SEVERITY[rule.flags[test]]), severity)
            if rule.flags[test] is Flag.MISSING:  # there is no value for the rules that follow
                columns = replace(columns, value=np.where(fired, np.nan, columns.value))
    return _BY_SEVERITY[severity], tests
