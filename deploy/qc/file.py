"""A CSV file with its flags: read, judge, and write the same rows with columns of flags and tests."""

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from deploy.imports.convert import Converter
from deploy.imports.mapping import Mapping
from deploy.imports.source import Refused, Source
from deploy.qc.judged import Flags, judge
from schemas.errors import CityfeedError
from schemas.flags import Flag, fired_tests
from schemas.readings import COLUMNS, EMPTY, Readings, readings
from schemas.registry import Registry

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Judged:
    """A file's rows (`header`, `rows` of text), its n readings with their flags, the row of each (`row`), and what was
    refused.
    """

    header: list[str]
    rows: list[tuple[str, ...]]
    readings: Readings
    row: Array
    flags: Flags
    refused: list[Refused]


def run(
    source: Source, mapping: Mapping, converter: Converter, registry: Registry, now_ms: int, told: Callable[[int], None]
) -> Judged:
    """Read and judge a whole file; `told` hears how much of it is done. Raises `CityfeedError`."""
    header = source.header()
    parts: list[Readings] = []
    row: list[Array] = []
    rows: list[tuple[str, ...]] = []
    refused: list[Refused] = []
    for chunk in source.chunks(header):
        converted = converter.convert(chunk, now_ms)
        if len(converted.readings):
            parts.append(converted.readings)
            row.append(converted.rows + len(rows))
        rows += zip(*(chunk.columns[name] for name in header), strict=True)
        refused += converted.refused
        told(chunk.done)
    batch = _joined(parts)
    flags = judge(batch, registry) if len(batch) else Flags(*(np.zeros(0, kind) for kind in "fBIl"))
    return Judged(header, rows, batch, np.concatenate(row) if row else np.zeros(0, np.int64), flags, refused)


def _joined(parts: Sequence[Readings]) -> Readings:
    """One batch of several."""
    sensors = list(dict.fromkeys(sensor for part in parts for sensor in part.sensors))
    metrics = list(dict.fromkeys(metric for part in parts for metric in part.metrics))
    columns: dict[str, list[Array]] = {name: [] for name in COLUMNS}
    for part in parts:
        of_sensor = np.array([sensors.index(s) for s in part.sensors])
        of_metric = np.array([metrics.index(m) for m in part.metrics])
        for name in COLUMNS:
            columns[name].append(getattr(part, name))
        columns["sensor"][-1], columns["metric"][-1] = of_sensor[part.sensor], of_metric[part.metric]
    return readings(sensors, metrics, **{k: np.concatenate(v) for k, v in columns.items()}) if parts else EMPTY


def write(judged: Judged, mapping: Mapping, to: TextIO) -> None:
    """The rows as they were, with `flag` and `tests` behind them: one pair, or one for each column of values."""
    columns = {v.metric or v.column: v.column for v in mapping.values}
    several = len(columns) > 1
    names = [f"{column}_{kind}" if several else kind for column in columns.values() for kind in ("flag", "tests")]
    writer = csv.writer(to, delimiter=mapping.file.delimiter, lineterminator="\n")
    writer.writerow([*judged.header, *names])
    of = {metric: i for i, metric in enumerate(columns)}
    place = np.array([of.get(metric, 0) if several else 0 for metric, _ in judged.readings.metrics], np.int64)
    cells = np.full((len(judged.rows), len(columns)), str(int(Flag.MISSING)), object)
    tests = np.full((len(judged.rows), len(columns)), "", object)
    at = (judged.row, place[judged.readings.metric]) if len(judged.row) else (judged.row, judged.row)
    cells[at] = judged.flags.flag.astype(str)
    tests[at] = _names(judged.flags.tests)
    for cell_row, flag_row, tests_row in zip(judged.rows, cells, tests, strict=True):
        writer.writerow([*cell_row, *(text for pair in zip(flag_row, tests_row, strict=True) for text in pair)])


def check(mapping: Mapping) -> None:
    """Raises `CityfeedError` where two columns have values of one metric: their flags would have one place."""
    metrics = [v.metric for v in mapping.values if v.metric]
    if twice := next((m for m in metrics if metrics.count(m) > 1), None):
        raise CityfeedError(f"two columns have values of {twice}; judge them one after the other, with a --map each")


@dataclass(frozen=True, slots=True)
class Line:
    """The summary of one series: how many readings, how many of each flag, of each test."""

    sensor: str
    metric: str
    n: int
    flags: dict[Flag, int]
    tests: dict[str, int]


def summary(judged: Judged) -> Iterator[Line]:
    """A line for each series of the file."""
    batch, flags = judged.readings, judged.flags
    _, first, which = np.unique(flags.series, return_index=True, return_inverse=True)
    for i, row in enumerate(first.tolist()):
        mine = which == i
        fired = flags.tests[mine]
        names = {name: int(((fired & bit) != 0).sum()) for bit, name in _BITS.items()}
        yield Line(
            batch.sensors[int(batch.sensor[row])][1],
            batch.metrics[int(batch.metric[row])][0],
            int(mine.sum()),
            {flag: int((flags.flag[mine] == flag).sum()) for flag in Flag},
            {name: count for name, count in names.items() if count},
        )


_BITS = {1 << i: fired_tests(1 << i)[0] for i in range(31) if fired_tests(1 << i)}


def _names(tests: Array) -> Array:
    distinct, which = np.unique(tests, return_inverse=True)
    return np.asarray(np.array([" ".join(fired_tests(int(t))) for t in distinct], object)[which])
