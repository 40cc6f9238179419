"""EPA sensortoolkit's example sensors: three air sensors side by side in North Carolina, a minute, August 2019.

`toco_toucan_RT0*_raw.csv` (USEPA/sensortoolkit, MIT): six lines of header, of which the fourth gives the zone
(UTC-05:00, the whole month: standard time, no daylight saving), then `Time,NO2 (ppb),...`. Make and model are made
up by the source. Stamp: taken as the beginning of the minute (the file does not say). Faults as they are: NO2
negative in many minutes, ozone clipped at 0, gaps, an outage common to all three.
"""

import csv
import re
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

from deploy.replay.readers.reader import Reader, Rows
from schemas.readings import Readings

HEADER_LINES = 6
PERIOD_S = 60
METRICS: dict[str, tuple[str, str]] = {
    "NO2 (ppb)": ("no2", "ppb"),
    "O3 (ppb)": ("o3", "ppb"),
    "PM2.5 (µg/m³)": ("pm25", "ug/m3"),
    "TEMP (°C)": ("temperature", "Cel"),
    "RH (%)": ("humidity", "%"),
    "DP (°C)": ("dewpoint", "Cel"),
}


def sensor_of(path: Path) -> str:
    """`toco_toucan_RT01_raw.csv` is sensor `toco-toucan-rt01`."""
    return path.stem.removesuffix("_raw").replace("_", "-").lower()


def parse(files: Sequence[Path], dataset: str) -> Readings:
    """All files' readings in one time order."""
    rows = Rows(dataset)
    for path in files:
        _parse_one(path, rows)
    return rows.readings()


def _parse_one(path: Path, rows: Rows) -> None:
    sensor = sensor_of(path)
    with path.open(encoding="utf-8-sig", newline="") as file:
        zone = _zone([next(file) for _ in range(HEADER_LINES)])
        reader = csv.reader(file)
        header = next(reader)
        columns = [(i, METRICS[name]) for i, name in enumerate(header) if name in METRICS]
        if header[0] != "Time" or not columns:
            raise ValueError(f"columns {', '.join(header)}")
        for row in reader:
            start_ms = int(datetime.strptime(row[0], "%m/%d/%Y %H:%M").replace(tzinfo=zone).timestamp()) * 1000
            for i, metric in columns:
                if row[i]:
                    rows.add(sensor, metric, start_ms, PERIOD_S, float(row[i]))


def _zone(header: list[str]) -> timezone:
    match = re.search(r"\(UTC([+-])(\d\d):(\d\d)\)", "".join(header))
    if match is None:
        raise ValueError("no time zone such as (UTC-05:00) in the header")
    offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return timezone(-offset if match[1] == "-" else offset)


READER = Reader("sensortoolkit", "EPA example air sensors, 1 minute", "air-quality", ("toco_toucan_*.csv",), parse)
