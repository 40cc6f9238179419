"""Quality flags and the tests that set them.

Flags are QARTOD's (IOOS Manual for Real-Time Quality Control: 1 good, 2 not evaluated, 3 suspect, 4 fail,
9 missing). `tests` is a bit mask of the tests that FIRED; a bit is never given to another test.
"""

from enum import IntEnum, IntFlag


class Flag(IntEnum):
    """QARTOD's flags."""

    GOOD = 1
    NOT_EVALUATED = 2
    SUSPECT = 3
    FAIL = 4
    MISSING = 9


class Test(IntFlag):
    """The bits of `tests`; a reading's flag is the roll-up of all of them."""

    __test__ = False  # not for pytest

    GROSS_RANGE_FAIL = 1 << 0
    GROSS_RANGE_SUSPECT = 1 << 1
    SENTINEL = 1 << 2


COUNTED = (Flag.GOOD, Flag.NOT_EVALUATED, Flag.SUSPECT)
"""The flags that aggregates count."""

RULES_VERSION = "qc-1"
"""The version of the rule set; it travels with every clean record."""
