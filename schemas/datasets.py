"""Datasets: one TOML file each, in `schemas/datasets/` or in the city folder's `datasets/` (which wins).

To add a dataset, add a file that has its id as name; nothing else has to know. A file with a mistake is refused at
start, with file, line and reason.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from importlib import resources
from pathlib import PurePath

import msgspec

from schemas.corrections import CORRECTED, CORRECTIONS, Rule
from schemas.errors import CityFolderError
from schemas.indices.hourly import INDICES
from schemas.indices.stored import METRICS as INDEX_METRICS
from schemas.quality import Quality, merged, mistakes
from schemas.quantities import QUANTITIES
from schemas.readings import DATASET_PATTERN, RESERVED_DATASETS, SENSOR_PATTERN, PeriodS
from schemas.toml_files import Path, TomlFile
from schemas.units import conversion

OCCUPANCY = "occupancy"
TEXTS = (
    "title", "description", "licence", "attribution", "publisher", "contact", "category", "department", "data_type",
)  # fmt: skip
"""What people and catalogs read of a dataset: none may be empty."""
MAX_WAIT_S, MAX_HORIZON_S = 31 * 86_400, 100 * 366 * 86_400
LAST_YEAR = 2100
# What the schemas of DCAT-US take, which harvesters hold a catalog against.
_CONTACT = re.compile(r"(mailto:)?[\w~!$&'()*+,;=:.-]+@[\w-]+(\.[\w-]+)+", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DURATION = re.compile(r"P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?")
_DURATION_S = (365 * 86_400, 30 * 86_400, 7 * 86_400, 86_400, 3600, 60, 1)


class Metric(Quality, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A metric of a dataset: what its sources send where they do not say, and the parameters of the quality rules.

    `unit` is the source's (UCUM or an alias), `period_s` the averaging period (0: an instant), `cadence_s` the
    time between readings.
    """

    unit: str = ""
    period_s: PeriodS = 0
    cadence_s: PeriodS = 0
    description: str = ""

    @property
    def span_s(self) -> int:
        """The time from one reading to the next, as far as it is known."""
        return self.cadence_s or self.period_s


