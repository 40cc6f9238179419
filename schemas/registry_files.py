"""The registry as a file: sensors.csv and GeoJSON.

Columns (GeoJSON: properties of a Point feature, which gives lon and lat): dataset, sensor, name, lon, lat,
height_m, surroundings, valid_from, valid_to (RFC 3339 with offset), make, model, serial, firmware, owner,
public_precision_m, demo (true or false), metrics, quality. A row a validity: a sensor that moved has two rows.
`metrics` lists what is special of its series: `speed=mph@300;volume@300` is metric[=unit][@period in s]. `quality` has
parameters of quality rules, as JSON: `{"speed": {"spike": {"suspect": 80}}}`. Other properties of GeoJSON stay.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from schemas.quality import Quality
from schemas.quantities import QUANTITIES
from schemas.readings import DATASET_PATTERN, MAX_PERIOD_S, METRIC_PATTERN, SENSOR_PATTERN
from schemas.registry import Device, Registration, Series, Site, unprintable
from schemas.units import conversion

REQUIRED = ("dataset", "sensor")
COLUMNS = (
    "dataset", "sensor", "name", "lon", "lat", "height_m", "surroundings", "valid_from", "valid_to", "make", "model",
    "serial", "firmware", "owner", "public_precision_m", "demo", "metrics", "quality",
)  # fmt: skip
_SERIES = re.compile(r"(?P<metric>[^=@]+)(=(?P<unit>[^@].*?))?(@(?P<period>\d+))?")  # a unit may hold @: ug/m3@20Cel
_FEATURES = re.compile(r'"features"\s*:\s*\[')
_NEXT = re.compile(r"[\s,]*(?=[^\s,\]])")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Check = Callable[[Registration], Iterable[str]]
"""What else is wrong with a registration; a file alone can't say whether there is such a dataset."""


def _no_check(_: Registration) -> Iterable[str]:
    return ()


def parse_sensors_csv(text: str, name: str, check: Check = _no_check) -> tuple[list[Registration], list[str]]:
    """Registrations and problems (`file:line: what is wrong, and what would be right`)."""
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    found: list[Registration] = []
    problems: list[str] = []
    line = 0
    try:
        header = reader.fieldnames or []
        problems += [f"{name}:1: column {c!r} is missing" for c in REQUIRED if c not in header]
        problems += [
            f"{name}:1: unknown column {c!r}; known are {', '.join(COLUMNS)}" for c in header if c not in COLUMNS
        ]
        if problems:
            return [], problems
        line = reader.line_num
        for row in reader:
            line, where = reader.line_num, f"{name}:{reader.line_num}"
            if None in row:
                problems.append(f"{where}: more fields than the header has; a field with commas goes in double quotes")
            else:
                _take({k: (v or "").strip() for k, v in row.items()}, where, check, found, problems)
    except csv.Error as e:
        problems.append(f"{name}:{line + 1}: not CSV: {e}; a field with quotes or commas goes in double quotes")
    return found, problems


def parse_geojson(text: str, name: str, check: Check = _no_check) -> tuple[list[Registration], list[str]]:
    """The same from a GeoJSON FeatureCollection of points; a problem's line is that where its feature starts."""
    try:
        whole = json.loads(text)
    except json.JSONDecodeError as e:
        return [], [f"{name}:{e.lineno}: not JSON: {e.msg}"]
    except RecursionError:
        return [], [f"{name}:1: not GeoJSON: nested too deeply"]
    if not (isinstance(whole, dict) and isinstance(whole.get("features"), list)):
        return [], [f'{name}:1: not a GeoJSON FeatureCollection: {{"type": "FeatureCollection", "features": [...]}}']
    found: list[Registration] = []
    problems: list[str] = []
    for line, feature in _features(text):
        where = f"{name}:{line}"
        try:
            if feature["geometry"]["type"] != "Point":
                raise ValueError
            lon, lat = feature["geometry"]["coordinates"][:2]
            row = {k: _text(v) for k, v in feature["properties"].items() if v is not None and k in COLUMNS}
        except (KeyError, TypeError, ValueError, AttributeError):
            problems.append(f"{where}: the feature needs a geometry of type Point, and properties")
            continue
        _take(row | {"lon": str(lon), "lat": str(lat)}, where, check, found, problems)
    return found, problems


def _features(text: str) -> Iterator[tuple[int, Any]]:
    """(line, feature) of each; the text is a JSON object that has "features"."""
    start = _FEATURES.search(text)
    decoder = json.JSONDecoder()
    position, line, counted_to = start.end() if start else len(text), 1, 0
    while gap := _NEXT.match(text, position):
        feature, position = decoder.raw_decode(text, gap.end())
        line, counted_to = line + text.count("\n", counted_to, gap.end()), gap.end()
        yield line, feature


