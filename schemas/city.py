"""The city folder: all that a city says of itself, in files.

    city.toml      name, time zone, bounding box, languages, units shown, preferred index
    datasets/      *.toml: datasets to add or override
    sensors.csv    the registry (or sensors.geojson)
    sources.toml   other MQTT topics: pattern -> dataset, sensor, metrics, decoder, time rule

`read_city(folder)` reads the files, `parse_city(files)` is the pure part: every mistake is found at once, each a
sentence with file, line and remedy (`cityfeed doctor` prints them; services refuse to start).
"""

import re
import zoneinfo
from collections.abc import Mapping
from pathlib import Path

import msgspec

from schemas.datasets import Dataset, located, parse_datasets, parse_toml, shipped_files
from schemas.errors import CityFolderError
from schemas.readings import METRIC_PATTERN, SENSOR_PATTERN
from schemas.registry import Registration
from schemas.registry_files import parse_geojson, parse_sensors_csv
from schemas.units import conversion

FILES = ("city.toml", "sources.toml", "sensors.csv", "sensors.geojson")


class CityInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """city.toml. `bbox` is [minLon, minLat, maxLon, maxLat]; `time_zone` an IANA name."""

    name: str
    time_zone: str
    bbox: tuple[float, float, float, float]
    languages: tuple[str, ...] = ("en",)
    units: dict[str, str] = {}
    preferred_index: str = "us-aqi"


