"""The Daily Air Quality Index of the United Kingdom, 1 to 10.

Source: COMEAP, "Review of the UK Air Quality Index" (2011), and Defra, "Update on implementation of the Daily Air
Quality Index" (2013). Bands are of whole ug/m3, so means are rounded first, half up. Particles: running 24-hour mean;
ozone: running 8-hour mean; NO2: hour; SO2: 15 minutes. Gases at 20 Cel. Three quarters of the time must be there.
Bands read again on uk-air.defra.gov.uk/air-pollution/daqi. Defra's four bands are green, yellow, red and purple; the
ten shades are UK-AIR's, as the R package ukaq (`palette_daqi`) has them.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.indices.scale import Category, Scored, banded, within_reach
from schemas.units import mass_concentration

Array = npt.NDArray[Any]

TABLE = "2013"
CELSIUS = 20

_COLOURS = (
    "#9CFF9C", "#31FF00", "#31CF00", "#FFFF00", "#FFCF00", "#FF9A00", "#FF6464", "#FF0000", "#990000", "#CE30FF",
)  # fmt: skip
_BANDS = ("Low",) * 3 + ("Moderate",) * 3 + ("High",) * 3 + ("Very High",)
_SEVERITY = (0, 0, 1, 2, 2, 2, 3, 3, 3, 4)

CATEGORIES = tuple(map(Category, _BANDS, _COLOURS, _SEVERITY))
"""One a step of the index: four bands in ten colours."""

AVERAGING_H: dict[str, float] = {"pm25": 24, "pm10": 24, "o3": 8, "no2": 1, "so2": 0.25}

UPPER: dict[str, Array] = {
    "pm25": np.array([11, 23, 35, 41, 47, 53, 58, 64, 70]),
    "pm10": np.array([16, 33, 50, 58, 66, 75, 83, 91, 100]),
    "no2": np.array([67, 134, 200, 267, 334, 400, 467, 534, 600]),
    "o3": np.array([33, 66, 100, 120, 140, 160, 187, 213, 240]),
    "so2": np.array([88, 177, 266, 354, 443, 532, 710, 887, 1064]),
}
"""Upper bounds of 1 to 9, ug/m3, ends included."""


def score(metric: str, concentration: Array) -> Scored:
    """The index of n means in the metric's canonical unit, averaged over `AVERAGING_H`."""
    whole = np.floor(np.round(mass_concentration(metric, within_reach(concentration), CELSIUS), 9) + 0.5)
    return banded(whole, UPPER[metric])
