"""`cityfeed import`: files of history."""

import asyncio
import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from deploy.imports import run as runner
from deploy.imports.convert import REASONS, Converter
from deploy.imports.journal import Journal
from deploy.imports.mapping import EXPORTED, Mapping, parse_mapping
from deploy.imports.raw import raw_writer, read_registry
from deploy.imports.source import Source
from deploy.imports.stored import archived_days, wait_until_stored
from deploy.local.settings import load
from schemas.city import City, read_city
from schemas.errors import CityfeedError
from schemas.registry import Registry, fold
from schemas.settings import Settings


def import_(
    file: Annotated[Path, typer.Argument(help="A .csv, .csv.gz or .parquet file.")],
    dataset: Annotated[str, typer.Option("--dataset", "-d", help="Where the readings go, such as air-quality.")],
    map_file: Annotated[
        Path | None, typer.Option("--map", "-m", help="What the columns mean; without it: a file of our own export.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Read all and report, send nothing.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="From the beginning, also what was imported.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Until all is stored and its windows are made.")] = False,
) -> None:
    """Import a file of history, however long it is.

    Readings go the road that sensors' readings go, marked as import:
    they are in history, windows and indices, not in the live feed.
    Their clock is not tested. A reading that is stored already is
    dropped, so importing twice does no harm.

    What can't be read is refused, with its row and reason, and told at
    the end. An import that broke off goes on where it was: give the
    same command again.

    The map says what the columns mean:

    \b
      period_s = 3600              # what a row stands for
      [time]
      column = "Date"              # or ["Date", "Time"]
      format = "%Y-%m-%d %H:%M"    # iso (default), epoch_s, epoch_ms
      zone = "Europe/Paris"        # or "+01:00"; if without offset
      stamp = "begin"              # or "end" of the hour
      [sensor]
      column = "Station"           # or value = "my-sensor"
      [[values]]                   # one for each column of values
      column = "PM2.5 (ug/m3)"
      metric = "pm25"
      unit = "ug/m3"

    docs/import.md has all of it, with examples.

    \b
    Examples:
      cityfeed import hanoi-2016.csv -d air-quality -m hanoi.toml --check
      cityfeed import hanoi-2016.csv -d air-quality -m hanoi.toml --wait
      cityfeed import export.parquet -d traffic
    """
    settings = load(os.environ)
    city = read_city(Path(settings.city_dir))
    if dataset not in city.datasets:
        raise CityfeedError(f"--dataset {dataset}: there are {', '.join(city.datasets)}; a file in datasets/ adds one")
    mapping = _mapping(map_file)
    source = Source.open(file, mapping.file)
    if missing := [name for name in mapping.columns() if name not in source.header()]:
        remedy = "" if map_file else "; --map says what the columns of another file mean"
        raise CityfeedError(
            f"{file} has no column {missing[0]!r}; it has {', '.join(map(repr, source.header()))}{remedy}"
        )
    folder = Path(settings.state_dir) / "imports" / ("checked" if check else "")
    journal = Journal(folder, file, mapping, dataset)
    if restart or check:
        journal.forget()
    if journal.progress.finished:
        print(f"{file} was imported already; --restart imports it again (what is stored is dropped)")
        _report(journal)
        return
    if journal.progress.row:
        print(f"going on behind row {journal.progress.row:,}")
    try:
        asyncio.run(_run(settings, city, dataset, source, mapping, journal, check, wait))
    except KeyboardInterrupt:
        print(f"\nended behind row {journal.progress.row:,}; the same command goes on there")
        raise typer.Exit(130) from None
    _report(journal, check)


async def _run(
    settings: Settings, city: City, dataset: str, source: Source, mapping: Mapping, journal: Journal,
    check: bool, wait: bool,
) -> None:  # fmt: skip
    future_ms = settings.future_tolerance_s * 1000
    with _progress() as progress:
        task = progress.add_task("reading" if check else "importing", total=source.size, readings="")

        def told(done: int) -> None:
            progress.update(task, completed=done, readings=f"{journal.progress.readings:,} readings")

        if check:
            registry: Registry = fold(city.datasets, city.registrations)
            converter = Converter(mapping, dataset, registry, future_ms)
            await asyncio.to_thread(runner.check, source, mapping, converter, journal, _now_ms, told)
            return
        registry = await read_registry(settings, city.datasets)
        converter = Converter(mapping, dataset, registry, future_ms, await archived_days(settings, dataset))
        async with raw_writer(settings) as writer:
            await runner.run(source, mapping, converter, journal, writer, _now_ms, told)
        if wait:
            task = progress.add_task("storing", total=None, readings="")
            await wait_until_stored(settings, writer.last, lambda records, windows: progress.update(
                task, readings=f"{records:,} records and {windows:,} windows to come"
            ))  # fmt: skip


def _mapping(map_file: Path | None) -> Mapping:
    if map_file is None:
        return EXPORTED
    try:
        return parse_mapping(map_file.read_text("utf-8"), str(map_file))
    except OSError as e:
        raise CityfeedError(f"--map {map_file}: {e.strerror}") from e
    except UnicodeDecodeError as e:
        raise CityfeedError(f"--map {map_file} is not UTF-8: {e}") from e


def _report(journal: Journal, check: bool = False) -> None:
    told = journal.progress
    print(f"{told.readings:,} readings {'would be imported' if check else 'are safe in Kafka'}")
    if told.left_out:
        print(f"{told.left_out:,} rows left out, as the map says")
    if told.empty:
        print(f"{told.empty:,} empty cells, which are no reading")
    if told.refused:
        print(f"{sum(told.refused.values()):,} refused, listed in {journal.refused_path}:")
        for reason, count in sorted(told.refused.items(), key=lambda item: -item[1]):
            print(f"  {count:>9,}  {reason}: {REASONS[reason]}")


def _progress() -> Progress:
    columns: list[Any] = [
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[readings]}"),
        TimeRemainingColumn(),
    ]  # fmt: skip
    return Progress(*columns)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
