"""The index logic on one core: a sensor's new hour to all its rows, and a column of concentrations to its index."""

import time
from collections.abc import Iterator
from zoneinfo import ZoneInfo

import numpy as np

from schemas.indices import us_aqi
from schemas.indices.days import HOUR_MS
from schemas.indices.hourly import INDICES
from stream_processors.indices import SensorHours, make, reach_h
from tests.bench.figure import Figure

ZONE = ZoneInfo("America/Los_Angeles")
START_MS = 1_800_000_000_000 // HOUR_MS * HOUR_MS
SENSORS = 200
COLUMN = 1_000_000


def measure() -> Iterator[Figure]:
    """Sensors with particles and NO2, and sensors with ozone, whose NowCast is a least squares fit of two weeks."""
    for title, metrics in (("pm25, pm10 and no2", ("pm25", "pm10", "no2")), ("o3", ("o3",))):
        seconds, rows = _new_hours(metrics)
        yield Figure(
            f"index logic alone, one core, a new hour of {title}", SENSORS / seconds, "sensors/s",
            note=f"{rows // SENSORS} rows a sensor, {seconds / SENSORS * 1e3:.1f} ms",
        )  # fmt: skip
    column = np.random.default_rng(1).gamma(2, 20, COLUMN)
    began = time.process_time()
    us_aqi.score("pm25", column, "2024")
    yield Figure("US AQI of a column of PM2.5", COLUMN / (time.process_time() - began), "values/s")


def _new_hours(metrics: tuple[str, ...]) -> tuple[float, int]:
    """CPU seconds and rows of all indices for the newest hour of each sensor."""
    dice = np.random.default_rng(2)
    lead = max(reach_h(metric)[0] for metric in metrics)
    changed = {metric: [START_MS + lead * HOUR_MS] for metric in metrics}
    n = lead + 1 + max(reach_h(metric)[1] for metric in metrics)
    sensors = []
    for _ in range(SENSORS):
        means = {metric: np.where(np.arange(n) <= lead, dice.gamma(2, 20, n), np.nan) for metric in metrics}
        sensors.append(SensorHours(START_MS, means, {}, np.ones(n, bool)))
    began = time.process_time()
    rows = sum(len(made.wanted) for of in sensors for name in INDICES for made in make(name, of, changed, ZONE))
    return time.process_time() - began, rows
