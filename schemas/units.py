"""Units that sources use, with the line that turns them into a metric's canonical unit.

canonical = value * factor + offset. Factors between ppb and ug/m3 are those of EPA's reference conditions,
25 Cel and 1013.25 hPa: 24.465 l/mol (molar masses: NO2 46.0055, O3 47.998, SO2 64.066, CO 28.010 g/mol).
European reports use 20 Cel; a series that came at 20 Cel names the unit `ug/m3@20Cel`.
"""

from typing import Any

import numpy.typing as npt

from schemas.quantities import QUANTITIES

Array = npt.NDArray[Any]

_MOLAR_VOLUME_25 = 24.465  # l/mol at 25 Cel, 1013.25 hPa
_MOLAR_VOLUME_20 = 24.055  # l/mol at 20 Cel, 1013.25 hPa
_KM_PER_MILE = 1.609344

_ANYWHERE: dict[tuple[str, str], tuple[float, float]] = {
    ("mg/m3", "ug/m3"): (1000.0, 0.0),
    ("ng/m3", "ug/m3"): (0.001, 0.0),
    ("[ppm]", "[ppb]"): (1000.0, 0.0),
    ("[ppb]", "[ppm]"): (0.001, 0.0),
    ("K", "Cel"): (1.0, -273.15),
    ("[degF]", "Cel"): (5.0 / 9.0, -32.0 * 5.0 / 9.0),
    ("1", "%"): (100.0, 0.0),
    ("%", "1"): (0.01, 0.0),
    ("Pa", "hPa"): (0.01, 0.0),
    ("kPa", "hPa"): (10.0, 0.0),
    ("[mi_i]/h", "km/h"): (_KM_PER_MILE, 0.0),
    ("m/s", "km/h"): (3.6, 0.0),
    ("min", "s"): (60.0, 0.0),
}

_GASES = {"no2": 46.0055, "o3": 47.998, "so2": 64.066, "no": 30.006}

_OF_METRIC: dict[tuple[str, str], tuple[float, float]] = {
    **{(gas, "ug/m3"): (_MOLAR_VOLUME_25 / mass, 0.0) for gas, mass in _GASES.items()},
    **{(gas, "ug/m3@20Cel"): (_MOLAR_VOLUME_20 / mass, 0.0) for gas, mass in _GASES.items()},
    ("co", "mg/m3"): (_MOLAR_VOLUME_25 / 28.010, 0.0),
    ("co", "ug/m3"): (_MOLAR_VOLUME_25 / 28.010 / 1000.0, 0.0),
    ("co", "mg/m3@20Cel"): (_MOLAR_VOLUME_20 / 28.010, 0.0),
}

# What people and SenML (RFC 8428, section 12.1) write, and the UCUM code that is meant.
ALIASES: dict[str, str] = {
    "µg/m³": "ug/m3", "μg/m³": "ug/m3", "ug/m³": "ug/m3", "µg/m3": "ug/m3", "μg/m3": "ug/m3", "mg/m³": "mg/m3",
    "ppb": "[ppb]", "ppm": "[ppm]", "°C": "Cel", "C": "Cel", "degC": "Cel",
    "°F": "[degF]", "F": "[degF]", "degF": "[degF]",
    "mph": "[mi_i]/h", "mi/h": "[mi_i]/h", "kph": "km/h", "kmh": "km/h", "veh": "{veh}", "count": "{veh}",
    "/": "1", "ratio": "1", "%RH": "%", "percent": "%", "mbar": "hPa", "mb": "hPa", "dB(A)": "dB", "dB[SPL]": "dB",
    "sec": "s", "seconds": "s", "minutes": "min",
}  # fmt: skip


def canonical_unit(metric: str) -> str | None:
    """The canonical unit of a metric, None for one that `QUANTITIES` does not have."""
    quantity = QUANTITIES.get(metric)
    return quantity.unit if quantity else None


def conversion(metric: str, unit: str) -> tuple[float, float] | None:
    """(factor, offset) from `unit` to the metric's canonical unit; None where there is no such line.

    An empty unit means the canonical one. A metric that is not in `QUANTITIES` has no canonical unit:
    its values stay as they are.
    """
    canonical = canonical_unit(metric)
    unit = ALIASES.get(unit, unit)
    if not unit or canonical is None or unit == canonical:
        return (1.0, 0.0)
    return _OF_METRIC.get((metric, unit)) or _ANYWHERE.get((unit, canonical))


_MASS = {**_GASES, "co": 28.010}
_MOLAR_VOLUME = {20: _MOLAR_VOLUME_20, 25: _MOLAR_VOLUME_25}


def mass_concentration(metric: str, value: Array, celsius: int) -> Array:
    """Values in the metric's canonical unit as ug/m3 at 20 or 25 Cel (CO: from ppm; particles are ug/m3 already)."""
    mass = _MASS.get(metric)
    if mass is None:
        return value
    return value * (mass / _MOLAR_VOLUME[celsius] * (1000.0 if metric == "co" else 1.0))