class Position(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where mobile sensors' readings may come from: [minLon, minLat, maxLon, maxLat], ends included."""

    bbox: tuple[float, float, float, float]


class Privacy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The recorded review without which a dataset is not published."""

    reviewed: str
    reviewer: str
    rule: str


class Dataset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A dataset: what the catalog says of it and what the processors need.

    `lateness_s`: a window closes when the sensor's watermark has passed its end by so much. `silence_s`: a
    sensor that sent nothing for so long has its windows closed by ticks. `repair_horizon_s`: live readings
    that are older at their receipt go to the dead letters, so that windows beyond it stay as they are; history comes
    by import (0: no horizon). `accept_since`: readings before it
    (RFC 3339) go to the dead letters. `indices`: the air quality indices that are made of its pollutants.
    `index_metrics`: which metric feeds a pollutant, such as {pm25 = "pm25-corr"}; else the pollutant as measured.
    `update_frequency` is an ISO 8601 duration. `automated`: no person is needed
    for an update. `hvd_category` is the address of the EU's category of high-value datasets, where it is one.
    `sensors`: by sensor and metric, quality parameters that win over the metric's.
    """

    id: str
    title: str
    description: str
    licence: str
    attribution: str
    publisher: str
    contact: str
    category: str
    department: str
    data_type: str
    update_frequency: str
    privacy: Privacy
    metrics: dict[str, Metric]
    lateness_s: int = 300
    silence_s: int = 900
    accept_since: datetime = datetime(2000, 1, 1, tzinfo=UTC)
    repair_horizon_s: int = 0
    keywords: tuple[str, ...] = ()
    indices: tuple[str, ...] = tuple(INDICES)
    index_metrics: dict[str, str] = {}
    corrections: dict[str, Rule] = {}
    automated: bool = True
    hvd_category: str = ""
    position: Position | None = None
    sensors: dict[str, dict[str, Quality]] = {}

    def quality(self, sensor: str, metric: str) -> Metric:
        """What holds for one sensor's metric; an empty one for a metric that the dataset does not list."""
        general = self.metrics.get(metric) or Metric()
        special = self.sensors.get(sensor, {}).get(metric)
        return merged(general, special) if special else general

    def accept_since_ms(self) -> int:
        """`accept_since` in epoch ms UTC."""
        return (self.accept_since - _EPOCH) // timedelta(milliseconds=1)

    def hour_inputs(self) -> set[str]:
        """The metrics of whose hours indices or corrected values are made."""
        return set(self.index_inputs().values()).union(*(rule.inputs(m) for m, rule in self.corrections.items()))

    def index_inputs(self) -> dict[str, str]:
        """The metric that feeds each pollutant of the dataset's indices."""
        pollutants = dict.fromkeys(metric for name in self.indices for metric in INDICES[name].pollutants)
        return {pollutant: self.index_metrics.get(pollutant, pollutant) for pollutant in pollutants}


def text_mistake(text: str) -> str:
    """What is wrong with a text that people are to read; empty: nothing."""
    if not text.strip():
        return "is empty; say it"
    if any(character < " " and character not in "\n\t" for character in text):
        return "has a control character"
    return ""


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def duration_s(text: str) -> int | None:
    """Seconds of an ISO 8601 duration (a month as 30 days, a year as 365), None for what is none."""
    found = _DURATION.fullmatch(text)
    if found is None or not any(found.groups()):
        return None
    return sum(int(n) * seconds for n, seconds in zip(found.groups(), _DURATION_S, strict=True) if n)


def shipped_files() -> dict[str, str]:
    """The dataset files of this package, by file name."""
    folder = resources.files("schemas") / "datasets"
    return {f"datasets/{f.name}": f.read_text("utf-8") for f in folder.iterdir() if f.name.endswith(".toml")}


def parse_datasets(files: Mapping[str, str]) -> dict[str, Dataset]:
    """Datasets by id, from TOML texts by file name. Raises `CityFolderError` with every mistake in every file."""
    datasets, problems = read_datasets(files)
    if problems:
        raise CityFolderError(problems)
    return datasets


def read_datasets(files: Mapping[str, str]) -> tuple[dict[str, Dataset], list[str]]:
    """Datasets by the id that their file's name says, and every mistake: `file:line: what is wrong`.

    Where there is a mistake the datasets are only good for finding more of them.
    """
    datasets: dict[str, Dataset] = {}
    problems: list[str] = []
    for name, text in files.items():
        file = TomlFile(name, text, Dataset)
        if file.value is not None:
            for path, problem in _mistakes(file.value, PurePath(name).stem):
                file.complain(path, problem)
            datasets[PurePath(name).stem] = file.value
        problems += file.problems
    return datasets, problems


def _mistakes(dataset: Dataset, stem: str) -> Iterator[tuple[Path, str]]:
    if not DATASET_PATTERN.fullmatch(dataset.id) or dataset.id in RESERVED_DATASETS:
        yield ("id",), f"id {dataset.id!r} is reserved or not of the form {DATASET_PATTERN.pattern}"
    elif dataset.id != stem:
        yield ("id",), f"id {dataset.id!r} must be the file's name; call the file {dataset.id}.toml"
    for holder, fields in (((), TEXTS), (("privacy",), Privacy.__struct_fields__)):
        for field in fields:
            if problem := text_mistake(getattr(dataset.privacy if holder else dataset, field)):
                yield (*holder, field), f"{'.'.join((*holder, field))} {problem}"
    if not _CONTACT.fullmatch(dataset.contact) and not text_mistake(dataset.contact):
        yield ("contact",), "contact is an e-mail address: whom researchers ask"
    for field, most_s in (("lateness_s", MAX_WAIT_S), ("silence_s", MAX_WAIT_S), ("repair_horizon_s", MAX_HORIZON_S)):
        if getattr(dataset, field) < 0:
            yield (field,), f"{field} must not be negative"
        elif getattr(dataset, field) > most_s:
            yield (field,), f"{field} must be at most {most_s} ({most_s // 86_400} days)"
    if any(text_mistake(word) for word in dataset.keywords):
        yield ("keywords",), "keywords has one that is empty or has a control character; take it away"
    if not 0 < (duration_s(dataset.update_frequency) or 0) <= MAX_HORIZON_S:
        yield ("update_frequency",), "update_frequency is an ISO 8601 duration, such as PT5M or P1D, above 0"
    if not text_mistake(dataset.privacy.reviewed) and not _is_day(dataset.privacy.reviewed):
        yield ("privacy", "reviewed"), "privacy.reviewed is the day of the review, such as 2026-11-01"
    if dataset.hvd_category and not dataset.hvd_category.startswith("http"):
        yield ("hvd_category",), "hvd_category is an address, such as http://data.europa.eu/bna/c_dd313021"
    if dataset.accept_since.tzinfo is None:
        yield ("accept_since",), "accept_since needs an offset, such as 2000-01-01T00:00:00Z"
    elif dataset.accept_since.year > LAST_YEAR:
        yield ("accept_since",), f"accept_since is after {LAST_YEAR}; all readings would be refused"
    yield from _index_mistakes(dataset)
    if not dataset.metrics:
        yield ("metrics",), "a dataset has at least one metric; add a table such as [metrics.pm25]"
    for name, metric in dataset.metrics.items():
        for field, problem in _metric_mistakes(name, metric):
            yield ("metrics", name, field), f"metrics.{name or repr(name)}: {problem}"
    yield from _sensor_mistakes(dataset)
    if dataset.position is not None and not _is_box(dataset.position.bbox):
        yield ("position", "bbox"), "bbox must be [minLon, minLat, maxLon, maxLat] in degrees, low ends first"


def _index_mistakes(dataset: Dataset) -> Iterator[tuple[Path, str]]:
    """Of indices, the corrections that may feed them, and what does."""
    for name in dataset.indices:
        if name not in INDICES:
            yield ("indices",), f"there is no index {name!r}; there are {', '.join(INDICES)}"
        elif dataset.indices.count(name) > 1:
            yield ("indices",), f"index {name!r} is there twice"
            break
    for corrected, rule in dataset.corrections.items():
        if corrected not in CORRECTED:
            yield ("corrections", corrected), f"{corrected!r} is no corrected metric; {', '.join(CORRECTED)} is"
        elif rule.by not in CORRECTIONS:
            yield ("corrections", corrected, "by"), f"no correction {rule.by!r}; there are {', '.join(CORRECTIONS)}"
        elif problem := _input_mistake(corrected, rule):
            yield ("corrections", corrected), f"corrections.{corrected}: {problem}"
    pollutants = {metric for index in INDICES.values() for metric in index.pollutants}
    for pollutant, source in dataset.index_metrics.items():
        at: Path = ("index_metrics", pollutant)
        if pollutant not in pollutants:
            yield at, f"no index is made of {pollutant!r}; of {', '.join(sorted(pollutants))}"
        elif source not in INDEX_METRICS:
            yield at, f"{source!r} can't feed an index; {', '.join(INDEX_METRICS)} can"
        elif CORRECTED.get(source, source) != pollutant:
            yield at, f"{source!r} is no measure of {pollutant!r}"
        elif source in CORRECTED and source not in dataset.corrections and source not in dataset.metrics:
            yield at, f"nothing makes {source!r} here; name its correction in corrections"


def _input_mistake(corrected: str, rule: Rule) -> str:
    """What is wrong with what a correction is made of; empty: nothing."""
    inputs = rule.inputs(corrected)
    if unknown := [metric for metric in inputs if metric not in QUANTITIES]:
        return f"there is no quantity {unknown[0]!r}; schemas/quantities.py lists them"
    if made := [metric for metric in inputs if metric in CORRECTED]:
        return f"{made[0]!r} is corrected itself; a correction is made of what was measured"
    if QUANTITIES[rule.humidity].unit != "%":
        return f"humidity is in %, and {rule.humidity!r} is not"
    channels: tuple[str, ...] = rule.channels or ()
    if len(set(channels)) < len(channels):
        return f"channels are two, not {channels[0]!r} twice"
    unit = QUANTITIES[CORRECTED[corrected]].unit
    if other := [metric for metric in channels if QUANTITIES[metric].unit != unit]:
        return f"channels are in {unit}, and {other[0]!r} is not"
    return ""


def _sensor_mistakes(dataset: Dataset) -> Iterator[tuple[Path, str]]:
    for sensor, metrics in dataset.sensors.items():
        if not SENSOR_PATTERN.fullmatch(sensor):
            yield (
                ("sensors", sensor, *list(metrics)[:1]),
                f"sensors: {sensor!r} is not of the form {SENSOR_PATTERN.pattern}",
            )
        for name in metrics:
            if name not in dataset.metrics:
                yield ("sensors", sensor, name), f"sensors.{sensor}: the dataset has no metric {name!r}"
                continue
            metric = dataset.quality(sensor, name)
            for field, problem in quality_mistakes(name, metric, metric.span_s):
                yield ("sensors", sensor, name, field), f"sensors.{sensor}.{name}: {problem}"


def _is_box(box: tuple[float, float, float, float]) -> bool:
    west, south, east, north = box
    return -180 <= west < east <= 180 and -90 <= south < north <= 90


def _metric_mistakes(name: str, metric: Metric) -> Iterator[tuple[str, str]]:
    if name not in QUANTITIES:
        yield "", "there is no such quantity; schemas/quantities.py lists them, and one line adds one"
    elif conversion(name, metric.unit) is None:
        yield (
            "unit",
            f"no conversion from {metric.unit!r} to {QUANTITIES[name].unit}; schemas/units.py lists them",
        )
    yield from quality_mistakes(name, metric, metric.span_s)


def quality_mistakes(name: str, quality: Quality, span_s: int) -> Iterator[tuple[str, str]]:
    """(field, problem) of what can't be meant of a metric; `span_s`: the time between its readings, 0: not known."""
    yield from mistakes(quality, span_s)
    if quality.neighbours is not None and name in CORRECTED:
        yield "neighbours", f"neighbours: {name} is made of other metrics; compare those"
    if quality.detector is not None and name != OCCUPANCY:
        yield "detector", f"detector: a detector's health is told from its occupancy; put it in metrics.{OCCUPANCY}"
