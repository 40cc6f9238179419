"""`cityfeed watch`: the live feed in the terminal."""

import asyncio
import contextlib
import os
import random
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from schemas.errors import CityfeedError
from schemas.settings import load

SUBPROTOCOL = Subprotocol("cityfeed.v1.json")
LONGEST_WAIT_S = 15.0
HEARTBEATS_MISSED = 3
SHOWN_ROWS = 1_000  # kept for the table; older series are forgotten
FLAGS = {1: "good", 2: "", 3: "[yellow]suspect[/]", 4: "[red]fail[/]", 9: "[dim]missing[/]"}

Row = dict[str, Any]


def watch(
    dataset: Annotated[list[str] | None, typer.Option("--dataset", "-d", help="Only this; may be repeated.")] = None,
    metric: Annotated[list[str] | None, typer.Option("--metric", "-m", help="Only these.")] = None,
    sensor: Annotated[list[str] | None, typer.Option("--sensor", "-s", help="Only these.")] = None,
    bbox: Annotated[str, typer.Option(help="minLon,minLat,maxLon,maxLat in degrees.")] = "",
    mode: Annotated[
        str, typer.Option(help="latest: the newest of each series, once a second; all: every reading.")
    ] = "latest",
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object a line, for other programs.")] = False,
    lines: Annotated[bool, typer.Option("--lines", help="Rolling lines instead of a table.")] = False,
    url: Annotated[str, typer.Option(help="Another live feed; default: this stack's.")] = "",
) -> None:
    """Watch the city live; Ctrl-C ends it.

    A lost connection is made again after a random while, and begins
    with what is newest then.

    \b
    Examples:
      cityfeed watch --dataset air-quality --metric pm25
      cityfeed watch --bbox -118.3,34.0,-118.2,34.1 --mode all --lines
      cityfeed watch --json | jq .value
    """
    settings = load(os.environ)
    if mode not in ("latest", "all"):
        raise CityfeedError(f"--mode {mode}: it takes latest or all")
    wanted: dict[str, Any] = {"dataset": dataset or [], "metric": metric or [], "sensor": sensor or []}
    if bbox:
        wanted["bbox"] = _bbox(bbox)
    feed = Feed(url or f"ws://{settings.api_host}:{settings.api_port}/v1/live", wanted, mode)
    show = _json if as_json else _lines if lines or not sys.stdout.isatty() else _table
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        asyncio.run(show(feed))


@dataclass
class Feed:
    """A subscription that survives lost connections. `rows()` gives what comes; `state` says how it stands."""

    url: str
    wanted: dict[str, Any]
    mode: str
    state: str = "connecting"
    said: str = ""  # of the connection before
    _failures: int = field(default=0, init=False)

    async def rows(self) -> AsyncGenerator[list[Row], None]:
        """Rows as they come, for ever. Raises `CityfeedError` where trying again can't help."""
        while True:
            try:
                async with connect(self.url, subprotocols=[SUBPROTOCOL], proxy=None, max_size=None) as socket:
                    async for found in self._session(socket):
                        self._failures = 0
                        yield found
            except ConnectionClosed as e:
                code, reason = (e.rcvd.code, e.rcvd.reason) if e.rcvd else (1006, "connection lost")
                if 4000 <= code < 4100:
                    raise CityfeedError(f"{self.url} refuses this client: {code} {reason}") from None
                self.said = f"{code} {reason}"
            except InvalidHandshake as e:
                raise CityfeedError(f"{self.url} is no live feed of cityfeed: {e}") from None
            except (OSError, TimeoutError) as e:
                self.said = str(e) or "no answer"
            wait_s = random.uniform(0.1, min(LONGEST_WAIT_S, 0.5 * 2.0**self._failures))
            self._failures += 1
            self.state = f"{self.said}; again in {wait_s:.1f} s"
            yield []
            await asyncio.sleep(wait_s)

    async def _session(self, socket: ClientConnection) -> AsyncGenerator[list[Row], None]:
        await _send(socket, {"type": "hello", "client": "cityfeed watch"})
        silence_s = 30.0
        subscription = {"type": "subscribe", "id": 1, "topic": "readings", "filter": self.wanted, "mode": self.mode}
        while True:
            async with asyncio.timeout(silence_s):
                message = msgspec.json.decode(await socket.recv())
            match message:
                case {"type": "welcome", "hb_s": seconds}:
                    silence_s = HEARTBEATS_MISSED * float(seconds)
                    await _send(socket, subscription | {"snapshot": True})
                case {"type": "snapshot" | "data", "d": list(found)}:
                    self.state = "live"
                    yield found
                case {"type": "error", "code": code, "msg": text}:
                    raise CityfeedError(f"the live feed answers: {text} ({code})")
                case {"type": "going_away"}:
                    self.state = "the server goes away"
                case _:  # hb, status, and what later versions add
                    yield []


async def _send(socket: ClientConnection, message: dict[str, Any]) -> None:
    await socket.send(msgspec.json.encode(message).decode())


async def _json(feed: Feed) -> None:
    async for rows in feed.rows():
        for row in rows:
            print(msgspec.json.encode(row).decode(), flush=True)
        if not rows and feed.state != "live":
            print(feed.state, file=sys.stderr)


async def _lines(feed: Feed) -> None:
    async for rows in feed.rows():
        for row in rows:
            flag = {3: " suspect", 4: " FAIL", 9: " missing"}.get(row["flag"], "")
            name = f"{row['dataset']}/{row['sensor']}"
            print(f"{row['start']}  {name:<32} {row['metric']:<12} {_value(row):>10} {row['unit']}{flag}", flush=True)
        if not rows and feed.state != "live":
            print(feed.state, file=sys.stderr)


async def _table(feed: Feed) -> None:
    series: dict[tuple[str, str, str], Row] = {}
    seen = 0
    console = Console()
    with Live(console=console, auto_refresh=False, screen=True) as live:
        async for rows in feed.rows():
            for row in rows:
                key = (row["dataset"], row["sensor"], row["metric"])
                series.pop(key, None)
                series[key] = row  # the newest are last
            while len(series) > SHOWN_ROWS:
                del series[next(iter(series))]
            seen += len(rows)
            live.update(table(list(series.values()), feed.state, seen, console.size.height - 4), refresh=True)


def table(rows: list[Row], state: str, seen: int, height: int) -> Table:
    """The newest rows that fit, the newest first."""
    made = Table(title=f"{len(rows)} series, {seen} readings, {state}", expand=True)
    for name in ("dataset", "sensor", "metric", "value", "unit", "start", "flag"):
        made.add_column(name, justify="right" if name == "value" else "left", no_wrap=True)
    for row in reversed(rows[-max(1, height) :]):
        names = (row["dataset"], row["sensor"], row["metric"])
        made.add_row(*names, _value(row), row["unit"], row["start"], FLAGS.get(row["flag"], ""))
    return made


def _value(row: Row) -> str:
    return "-" if row["value"] is None else f"{row['value']:.1f}"


def _bbox(text: str) -> list[float]:
    try:
        box = [float(part) for part in text.split(",")]
    except ValueError:
        box = []
    if len(box) != 4:
        raise CityfeedError(f"--bbox {text}: it takes minLon,minLat,maxLon,maxLat, such as -118.3,34.0,-118.2,34.1")
    return box
