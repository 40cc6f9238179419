"""What every index makes of the ends of the floats."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.indices import daqi, eaqi, us_aqi, who
from schemas.indices.us_aqi_tables import TABLES

SCORES: dict[str, Callable[[Any], Any]] = {
    **{f"us-aqi {table} {m}": lambda c, m=m, table=table: us_aqi.score(m, c, table) for m in ("pm25", "pm10", "co")
       for table in TABLES},
    **{f"eaqi {m}": lambda c, m=m: eaqi.score(m, c) for m in eaqi.UPPER},
    **{f"daqi {m}": lambda c, m=m: daqi.score(m, c) for m in daqi.UPPER},
}  # fmt: skip


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", SCORES)
@given(value=st.floats(allow_nan=False, allow_infinity=False))
@example(value=1e19)
@example(value=1.7e308)
@example(value=-1.7e308)
@example(value=5e-324)
def test_any_concentration_has_a_band_and_the_highest_are_in_the_worst(name: str, value: float) -> None:
    score = SCORES[name]
    scored = score(np.array([value, np.nan, np.inf]))
    assert np.isfinite(scored.value[0]) and np.isnan(scored.value[1:]).all()
    assert scored.category[1:].tolist() == [-1, -1]
    if value <= 0:
        assert scored.category[0] == 0
    if value >= 1e5:
        assert scored.category[0] == score(np.array([1e5])).category[0] >= 5


@pytest.mark.parametrize("metric", list(who.GUIDELINE))
@given(value=st.floats(allow_nan=False, allow_infinity=False))
@example(value=1.7e308)
def test_any_mean_is_a_finite_multiple_of_the_guideline(metric: str, value: float) -> None:
    scored = who.score(metric, np.array([value, np.nan, np.inf]))
    assert 0 <= scored.value[0] < np.inf and np.isnan(scored.value[1:]).all()
    assert scored.category.tolist() == [int(scored.value[0] > 1), -1, -1]
