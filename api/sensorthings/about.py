"""What SensorThings says that the database does not know: names, units and definitions of what is observed."""

from collections.abc import Mapping
from typing import Any

from api.rows import TESTS
from schemas.datasets import Dataset
from schemas.quantities import QUANTITIES, Quantity

EEA = "http://dd.eionet.europa.eu/vocabulary/aq/pollutant/"
CF = "http://vocab.nerc.ac.uk/standard_name/"
QUDT = "http://qudt.org/vocab/quantitykind/"

DEFINITIONS: dict[str, str] = {
    "pm1": EEA + "6002", "pm25": EEA + "6001", "pm10": EEA + "5", "o3": EEA + "7", "no2": EEA + "8",
    "no": EEA + "38", "so2": EEA + "1", "co": EEA + "10",
    "co2": CF + "mole_fraction_of_carbon_dioxide_in_air/", "temperature": CF + "air_temperature/",
    "humidity": CF + "relative_humidity/", "dewpoint": CF + "dew_point_temperature/",
    "pressure": CF + "air_pressure/",
    "noise": QUDT + "SoundPressureLevel", "speed": QUDT + "Speed", "travel-time": QUDT + "Time",
}  # fmt: skip
"""By metric: the European Environment Agency's vocabulary of pollutants, the CF standard names at NERC, QUDT's kinds
of quantities. What is in none of them is defined by this API's own page, /definitions/<metric>."""

UNIT_NAMES: dict[str, str] = {
    "ug/m3": "microgram per cubic metre", "[ppb]": "parts per billion", "[ppm]": "parts per million",
    "Cel": "degree Celsius", "%": "percent", "hPa": "hectopascal", "dB": "decibel", "km/h": "kilometre per hour",
    "{veh}": "vehicles", "1": "fraction", "s": "second",
}  # fmt: skip
"""By UCUM code."""

MEANINGS = {"mean": "mean over the period", "sum": "sum over the period", "instant": "value at a moment"}


def about(datasets: Mapping[str, Dataset], site_url: str) -> dict[str, Any]:
    """The parameter `about` of the statements."""
    return {
        "site": site_url,
        "tests": TESTS,
        "metrics": {name: _metric(name, quantity) for name, quantity in QUANTITIES.items()},
        "datasets": {
            dataset.id: {
                "title": dataset.title,
                "licence": dataset.licence,
                "attribution": dataset.attribution,
                "metrics": {
                    name: {"description": m.description, "period_s": m.period_s, "cadence_s": m.cadence_s}
                    for name, m in dataset.metrics.items()
                },
            }
            for dataset in datasets.values()
        },
    }


def _metric(name: str, quantity: Quantity) -> dict[str, Any]:
    unit = quantity.unit
    found: dict[str, Any] = {
        "name": quantity.name,
        "description": f"{quantity.name}: {MEANINGS.get(quantity.period_rule, quantity.period_rule)}",
        "unit": {
            "name": UNIT_NAMES.get(unit, unit),
            "symbol": unit,
            "definition": f"http://www.opengis.net/def/uom/UCUM/0/{unit}",
        },
    }
    return found | ({"definition": DEFINITIONS[name]} if name in DEFINITIONS else {})
