"""How many times WHO's guideline value of 2021 a day's mean is.

Source: World Health Organization, "WHO global air quality guidelines" (2021), table 0.1: short-term levels, which may
be exceeded on three or four days a year (99th percentile). Gases at 20 Cel. Ozone: the day's highest 8-hour mean, the
others the mean of 24 hours.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.indices.scale import NO_DATA, Category, Scored, within_reach
from schemas.units import mass_concentration

Array = npt.NDArray[Any]

TABLE = "2021"
CELSIUS = 20

CATEGORIES = (Category("Within the guideline", "#2E7D32", 0), Category("Above the guideline", "#C62828", 2))

GUIDELINE: dict[str, float] = {"pm25": 15, "pm10": 45, "o3": 100, "no2": 25, "so2": 40, "co": 4000}
"""24 hours (ozone: 8 hours), ug/m3."""

ANNUAL: dict[str, float] = {"pm25": 5, "pm10": 15, "no2": 10, "o3": 60}
"""A year's mean, ug/m3; ozone: mean of the daily highest 8-hour means of the six months in a row that have most."""


def score(metric: str, concentration: Array, guideline: dict[str, float] = GUIDELINE) -> Scored:
    """Concentration over guideline value, of n means in the metric's canonical unit; a negative mean is 0."""
    mass = np.round(mass_concentration(metric, within_reach(concentration), CELSIUS), 9)
    there = np.isfinite(mass)
    ratio = np.where(there, np.maximum(mass, 0.0) / guideline[metric], np.nan)
    category = np.where(there, (mass > guideline[metric]).astype(np.int64), NO_DATA)
    return Scored(ratio, category, np.zeros(len(ratio), bool))