class SourceMetric(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one field of a payload is: metric, and the unit it comes in (empty: the registry's)."""

    metric: str
    unit: str = ""


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of sources.toml: MQTT messages of other systems, taken as they are.

    `topic` is an MQTT filter; `{1}`, `{2}` in `dataset` and `sensor` stand for what its `+` matched.
    `metrics` maps a payload's field (a dotted path for nested ones, such as `PMS5003.PM2.5`, `\\.` for a dot in a
    name) to a metric. `time` is `payload`, or `received` where the source has no time (such readings are outside
    the no-repeat promise). `time_zone` is for local times without an offset. `stamp` says which end of the period
    the source stamps.
    """

    topic: str
    decoder: str
    dataset: str
    sensor: str
    metrics: dict[str, SourceMetric | str] = {}
    time: str = "payload"
    time_zone: str = ""
    stamp: str = "start"
    period_s: int | None = None

    def metric_of(self, field: str) -> SourceMetric | None:
        """The metric that a payload's field stands for; None for one that is not listed."""
        found = self.metrics.get(field)
        return SourceMetric(found) if isinstance(found, str) else found


class Sources(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """sources.toml: `[[source]]` tables."""

    source: tuple[Source, ...] = ()


class City(msgspec.Struct, frozen=True):
    """The whole folder, checked."""

    info: CityInfo
    datasets: dict[str, Dataset]
    sources: tuple[Source, ...]
    registrations: tuple[Registration, ...]


# The decoders that sources.toml may name; `ingest_gateway.decoders.DECODERS` has one for each (a test holds it).
DECODER_NAMES = ("cityfeed", "senml", "tasmota", "zigbee2mqtt", "sensor-community")


def read_files(folder: Path) -> dict[str, str]:
    """The texts of the city folder's files by their names in it.

    Raises `CityFolderError` where there is no folder or no city.toml, or a file is not UTF-8.
    """
    if not (folder / "city.toml").is_file():
        raise CityFolderError([f"{folder}/city.toml is missing; CITYFEED_CITY_DIR names the city folder"])
    paths = [folder / name for name in FILES] + sorted((folder / "datasets").glob("*.toml"))
    try:
        return {str(p.relative_to(folder)): p.read_text("utf-8-sig") for p in paths if p.is_file()}
    except UnicodeDecodeError as e:
        raise CityFolderError([f"a file in {folder} is not UTF-8: {e}; save it as UTF-8"]) from e


def read_city(folder: Path) -> City:
    """Read and check the city folder. Raises `CityFolderError` with every mistake."""
    return parse_city(read_files(folder))


def parse_city(files: Mapping[str, str]) -> City:
    """The city of these files (texts by name). Raises `CityFolderError` with every mistake."""
    problems: list[str] = []
    info, found = parse_toml("city.toml", files.get("city.toml", ""), CityInfo)
    problems += found
    if info is not None:
        problems += [located("city.toml", files["city.toml"], key, text) for key, text in _info_mistakes(info)]
    own = {name: text for name, text in files.items() if name.startswith("datasets/")}
    datasets: dict[str, Dataset] = {}
    try:
        datasets = parse_datasets(shipped_files() | {f"(city) {name}": text for name, text in own.items()})
    except CityFolderError as e:
        problems += [problem.removeprefix("(city) ") for problem in e.problems]
    sources, found = parse_toml("sources.toml", files.get("sources.toml", ""), Sources)
    problems += found
    for source in sources.source if sources else ():
        problems += [
            located("sources.toml", files["sources.toml"], key, text) for key, text in _source_mistakes(source)
        ]
    registrations: list[Registration] = []
    for name, parse in (("sensors.csv", parse_sensors_csv), ("sensors.geojson", parse_geojson)):
        if name in files:
            read, found = parse(files[name], name)
            registrations += read
            problems += found
    if datasets:
        problems += _registration_mistakes(registrations, datasets)
    if problems or info is None or sources is None:
        raise CityFolderError(problems)
    return City(info, datasets, sources.source, tuple(registrations))


def _info_mistakes(info: CityInfo) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    if info.time_zone not in zoneinfo.available_timezones():
        found.append(("time_zone", f"time_zone {info.time_zone!r} is not an IANA zone such as America/Los_Angeles"))
    west, south, east, north = info.bbox
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south < north <= 90):
        found.append(("bbox", "bbox must be [minLon, minLat, maxLon, maxLat] in degrees, minLat < maxLat"))
    return found


def _source_mistakes(source: Source) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    if source.decoder not in DECODER_NAMES:
        found.append(("decoder", f"decoder {source.decoder!r} is none of {', '.join(DECODER_NAMES)}"))
    wildcards = source.topic.split("/").count("+")
    for place in re.findall(r"\{(\d+)\}", source.dataset + source.sensor):
        if not 1 <= int(place) <= wildcards:
            found.append(("sensor", f"{{{place}}}: the topic {source.topic!r} has {wildcards} level(s) with +"))
    if "{" not in source.sensor and not SENSOR_PATTERN.fullmatch(source.sensor):
        found.append(("sensor", f"sensor {source.sensor!r} must be of the form {SENSOR_PATTERN.pattern}"))
    if source.time not in ("payload", "received"):
        found.append(("time", "time is payload or received"))
    if source.stamp not in ("start", "end"):
        found.append(("stamp", "stamp is start or end"))
    if source.time_zone and source.time_zone not in zoneinfo.available_timezones():
        found.append(("time_zone", f"time_zone {source.time_zone!r} is not an IANA zone"))
    for name in source.metrics:
        target = source.metric_of(name)
        if target is None or not METRIC_PATTERN.fullmatch(target.metric):
            found.append((name, f"{name}: the metric must be of the form {METRIC_PATTERN.pattern}"))
        elif conversion(target.metric, target.unit) is None:
            found.append(
                (name, f"{name}: no conversion from {target.unit!r} for {target.metric}; see schemas/units.py")
            )
    return found


def _registration_mistakes(registrations: list[Registration], datasets: dict[str, Dataset]) -> list[str]:
    found: list[str] = []
    seen: set[str] = set()
    for r in registrations:
        if r.dataset not in datasets:
            found.append(f"sensors: {r.sensor}: there is no dataset {r.dataset!r}; add datasets/{r.dataset}.toml")
        if r.key in seen:
            found.append(f"sensors: {r.dataset}/{r.sensor} is listed twice with the same valid_from")
        seen.add(r.key)
        for metric, series in r.series.items():
            if conversion(metric, series.unit or "") is None:
                found.append(
                    f"sensors: {r.sensor}: no conversion from {series.unit!r} for {metric}; see schemas/units.py"
                )
    return found
