"""The city folder: all that a city says of itself, in files.

    city.toml      name, time zone, bounding box, languages, units shown, preferred index
    datasets/      *.toml: datasets to add or override
    sensors.csv    the registry (or sensors.geojson)
    sections.toml  road sections: which sensors stand for which stretch
    sources.toml   other MQTT topics: pattern -> dataset, sensor, metrics, decoder, time rule

`read_city(folder)` reads the files, `parse_city(files)` is the pure part: every mistake is found at once, each a
sentence with file, line and remedy (`cityfeed doctor` prints them; services refuse to start).
"""

import re
import zoneinfo
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from pathlib import Path, PurePath

import msgspec

from schemas.datasets import Dataset, read_datasets, shipped_files, text_mistake
from schemas.errors import CityFolderError
from schemas.indices.hourly import INDICES
from schemas.quantities import QUANTITIES
from schemas.readings import SENSOR_PATTERN, PeriodS
from schemas.registry import Registration, rule_mistakes
from schemas.registry_files import parse_geojson, parse_sensors_csv
from schemas.sections import Section, Sections
from schemas.sections import mistakes as section_mistakes
from schemas.toml_files import Path as Keys
from schemas.toml_files import TomlFile
from schemas.units import conversion

_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")

FILES = ("city.toml", "sources.toml", "sections.toml", "sensors.csv", "sensors.geojson")


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
    period_s: PeriodS | None = None

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
    sections: tuple[Section, ...] = ()


# The decoders that sources.toml may name; `ingest_gateway.decoders.DECODERS` has one for each (a test holds it).
DECODER_NAMES = ("cityfeed", "senml", "tasmota", "zigbee2mqtt", "sensor-community")


def read_files(folder: Path) -> dict[str, str]:
    """The texts of the city folder's files by their names in it.

    Raises `CityFolderError` where there is no folder or no city.toml, or a file is not UTF-8.
    """
    if not (folder / "city.toml").is_file():
        raise CityFolderError([f"{folder}/city.toml is missing; CITYFEED_CITY_DIR names the city folder"])
    paths = [folder / name for name in FILES] + sorted((folder / "datasets").glob("*.toml"))
    texts: dict[str, str] = {}
    problems: list[str] = []
    for path in filter(Path.exists, paths):
        name = path.relative_to(folder).as_posix()
        if not path.is_file():
            problems.append(f"{name}: not a file; take it away, or write the file")
            continue
        data = path.read_bytes()
        try:
            texts[name] = data.decode("utf-8-sig")
        except UnicodeDecodeError as e:
            problems.append(f"{name}:{data.count(10, 0, e.start) + 1}: not UTF-8; save it as UTF-8")
    if problems:
        raise CityFolderError(problems)
    return texts


def read_city(folder: Path) -> City:
    """Read and check the city folder. Raises `CityFolderError` with every mistake."""
    return parse_city(read_files(folder))


def parse_city(files: Mapping[str, str]) -> City:
    """The city of these files (texts by name). Raises `CityFolderError` with every mistake."""
    info = TomlFile("city.toml", files.get("city.toml", ""), CityInfo)
    for path, problem in _info_mistakes(info.value) if info.value else ():
        info.complain(path, problem)

    own_files = {name: text for name, text in files.items() if name.startswith("datasets/")}
    own, dataset_problems = read_datasets(own_files)
    datasets = read_datasets(shipped_files())[0] | own
    ids = set(datasets) | {PurePath(name).stem for name in own_files}

    sources = TomlFile("sources.toml", files.get("sources.toml", ""), Sources)
    for number, source in enumerate(sources.value.source if sources.value else ()):
        for path, problem in _source_mistakes(source, ids):
            sources.complain(("source", number, *path), problem)

    sections = TomlFile("sections.toml", files.get("sections.toml", ""), Sections)
    for path, problem in section_mistakes(sections.value, ids) if sections.value else ():
        sections.complain(path, problem)

    registrations: list[Registration] = []
    problems = info.problems + dataset_problems + sources.problems + sections.problems
    seen: dict[str, str] = {}
    for name, parse in (("sensors.csv", parse_sensors_csv), ("sensors.geojson", parse_geojson)):
        if name in files:
            read, found = parse(files[name], name, partial(_registration_mistakes, ids, datasets, seen, name))
            registrations += read
            problems += found
    if problems or info.value is None or sources.value is None or sections.value is None:
        raise CityFolderError(problems)
    return City(info.value, datasets, sources.value.source, tuple(registrations), sections.value.section)


