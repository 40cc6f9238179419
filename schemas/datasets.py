"""Datasets: one TOML file each, in `schemas/datasets/` or in the city folder's `datasets/` (which wins).

To add a dataset, add a file that has its id as name; nothing else has to know. A file with a mistake is refused at
start, with file, line and reason.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import PurePath
from typing import Annotated

import msgspec

from schemas.errors import CityFolderError
from schemas.quantities import QUANTITIES
from schemas.readings import DATASET_PATTERN, RESERVED_DATASETS, PeriodS
from schemas.toml_files import Path, TomlFile
from schemas.units import conversion

MAX_SENTINELS = 4
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Metric(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A metric of a dataset: what its sources send where they do not say, and the first quality rules.

    `unit` is the source's (UCUM or an alias), `period_s` the averaging period (0: an instant), `cadence_s` the
    time between readings. `fail` and `suspect` are the gross range spans [low, high] in the CANONICAL unit,
    ends included; `sentinels` are values (at most four), in the SOURCE's unit, that mean "no value".
    """

    unit: str = ""
    period_s: PeriodS = 0
    cadence_s: PeriodS = 0
    description: str = ""
    fail: tuple[float, float] | None = None
    suspect: tuple[float, float] | None = None
    sentinels: Annotated[tuple[float, ...], msgspec.Meta(max_length=MAX_SENTINELS)] = ()


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
        return (self.accept_since - _EPOCH) // timedelta(milliseconds=1)


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
    for field in ("lateness_s", "silence_s"):
        if getattr(dataset, field) < 0:
            yield (field,), f"{field} must not be negative"
    if dataset.accept_since.tzinfo is None:
        yield ("accept_since",), "accept_since needs an offset, such as 2000-01-01T00:00:00Z"
    if not dataset.metrics:
        yield ("metrics",), "a dataset has at least one metric; add a table such as [metrics.pm25]"
    for name, metric in dataset.metrics.items():
        for field, problem in _metric_mistakes(name, metric):
            yield ("metrics", name, field), f"metrics.{name}: {problem}"


def _metric_mistakes(name: str, metric: Metric) -> Iterator[tuple[str, str]]:
    if name not in QUANTITIES:
        yield "", "there is no such quantity; schemas/quantities.py lists them, and one line adds one"
    elif conversion(name, metric.unit) is None:
        yield (
            "unit",
            f"no conversion from {metric.unit!r} to {QUANTITIES[name].unit}; schemas/units.py lists them",
        )
    spans = {"fail": metric.fail, "suspect": metric.suspect}
    good = {field: span for field, span in spans.items() if span is not None and span[0] < span[1]}
    for field, span in spans.items():
        if span is not None and field not in good:
            yield field, f"{field} must be [low, high] with low < high"
    if len(good) == 2:
        (low, high), (suspect_low, suspect_high) = good["fail"], good["suspect"]
        if not (low <= suspect_low and suspect_high <= high):
            yield "suspect", f"the suspect span must lie within the fail span, [{low:g}, {high:g}]"
