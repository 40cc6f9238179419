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


# The EEA's bands of late 2024, written down again: whole numbers of Good to Very poor, ug/m3; above: Extremely poor.
PRINTED = {
    "pm25": "0-5 6-15 16-50 51-90 91-140",
    "pm10": "0-15 16-45 46-120 121-195 196-270",
    "no2": "0-10 11-25 26-60 61-100 101-150",
    "o3": "0-60 61-100 101-120 121-160 161-180",
    "so2": "0-20 21-40 41-125 126-190 191-275",
}


@pytest.mark.parametrize("metric", PRINTED)
def test_each_printed_range_begins_and_ends_as_printed(metric: str) -> None:
    """Between the printed whole numbers, what is above the end of a range is in the next one."""
    per_ppb = {"no2": 46.0055, "o3": 47.998, "so2": 64.066}.get(metric, 24.055) / 24.055
    for band, text in enumerate(PRINTED[metric].split(), 1):
        low, high = map(float, text.split("-"))
        at = np.array([low, high, np.nextafter(high, np.inf), high + 0.001, high + 0.999]) / per_ppb
        assert eaqi.score(metric, at).value.tolist() == [band, band, band, band + 1, band + 1], (metric, text)
