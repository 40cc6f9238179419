"""`cityfeed dead-letters`: what was refused, and sending it again."""

import asyncio
import json
import os
import re
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from deploy.dead_letters.replay import Record, Replayer
from deploy.dead_letters.store import Stored, Wanted, mark_replayed, read
from deploy.imports.raw import RawWriter, raw_writer, read_registry
from deploy.local.settings import load
from schemas.city import read_city
from schemas.errors import CityfeedError
from schemas.settings import Settings

SINCE = re.compile(r"(\d+)([smhd])")
UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

Reason = Annotated[str, typer.Option("--reason", "-r", help="Only those refused for this, such as clock_future.")]
InDataset = Annotated[str, typer.Option("--dataset", "-d", help="Only those of this dataset.")]
OfSensor = Annotated[str, typer.Option("--sensor", "-s", help="Only those of this sensor.")]
Since = Annotated[str, typer.Option("--since", help="Only those of the last 30m, 12h, 7d, or since an RFC 3339 time.")]

app = typer.Typer(no_args_is_help=True, help="What was refused: list, show, replay.")


@app.callback()
def _dead_letters() -> None:
    """What was refused: list, show, replay.

    Whatever can't be used is kept: its bytes, where and when it came,
    and why it was refused. When the reason is mended (a dataset added,
    a unit registered, a clock set right), send it again with replay.
    """


@app.command("list")
def list_(
    reason: Reason = "",
    dataset: InDataset = "",
    sensor: OfSensor = "",
    since: Since = "",
    limit: Annotated[int, typer.Option(help="How many to list, the newest; the summary counts all.", min=0)] = 20,
    all_: Annotated[bool, typer.Option("--all", help="Also those that were replayed.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, oldest first.")] = False,
) -> None:
    """How many there are by reason, and the newest.

    \b
    Examples:
      cityfeed dead-letters list --since 1d
      cityfeed dead-letters list --reason unit_unknown --limit 100
      cityfeed dead-letters list --json > letters.ndjson
    """
    wanted = Wanted((), reason, dataset, sensor, _since_ms(since), all_)
    found = asyncio.run(_collect(load(os.environ), wanted))
    if as_json:
        for stored in found:
            print(json.dumps(_as_object(stored)))
        return
    if not found:
        print("no dead letters" if wanted == Wanted() else "no dead letters like that")
        return
    console = Console()
    counts = Table("reason", "letters", box=None)
    for name, count in Counter(stored.letter.reason for stored in found).most_common():
        counts.add_row(name, f"{count:,}")
    console.print(counts)
    if newest := found[-limit:] if limit else []:
        table = Table("id", "received", "reason", "from", "detail", box=None, padding=(0, 2, 0, 0))
        for stored in newest:
            table.add_row(
                str(stored.id), _utc(stored.letter.received), stored.letter.reason + (" *" if stored.replayed else ""),
                for_terminal("/".join(filter(None, stored.place)) or stored.letter.topic),
                for_terminal(stored.letter.detail),
            )  # fmt: skip
        console.print()
        console.print(table)
    if any(stored.replayed for stored in found):
        console.print("* was replayed")


@app.command()
def show(
    id_: Annotated[int, typer.Argument(metavar="ID", help="The letter's id, from list.")],
    payload: Annotated[bool, typer.Option("--payload", help="Only the bytes, as they came.")] = False,
) -> None:
    """A letter whole. Its bytes go into a file with --payload, to be mended and replayed:

    \b
      cityfeed dead-letters show 17 --payload > message.json
      cityfeed dead-letters replay 17 --payload message.json
    """
    stored = _one(asyncio.run(_collect(load(os.environ), Wanted((id_,)))), id_)
    if payload:
        sys.stdout.buffer.write(stored.letter.payload)
        return
    for name, value in _as_object(stored).items():
        print(f"{name:<12}{value}")


