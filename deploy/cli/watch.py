"""`cityfeed watch`: the live feed in the terminal, by way of `cityfeed_client`."""

import contextlib
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, cast

import msgspec
import typer
from cityfeed_client import (
    CityfeedClientError,
    Event,
    Feed,
    Problem,
    ReplayEnd,
    Reset,
    Row,
    Source,
    State,
    Subscription,
)
from cityfeed_client.session import Speed
from cityfeed_client.wanted import Filter, Mode
from rich.console import Console
from rich.live import Live
from rich.table import Table

from deploy.local.settings import load
from schemas.errors import CityfeedError

SHOWN_ROWS = 1_000  # kept for the table; older series are forgotten
KEEP_EVERY_S = 1.0
FLAGS = {1: "good", 2: "", 3: "[yellow]suspect[/]", 4: "[red]fail[/]", 9: "[dim]missing[/]"}
FLAG_WORDS = {3: " suspect", 4: " FAIL", 9: " missing"}

Show = Callable[[Iterator[Event]], None]
Words = list[str] | None


def watch(
    dataset: Annotated[Words, typer.Option("--dataset", "-d", help="Only this; may be repeated.")] = None,
    metric: Annotated[Words, typer.Option("--metric", "-m", help="Only these.")] = None,
    sensor: Annotated[Words, typer.Option("--sensor", "-s", help="Only these.")] = None,
    bbox: Annotated[str, typer.Option(help="minLon,minLat,maxLon,maxLat in degrees.")] = "",
    topic: Annotated[str, typer.Option("--topic", "-t", help="What to watch: see docs/live.md.")] = "readings",
    width: Annotated[Words, typer.Option("--width", "-w", help="Of windows: 5m, 1h ...; only these.")] = None,
    mode: Annotated[
        str, typer.Option(help="latest: the newest of each series, once a second; all: every one.")
    ] = "latest",
    keep: Annotated[
        Path | None, typer.Option(help="A file for the place: a later watch with it begins where this one ended.")
    ] = None,
    since: Annotated[
        str, typer.Option(help="Begin with the past: a time with its offset, or how long ago (90m, 2h, 3d).")
    ] = "",
    until: Annotated[str, typer.Option(help="With --since: end there, instead of going on live.")] = "",
    speed: Annotated[str, typer.Option(help="With --since: 1 to 600 times as fast as it was, or max.")] = "max",
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object a line, for other programs.")] = False,
    lines: Annotated[bool, typer.Option("--lines", help="Rolling lines instead of a table.")] = False,
    url: Annotated[str, typer.Option(help="Another server, http://host:port; default: this stack's.")] = "",
) -> None:
    """Watch the city live; Ctrl-C ends it.

    A lost connection is made again, and goes on where it was: nothing is
    missed, or you are told what could not be had. Notices go to standard
    error, rows to standard output.

    \b
    Examples:
      cityfeed watch --dataset air-quality --metric pm25
      cityfeed watch --bbox -118.3,34.0,-118.2,34.1 --mode all --lines
      cityfeed watch --json | jq .value
      cityfeed watch --mode all --json --keep place.txt >> rows.ndjson
      cityfeed watch --since 2h --dataset traffic --lines
      cityfeed watch --since 2026-11-20T07:00:00Z --until 2026-11-20T09:00:00Z --speed 60
    """
    settings = load(os.environ)
    if mode not in ("latest", "all"):
        raise CityfeedError(f"--mode {mode}: it takes latest or all")
    wanted: Filter = {"dataset": dataset or [], "metric": metric or [], "sensor": sensor or [], "width": width or []}
    if bbox:
        wanted["bbox"] = _bbox(bbox)
    show = _json if as_json else _lines if lines or not sys.stdout.isatty() else _table
    try:
        with Feed(url or f"http://{settings.api_host}:{settings.api_port}", client="cityfeed watch") as feed:
            cursor = _kept(keep)
            if since and cursor is None:
                subscription = _replay(feed, topic, since, until, speed, wanted)
            else:
                subscription = feed.subscribe(topic, mode=cast(Mode, mode), cursor=cursor, **wanted)
            with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
                show(_keeping(iter(feed), subscription, keep))
    except CityfeedClientError as e:
        raise CityfeedError(str(e)) from None


def _replay(feed: Feed, topic: str, since: str, until: str, speed: str, wanted: Filter) -> Subscription:
    if speed != "max" and not re.fullmatch(r"\d{1,3}", speed):
        raise CityfeedError(f"--speed {speed}: it takes 1 to 600, or max")
    times = speed if speed == "max" else int(speed)
    now = datetime.now(UTC)
    return feed.replay(
        topic, since=_time(since, now), until=_time(until, now) if until else None, speed=cast(Speed, times), **wanted
    )


def _time(text: str, now: datetime) -> str:
    """RFC 3339 of a time, or of how long before now. Raises `CityfeedError`."""
    if ago := re.fullmatch(r"(\d{1,6})([smhd])", text):
        unit_s = {"s": 1, "m": 60, "h": 3600, "d": 86_400}[ago[2]]
        return (now - timedelta(seconds=int(ago[1]) * unit_s)).isoformat(timespec="milliseconds")
    return text  # the server says what is wrong with it


