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
    """The bits of `tests`; a reading's flag is the roll-up of all of them. docs/quality.md says what each means."""

    __test__ = False  # not for pytest

    GROSS_RANGE_FAIL = 1 << 0
    GROSS_RANGE_SUSPECT = 1 << 1
    SENTINEL = 1 << 2
    NOT_A_NUMBER = 1 << 3
    CLIMATOLOGY_FAIL = 1 << 4
    CLIMATOLOGY_SUSPECT = 1 << 5
    SPIKE_FAIL = 1 << 6
    SPIKE_SUSPECT = 1 << 7
    RATE_OF_CHANGE_FAIL = 1 << 8
    RATE_OF_CHANGE_SUSPECT = 1 << 9
    FLAT_LINE_FAIL = 1 << 10
    FLAT_LINE_SUSPECT = 1 << 11
    ATTENUATED_FAIL = 1 << 12
    ATTENUATED_SUSPECT = 1 << 13
    TIME_GAP_FAIL = 1 << 14
    TIME_GAP_SUSPECT = 1 << 15
    POSITION_FAIL = 1 << 16
    CLOCK_AHEAD = 1 << 17
    CLOCK_BEHIND = 1 << 18
    # Of closed hours and days: given later, by an amendment, never by the stream, and never FAIL, so that what averages
    # count stays the same.
    NEIGHBOURS_SUSPECT = 1 << 19
    DETECTOR_INSUFFICIENT_DATA = 1 << 20
    DETECTOR_ZERO_OCCUPANCY = 1 << 21
    DETECTOR_HIGH_OCCUPANCY = 1 << 22
    DETECTOR_INTERMITTENT = 1 << 23
    DETECTOR_CONSTANT = 1 << 24

    @property
    def flag(self) -> Flag:
        """The flag that a test gives when it fires."""
        if self in (Test.SENTINEL, Test.NOT_A_NUMBER):
            return Flag.MISSING
        return Flag.FAIL if str(self.name).endswith("_FAIL") else Flag.SUSPECT


def fired_tests(tests: int) -> list[str]:
    """The names of a mask's tests as answers have them, such as `spike-fail`."""
    return [str(test.name).lower().replace("_", "-") for test in Test if tests & test]


def mask_of(flag: Flag) -> int:
    """The bits of all tests that give this flag."""
    return sum(int(test) for test in Test if test.flag is flag)


COUNTED = (Flag.GOOD, Flag.NOT_EVALUATED, Flag.SUSPECT)
"""The flags that aggregates count."""

RULES_VERSION = "qc-3"
"""The version of the rule set; it travels with every clean record."""