@app.command()
def replay(
    ids: Annotated[list[int] | None, typer.Argument(metavar="[ID]...", help="Letters, by their ids.")] = None,
    reason: Reason = "",
    dataset: InDataset = "",
    sensor: OfSensor = "",
    since: Since = "",
    everything: Annotated[bool, typer.Option("--all", help="All that were not replayed yet.")] = False,
    payload: Annotated[Path | None, typer.Option(help="Mended bytes, for one letter.")] = None,
    as_import: Annotated[bool, typer.Option("--as-import", help="As history: also what is long past.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would become of them.")] = False,
) -> None:
    """Send letters again, now that what was wrong is mended.

    Each is judged anew, with the city folder and the registry of now.
    What would be refused again stays as it is, and is told. What is
    stored already is dropped as a repeat, so nothing comes twice; what
    Kafka has acknowledged is marked and not replayed by the next call.

    \b
    Examples:
      cityfeed dead-letters replay 17 18
      cityfeed dead-letters replay --reason dataset_unknown
      cityfeed dead-letters replay --all --dry-run
    """
    if not (ids or reason or dataset or sensor or since or everything):
        raise CityfeedError("which letters? Give ids, --reason, --dataset, --sensor, --since, or --all")
    if payload is not None and len(ids or ()) != 1:
        raise CityfeedError("--payload is for one letter: give its id")
    wanted = Wanted(tuple(ids or ()), reason, dataset, sensor, _since_ms(since))
    mended = _read(payload) if payload is not None else None
    asyncio.run(_replay(load(os.environ), wanted, mended, as_import, dry_run))


async def _replay(settings: Settings, wanted: Wanted, mended: bytes | None, as_import: bool, dry_run: bool) -> None:
    found = await _collect(settings, wanted)
    for missing in set(wanted.ids) - {stored.id for stored in found}:
        raise CityfeedError(f"there is no dead letter {missing}; `cityfeed dead-letters list` has their ids")
    city = read_city(Path(settings.city_dir))
    registry = await read_registry(settings, city.datasets)
    sent, refused = 0, 0
    async with raw_writer(settings) as writer:
        replayer = Replayer(
            city, registry, settings.mqtt_topic_prefix, writer.partitions, settings.future_tolerance_s * 1000
        )
        for stored in found:
            letter = stored.letter
            if mended is not None:
                letter = msgspec.structs.replace(letter, payload=mended, truncated=False)
            made = replayer.replay(letter, _now_ms(), as_import)
            if made.refused:
                refused += 1
                print(f"{stored.id}: still refused: {for_terminal(made.refused)}")
            elif dry_run:
                sent += 1
            else:
                await _send(settings, writer, stored, made.records)
                sent += 1
    print(f"{sent:,} {'would be sent' if dry_run else 'sent'}, {refused:,} still refused")
    if refused:
        raise typer.Exit(1)


async def _send(settings: Settings, writer: RawWriter, stored: Stored, records: list[Record]) -> None:
    for record in records:
        topic = settings.kafka_topic_prefix + record.topic
        await writer.send_bytes(topic, record.value, record.partition, record.key)
    await mark_replayed(settings, writer, stored.id, _now_ms())


async def _collect(settings: Settings, wanted: Wanted) -> list[Stored]:
    return [stored async for stored in read(settings, wanted)]


def _one(found: list[Stored], id_: int) -> Stored:
    if not found:
        raise CityfeedError(f"there is no dead letter {id_}; `cityfeed dead-letters list` has their ids")
    return found[0]


def _as_object(stored: Stored) -> dict[str, object]:
    letter = stored.letter
    try:
        text = letter.payload.decode()
    except UnicodeDecodeError:
        text = "hex " + letter.payload.hex()
    dataset, sensor = stored.place
    return {
        "id": stored.id, "received": _utc(letter.received), "reason": letter.reason, "detail": letter.detail,
        "source": letter.source, "topic": letter.topic, "partition": letter.partition, "offset": letter.offset,
        "row": letter.row, "dataset": dataset, "sensor": sensor, "replayed": stored.replayed,
        "truncated": letter.truncated, "payload": text,
    }  # fmt: skip


def _since_ms(text: str) -> int | None:
    if not text:
        return None
    if ago := SINCE.fullmatch(text):
        return _now_ms() - int(ago[1]) * UNITS_S[ago[2]] * 1000
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise CityfeedError(f"--since {text}: it takes 30m, 12h, 7d, or a time such as 2026-11-01T00:00:00Z")
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as e:
        raise CityfeedError(f"--payload {path}: {e.strerror}") from e


def _utc(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def for_terminal(text: str) -> str:
    """What came from outside, at most 160 characters: it is not to steer the terminal, nor to turn a line around."""
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= 160 else text[:157] + "..."


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
