import numpy as np

from schemas.indices import who


def test_the_value_is_the_multiple_of_the_guideline() -> None:
    scored = who.score("pm25", np.array([15.0, 15.1, 30.0, -1.0, np.nan]))
    assert scored.value[:4].tolist() == [1.0, 15.1 / 15, 2.0, 0.0]
    assert scored.category.tolist() == [0, 1, 1, 0, -1]


def test_gases_are_held_against_micrograms() -> None:
    """CO: 4 mg/m3 are 3.435 ppm at 20 Cel."""
    assert who.score("co", np.array([3.43, 3.44])).category.tolist() == [0, 1]
    assert who.score("o3", np.array([50.1, 50.2])).category.tolist() == [0, 1]


def test_a_years_mean_has_guidelines_of_its_own() -> None:
    assert who.score("pm25", np.array([10.0]), who.ANNUAL).value.tolist() == [2.0]


def test_the_printed_values_are_within_and_what_is_above_is_not() -> None:
    """WHO 2021, table 0.1 (ug/m3, CO in mg/m3), gases at 20 Cel: 24.055 l a mole."""
    printed = {"pm25": 15, "pm10": 45, "o3": 100, "no2": 25, "so2": 40, "co": 4}
    per_unit = {"o3": 47.998, "no2": 46.0055, "so2": 64.066, "co": 28.010}
    for metric, limit in printed.items():
        at = np.array([limit, limit * 1.0001, limit * 0.9999]) / (per_unit.get(metric, 24.055) / 24.055)
        scored = who.score(metric, at)
        assert scored.category.tolist() == [0, 1, 0] and scored.value[0] == 1, metric
