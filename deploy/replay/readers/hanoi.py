"""PM2.5 of the US embassy in Hanoi, hourly, by year.

`Hanoi_PM2.5_<year>_YTD.csv` (US State Department and EPA AirNow, public domain). Local time UTC+7. Stamp: taken as
the END of the hour, because a year's file goes from 01:00 on 1 January to 00:00 on the next 1 January.
Kept as they are: -999 (missing), negative values, invalid and suspect hours, stuck runs. One thing is repaired, for
it is a mistake of time and not of measurement: on the day on which the USA sets its clocks forward, 02:00 is missing
and 03:00 stands twice, though Hanoi has no daylight saving; the first of the two is 02:00.
"""

import csv
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

from deploy.replay.readers.reader import Reader, Rows
from schemas.readings import Readings

ZONE = timezone(timedelta(hours=7))
PERIOD_S = 3600
SENSOR = "hanoi-us-embassy"
METRIC = ("pm25", "ug/m3")


def parse(files: Sequence[Path], dataset: str) -> Readings:
    """The column `Raw Conc.`, one reading an hour."""
    rows = Rows(dataset)
    for path in files:
        with path.open(encoding="utf-8-sig", newline="") as file:
            hours = [(_end_ms(row["Date (LT)"]), float(row["Raw Conc."])) for row in csv.DictReader(file)]
        for i, (end_ms, value) in enumerate(hours):
            if 0 < i < len(hours) - 1 and hours[i + 1][0] == end_ms and hours[i - 1][0] == end_ms - 2 * 3_600_000:
                end_ms -= 3_600_000
            rows.add(SENSOR, METRIC, end_ms - PERIOD_S * 1000, PERIOD_S, value)
    return rows.readings()


def _end_ms(text: str) -> int:
    return int(datetime.strptime(text, "%Y-%m-%d %I:%M %p").replace(tzinfo=ZONE).timestamp()) * 1000


READER = Reader("hanoi", "US embassy Hanoi, PM2.5, 1 hour", "air-quality", ("Hanoi_PM2.5_*.csv",), parse)
