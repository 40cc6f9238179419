"""map.toml: which columns of a file are the time, the sensor and the values, and in which units and zone.

missing = ["", "NA"]              # cells of values that are no reading
period_s = 3600                   # what a row stands for; without it the registry's or the dataset's period

[file]                            # only where the file is not a comma-separated one with a header in line 1
delimiter = ";"
decimal = ","
skip_lines = 5                    # lines before the header
columns = ["time", "value"]       # names, where the file has no header

[time]
column = "Date (LT)"              # or several, joined by a space: ["Date", "Time"]
format = "%Y-%m-%d %I:%M %p"      # strftime's letters, or iso (the default), epoch_s, epoch_ms
zone = "+07:00"                   # of stamps without an offset: an IANA name, or a fixed offset
stamp = "end"                     # which end of the period is stamped; begin is the default

[sensor]
value = "hanoi-us-embassy"        # the same for all rows, or column = "Site"
names = { "Burdens Creek" = "burdens-creek" }     # what a cell of the column is called here

[[values]]                        # a column with the values of one metric,
column = "Raw Conc."
metric = "pm25"
unit = "ug/m3"                    # without it the registry's or the dataset's unit

[[values]]                        # or of the metric that another column names
column = "Value"
metric_column = "Param"
metrics = { "PM2.5" = "pm25", "OZONE" = "o3" }    # others are left out
unit_column = "Unit"

[only]                            # rows to take; without it all
"QC Name" = ["Valid", "Suspect"]

[rev]
column = "rev"                    # a higher number corrects what is stored; without it 1
"""

import re
import zoneinfo
from collections.abc import Iterator
from typing import Literal

import msgspec

from schemas.errors import CityfeedError
from schemas.quantities import QUANTITIES
from schemas.readings import SENSOR_PATTERN, PeriodS
from schemas.toml_files import Path as Keys
from schemas.toml_files import TomlFile
from schemas.units import ALIASES, conversion

_OFFSET = re.compile(r"([+-])(\d{2}):?(\d{2})")
FORMATS = ("iso", "epoch_s", "epoch_ms")


class MappingError(CityfeedError):
    """A map.toml with mistakes: the text lists each with file, line and remedy."""


class FileForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a CSV is written."""

    delimiter: str = ","
    decimal: Literal[".", ","] = "."
    skip_lines: int = 0
    columns: tuple[str, ...] = ()


class Time(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a row was measured. `ambiguous`: which of the two a local time is that a clock set back gives twice."""

    column: str | tuple[str, ...]
    format: str = "iso"
    zone: str = ""
    stamp: Literal["begin", "end"] = "begin"
    ambiguous: Literal["refuse", "earliest", "latest"] = "refuse"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns whose text, joined by a space, is the time."""
        return (self.column,) if isinstance(self.column, str) else self.column


class Sensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose row it is: `value` for all rows, or what `column` says; `names` renames."""

    value: str = ""
    column: str = ""
    names: dict[str, str] = {}


class Values(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A column of values, of one `metric` or of the one that `metric_column` names."""

    column: str
    metric: str = ""
    metric_column: str = ""
    metrics: dict[str, str] = {}
    unit: str = ""
    unit_column: str = ""


class Rev(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a row's revision stands."""

    column: str


class Mapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of map.toml; see the module's docstring."""

    time: Time
    sensor: Sensor
    values: tuple[Values, ...]
    file: FileForm = FileForm()
    only: dict[str, tuple[str, ...]] = {}
    rev: Rev | None = None
    period_s: PeriodS | None = None
    period_column: str = ""
    missing: tuple[str, ...] = ("",)

    def columns(self) -> list[str]:
        """The columns that the file must have."""
        named = [*self.time.columns, self.sensor.column, *self.only, self.rev.column if self.rev else ""]
        named += [name for v in self.values for name in (v.column, v.metric_column, v.unit_column)]
        return list(dict.fromkeys(name for name in (*named, self.period_column) if name))


EXPORTED = Mapping(
    time=Time("start"),
    sensor=Sensor(column="sensor"),
    values=(Values("value", metric_column="metric", metrics={m: m for m in QUANTITIES}, unit_column="unit"),),
    rev=Rev("rev"),
    period_column="period_s",
)
"""How the files are read that cityfeed itself exports: what is used where no map is given."""


def parse_mapping(text: str, name: str) -> Mapping:
    """Read a map.toml. Raises `MappingError` with every mistake, each with file, line and remedy."""
    file = TomlFile(name, text, Mapping)
    if file.value is not None:
        for path, problem in _mistakes(file.value):
            file.complain(path, problem)
    if file.problems or file.value is None:
        raise MappingError("the map has mistakes:\n" + "\n".join(file.problems))
    return file.value


def offset_ms(zone: str) -> int | None:
    """The fixed offset that a zone like `+07:00` means (epoch ms to add to UTC), None for a name."""
    found = _OFFSET.fullmatch(zone)
    if found is None:
        return None
    sign, hours, minutes = found.groups()
    return (1 if sign == "+" else -1) * (int(hours) * 60 + int(minutes)) * 60_000


def _mistakes(mapping: Mapping) -> Iterator[tuple[Keys, str]]:
    time, sensor = mapping.time, mapping.sensor
    if not time.columns:
        yield ("time", "column"), "time.column: name the column of the time"
    if time.format not in FORMATS and "%" not in time.format:
        yield ("time", "format"), f"time.format {time.format!r}: it takes {', '.join(FORMATS)} or strftime's letters"
    if time.zone and offset_ms(time.zone) is None and time.zone not in zoneinfo.available_timezones():
        yield ("time", "zone"), f"time.zone {time.zone!r} is no IANA time zone (Europe/Paris) and no offset (+07:00)"
    if bool(sensor.value) == bool(sensor.column):
        yield ("sensor",), 'sensor takes either value = "id" for all rows, or column = "name"'
    for name in (sensor.value, *sensor.names.values()):
        if name and not SENSOR_PATTERN.fullmatch(name):
            yield ("sensor",), f"sensor {name!r} is not of the form {SENSOR_PATTERN.pattern}"
    if not mapping.values:
        yield ("values",), "values is empty; add a [[values]] with column and metric"
    for i, values in enumerate(mapping.values):
        for problem in _values_mistakes(values):
            yield ("values", i), problem
    if len(mapping.file.delimiter) != 1:
        yield ("file", "delimiter"), 'file.delimiter takes one character, such as ";"'
    elif mapping.file.delimiter == mapping.file.decimal:
        yield ("file", "decimal"), "file.decimal is the delimiter as well; one of them is another character"
    if mapping.file.skip_lines < 0:
        yield ("file", "skip_lines"), "file.skip_lines must not be negative"


def _values_mistakes(values: Values) -> Iterator[str]:
    if bool(values.metric) == bool(values.metric_column):
        yield 'values takes either metric = "pm25", or metric_column = "name" with metrics = { cell = "pm25" }'
    if values.metric_column and not values.metrics:
        yield 'values.metrics is missing; it says what the cells of metric_column mean: { "PM2.5" = "pm25" }'
    for metric in filter(None, (values.metric, *values.metrics.values())):
        if metric not in QUANTITIES:
            yield f"there is no metric {metric!r}; there are {', '.join(QUANTITIES)}"
        elif values.unit and conversion(metric, values.unit) is None:
            known = ", ".join(list(ALIASES)[:6])
            yield f"no conversion from {values.unit!r} for {metric}; units are such as {known}: schemas/units.py"
