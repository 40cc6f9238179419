"""Names, units and definitions."""

from api.sensorthings.about import DEFINITIONS, UNIT_NAMES, about
from schemas.datasets import parse_datasets, shipped_files
from schemas.quantities import QUANTITIES


def test_every_unit_has_a_name_and_every_definition_a_quantity() -> None:
    assert {quantity.unit for quantity in QUANTITIES.values()} <= set(UNIT_NAMES)
    assert set(DEFINITIONS) <= set(QUANTITIES)
    assert len(set(DEFINITIONS.values())) == len(DEFINITIONS)


def test_all_that_statements_need_is_there() -> None:
    made = about(parse_datasets(shipped_files()), "http://city.example")
    assert set(made["metrics"]) == set(QUANTITIES)
    assert made["metrics"]["pm25"]["unit"] == {
        "name": "microgram per cubic metre", "symbol": "ug/m3",
        "definition": "http://www.opengis.net/def/uom/UCUM/0/ug/m3",
    }  # fmt: skip
    assert made["datasets"]["traffic"]["metrics"]["speed"]["period_s"] == 300
    assert made["tests"]["1"] == "gross-range-fail"
    assert made["site"] == "http://city.example"
