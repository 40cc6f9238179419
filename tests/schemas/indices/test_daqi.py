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


# Defra's ranges of 1 to 9, written down again from our summary of its rules, and from where it is 10; ug/m3.
PRINTED = {
    "o3": "0-33 34-66 67-100 101-120 121-140 141-160 161-187 188-213 214-240 241",
    "no2": "0-67 68-134 135-200 201-267 268-334 335-400 401-467 468-534 535-600 601",
    "so2": "0-88 89-177 178-266 267-354 355-443 444-532 533-710 711-887 888-1064 1065",
    "pm25": "0-11 12-23 24-35 36-41 42-47 48-53 54-58 59-64 65-70 71",
    "pm10": "0-16 17-33 34-50 51-58 59-66 67-75 76-83 84-91 92-100 101",
}


@pytest.mark.parametrize("metric", PRINTED)
def test_each_printed_range_begins_and_ends_as_printed(metric: str) -> None:
    """Gases come in ppb: at 20 Cel 24.055 l are a mole."""
    per_ppb = {"no2": 46.0055, "o3": 47.998, "so2": 64.066}.get(metric, 24.055) / 24.055
    for step, text in enumerate(PRINTED[metric].split(), 1):
        for end in map(float, text.split("-")):
            around = np.array([end, end + 0.499, max(end - 0.499, 0)]) / per_ppb  # what rounds to it
            assert daqi.score(metric, around).value.tolist() == [step] * 3, (metric, end)
