import re
from pathlib import Path

from schemas.flags import COUNTED, RULES_VERSION, Flag, Test, fired_tests, mask_of


def test_the_flags_are_those_of_qartod() -> None:
    assert {flag.name: flag.value for flag in Flag} == {
        "GOOD": 1, "NOT_EVALUATED": 2, "SUSPECT": 3, "FAIL": 4, "MISSING": 9,
    }  # fmt: skip


def test_every_test_has_a_bit_of_its_own() -> None:
    bits = [test.value for test in Test.__members__.values()]  # with aliases, which iteration leaves out
    assert all(bit.bit_count() == 1 for bit in bits)
    assert len(set(bits)) == len(bits)
    assert max(bits) < 2**31, "the table's column is a signed integer"


def test_a_bit_is_never_given_to_another_test() -> None:
    """What is stored says these names for ever; new tests are added below."""
    assert {name: test.value for name, test in Test.__members__.items()}.items() >= {
        "GROSS_RANGE_FAIL": 1, "GROSS_RANGE_SUSPECT": 2, "SENTINEL": 4,
    }.items()  # fmt: skip


def test_aggregates_count_what_did_not_fail() -> None:
    assert set(COUNTED) == set(Flag) - {Flag.FAIL, Flag.MISSING}


def test_the_rule_set_has_a_version() -> None:
    assert RULES_VERSION


def test_a_tests_name_says_its_flag() -> None:
    assert {test.name: test.flag for test in (Test.SENTINEL, Test.SPIKE_FAIL, Test.CLOCK_AHEAD)} == {
        "SENTINEL": Flag.MISSING, "SPIKE_FAIL": Flag.FAIL, "CLOCK_AHEAD": Flag.SUSPECT,
    }  # fmt: skip
    assert mask_of(Flag.MISSING) == Test.SENTINEL | Test.NOT_A_NUMBER
    assert sum(mask_of(flag) for flag in Flag) == sum(Test)


def test_the_docs_have_every_bit_with_its_flag() -> None:
    docs = (Path(__file__).parents[2] / "docs" / "quality.md").read_text()
    assert re.findall(r"^\| (\d+) \| ([\w-]+) \| (\d) \|$", docs, re.MULTILINE) == [
        (str(test.value), *fired_tests(test), str(test.flag.value)) for test in Test
    ]