def notice(event: Event) -> str | None:
    """What a person should be told of an event that has no rows for them, if anything."""
    match event:
        case Reset():
            more = f"; what is missing: {' '.join(event.history)}" if event.history else ""
            return f"rows are missing here ({event.reason}), and the newest follow{more}"
        case Problem():
            return f"the server says: {event.message} ({event.code})"
        case Source(last_error=str(problem)):
            return f"{event.source}: {problem}"
        case Source():
            return f"{event.source}: it is back"
        case State(state="waiting"):
            return f"{event.detail}; again in {event.wait_s:.1f} s"
        case _:
            return None


def _keeping(events: Iterator[Event], subscription: Subscription, keep: Path | None) -> Iterator[Event]:
    """The events; the place of what was shown is kept in the file."""
    kept, due_s = subscription.cursor, 0.0
    try:
        for event in events:
            yield event
            if isinstance(event, ReplayEnd) and subscription.replay is not None:
                return  # one with an end has come to it
            if subscription.replay is not None:
                continue  # a place in a replay is no place in the feed
            if keep is not None and subscription.cursor not in (None, kept) and time.monotonic() >= due_s:
                kept, due_s = subscription.cursor, time.monotonic() + KEEP_EVERY_S
                _write(keep, kept)
    finally:
        if keep is not None and subscription.cursor is not None and subscription.replay is None:
            _write(keep, subscription.cursor)


def _write(keep: Path, cursor: str | None) -> None:
    draft = keep.with_name(keep.name + ".new")
    try:
        draft.write_text(f"{cursor}\n", encoding="ascii")
        draft.replace(keep)
    except OSError as e:
        raise CityfeedError(f"--keep {keep}: {e.strerror}") from None


def _kept(keep: Path | None) -> str | None:
    if keep is None:
        return None
    try:
        return keep.read_text(encoding="ascii").strip() or None
    except FileNotFoundError:
        return None
    except (OSError, UnicodeError) as e:
        raise CityfeedError(f"--keep {keep}: {getattr(e, 'strerror', 'it holds no place of a feed')}") from None


def _say(event: Event) -> None:
    if (text := notice(event)) is not None:
        print(f"-- {text}", file=sys.stderr, flush=True)


def _json(events: Iterator[Event]) -> None:
    for event in events:
        for row in event.rows:
            sys.stdout.write(msgspec.json.encode(row).decode() + "\n")
        sys.stdout.flush()
        _say(event)


def _lines(events: Iterator[Event]) -> None:
    for event in events:
        for row in event.rows:
            print(line(row))
        sys.stdout.flush()
        _say(event)


def line(row: Row) -> str:
    """A row as a line of text."""
    name = f"{row.get('dataset', '')}/{row.get('sensor', '')}"
    kind = " ".join(filter(None, (row.get("metric"), row.get("index"), row.get("width"))))
    flag = FLAG_WORDS.get(row.get("flag", 1), "")
    return f"{row.get('start', '')}  {name:<32} {kind:<12} {_value(row):>10} {row.get('unit') or ''}{flag}".rstrip()


def _table(events: Iterator[Event]) -> None:
    series: dict[tuple[Any, ...], Row] = {}
    seen, state = 0, "connecting"
    console = Console()
    with Live(console=console, auto_refresh=False, screen=True) as live:
        for event in events:
            for row in event.rows:
                key = tuple(map(row.get, ("dataset", "sensor", "metric", "index", "width")))
                series.pop(key, None)
                series[key] = row  # the newest are last
            while len(series) > SHOWN_ROWS:
                del series[next(iter(series))]
            seen += len(event.rows)
            state = notice(event) or ("live" if event.rows else state)
            live.update(table(list(series.values()), state, seen, console.size.height - 4), refresh=True)


def table(rows: list[Row], state: str, seen: int, height: int) -> Table:
    """The newest rows that fit, the newest first."""
    made = Table(title=f"{len(rows)} series, {seen} rows, {state}", expand=True)
    for name in ("dataset", "sensor", "metric", "value", "unit", "start", "flag"):
        made.add_column(name, justify="right" if name == "value" else "left", no_wrap=True)
    for row in reversed(rows[-max(1, height) :]):
        names = (row.get("dataset", ""), row.get("sensor", ""), row.get("metric") or row.get("index", ""))
        made.add_row(*names, _value(row), row.get("unit"), row.get("start"), FLAGS.get(row.get("flag", 2), ""))
    return made


def _value(row: Row) -> str:
    value = row.get("value", row.get("mean"))
    return "-" if value is None else f"{value:.1f}"


def _bbox(text: str) -> list[float]:
    try:
        box = [float(part) for part in text.split(",")]
    except ValueError:
        box = []
    if len(box) != 4:
        raise CityfeedError(f"--bbox {text}: it takes minLon,minLat,maxLon,maxLat, such as -118.3,34.0,-118.2,34.1")
    return box
