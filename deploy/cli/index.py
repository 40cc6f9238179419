"""`cityfeed index`: an air quality index of a CSV column, by the functions that the service uses."""

import csv
import gzip
import math
import os
import re
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import numpy.typing as npt
import typer

from schemas.errors import CityfeedError
from schemas.indices.days import HOUR_MS
from schemas.indices.hourly import INDICES, Hours, Index, Rows, daily_rows, hourly_rows, rescore
from schemas.indices.scale import MOST, Scored
from schemas.indices.us_aqi_tables import TABLES, table_of
from schemas.units import conversion

Array = npt.NDArray[Any]
Row = dict[str, str]

ADDED = ("index_value", "index_category", "index_colour", "index_table", "index_beyond")
_OF_HOURS = ("start", "end", "concentration", "hours", "hours_expected")
_NAMES = {
    "pm25": r"pm[ _]?2[._]?5", "pm10": r"pm[ _]?10", "o3": r"ozone|\bo3\b", "no2": r"\bno2\b|nitrogen dioxide",
    "so2": r"\bso2\b|sulfur dioxide|sulphur dioxide", "co": r"\bco\b|carbon monoxide",
}  # fmt: skip
_TIME_FORMATS = ("%m/%d/%Y", "%m/%d/%Y %H:%M", "%Y-%m-%d %I:%M %p", "%Y-%m-%d %H")
_YEARS = 1900, 2200
_MISSING = ("", "na", "n/a", "nan", "null", "none")


@dataclass(frozen=True)
class Column:
    """A column of a file: `value` (n) in the metric's canonical unit, NaN where there is none."""

    name: str
    metric: str
    unit: str
    value: Array


def index(
    file: Annotated[Path, typer.Argument(help="A .csv or .csv.gz file with a header.")],
    index: Annotated[str, typer.Option("--index", help=f"One of {', '.join(INDICES)}.")] = "us-aqi",
    metric: Annotated[str, typer.Option(help="pm25, pm10, o3, co, so2, no2; else by the column's name.")] = "",
    column: Annotated[str, typer.Option(help="The concentration's column; else the one named so.")] = "",
    unit: Annotated[str, typer.Option(help="ug/m3, ppm, ppb; else the column UNITS, else the usual.")] = "",
    time: Annotated[str, typer.Option(help="Column of each hour's start; else Date, time, start.")] = "",
    zone: Annotated[str, typer.Option(help="IANA zone of times without an offset, and of the days.")] = "UTC",
    table: Annotated[str, typer.Option(help=f"US table, one of {', '.join(TABLES)}; else that of the day.")] = "",
    hours: Annotated[bool, typer.Option("--hours", help="Rows are hours: make days (or NowCasts) of them.")] = False,
    missing: Annotated[float, typer.Option(help="A value that means none.")] = -999.0,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write there, not to the screen.")] = None,
) -> None:
    """Give each row of a CSV file its air quality index.

    Rows are concentrations that are averaged as the index asks, such
    as those of EPA's daily files: value, category, colour and table are
    added to each. With --hours, rows are hourly means of one place, in
    any order and with gaps, and what comes out is a row for each day
    (us-aqi, who) or hour (nowcast, eaqi, daqi), with the hours that
    were there; without enough of them it says "no data".

    Examples:

    cityfeed index ad_viz_plotval_data.csv --table 2024

    cityfeed index hanoi.csv --index nowcast --hours --zone Asia/Bangkok
    --column "Raw Conc." --metric pm25 --time "Date (LT)"
    """
    chosen = INDICES.get(index)
    if chosen is None:
        raise CityfeedError(f"there is no index {index!r}; there are {', '.join(INDICES)}")
    if table and table not in chosen.tables:
        raise CityfeedError(f"{index} has no table {table!r}; it has {', '.join(chosen.tables)}")
    if index == "nowcast" and not hours:
        raise CityfeedError("a NowCast is made of hours: give --hours, and --time with the column of their starts")
    try:
        place = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError):
        raise CityfeedError(f"{zone!r} is not an IANA zone such as America/Los_Angeles") from None
    header, rows = read_rows(file)
    read = read_column(file, header, rows, column, metric, unit, missing)
    if read.metric not in chosen.pollutants:
        raise CityfeedError(f"{index} has no {read.metric}; it has {', '.join(chosen.pollutants)}")
    when = time_column(header, time)
    if hours:
        if when is None:
            raise CityfeedError(f"{file} has no column Date, time or start; --time names the one of the hours' starts")
        starts = np.array([_moment(file, i, row[when], place) for i, row in enumerate(rows)], np.int64)
        write(output, (*_OF_HOURS, *ADDED), of_hours(chosen, read, starts, place, table))
        return
    tables = [table or _table_of_row(chosen, row.get(when or "", ""), place) for row in rows]
    scored = rescore(chosen, read.metric, read.value, np.full(len(rows), np.nan), tables)
    columns = [tuple(row.get(name) or "" for name in header) for row in rows]
    added = zip(columns, _cells(chosen, scored, tables), strict=True)
    write(output, (*header, *ADDED), [(*row, *cells) for row, cells in added])


