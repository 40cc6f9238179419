"""`cityfeed simulate`: a bigger city, made from the recorded one."""

import asyncio
import math
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from deploy.local.settings import load
from deploy.replay.feed import topic_of
from deploy.replay.load import Report, send
from deploy.replay.mqtt import MAX_WINDOW, Message
from deploy.replay.publisher import Broker, Publisher
from deploy.replay.simulator import PROFILES, Faults, Simulator, sample_week
from schemas.city import read_city
from schemas.errors import CityfeedError
from schemas.registry import Registration
from schemas.settings import Settings


def simulate(
    sensors: Annotated[int, typer.Option("--sensors", "-n", min=1, help="How many sensors.")] = 1_000,
    rate: Annotated[float, typer.Option("--rate", "-r", help="Messages a second, of all sensors together.")] = 100.0,
    readings_per_message: Annotated[int, typer.Option("--readings-per-message", "-k", min=1, max=10_000)] = 1,
    duration: Annotated[float, typer.Option(help="Seconds; 0 is until Ctrl-C.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Another seed is another city.")] = 1,
    faults: Annotated[
        str, typer.Option(help="none, some, or shares of spike, stuck, dropout, sentinel, clock: spike=0.01")
    ] = "none",
    profile: Annotated[str, typer.Option(help="traffic: speeds of roads; air: particles (PM2.5).")] = "traffic",
    register: Annotated[
        bool, typer.Option("--register", help="Publish a place in the city and the period for each sensor first.")
    ] = False,
    window: Annotated[
        int, typer.Option(min=1, max=MAX_WINDOW, help="Most messages that the broker has not acknowledged.")
    ] = 5_000,
) -> None:
    """Simulate a bigger city: real daily courses, moved, scaled and noisy, with faults; tells the rate it achieved.

    Stamps are the time of sending; several readings of a message are
    spread over the time since the sensor's last. Sensors that are not
    registered are taken as the dataset says, and are not on the map:
    see --register.

    \b
    Examples:
      cityfeed simulate --sensors 2000 --rate 500 --register --faults some
      cityfeed simulate --sensors 20000 --rate 30000 --duration 60
      cityfeed simulate -n 5000 -r 6000 -k 10 --profile air
    """
    if not (math.isfinite(rate) and rate > 0 and math.isfinite(duration) and duration >= 0):
        raise CityfeedError("--rate must be positive and --duration at least 0 (0 is until Ctrl-C)")
    settings = load(os.environ)
    if profile not in PROFILES:
        raise CityfeedError(f"--profile {profile}: there are {', '.join(PROFILES)}")
    chosen = PROFILES[profile]
    city = Simulator(
        sample_week(chosen), chosen, sensors, rate, time.time_ns() // 1_000_000, readings_per_message, seed,
        Faults.parse(faults), settings.mqtt_topic_prefix,
    )  # fmt: skip
    progress = Progress(
        TextColumn(f"{sensors:,} {profile} sensors"), BarColumn(), TextColumn("{task.completed:,.0f} messages"),
        TextColumn("{task.fields[rate]}"), TimeElapsedColumn(),
    )  # fmt: skip
    began = time.monotonic()
    sent = 0

    def told(n: int) -> None:
        nonlocal sent
        sent += n
        progress.update(task, completed=sent, rate=f"{sent / (time.monotonic() - began):,.0f}/s")

    try:
        with progress:
            task = progress.add_task("", total=duration * rate or None, rate="")
            report = asyncio.run(_send(settings, city, duration or math.inf, register, window, told))
    except KeyboardInterrupt:
        print(f"\nended after {sent:,} messages, {sent / (time.monotonic() - began):,.0f} a second")
        raise typer.Exit(130) from None
    print(
        f"{report.messages:,} messages of {readings_per_message} acknowledged in {report.seconds:.1f} s: "
        f"{report.messages_per_s:,.0f} messages/s, {report.messages_per_s * readings_per_message:,.0f} readings/s; "
        f"{report.swallowed:,} dropped out; {report.behind_s * 1000:.0f} ms behind the plan at the end"
    )


async def _send(
    settings: Settings, city: Simulator, duration_s: float, register: bool, window: int, told: Callable[[int], None]
) -> Report:
    async with Publisher(Broker.of(settings), window=window) as publisher:
        if register:
            info = read_city(Path(settings.city_dir)).info
            await publisher.publish(
                (meta_message(city.prefix, registration) for registration in city.registrations(info)), retain=True
            )
            await publisher.flush()
        # From here on they are sent: what connecting and registering took is not part of a reading's age.
        return await send(publisher, replace(city, begin_ms=time.time_ns() // 1_000_000), duration_s, told)


def meta_message(prefix: str, registration: Registration) -> Message:
    """The registration as the gateway takes it from `.../meta`: dataset and sensor stand in the topic."""
    fields = msgspec.to_builtins(registration)
    topic = topic_of(prefix, fields.pop("dataset"), fields.pop("sensor"))
    return topic + b"/meta", msgspec.json.encode(fields)
