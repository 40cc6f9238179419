import math

import numpy as np
import pytest

from schemas.quantities import QUANTITIES
from schemas.units import _ANYWHERE, _OF_METRIC, ALIASES, canonical_unit, conversion, mass_concentration


def converted(metric: str, value: float, unit: str) -> float:
    line = conversion(metric, unit)
    assert line is not None
    return value * line[0] + line[1]


@pytest.mark.parametrize(
    ("metric", "value", "unit", "expected", "digits"),
    [
        # 25 Cel, 1013.25 hPa: the factors of US EPA, as its limit values have them in both units
        ("no2", 75.2, "ug/m3", 40.0, 1),
        ("no2", 1.88, "ug/m3", 1.0, 2),
        ("o3", 1.96, "ug/m3", 1.0, 2),
        ("so2", 2.62, "ug/m3", 1.0, 2),
        ("so2", 196.0, "ug/m3", 75.0, 0),
        ("no", 1.23, "ug/m3", 1.0, 2),
        ("co", 10.3, "mg/m3", 9.0, 1),
        ("co", 40.0, "mg/m3", 35.0, 0),
        ("co", 10_300.0, "ug/m3", 9.0, 1),
        # 20 Cel, 1013 hPa: the factors of the European Commission and of DEFRA
        ("no2", 1.9125, "ug/m3@20Cel", 1.0, 3),
        ("o3", 1.9957, "ug/m3@20Cel", 1.0, 3),
        ("so2", 2.66, "ug/m3@20Cel", 1.0, 2),
        ("no", 1.2473, "ug/m3@20Cel", 1.0, 3),
        ("co", 1.1642, "mg/m3@20Cel", 1.0, 3),
        # exact by definition
        ("speed", 60.0, "[mi_i]/h", 96.56064, 9),
        ("speed", 60.0, "mph", 96.56, 2),
        ("speed", 10.0, "m/s", 36.0, 9),
        ("temperature", 32.0, "[degF]", 0.0, 9),
        ("temperature", 212.0, "[degF]", 100.0, 9),
        ("temperature", -40.0, "°F", -40.0, 9),
        ("temperature", 273.15, "K", 0.0, 9),
        ("dewpoint", 50.0, "degF", 10.0, 9),
        ("pressure", 101_325.0, "Pa", 1013.25, 9),
        ("pressure", 101.325, "kPa", 1013.25, 9),
        ("pressure", 1013.25, "mbar", 1013.25, 9),
        ("humidity", 0.455, "1", 45.5, 9),
        ("humidity", 45.5, "%RH", 45.5, 9),
        ("occupancy", 12.5, "%", 0.125, 9),
        ("pm25", 0.035, "mg/m3", 35.0, 9),
        ("pm25", 35.0, "µg/m³", 35.0, 9),
        ("pm25", 35.0, "μg/m³", 35.0, 9),
        ("o3", 0.07, "ppm", 70.0, 9),
        ("co", 900.0, "ppb", 0.9, 9),
        ("travel-time", 2.5, "min", 150.0, 9),
    ],
)
def test_against_published_values(metric: str, value: float, unit: str, expected: float, digits: int) -> None:
    assert converted(metric, value, unit) == pytest.approx(expected, abs=0.5 * 10**-digits)


@pytest.mark.parametrize("metric", QUANTITIES)
def test_the_canonical_unit_of_a_quantity_is_canonical_for_itself(metric: str) -> None:
    unit = QUANTITIES[metric].unit
    assert canonical_unit(metric) == unit
    assert conversion(metric, unit) == (1.0, 0.0)
    assert conversion(metric, "") == (1.0, 0.0), "no unit is the canonical one"
    assert unit not in ALIASES, "a canonical unit is nobody's other name"


@pytest.mark.parametrize("alias", ALIASES)
def test_every_alias_leads_somewhere(alias: str) -> None:
    meant = ALIASES[alias]
    assert meant not in ALIASES, "in one step"
    metrics = [metric for metric in QUANTITIES if conversion(metric, alias) is not None]
    assert metrics
    assert all(conversion(metric, alias) == conversion(metric, meant) for metric in QUANTITIES)


def test_every_line_leads_to_a_canonical_unit() -> None:
    canonical = {quantity.unit for quantity in QUANTITIES.values()}
    assert {to for _, to in _ANYWHERE} <= canonical
    assert {metric for metric, _ in _OF_METRIC} <= set(QUANTITIES)
    for factor, offset in [*_ANYWHERE.values(), *_OF_METRIC.values()]:
        assert math.isfinite(factor) and factor > 0 and math.isfinite(offset)


@pytest.mark.parametrize(
    ("there", "back", "metrics"),
    [("[ppm]", "[ppb]", ("o3", "co")), ("1", "%", ("humidity", "occupancy"))],
)
def test_there_and_back_is_nothing(there: str, back: str, metrics: tuple[str, str]) -> None:
    first, second = conversion(metrics[0], there), conversion(metrics[1], back)
    assert first is not None and second is not None
    assert first[0] * second[0] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("metric", "unit"),
    [
        ("speed", "ug/m3"), ("no2", "km/h"), ("pm25", "[ppb]"), ("voc", "ug/m3"), ("noise", "%"), ("humidity", "Cel"),
        ("temperature", "furlong"), ("speed", "MPH"),
    ],
)  # fmt: skip
def test_what_cannot_be_converted_is_none(metric: str, unit: str) -> None:
    assert conversion(metric, unit) is None


def test_a_metric_that_is_no_quantity_stays_as_it_is() -> None:
    assert canonical_unit("stars") is None
    assert conversion("stars", "anything") == (1.0, 0.0)


@pytest.mark.parametrize(
    ("metric", "celsius", "factor"),
    [
        ("no2", 25, 1.880), ("no2", 20, 1.9125), ("o3", 25, 1.962), ("o3", 20, 1.995),
        ("so2", 25, 2.619), ("so2", 20, 2.663), ("co", 25, 1145), ("co", 20, 1164), ("pm25", 20, 1),
    ],
)  # fmt: skip
def test_mass_of_a_gas_depends_on_the_temperature_that_is_named(metric: str, celsius: int, factor: float) -> None:
    assert mass_concentration(metric, np.array([1.0]), celsius)[0] == pytest.approx(factor, rel=5e-4)
