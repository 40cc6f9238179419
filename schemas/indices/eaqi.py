"""The European Air Quality Index of the EEA, in the bands in use since late 2024: hourly means, ug/m3.

Source: European Environment Agency, "European Air Quality Index", about the index (airindex.eea.europa.eu): upper
bounds of Good to Very poor, above them Extremely poor. Gases are turned into ug/m3 at 20 Cel, as EU law asks
(Directive 2008/50/EC, annex VI). The overall band is the worst pollutant's. The colours are those of EEA's map, as
several public programs give them alike; EEA's own page does not print them.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.indices.scale import Category, Scored, banded, within_reach
from schemas.units import mass_concentration

Array = npt.NDArray[Any]

TABLE = "2024"
CELSIUS = 20

CATEGORIES = (
    Category("Good", "#50F0E6", 0),
    Category("Fair", "#50CCAA", 1),
    Category("Moderate", "#F0E641", 2),
    Category("Poor", "#FF5050", 3),
    Category("Very poor", "#960032", 4),
    Category("Extremely poor", "#7D2181", 5),
)

UPPER: dict[str, Array] = {
    "pm25": np.array([5, 15, 50, 90, 140]),
    "pm10": np.array([15, 45, 120, 195, 270]),
    "no2": np.array([10, 25, 60, 100, 150]),
    "o3": np.array([60, 100, 120, 160, 180]),
    "so2": np.array([20, 40, 125, 190, 275]),
}
"""Upper bounds, ug/m3, ends included."""


def score(metric: str, concentration: Array) -> Scored:
    """The band, 1 (Good) to 6, of n hourly means in the metric's canonical unit."""
    return banded(mass_concentration(metric, within_reach(concentration), CELSIUS), UPPER[metric])