def _text(value: Any) -> str:
    """As the CSV has it."""
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


def _take(row: Mapping[str, str], where: str, check: Check, found: list[Registration], problems: list[str]) -> None:
    try:
        registration = _registration(row)
    except ValueError as e:
        problems.append(f"{where}: {e}")
        return
    if problem := unprintable(registration):
        problems.append(f"{where}: {problem}")
        return
    found.append(registration)
    problems += [f"{where}: {problem}" for problem in check(registration)]


def _registration(row: Mapping[str, str]) -> Registration:
    dataset, sensor = row.get("dataset", ""), row.get("sensor", "")
    if not DATASET_PATTERN.fullmatch(dataset):
        raise ValueError(f"dataset {dataset!r} must be of the form {DATASET_PATTERN.pattern}")
    if not SENSOR_PATTERN.fullmatch(sensor):
        raise ValueError(f"sensor {sensor!r} must be of the form {SENSOR_PATTERN.pattern}")
    lon, lat = _number(row, "lon", -180, 180), _number(row, "lat", -90, 90)
    if (lon is None) != (lat is None):
        raise ValueError("lon and lat go together")
    valid_from, valid_to = _moment(row, "valid_from"), _moment(row, "valid_to")
    if valid_from is not None and valid_to is not None and valid_to <= valid_from:
        raise ValueError("valid_to must be after valid_from")
    site = Site(row.get("name", ""), lon, lat, _number(row, "height_m", -500, 9000), row.get("surroundings", ""))
    device = Device(*(row.get(k, "") for k in ("make", "model", "serial", "firmware", "owner")))
    precision = _number(row, "public_precision_m", 0, 1e6) or 0
    demo = row.get("demo", "").lower()
    if demo not in ("", "true", "false"):
        raise ValueError(f"demo is true or false, not {demo!r}")
    return Registration(
        dataset, sensor, valid_from, valid_to, site, device, _series(row), int(precision), demo == "true"
    )


def _series(row: Mapping[str, str]) -> dict[str, Series]:
    found: dict[str, Series] = {}
    for part in filter(None, (p.strip() for p in row.get("metrics", "").split(";"))):
        match = _SERIES.fullmatch(part)
        if not match or not METRIC_PATTERN.fullmatch(match["metric"]):
            raise ValueError(f"metrics: {part!r} is not metric[=unit][@period_s], such as speed=mph@300")
        metric, unit = match["metric"], match["unit"]
        if metric not in QUANTITIES:
            raise ValueError(f"metrics: there is no quantity {metric!r}; schemas/quantities.py lists them")
        if metric in found:
            raise ValueError(f"metrics: {metric} is there twice")
        if conversion(metric, unit or "") is None:
            raise ValueError(
                f"metrics: no conversion from {unit!r} to {QUANTITIES[metric].unit} for {metric}; "
                "schemas/units.py lists them"
            )
        period = int(match["period"]) if match["period"] else None
        if period is not None and period > MAX_PERIOD_S:
            raise ValueError(f"metrics: {part!r}: a period is at most {MAX_PERIOD_S} s")
        found[metric] = Series(unit, period, period or None)
    for metric, quality in _quality(row).items():
        found[metric] = msgspec.structs.replace(found.get(metric, Series()), quality=quality)
    return found


def _quality(row: Mapping[str, str]) -> dict[str, Quality]:
    if not (text := row.get("quality", "")):
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, Quality])
    except (msgspec.DecodeError, RecursionError) as e:
        raise ValueError(f'quality is JSON such as {{"pm25": {{"spike": {{"suspect": 80}}}}}}: {e}') from None


def _number(row: Mapping[str, str], key: str, low: float, high: float) -> float | None:
    if not (text := row.get(key, "")):
        return None
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{key} {text!r} is not a number") from None
    if not low <= value <= high:
        raise ValueError(f"{key} {text} is not between {low:g} and {high:g}")
    return value


def _moment(row: Mapping[str, str], key: str) -> int | None:
    if not (text := row.get(key, "")):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{key} {text!r} is not RFC 3339, such as 2026-01-31T00:00:00Z") from None
    if moment.tzinfo is None:
        raise ValueError(f"{key} {text!r} needs an offset, such as 2026-01-31T00:00:00Z")
    return (moment - _EPOCH) // timedelta(milliseconds=1)
