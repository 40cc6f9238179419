"""`cityfeed replay`: play a public data set through the whole chain."""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from deploy.local.settings import load
from deploy.replay.play import Plan, next_shift, play
from deploy.replay.publisher import Broker, Publisher
from deploy.replay.readers import READERS, reader_for
from schemas.city import read_city
from schemas.errors import CityfeedError
from schemas.readings import Readings
from schemas.settings import Settings


def replay(
    path: Annotated[Path, typer.Argument(help="Folder or file of the data set, as it was downloaded.")],
    dataset: Annotated[
        str, typer.Option("--dataset", "-d", help="Where the readings go, such as traffic; default: by the reader.")
    ] = "",
    reader: Annotated[str, typer.Option(help=f"{', '.join(READERS)}; default: by the file names.")] = "",
    speed: Annotated[
        str, typer.Option(help="1: as it was recorded, 60: an hour in a minute, max: as fast as the broker takes it.")
    ] = "max",
    shift_to_now: Annotated[
        bool,
        typer.Option(
            "--shift-to-now/--original-times",
            help="Move all by whole weeks, so that the newest is at most a week old; or keep the times.",
        ),
    ] = True,
    loop: Annotated[
        bool, typer.Option("--loop", help="Again and again, each pass some weeks later; Ctrl-C ends it.")
    ] = False,
) -> None:
    """Play a data set through MQTT, Kafka and the processors, as if its sensors were here.

    Nothing is repaired: sentinels, duplicates and gaps go in as they
    were recorded, with their units and periods.

    No stamp is in the future. What is more than an hour old is marked
    as import: it is in the history, not in the live feed. With --loop
    a pass waits until its time has come, for the same reading a second
    time would be dropped.

    \b
    Examples:
      cityfeed replay data/metr-la-week --dataset traffic
      cityfeed replay data/metr-la-week --speed 300
      cityfeed replay my.csv --reader sensortoolkit --original-times
    """
    settings = load(os.environ)
    plan = Plan(settings.mqtt_topic_prefix, _speed(speed), shift_to_now)
    datasets = read_city(Path(settings.city_dir)).datasets
    if dataset and dataset not in datasets:
        raise CityfeedError(f"--dataset {dataset}: there are {', '.join(datasets)}; a file in datasets/ adds one")
    found = reader_for(path, reader)
    batches = list(found.read(path, dataset))
    if not batches:
        raise CityfeedError(f"{path}: no readings in it")
    total = sum(map(len, batches))
    progress = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("readings"),
        TimeRemainingColumn(),
    )  # fmt: skip
    began = time.monotonic()
    try:
        with progress:
            task = progress.add_task(found.title, total=None if loop else total)
            asyncio.run(_play(settings, batches, plan, loop, lambda n: progress.advance(task, n)))
    except KeyboardInterrupt:
        print("\nended; what the broker has acknowledged stays")
        raise typer.Exit(130) from None
    seconds = time.monotonic() - began
    print(f"{total:,} readings acknowledged by the broker in {seconds:.1f} s, {total / seconds:,.0f} a second")


async def _play(
    settings: Settings, batches: list[Readings], plan: Plan, loop: bool, told: Callable[[int], None]
) -> None:
    shift_ms: int | None = None
    async with Publisher(Broker.of(settings)) as publisher:
        while True:
            wait_ms = 0
            if plan.shift_to_now:
                shift_ms, wait_ms = next_shift(batches, _now_ms(), shift_ms)
            await asyncio.sleep(wait_ms / 1000)
            await play(publisher, batches, plan, shift_ms or 0, _now_ms(), told)
            if not loop:
                return


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise CityfeedError(f"--speed {text}: it takes a number over 0, such as 60, or max")
    return speed


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
