import numpy as np
import pytest

from schemas.indices import daqi


def test_means_are_rounded_to_whole_micrograms_first() -> None:
    assert daqi.score("pm25", np.array([11.4, 11.5, 11.9, 12.0])).value.tolist() == [1, 2, 2, 2]


@pytest.mark.parametrize("metric", daqi.UPPER)
def test_each_step_ends_where_the_table_says(metric: str) -> None:
    upper = daqi.UPPER[metric]
    per_unit = {"no2": 46.0055, "o3": 47.998, "so2": 64.066}.get(metric, 24.055) / 24.055
    assert daqi.score(metric, upper / per_unit).value.tolist() == list(range(1, 10))
    assert daqi.score(metric, (upper + 1) / per_unit).value.tolist() == list(range(2, 11))


def test_bands_are_low_moderate_high_very_high() -> None:
    assert [c.name for c in daqi.CATEGORIES] == ["Low"] * 3 + ["Moderate"] * 3 + ["High"] * 3 + ["Very High"]
