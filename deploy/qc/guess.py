"""What the columns of a CSV mean, by their names and first rows: where no map is given."""

import re
import zoneinfo
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from deploy.imports.mapping import EXPORTED, FileForm, Mapping, Sensor, Time, Values, offset_ms
from deploy.imports.source import Source
from schemas.errors import CityfeedError
from schemas.quantities import QUANTITIES
from schemas.readings import SENSOR_PATTERN
from schemas.units import conversion

_TIMES = re.compile(r"(date|time|datetime|timestamp|date[ _]?time|start|t)( \(.*\))?", re.IGNORECASE)
_SENSORS = re.compile(r"(sensor|station|site|device|location)([ _]?(id|name))?", re.IGNORECASE)
_UNIT = re.compile(r"^(?P<name>[^(\[]+?)\s*[(\[](?P<unit>[^)\]]+)[)\]]$")
_NAMES = {
    "pm25": r"pm[ _]?2[._]?5", "pm10": r"pm[ _]?10", "pm1": r"pm[ _]?1(\.0)?", "o3": r"o3|ozone",
    "temperature": r"temp(erature)?|t", "humidity": r"rh|humidity|relative humidity", "dewpoint": r"dp|dew ?point",
    "travel-time": r"travel[ _-]?time", "pressure": r"pressure|bp",
}  # fmt: skip
_FORMATS = (
    "%m/%d/%Y %H:%M", "%m/%d/%Y %H:%M:%S", "%m/%d/%Y %I:%M %p", "%Y-%m-%d %I:%M %p", "%d.%m.%Y %H:%M",
    "%d.%m.%Y %H:%M:%S", "%Y/%m/%d %H:%M", "%Y/%m/%d %H:%M:%S",
)  # fmt: skip
_HEADER_WITHIN = 20  # lines in which a header is looked for
_MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "None")


def guess(path: Path, zone: str = "", metric: str = "") -> Mapping:
    """A mapping for the file; `metric`: that of a column called value.

    Raises `CityfeedError` with what to give where it can't be told.
    """
    if zone and offset_ms(zone) is None and zone not in zoneinfo.available_timezones():
        raise CityfeedError(f"--zone {zone!r} is no IANA time zone (Europe/Paris) and no offset (+07:00)")
    plain = Source.open(path, FileForm())
    if not set(EXPORTED.columns()) - set(plain.header()):
        return EXPORTED
    form, header, first = _form(path)
    times = [name for name in header if _TIMES.fullmatch(name.strip())]
    if not times:
        raise CityfeedError(f"{path}: which column is the time? --map says it; there are {_shown(header)}")
    values = _values([name for name in header if name != times[0]], metric)
    if not values and metric:
        raise CityfeedError(
            f"{path}: no column is called value, which --metric is for; --map says more; there are {_shown(header)}"
        )
    if not values:
        raise CityfeedError(
            f"{path}: no column is named as a metric: {', '.join(QUANTITIES)}; --metric or --map says it; "
            f"there are {_shown(header)}"
        )
    sensors = [name for name in header if _SENSORS.fullmatch(name.strip())]
    sensor = Sensor(column=sensors[0]) if sensors else Sensor(value=_id_of(path))
    text = first[header.index(times[0])].strip() if len(first) == len(header) else ""
    return Mapping(Time(times[0], _format(path, times[0], text), zone), sensor, tuple(values), form, missing=_MISSING)


def _form(path: Path) -> tuple[FileForm, list[str], list[str]]:
    """How the file is written, its header, and the row behind it."""
    for delimiter in (",", ";", "\t"):
        for skip in range(_HEADER_WITHIN):
            form = FileForm(delimiter=delimiter, skip_lines=skip, decimal="," if delimiter == ";" else ".")
            header = Source.open(path, form).header()
            if len(header) > 1 and any(_TIMES.fullmatch(name.strip()) for name in header):
                chunk = next(Source.open(path, form).chunks(header), None)
                first = [column[0] for column in chunk.columns.values()] if chunk is not None and len(chunk) else []
                if delimiter == ";" and not any("," in cell for cell in first):
                    form = msgspec.structs.replace(form, decimal=".")
                return form, header, first
    raise CityfeedError(f"{path}: no header with a time in the first {_HEADER_WITHIN} lines; --map says more")


def _values(header: Sequence[str], of_value: str) -> list[Values]:
    found: dict[str, Values] = {}
    if of_value:
        return [Values(name, metric=of_value) for name in header if name.strip().lower() == "value"][:1]
    for column in header:
        match = _UNIT.match(column.strip())
        name, unit = (match["name"], match["unit"]) if match else (column.strip(), "")
        metric = _metric(name)
        if metric and metric not in found and conversion(metric, unit) is not None:
            found[metric] = Values(column, metric=metric, unit=unit)
    return list(found.values())


def _metric(name: str) -> str:
    lower = name.strip().lower()
    if lower in QUANTITIES:
        return lower
    return next((metric for metric, pattern in _NAMES.items() if re.fullmatch(pattern, lower)), "")


def _format(path: Path, column: str, text: str) -> str:
    if re.fullmatch(r"\d{9,10}(\.\d+)?", text):
        return "epoch_s"
    if re.fullmatch(r"\d{12,13}", text):
        return "epoch_ms"
    if not text or re.match(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?\s*([Zz]|[+-]\d{2}:?\d{2})?$", text):
        return "iso"
    for form in _FORMATS:
        try:
            datetime.strptime(text, form)  # noqa: DTZ007 - only whether it fits
        except ValueError:
            continue
        return form
    raise CityfeedError(f"{path}: how is the time {text!r} in {column!r} written? --map has [time] format")


def _id_of(path: Path) -> str:
    stem = re.sub(r"[^A-Za-z0-9._~-]+", "-", path.name.split(".")[0]).strip("-._~")[:64]
    return stem if SENSOR_PATTERN.fullmatch(stem) else "sensor"


def _shown(header: Sequence[str]) -> str:
    return ", ".join(map(repr, header))
