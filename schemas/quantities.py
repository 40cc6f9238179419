"""What can be measured: each metric with its canonical unit (UCUM) and how it is shown.

To add a quantity, add a line to `QUANTITIES`; to take another unit of it, a line to `UNITS` in `units.py`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Quantity:
    """A metric: canonical UCUM unit, digits shown after the point, and what its period means.

    `period_rule`: `mean` (over the period), `sum` (of the period) or `instant`.
    `weight`: the metric whose values weigh this one's mean, where they are known.
    """

    metric: str
    name: str
    unit: str
    digits: int
    period_rule: str
    weight: str | None = None


QUANTITIES: dict[str, Quantity] = {
    q.metric: q
    for q in (
        Quantity("pm1", "PM1", "ug/m3", 1, "mean"),
        Quantity("pm25", "PM2.5", "ug/m3", 1, "mean"),
        Quantity("pm25-corr", "PM2.5, corrected", "ug/m3", 1, "mean"),
        Quantity("pm25-a", "PM2.5, channel A", "ug/m3", 1, "mean"),
        Quantity("pm25-b", "PM2.5, channel B", "ug/m3", 1, "mean"),
        Quantity("pm10", "PM10", "ug/m3", 0, "mean"),
        Quantity("o3", "Ozone", "[ppb]", 1, "mean"),
        Quantity("no2", "Nitrogen dioxide", "[ppb]", 1, "mean"),
        Quantity("no", "Nitric oxide", "[ppb]", 1, "mean"),
        Quantity("so2", "Sulphur dioxide", "[ppb]", 1, "mean"),
        Quantity("co", "Carbon monoxide", "[ppm]", 2, "mean"),
        Quantity("co2", "Carbon dioxide", "[ppm]", 0, "mean"),
        Quantity("voc", "Volatile organic compounds", "[ppb]", 0, "mean"),
        Quantity("temperature", "Air temperature", "Cel", 1, "mean"),
        Quantity("humidity", "Relative humidity", "%", 0, "mean"),
        Quantity("dewpoint", "Dew point", "Cel", 1, "mean"),
        Quantity("pressure", "Air pressure", "hPa", 1, "mean"),
        Quantity("noise", "Sound level", "dB", 0, "mean"),
        Quantity("speed", "Speed", "km/h", 0, "mean", weight="volume"),
        Quantity("volume", "Volume", "{veh}", 0, "sum"),
        Quantity("occupancy", "Occupancy", "1", 3, "mean"),
        Quantity("travel-time", "Travel time", "s", 0, "mean"),
        Quantity("battery", "Battery", "%", 0, "instant"),
    )
}
