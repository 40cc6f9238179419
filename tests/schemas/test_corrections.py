import numpy as np
import pytest

from schemas.corrections import CORRECTED, CORRECTIONS, Rule, channels_agree, correct, purpleair_smoke
from schemas.quantities import QUANTITIES

NAN = np.nan


def test_the_us_wide_correction_is_the_papers() -> None:
    found = correct(Rule("purpleair-us"), np.array([20.0, 0.0]), np.array([50.0, 0.0]))
    assert found.tolist() == pytest.approx([0.524 * 20 - 0.0862 * 50 + 5.75, 5.75])


def test_smoke_has_two_pieces_that_meet() -> None:
    found = purpleair_smoke(np.array([20.0, 343.0, 343.1, 500.0]), np.array([50.0, 40.0, 40.0, 40.0]))
    assert found[0] == pytest.approx(0.52 * 20 - 0.086 * 50 + 5.75)
    assert found[3] == pytest.approx(0.46 * 500 + 3.93e-4 * 500**2 + 2.97)
    assert abs(found[2] - found[1]) < 30  # at the usual humidity the step is small beside the value
    assert (np.diff(found) > 0).all()


def test_without_humidity_there_is_no_corrected_value() -> None:
    found = correct(Rule("purpleair-us"), np.array([20.0, NAN, 20.0]), np.array([NAN, 50.0, 50.0]))
    assert np.isfinite(found).tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("a", "b", "agree"),
    [
        (10.0, 10.0, True),
        (2.0, 6.9, True),  # 110 % apart, but less than 5 ug/m3
        (2.0, 7.1, False),
        (100.0, 140.0, True),  # 40 ug/m3 apart, but 33 %
        (0.0, 5.0, False),
        (10.0, NAN, False),
    ],
)
def test_channels_disagree_where_both_bounds_are_passed(a: float, b: float, agree: bool) -> None:
    assert channels_agree(np.array([a]), np.array([b])).tolist() == [agree]


def test_a_value_whose_channels_disagree_is_not_corrected() -> None:
    rule = Rule("purpleair-us", channels=("pm25-a", "pm25-b"))
    channels = np.array([20.0, 5.0]), np.array([20.0, 35.0])
    found = correct(rule, np.array([20.0, 20.0]), np.array([50.0, 50.0]), channels)
    assert np.isfinite(found).tolist() == [True, False]


def test_a_rule_says_name_version_and_inputs() -> None:
    rule = Rule("purpleair-us", channels=("pm25-a", "pm25-b"))
    assert rule.text("pm25-corr") == "purpleair-us@1 of pm25 humidity pm25-a pm25-b"
    assert all(metric in QUANTITIES and of in QUANTITIES for metric, of in CORRECTED.items())
    assert all(correction.source for correction in CORRECTIONS.values())


def test_channels_whose_sum_is_beyond_all_floats_do_not_agree_for_that() -> None:
    assert channels_agree(np.array([1e307]), np.array([1.79e308])).tolist() == [False]


@pytest.mark.parametrize("by", CORRECTIONS)
@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf, 1e308, -1e308, 5e-324])
def test_a_corrected_value_is_a_number_or_not_there(by: str, odd: float) -> None:
    both = np.array([odd, odd, 5.0]), np.array([odd, 50.0, odd])
    corrected = correct(Rule(by), *both)
    assert not np.isinf(corrected).any()
    assert np.isnan(corrected[~(np.isfinite(both[0]) & np.isfinite(both[1]))]).all()


def test_what_no_air_can_hold_is_not_corrected() -> None:
    """1e90 squared could be stored, but no average of it be made."""
    for by in CORRECTIONS:
        assert np.isnan(correct(Rule(by), np.array([1e90, np.inf]), np.array([50.0, 50.0]))).all()
