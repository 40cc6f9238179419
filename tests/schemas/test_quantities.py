import pytest

from schemas.quantities import QUANTITIES
from schemas.readings import METRIC_PATTERN


def test_each_is_listed_once_by_its_name() -> None:
    assert all(metric == quantity.metric for metric, quantity in QUANTITIES.items())
    names = [quantity.name for quantity in QUANTITIES.values()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("metric", QUANTITIES)
def test_a_quantity_is_complete(metric: str) -> None:
    quantity = QUANTITIES[metric]
    assert METRIC_PATTERN.fullmatch(metric)
    assert quantity.unit and quantity.name
    assert 0 <= quantity.digits <= 6
    assert quantity.period_rule in ("mean", "sum", "instant")


def test_what_weighs_a_mean_is_counted_in_the_same_period() -> None:
    weighted = {metric: quantity.weight for metric, quantity in QUANTITIES.items() if quantity.weight}
    assert weighted == {"speed": "volume"}
    assert all(QUANTITIES[weight].period_rule == "sum" for weight in weighted.values())


@pytest.mark.parametrize(
    ("metrics", "unit"),
    [
        (("pm1", "pm25", "pm10"), "ug/m3"), (("o3", "no2", "so2"), "[ppb]"), (("co",), "[ppm]"),
        (("temperature", "dewpoint"), "Cel"), (("humidity",), "%"), (("pressure",), "hPa"), (("speed",), "km/h"),
        (("volume",), "{veh}"), (("occupancy",), "1"),
    ],
)  # fmt: skip
def test_the_canonical_units_are_those_of_the_data_model(metrics: tuple[str, ...], unit: str) -> None:
    assert {QUANTITIES[metric].unit for metric in metrics} == {unit}
