"""The breakpoints of EPA's Air Quality Index, by the year from which they were in force.

Sources: 40 CFR part 58, appendix G, table 2, as it was after each rule. 64 FR 42530 (4 August 1999, the AQI's first
table; its copy in 74 FR 30469 of 26 June 2009 has the ozone of 2008); 73 FR 16436 (ozone, in force 27 May 2008);
75 FR 6474 (NO2, 12 April 2010) and 75 FR 35520 (SO2, 23 August 2010); 78 FR 3086 (PM2.5, 18 March 2013; EPA calls it
the table of 2012); 80 FR 65292 (ozone, 28 December 2015); 89 FR 16202 (PM2.5 and the upper end of all, 6 May 2024),
with EPA-454/B-24-002, table 6. The dates of 1999 (in force 4 October 1999), of 2008, of both rules of 2010, of 2013 and
of 2015 were read in the Federal Register's text or abstract of each rule, and the table of 1999 in 74 FR 30469. Checked
against EPA's own daily files: tests/schemas/indices/test_us_aqi.py.

Concentrations are whole numbers of `step` in the metric's canonical unit: PM2.5 in tenths of ug/m3, CO in tenths of
ppm, ozone in ppb (EPA writes ppm with three digits), as EPA truncates them.
"""

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_Index = tuple[tuple[int, ...], tuple[int, ...]]  # the lowest and the highest index of each row

_TO_500: _Index = (0, 51, 101, 151, 201, 301, 401), (50, 100, 150, 200, 300, 400, 500)
_SINCE_2024: _Index = (0, 51, 101, 151, 201, 301), (50, 100, 150, 200, 300, 500)


@dataclass(frozen=True)
class Breakpoints:
    """One pollutant's rows: `low` and `high` in whole `step`s, ends included, and the index at both ends."""

    step: float
    low: Array
    high: Array
    index_low: Array
    index_high: Array


def _rows(
    step: float, edges: tuple[tuple[int, int], ...], index: tuple[tuple[int, ...], tuple[int, ...]]
) -> Breakpoints:
    low, high = np.array(edges, np.int64).T
    skipped = len(index[0]) - len(edges)  # a pollutant that has no index in the lowest classes has only the upper rows
    return Breakpoints(step, low, high, np.array(index[0][skipped:], np.int64), np.array(index[1][skipped:], np.int64))


def _joined(step: float, *first_and_highs: int, index: _Index) -> Breakpoints:
    """Rows that follow each other: the first low, then the high of each row."""
    lows = (first_and_highs[0], *(high + 1 for high in first_and_highs[1:-1]))
    return _rows(step, tuple(zip(lows, first_and_highs[1:], strict=True)), index)


TABLES: dict[str, date] = {
    "1999": date(1999, 10, 4),
    "2008": date(2008, 5, 27),
    "2010": date(2010, 8, 23),
    "2012": date(2013, 3, 18),
    "2015": date(2015, 12, 28),
    "2024": date(2024, 5, 6),
}
"""Name of a table -> the day from which it was in force (of the year's last rule); ascending."""

_FIVE = (_TO_500[0][:5], _TO_500[1][:5])

BREAKPOINTS: dict[tuple[str, int], dict[str, Breakpoints]] = {
    ("pm25", 24): {
        "1999": _joined(0.1, 0, 154, 404, 654, 1504, 2504, 3504, 5004, index=_TO_500),
        "2012": _joined(0.1, 0, 120, 354, 554, 1504, 2504, 3504, 5004, index=_TO_500),
        "2024": _joined(0.1, 0, 90, 354, 554, 1254, 2254, 3254, index=_SINCE_2024),
    },
    ("pm10", 24): {
        "1999": _joined(1, 0, 54, 154, 254, 354, 424, 504, 604, index=_TO_500),
        "2024": _joined(1, 0, 54, 154, 254, 354, 424, 604, index=_SINCE_2024),
    },
    ("o3", 8): {
        "1999": _joined(1, 0, 64, 84, 104, 124, 374, index=_FIVE),
        "2008": _joined(1, 0, 59, 75, 95, 115, 374, index=_FIVE),
        "2015": _joined(1, 0, 54, 70, 85, 105, 200, index=_FIVE),
    },
    ("o3", 1): {
        "1999": _joined(1, 125, 164, 204, 404, 504, 604, index=_TO_500),
        "2024": _joined(1, 125, 164, 204, 404, 604, index=_SINCE_2024),
    },
    ("co", 8): {
        "1999": _joined(0.1, 0, 44, 94, 124, 154, 304, 404, 504, index=_TO_500),
        "2024": _joined(0.1, 0, 44, 94, 124, 154, 304, 504, index=_SINCE_2024),
    },
    ("so2", 24): {
        "1999": _joined(1, 0, 34, 144, 224, 304, 604, 804, 1004, index=_TO_500),
        "2010": _joined(1, 305, 604, 804, 1004, index=_TO_500),
        "2024": _joined(1, 305, 604, 1004, index=_SINCE_2024),
    },
    ("so2", 1): {"2010": _joined(1, 0, 35, 75, 185, 304, index=(_TO_500[0][:4], _TO_500[1][:4]))},
    ("no2", 1): {
        "1999": _joined(10, 65, 124, 164, 204, index=_TO_500),
        "2010": _joined(1, 0, 53, 100, 360, 649, 1249, 1649, 2049, index=_TO_500),
        "2024": _joined(1, 0, 53, 100, 360, 649, 1249, 2049, index=_SINCE_2024),
    },
}
"""(metric, averaging time in hours) -> table from which the rows hold -> rows. A later table that does not name them
keeps them.
"""


def table_of(day: date) -> str:
    """The table in force on a day (the first one before 4 October 1999)."""
    names = [name for name, since in TABLES.items() if since <= day]
    return names[-1] if names else "1999"


def breakpoints(metric: str, hours: int, table: str) -> Breakpoints | None:
    """The rows of a pollutant and averaging time in a table; None where that table has no index for them.

    Raises `KeyError` for a table that there is none of.
    """
    since = TABLES[table]
    known = [rows for name, rows in BREAKPOINTS.get((metric, hours), {}).items() if TABLES[name] <= since]
    return known[-1] if known else None
