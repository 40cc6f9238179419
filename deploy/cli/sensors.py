"""`cityfeed sensors`: the registry."""

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from deploy.local.settings import load
from schemas.city import read_city
from schemas.datasets import Dataset
from schemas.errors import CityfeedError
from schemas.registry import Registration, encode, rule_mistakes
from schemas.registry_files import COLUMNS, parse_geojson, parse_sensors_csv
from schemas.settings import Settings
from schemas.topics import SENSORS
from schemas.units import conversion

KAFKA_TIMEOUT_S = 15.0

app = typer.Typer(no_args_is_help=True, help="The registry: which sensors there are, and where.")


@app.callback()
def _sensors() -> None:
    """The registry: which sensors there are, and where."""


@app.command(
    "import",
    epilog="Examples:  cityfeed sensors import stations.csv   |   cityfeed sensors import stations.geojson --check",
)
def import_(
    file: Annotated[Path, typer.Argument(help="A .csv or .geojson file.")],
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Import the good rows, only tell of others.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Only look for mistakes.")] = False,
) -> None:
    """Register the sensors of a file: place, device, units, periods.

    Columns of the CSV (properties of the GeoJSON's points) are
    dataset, sensor, name, lon, lat, height_m, surroundings,
    valid_from, valid_to, make, model, serial, firmware, owner,
    public_precision_m, demo, metrics, quality; the first two are
    needed.

    A sensor that moved has a row for each place, with valid_from.
    `metrics` says what its series have of their own, such as
    speed=mph@300;volume@300: metric, =unit, @seconds of the period.
    `quality` has parameters of quality rules of their own, as JSON:
    {"speed": {"spike": {"suspect": 80}}} (docs/quality.md).

    A row with the same sensor and valid_from replaces the one before.
    With a mistake anywhere, nothing is imported, unless --skip-bad.
    """
    settings = load(os.environ)
    registrations, problems = read_registrations(file, read_city(Path(settings.city_dir)).datasets)
    for problem in problems:
        print(problem)
    if problems and not skip_bad:
        raise CityfeedError(f"{len(problems)} mistake(s), nothing imported; --skip-bad imports the other rows")
    if check:
        print(f"{len(registrations)} rows are good")
        return
    asyncio.run(publish(settings, registrations))
    print(f"{len(registrations)} registrations imported")


def read_registrations(file: Path, datasets: dict[str, Dataset]) -> tuple[list[Registration], list[str]]:
    """The good rows of a file, and a sentence for each of the others.

    Raises `CityfeedError` for a file that can't be read or has another suffix.
    """
    parse = {".csv": parse_sensors_csv, ".geojson": parse_geojson, ".json": parse_geojson}.get(file.suffix.lower())
    if parse is None:
        raise CityfeedError(f"{file}: it takes a .csv file (columns {', '.join(COLUMNS)}) or a .geojson file")
    try:
        registrations, problems = parse(file.read_text("utf-8-sig"), str(file))
    except OSError as e:
        raise CityfeedError(f"{file}: {e.strerror}") from e
    except UnicodeDecodeError as e:
        raise CityfeedError(f"{file} is not UTF-8: {e}; save it as UTF-8") from e
    good: list[Registration] = []
    seen: set[str] = set()
    for registration in registrations:
        found = list(_mistakes(registration, datasets))
        if registration.key in seen:
            found.append("listed twice with the same valid_from")
        seen.add(registration.key)
        problems += [f"{file}: {registration.dataset}/{registration.sensor}: {text}" for text in found]
        if not found:
            good.append(registration)
    return good, problems


def _mistakes(registration: Registration, datasets: dict[str, Dataset]) -> list[str]:
    if registration.dataset not in datasets:
        return [f"there is no dataset {registration.dataset!r}; there are {', '.join(sorted(datasets))}"]
    units = [
        f"no conversion from {series.unit!r} for {metric}; schemas/units.py lists the units"
        for metric, series in registration.series.items()
        if conversion(metric, series.unit or "") is None
    ]
    return units + list(rule_mistakes(registration, datasets[registration.dataset]))


async def publish(settings: Settings, registrations: list[Registration]) -> None:
    """Write them to the topic `sensors`; returns when Kafka has acknowledged all. Raises `CityfeedError`."""
    topic = settings.kafka_topic_prefix + SENSORS
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap, enable_idempotence=True)
    away = (
        f"Kafka at {settings.kafka_bootstrap} does not take the topic {topic!r}: "
        "the stack makes it when it starts (`cityfeed up`); CITYFEED_KAFKA_BOOTSTRAP names another Kafka"
    )
    try:
        async with asyncio.timeout(KAFKA_TIMEOUT_S):
            await producer.start()
            sent = [await producer.send(topic, encode(r), r.key.encode()) for r in registrations]
            await asyncio.gather(*sent)
    except TimeoutError:
        raise CityfeedError(away) from None
    except KafkaError as e:
        raise CityfeedError(f"{away} ({type(e).__name__})") from e
    finally:
        await producer.stop()
