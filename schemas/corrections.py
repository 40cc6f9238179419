"""Corrections of low-cost sensors, by name and version: pure functions over columns.

Sources: Barkjohn, Gantt, Clements, "Development and application of a United States-wide correction for PM2.5 data
collected with the PurpleAir sensor", Atmos. Meas. Tech. 14, 4617-4637, 2021, doi 10.5194/amt-14-4617-2021; Barkjohn,
Holder, Frederick, Clements, "Correction and Accuracy of PurpleAir PM2.5 Measurements for Extreme Wildfire Smoke",
Sensors 22, 9669, 2022, in the two pieces of EPA's Fire and Smoke Map. Both take the channel cf_1 (never cf_atm), in
ug/m3, and relative humidity in %; here they are applied to hourly means, as that map applies them.

What was measured is never changed: a corrected series is a metric of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.indices.scale import MOST

Array = npt.NDArray[Any]

SMOKE_FROM_UGM3 = 343.0
CHANNELS_APART_UGM3, CHANNELS_APART_SHARE = 5.0, 0.70


def purpleair_us(cf1: Array, humidity: Array) -> Array:
    """US-wide: 0.524 cf_1 - 0.0862 RH + 5.75."""
    corrected: Array = 0.524 * cf1 - 0.0862 * humidity + 5.75
    return corrected


def purpleair_smoke(cf1: Array, humidity: Array) -> Array:
    """US-wide and for smoke: up to 343 ug/m3 0.52 cf_1 - 0.086 RH + 5.75, above 0.46 cf_1 + 3.93e-4 cf_1^2 + 2.97."""
    usual = 0.52 * cf1 - 0.086 * humidity + 5.75
    smoke = 0.46 * cf1 + 3.93e-4 * cf1**2 + 2.97
    return np.where(cf1 <= SMOKE_FROM_UGM3, usual, smoke)


@dataclass(frozen=True)
class Correction:
    """A correction: `apply(measured, humidity)`, columns of length n, NaN where not known. A new formula is a new
    version: series that had the old one are made again.
    """

    version: int
    title: str
    source: str
    apply: Callable[[Array, Array], Array]


CORRECTIONS: dict[str, Correction] = {
    "purpleair-us": Correction(
        1, "PurpleAir, US-wide (2021)", "doi 10.5194/amt-14-4617-2021", purpleair_us
    ),
    "purpleair-smoke": Correction(
        1, "PurpleAir, US-wide with smoke (2022)", "doi 10.3390/s22249669; EPA Fire and Smoke Map", purpleair_smoke
    ),
}  # fmt: skip
"""To add one: a function above and a line here."""

CORRECTED = {"pm25-corr": "pm25"}
"""Corrected metric -> what it corrects; both are in schemas/quantities.py."""


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A dataset's correction: `by` names it, `humidity` and, where a sensor has two, `channels` are metrics."""

    by: str
    humidity: str = "humidity"
    channels: tuple[str, str] | None = None

    def inputs(self, corrected: str) -> tuple[str, ...]:
        """The metrics whose hours it takes: the measured one, humidity, channels."""
        return (CORRECTED[corrected], self.humidity, *(self.channels or ()))

    def text(self, corrected: str) -> str:
        """Name, version and inputs: what a corrected series is made by."""
        return f"{self.by}@{CORRECTIONS[self.by].version} of {' '.join(self.inputs(corrected))}"


def correct(rule: Rule, measured: Array, humidity: Array, channels: tuple[Array, Array] | None = None) -> Array:
    """Corrected hourly means (n); NaN where the hour, its humidity or the agreement of its channels is missing.

    Humidity is that of the same hour, of which three quarters must be there: that is the tolerance.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # beyond all floats there is no corrected value
        corrected = CORRECTIONS[rule.by].apply(_possible(measured), _possible(humidity))
    if channels is not None:
        corrected = np.where(channels_agree(*channels), corrected, np.nan)
    return np.where(np.isfinite(corrected), corrected, np.nan)


def _possible(value: Array) -> Array:
    """Values (n), NaN for infinities and for what no air can hold: of its square no average could be made."""
    return np.where(np.abs(value) <= MOST, value, np.nan)


def channels_agree(a: Array, b: Array) -> Array:
    """Whether two channels (n) of a sensor agree: not where they differ by 5 ug/m3 and more AND by 70 % of their mean
    and more. Not where one is missing. Both limits together are the way of Barkjohn 2021, section 2.2.4, which has 61 %
    (two standard deviations) for daily means; 70 % for hours is that of the R package AirSensor (South Coast AQMD and
    Mazama Science), QC algorithm "AB_03", with 5 ug/m3.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        apart = np.abs(a - b)
        mean = np.abs(a / 2 + b / 2)  # a sum may be beyond all floats, which any two would agree with
    disagree = (apart >= CHANNELS_APART_UGM3) & (apart >= CHANNELS_APART_SHARE * mean)
    agree: Array = np.isfinite(apart) & ~disagree
    return agree
