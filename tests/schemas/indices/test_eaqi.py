import numpy as np
import pytest

from schemas.indices import eaqi


@pytest.mark.parametrize(
    ("metric", "mass", "per_unit"),
    [("pm25", 50, 1), ("pm10", 120, 1), ("no2", 60, 1.9125), ("o3", 120, 1.9954), ("so2", 125, 2.6633)],
)
def test_moderate_ends_where_the_table_says(metric: str, mass: float, per_unit: float) -> None:
    """In ppb at 20 Cel for gases (Directive 2008/50/EC: NO2 1.91 ug/m3 a ppb, O3 2.00, SO2 2.66)."""
    scored = eaqi.score(metric, np.array([mass - 0.1, mass + 0.1]) / per_unit)
    assert [eaqi.CATEGORIES[i].name for i in scored.category] == ["Moderate", "Poor"]
    assert scored.value.tolist() == [3, 4]


def test_there_are_six_bands() -> None:
    scored = eaqi.score("pm25", np.array([5, 15, 50, 90, 140, 140.1]))
    assert scored.value.tolist() == [1, 2, 3, 4, 5, 6]
    assert all(len(upper) == len(eaqi.CATEGORIES) - 1 for upper in eaqi.UPPER.values())
