"""The traffic files of the Numenta Anomaly Benchmark: Minnesota DOT detectors and travel times, July to September 2015.

`speed_*.csv`, `occupancy_*.csv`, `TravelTime_*.csv` (numenta/NAB, MIT): `timestamp,value`, irregular steps of five
minutes and more. The files name no zone: taken as Minnesota's local time. Stamp: taken as the beginning of five
minutes. Units, from the values: mph, percent, seconds. Detector t4013 has speed and occupancy. Its
ambient temperatures are of a room, not of a city, and are left out.
"""

import csv
import zoneinfo
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from deploy.replay.readers.reader import Reader, Rows
from schemas.readings import Readings

ZONE = zoneinfo.ZoneInfo("America/Chicago")
PERIOD_S = 300
FILES = ("speed_*.csv", "occupancy_*.csv", "TravelTime_*.csv")
METRICS: dict[str, tuple[str, str]] = {
    "speed": ("speed", "mph"),
    "occupancy": ("occupancy", "%"),
    "TravelTime": ("travel-time", "s"),
}


def parse(files: Sequence[Path], dataset: str) -> Readings:
    """The metric is the file name's first part, the sensor its second."""
    rows = Rows(dataset)
    for path in files:
        kind, _, sensor = path.stem.partition("_")
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                start = datetime.fromisoformat(row["timestamp"]).replace(tzinfo=ZONE)
                rows.add(sensor, METRICS[kind], int(start.timestamp()) * 1000, PERIOD_S, float(row["value"]))
    return rows.readings()


READER = Reader("nab", "NAB traffic: Minnesota detectors", "traffic", FILES, parse)
