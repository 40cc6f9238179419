"""`cityfeed qc`: the stream's quality rules over a CSV file."""

import contextlib
import errno
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, TextIO

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from deploy.imports.convert import Converter
from deploy.imports.mapping import Mapping, parse_mapping
from deploy.imports.source import Source
from deploy.local.settings import load
from deploy.qc import file as files
from deploy.qc.guess import guess
from schemas.city import City, read_city
from schemas.errors import CityfeedError
from schemas.flags import Flag
from schemas.quantities import QUANTITIES
from schemas.registry import fold

SHOWN_REFUSED = 5


def qc(
    file: Annotated[Path, typer.Argument(help="A .csv or .csv.gz file.")],
    dataset: Annotated[
        str, typer.Option("--dataset", "-d", help="Whose rules; else the dataset that has the file's metrics.")
    ] = "",
    map_file: Annotated[
        Path | None, typer.Option("--map", "-m", help="What the columns mean; else their names say it.")
    ] = None,
    metric: Annotated[str, typer.Option(help="What a column called value measures, such as speed.")] = "",
    zone: Annotated[str, typer.Option(help="Of times without an offset: Europe/Paris or -05:00.")] = "",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write there, not to the screen.")] = None,
) -> None:
    """Flag the readings of a CSV file, by the rules that the stream has.

    The rows come out as they were, with two columns more: flag
    (1 good, 2 not evaluated, 3 suspect, 4 fail, 9 missing) and the
    tests that fired. A file with several columns of values has the two
    for each. A value that can't be read has flag 9; a row with too many
    or too few fields is left out. Both are told.

    Rules and limits are those of the dataset's file in the city folder
    (docs/quality.md); a sensor that is listed there has its own. Set
    CITYFEED_CITY_DIR to use your city's.

    Columns are told by their names: time or date; sensor or station,
    else the file's name; pm25, PM2.5 (ug/m3), NO2 (ppb), speed, ...
    Lines before the header are passed over. --map is the map.toml of
    `cityfeed import`, for all that is otherwise.

    \b
    Examples:
      cityfeed qc toco_toucan_RT01_raw.csv --zone -05:00 -o flagged.csv
      cityfeed qc loops.csv -d traffic -m loops.toml > flagged.csv
    """
    city = read_city(Path(load(os.environ).city_dir))
    if metric and metric not in QUANTITIES:
        raise CityfeedError(f"--metric {metric}: there are {', '.join(QUANTITIES)}")
    mapping = _mapping(map_file) if map_file else guess(file, zone, metric)
    files.check(mapping)
    chosen = _dataset(city, mapping, dataset)
    source = Source.open(file, mapping.file)
    if missing := [name for name in mapping.columns() if name not in source.header()]:
        raise CityfeedError(f"{file} has no column {missing[0]!r}; it has {', '.join(map(repr, source.header()))}")
    registry = fold(city.datasets, city.registrations)
    told = Console(stderr=True)
    progress = Progress(
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn(), console=told
    )
    with progress:
        task = progress.add_task("reading", total=source.size)
        converter = Converter(mapping, chosen, registry, future_ms=1 << 50)  # a file's clock is not judged
        judged = files.run(
            source, mapping, converter, registry, int(time.time() * 1000),
            lambda done: progress.update(task, completed=done),
        )  # fmt: skip
    naive = next((r for r in judged.refused if r.reason == "time_without_offset"), None)
    if naive is not None and not len(judged.readings):
        raise CityfeedError(f"{file} row {naive.row}: {naive.detail}; --zone gives it, such as Europe/Paris or -05:00")
    _write(judged, mapping, output)
    _tell(told, judged, chosen, mapping)


def _mapping(path: Path) -> Mapping:
    try:
        return parse_mapping(path.read_text("utf-8"), str(path))
    except OSError as e:
        raise CityfeedError(f"--map {path}: {e.strerror}") from e
    except UnicodeDecodeError as e:
        raise CityfeedError(f"--map {path} is not UTF-8: {e}") from e


def _dataset(city: City, mapping: Mapping, asked: str) -> str:
    """The dataset asked for, or the one with most of the metrics."""
    if asked:
        if asked not in city.datasets:
            raise CityfeedError(f"--dataset {asked}: there are {', '.join(sorted(city.datasets))}")
        return asked
    metrics = {m for v in mapping.values for m in (v.metric, *v.metrics.values()) if m}
    known = {name: len(metrics & set(dataset.metrics)) for name, dataset in city.datasets.items()}
    best = max(known, key=lambda name: known[name])
    if not known[best]:
        raise CityfeedError(f"no dataset has {', '.join(sorted(metrics))}; --dataset names one of {', '.join(known)}")
    return best


def _write(judged: files.Judged, mapping: Mapping, output: Path | None) -> None:
    try:
        with _whole(output) if output else contextlib.nullcontext(sys.stdout) as to:
            files.write(judged, mapping, to)
            to.flush()
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as e:
        raise CityfeedError(f"{output or 'the output'}: {e.strerror}") from e


@contextlib.contextmanager
def _whole(output: Path) -> Iterator[TextIO]:
    """A file to write that is there under its name once it is whole, for it may be the one that was read. What is no
    file (a pipe, a device) is written as it comes. Raises `OSError`.
    """
    output = output.resolve()
    if output.exists() and not output.is_file():
        with output.open("w", encoding="utf-8", newline="") as to:
            yield to
        return
    if output.exists() and not os.access(output, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    part = output.with_name(output.name + ".part")
    try:
        with part.open("w", encoding="utf-8", newline="") as to:
            yield to
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)


def _tell(told: Console, judged: files.Judged, dataset: str, mapping: Mapping) -> None:
    """The table of flags and tests, and what was refused."""
    columns = ", ".join(f"{v.column}: {v.metric or 'by ' + v.metric_column}" for v in mapping.values)
    told.print(f"rules of {dataset}; {columns}; time {' '.join(mapping.time.columns)} ({mapping.time.format})")
    lines = list(files.summary(judged))
    seen = [flag for flag in Flag if any(line.flags[flag] for line in lines)]
    table = Table()
    for name in ("sensor", "metric", "readings", *(flag.name.lower().replace("_", " ") for flag in seen), "tests"):
        table.add_column(name, justify="left" if name in ("sensor", "metric", "tests") else "right", overflow="fold")
    for line in lines:
        tests = ", ".join(f"{name} {count:,}" for name, count in line.tests.items())
        table.add_row(line.sensor, line.metric, f"{line.n:,}", *(f"{line.flags[flag]:,}" for flag in seen), tests)
    told.print(table)
    for refused in judged.refused[:SHOWN_REFUSED]:
        told.print(f"row {refused.row}: {refused.reason}: {refused.detail}", markup=False)
    if (more := len(judged.refused) - SHOWN_REFUSED) > 0:
        told.print(f"and {more:,} more that could not be read")