def of_hours(chosen: Index, column: Column, starts: Array, zone: ZoneInfo, table: str) -> list[tuple[str, ...]]:
    """The rows of an index of hourly means that start at `starts` (n, epoch ms); of one hour given twice the last.

    Raises `CityfeedError` where a start is not a whole hour.
    """
    if (starts % HOUR_MS).any():
        raise CityfeedError("with --hours, each row's time must be the start of a whole hour")
    if not len(starts):
        return []
    first = int(starts.min())
    grid = np.full((int(starts.max()) - first) // HOUR_MS + 1, np.nan)
    grid[(starts - first) // HOUR_MS] = column.value
    made = _rows(chosen, column.metric, Hours(first, grid), zone)
    averages, tables, scored = made.averages, made.table, made.scored
    if table:
        tables = [table] * len(tables)
        scored = rescore(chosen, column.metric, averages.concentration, averages.supplement, tables)
    cells = _cells(chosen, scored, tables)
    return [
        (_text(start), _text(end), "" if np.isnan(mean) else repr(round(mean, 6)), str(n), str(expected), *more)
        for start, end, mean, n, expected, more in zip(
            made.start.tolist(), made.end.tolist(), averages.concentration.tolist(), averages.hours.tolist(),
            averages.expected.tolist(), cells, strict=True,
        )
    ]  # fmt: skip


def _rows(chosen: Index, metric: str, hours: Hours, zone: ZoneInfo) -> Rows:
    n = len(hours.value)
    if chosen.day_of is None:
        return hourly_rows(chosen, metric, hours, n, zone)
    days = dict.fromkeys(chosen.day_of(hours.first_ms + i * HOUR_MS, zone) for i in range(n))
    return daily_rows(chosen, metric, hours, list(days), zone)


def read_rows(file: Path) -> tuple[list[str], list[Row]]:
    """Header and rows. Raises `CityfeedError` for a file that can't be read."""
    try:
        opened = gzip.open if file.suffix.lower() == ".gz" else open
        with opened(file, "rt", encoding="utf-8-sig", newline="") as text:
            reader = csv.DictReader(text)
            rows = list(reader)
            if reader.fieldnames:
                return list(reader.fieldnames), rows
    except (UnicodeDecodeError, csv.Error) as e:
        raise CityfeedError(f"{file} is not a CSV file in UTF-8: {e}") from e
    except (EOFError, OSError, zlib.error) as e:
        raise CityfeedError(f"{file}: {getattr(e, 'strerror', None) or e}") from e
    raise CityfeedError(f"{file} is empty: there is no header")


def read_column(
    file: Path, header: Sequence[str], rows: list[Row], column: str, metric: str, unit: str, missing: float
) -> Column:
    """The column of concentrations. Raises `CityfeedError` where it can't be told, or a value is no number."""
    if column and column not in header:
        raise CityfeedError(f"{file} has no column {column!r}; it has {', '.join(header)}")
    name = column or next((h for h in header if "concentration" in h.lower()), metric if metric in header else "")
    named = [h for h in header if any(re.search(pattern, h.lower()) for pattern in _NAMES.values())]
    if not name and not metric and len(named) == 1:
        name = named[0]
    if not name:
        raise CityfeedError(f"which column has the concentration? --column names it: {', '.join(header)}")
    metric = metric or next((m for m, pattern in _NAMES.items() if re.search(pattern, name.lower())), "")
    if metric not in _NAMES:
        raise CityfeedError(f"what does {name!r} measure? --metric is one of {', '.join(_NAMES)}")
    units = next((h for h in header if h.lower() in ("units", "unit")), None)
    said = unit or (rows[0][units] or "" if units and rows else "")
    line = conversion(metric, said.removesuffix(" LC").removesuffix(" SC"))
    if line is None:
        raise CityfeedError(f"no conversion from {said!r} for {metric}; --unit gives another, such as ug/m3, ppm, ppb")
    values = np.array([_number(file, i, name, row[name] or "", missing) for i, row in enumerate(rows)], np.float64)
    return Column(name, metric, said, values * line[0] + line[1])


def time_column(header: Sequence[str], asked: str) -> str | None:
    """The column of times: the one asked for, or one that is named so. Raises `CityfeedError`."""
    if asked and asked not in header:
        raise CityfeedError(f"there is no column {asked!r}; there are {', '.join(header)}")
    return asked or next((h for h in header if h.lower() in ("date", "time", "start", "datetime", "t")), None)


def write(output: Path | None, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """CSV to a file or to the screen. Raises `CityfeedError` where the file can't be written."""
    try:
        text = output.open("w", encoding="utf-8", newline="") if output else sys.stdout
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
        if output:
            text.close()
            print(f"{len(rows)} rows written to {output}")
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as e:
        raise CityfeedError(f"{output or 'the output'}: {e.strerror}") from e


def _cells(chosen: Index, scored: Scored, tables: Sequence[str]) -> list[tuple[str, ...]]:
    cells: list[tuple[str, ...]] = []
    for value, category, beyond, table in zip(
        scored.value.tolist(), scored.category.tolist(), scored.beyond.tolist(), tables, strict=True
    ):
        if category < 0:
            cells.append(("", "no data", "", table, "false"))
        else:
            known = chosen.categories[category]
            cells.append((f"{value:.{chosen.digits}f}", known.name, known.colour, table, str(beyond).lower()))
    return cells


def _table_of_row(chosen: Index, time: str, zone: ZoneInfo) -> str:
    moment = _read_time(time, zone)
    if len(chosen.tables) == 1 or moment is None:
        return chosen.tables[-1]
    return table_of(moment.date())


def _moment(file: Path, i: int, text: str | None, zone: ZoneInfo) -> int:
    moment = _read_time(text or "", zone)
    if moment is None:
        raise CityfeedError(f"{file}:{i + 2}: {text!r} is not a time, such as 2024-07-10T08:00 or 7/10/2024 8:00")
    if not _YEARS[0] <= moment.year <= _YEARS[1]:  # each hour in between has a row
        raise CityfeedError(f"{file}:{i + 2}: {text!r} is not between {_YEARS[0]} and {_YEARS[1]}")
    return int(moment.timestamp() * 1000)


def _read_time(text: str, zone: ZoneInfo) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        for form in _TIME_FORMATS:
            try:
                moment = datetime.strptime(text.strip(), form).replace(tzinfo=zone)
                break
            except ValueError:
                continue
        else:
            return None
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)


def _number(file: Path, i: int, name: str, text: str, missing: float) -> float:
    if text.strip().lower() in _MISSING:
        return float("nan")
    try:
        value = float(text)
    except ValueError:
        raise CityfeedError(f"{file}:{i + 2}: {name} is {text!r}, which is no number") from None
    if value == missing or not math.isfinite(value):
        return float("nan")
    if abs(value) > MOST:
        raise CityfeedError(f"{file}:{i + 2}: {name} is {text!r}; --missing names a value that means none")
    return value


def _text(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
