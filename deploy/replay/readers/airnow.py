"""AirNow-Tech's hourly export: the reference station beside the three sensors of sensortoolkit, August 2019.

`airnowtech_*.csv` (USEPA/sensortoolkit, MIT): site 370630099, Burdens Creek; the `(UTC)` columns give the time.
Stamp: the beginning of the hour, as EPA's are. Values with QC code 9 and negative ones are kept.
"""

import csv
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from deploy.replay.readers.reader import Reader, Rows
from schemas.readings import Readings

PERIOD_S = 3600
METRICS: dict[str, str] = {
    "NO2": "no2", "O3": "o3", "PM2.5-88101": "pm25", "TEMP": "temperature", "RHUM": "humidity", "CO": "co",
    "SO2": "so2", "NO": "no", "PM10-81102": "pm10",
}  # fmt: skip
UNITS: dict[str, str] = {"PPB": "ppb", "PPM": "ppm", "UG/M3": "ug/m3", "C": "Cel", "PERCENT": "%"}


def parse(files: Sequence[Path], dataset: str) -> Readings:
    """The parameters that have a metric; the sensor is the site's AQS number."""
    rows = Rows(dataset)
    for path in files:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(file):
                if row["Param"] not in METRICS or not row["Value"]:
                    continue
                stamp = f"{row['Date (UTC)']} {row['Time (UTC)']}"
                start = datetime.strptime(stamp, "%m/%d/%Y %H:%M").replace(tzinfo=UTC)
                metric = (METRICS[row["Param"]], UNITS[row["Unit"]])
                rows.add(row["Site AQS"], metric, int(start.timestamp()) * 1000, PERIOD_S, float(row["Value"]))
    return rows.readings()


READER = Reader("airnow", "AirNow-Tech reference station, 1 hour", "air-quality", ("airnowtech_*.csv",), parse)