def _info_mistakes(info: CityInfo) -> Iterator[tuple[Keys, str]]:
    if problem := text_mistake(info.name):
        yield ("name",), f"name {problem}"
    if not info.languages or not all(map(_LANGUAGE.fullmatch, info.languages)):
        yield ("languages",), f"languages are codes such as en or pt-BR, one at least; not {list(info.languages)}"
    if info.preferred_index not in INDICES:
        yield ("preferred_index",), f"there is no index {info.preferred_index!r}; there are {', '.join(INDICES)}"
    if info.time_zone not in zoneinfo.available_timezones():
        yield ("time_zone",), f"time_zone {info.time_zone!r} is not an IANA zone such as America/Los_Angeles"
    west, south, east, north = info.bbox
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south < north <= 90):
        yield ("bbox",), "bbox must be [minLon, minLat, maxLon, maxLat] in degrees, minLat < maxLat"
    for metric, unit in info.units.items():
        if problem := _unit_mistake(metric, unit):
            yield ("units", metric), f"units: {problem}"


def _source_mistakes(source: Source, datasets: Collection[str]) -> Iterator[tuple[Keys, str]]:
    if problem := _topic_mistake(source.topic):
        yield ("topic",), f"topic {source.topic!r} is no MQTT filter: {problem}"
    else:
        plus = source.topic.count("+")
        for key, template in (("dataset", source.dataset), ("sensor", source.sensor)):
            for place in re.findall(r"\{(\d+)\}", template):
                if not 1 <= int(place) <= plus:
                    yield (key,), f"{key} {{{place}}}: the topic {source.topic!r} has {plus} level(s) with +"
    if source.decoder not in DECODER_NAMES:
        yield ("decoder",), f"decoder {source.decoder!r} is none of {', '.join(DECODER_NAMES)}"
    if "{" not in source.dataset and source.dataset not in datasets:
        yield ("dataset",), f"there is no dataset {source.dataset!r}; there are {', '.join(sorted(datasets))}"
    if not SENSOR_PATTERN.fullmatch(re.sub(r"\{\d+\}", "x", source.sensor)):
        yield ("sensor",), f"sensor {source.sensor!r} must be of the form {SENSOR_PATTERN.pattern}, {{1}} for a +"
    if source.time not in ("payload", "received"):
        yield ("time",), f"time is payload or received, not {source.time!r}"
    if source.stamp not in ("start", "end"):
        yield ("stamp",), f"stamp is start or end, not {source.stamp!r}"
    if source.time_zone and source.time_zone not in zoneinfo.available_timezones():
        yield ("time_zone",), f"time_zone {source.time_zone!r} is not an IANA zone such as America/Los_Angeles"
    for name in source.metrics:
        target = source.metric_of(name)
        if target and (problem := _unit_mistake(target.metric, target.unit)):
            yield ("metrics", name), f"{name}: {problem}"


def _topic_mistake(topic: str) -> str:
    levels = topic.split("/")
    if not topic:
        return "it is empty"
    if any(("+" in level or "#" in level) and len(level) > 1 for level in levels):
        return "+ and # stand for whole levels, as in tele/+/SENSOR"
    if "#" in levels[:-1]:
        return "# can only be the last level"
    return ""


def _registration_mistakes(
    ids: Collection[str], datasets: Mapping[str, Dataset], seen: dict[str, str], file: str, registration: Registration
) -> Iterator[str]:
    if registration.dataset not in ids:
        yield f"there is no dataset {registration.dataset!r}; there are {', '.join(sorted(ids))}"
    elif registration.dataset in datasets:
        yield from rule_mistakes(registration, datasets[registration.dataset])
    if registration.key in seen:
        yield (
            f"{registration.dataset}/{registration.sensor} is listed before, in {seen[registration.key]}, with the "
            "same valid_from; a sensor that moved has a row for each place, with the time from which it is there"
        )
    seen.setdefault(registration.key, file)


def _unit_mistake(metric: str, unit: str) -> str:
    if metric not in QUANTITIES:
        return f"there is no quantity {metric!r}; schemas/quantities.py lists them, and one line adds one"
    if conversion(metric, unit) is None:
        return f"no conversion from {unit!r} to {QUANTITIES[metric].unit} for {metric}; schemas/units.py lists them"
    return ""
