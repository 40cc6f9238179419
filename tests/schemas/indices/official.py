"""EPA's and AirNow's own files, where the originals are beside the repository (CITYFEED_TEST_ORIGINALS)."""

import csv
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from schemas.indices.scale import Array

ORIGINALS = Path(
    os.environ.get("CITYFEED_TEST_ORIGINALS", Path(__file__).resolve().parents[4].parent / "shared" / "data")
)
needs_originals = pytest.mark.skipif(not ORIGINALS.is_dir(), reason="CITYFEED_TEST_ORIGINALS names no folder")


def read(*path: str) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with ORIGINALS.joinpath(*path).open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def hanoi(year: int) -> tuple[Array, Array, Array]:
    """A year of the US embassy in Hanoi, hour by hour: raw means (QC Valid and Suspect), published NowCast and AQI;
    NaN where there is none. The first of two rows with one stamp is the hour before (see SOURCE.txt).
    """
    rows = read("hanoi-nowcast", f"Hanoi_PM2.5_{year}_YTD.csv")
    stamps = [datetime.strptime(row["Date (LT)"], "%Y-%m-%d %I:%M %p").replace(tzinfo=UTC) for row in rows]
    for i in range(len(stamps) - 1):
        if stamps[i] == stamps[i + 1]:
            stamps[i] -= timedelta(hours=1)
    place = [(stamp - stamps[0]) // timedelta(hours=1) for stamp in stamps]
    raw, nowcast, aqi = np.full((3, place[-1] + 1), np.nan)
    for i, row in zip(place, rows, strict=True):
        if row["QC Name"] in ("Valid", "Suspect"):
            raw[i] = float(row["Raw Conc."])
        for column, text in ((nowcast, row["NowCast Conc."]), (aqi, row["AQI"])):
            column[i] = float(text) if float(text) > -999 else np.nan
    return raw, nowcast, aqi
