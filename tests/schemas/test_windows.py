import pytest

from schemas.windows import NARROW_S, WIDE_S, WIDTHS_S

DAY_S = 86_400


def test_the_widths_are_those_of_the_data_model_ascending() -> None:
    assert WIDTHS_S == {"1m": 60, "5m": 300, "15m": 900, "1h": 3600, "1d": DAY_S}
    assert list(WIDTHS_S.values()) == sorted(WIDTHS_S.values())


def test_each_width_is_closed_in_one_way() -> None:
    assert (*NARROW_S, *WIDE_S) == tuple(WIDTHS_S.values())


@pytest.mark.parametrize("width_s", WIDTHS_S.values())
def test_windows_fill_the_utc_day(width_s: int) -> None:
    assert DAY_S % width_s == 0
