"""Datasets: one TOML file each, in `schemas/datasets/` or in the city folder's `datasets/` (which wins).

To add a dataset, add a file; nothing else has to know. A file with a mistake is refused at start, with file,
line and reason.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import resources
from typing import Any, TypeVar

import msgspec

from schemas.errors import CityFolderError
from schemas.quantities import QUANTITIES
from schemas.readings import DATASET_PATTERN, METRIC_PATTERN, RESERVED_DATASETS
from schemas.units import conversion

T = TypeVar("T")


class Metric(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A metric of a dataset: what its sources send where they do not say, and the first quality rules.

    `unit` is the source's (UCUM or an alias), `period_s` the averaging period (0: an instant), `cadence_s` the
    time between readings. `fail` and `suspect` are the gross range spans [low, high] in the CANONICAL unit,
    ends included; `sentinels` are values, in the SOURCE's unit, that mean "no value".
    """

    unit: str = ""
    period_s: int = 0
    cadence_s: int = 0
    description: str = ""
    fail: tuple[float, float] | None = None
    suspect: tuple[float, float] | None = None
    sentinels: tuple[float, ...] = ()


class Privacy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The recorded review without which a dataset is not published."""

    reviewed: str
    reviewer: str
    rule: str


class Dataset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A dataset: what the catalog says of it and what the processors need.

    `lateness_s`: a window closes when the sensor's watermark has passed its end by so much. `silence_s`: a
    sensor that sent nothing for so long has its windows closed by ticks. `accept_since`: readings before it
    (RFC 3339) go to the dead letters.
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
    keywords: tuple[str, ...] = ()

    def accept_since_ms(self) -> int:
        """`accept_since` in epoch ms UTC."""
        return int(self.accept_since.timestamp() * 1000)


def shipped_files() -> dict[str, str]:
    """The dataset files of this package, by file name."""
    folder = resources.files("schemas") / "datasets"
    return {f"datasets/{f.name}": f.read_text("utf-8") for f in folder.iterdir() if f.name.endswith(".toml")}


def parse_datasets(files: Mapping[str, str]) -> dict[str, Dataset]:
    """Datasets by id, from TOML texts by file name; a later file wins over an earlier one of the same id.

    Raises `CityFolderError` with every mistake in every file.
    """
    datasets: dict[str, Dataset] = {}
    problems: list[str] = []
    for name, text in files.items():
        dataset, found = parse_toml(name, text, Dataset)
        if dataset is not None:
            found += [located(name, text, key, problem) for key, problem in _mistakes(dataset)]
            datasets[dataset.id] = dataset
        problems += found
    if problems:
        raise CityFolderError(problems)
    return datasets


def parse_toml(name: str, text: str, kind: type[T]) -> tuple[T | None, list[str]]:
    """(value, []) or (None, [sentence with file, line and what is wrong])."""
    try:
        return msgspec.toml.decode(text.encode(), type=kind), []
    except msgspec.ValidationError as e:
        message, _, path = str(e).partition(" - at ")
        unknown = re.search(r"unknown field `([^`]+)`", message)
        keys = re.findall(r"[\w-]+", path.strip("`$"))
        key = unknown.group(1) if unknown else (keys[-1] if keys else "")
        return None, [located(name, text, key, f"{message}{f' ({path})' if path else ''}")]
    except msgspec.DecodeError as e:
        return None, [f"{name}: not TOML: {e}"]


def located(name: str, text: str, key: str, problem: str) -> str:
    """`file:line: problem`, where the line is the first one that has the key."""
    pattern = re.compile(rf"""^\s*(\[.*\b)?["']?{re.escape(key)}\b""") if key else None
    for number, line in enumerate(text.splitlines(), 1):
        if pattern and pattern.search(line):
            return f"{name}:{number}: {problem}"
    return f"{name}: {problem}"


def _mistakes(dataset: Dataset) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    if not DATASET_PATTERN.fullmatch(dataset.id) or dataset.id in RESERVED_DATASETS:
        found.append(("id", f"id {dataset.id!r} is reserved or not of the form {DATASET_PATTERN.pattern}"))
    for field in ("lateness_s", "silence_s"):
        if getattr(dataset, field) < 0:
            found.append((field, f"{field} must not be negative"))
    if dataset.accept_since.tzinfo is None:
        found.append(("accept_since", "accept_since needs an offset, such as 2000-01-01T00:00:00Z"))
    for name, metric in dataset.metrics.items():
        found += [(name, f"metrics.{name}: {problem}") for problem in _metric_mistakes(name, metric)]
    return found


def _metric_mistakes(name: str, metric: Metric) -> list[str]:
    found: list[str] = []
    if not METRIC_PATTERN.fullmatch(name):
        found.append(f"the name must be of the form {METRIC_PATTERN.pattern}")
    if name not in QUANTITIES:
        found.append("there is no such quantity; schemas/quantities.py lists them, and one line adds one")
    elif conversion(name, metric.unit) is None:
        found.append(f"no conversion from {metric.unit!r} to {QUANTITIES[name].unit}; schemas/units.py lists them")
    if metric.period_s < 0 or metric.cadence_s < 0:
        found.append("period_s and cadence_s must not be negative")
    for span_name in ("fail", "suspect"):
        span: Any = getattr(metric, span_name)
        if span is not None and not span[0] < span[1]:
            found.append(f"{span_name} must be [low, high] with low < high")
    if (
        metric.fail
        and metric.suspect
        and not (metric.fail[0] <= metric.suspect[0] and metric.suspect[1] <= metric.fail[1])
    ):
        found.append("the suspect span must lie within the fail span")
    return found
