"""`cityfeed status`: each part, up or not, its memory, address, lag and readings per second."""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from deploy.cli.here import Here
from deploy.local import probes, supervise
from deploy.local.stack import Part

BETWEEN_SCRAPES_S = 3.0  # the sample city moves every second or two
# part -> its counter of readings, its gauge of lag, the lag's unit
METRICS = {
    "gateway": ("cityfeed_gateway_readings_total", "cityfeed_gateway_unacknowledged_messages", "messages"),
    "clean": ("cityfeed_clean_readings_total", "cityfeed_clean_lag_records", "records"),
    "windows": ("cityfeed_windows_readings_total", "cityfeed_windows_lag_records", "records"),
    "api": ("", "cityfeed_api_lag_ms", "ms"),
}


@dataclass(frozen=True)
class PartStatus:
    """One row. `lag` and `readings_per_s` are None where the part has none or does not answer."""

    name: str
    up: bool
    state: str
    pid: int
    up_s: int
    memory_bytes: int
    address: str
    lag: float | None
    lag_unit: str
    readings_per_s: float | None


def status(
    as_json: Annotated[bool, typer.Option("--json", help="The same as one JSON object.")] = False,
) -> None:
    """Show each part: up or not, memory, address, lag, readings/s. Exit code 1 unless all are up."""
    here = Here.find()
    rows = collect(here, int(time.time()))
    python_bytes = sum(row.memory_bytes for row in rows if here.part(row.name).kind == "service")
    pid = supervise.supervisord_pid(here.where)
    python_bytes += probes.own_memory_bytes(pid) if pid else 0
    servers_bytes = sum(row.memory_bytes for row in rows if here.part(row.name).kind == "server")
    if as_json:
        memory = {"total_bytes": python_bytes + servers_bytes, "python_bytes": python_bytes}
        print(json.dumps({"running": pid is not None, "memory": memory, "parts": [asdict(row) for row in rows]}))
    elif pid is None:
        print("cityfeed is not running; `cityfeed up` starts it")
    else:
        _print_table(rows, python_bytes, servers_bytes)
    if not rows or not all(row.up for row in rows):
        raise typer.Exit(1)


def collect(here: Here, now_s: int) -> list[PartStatus]:
    """A row for each part that supervisord knows; [] when the stack is not running."""
    states = {state.name: state for state in supervise.states(here.where)}
    parts = [part for part in here.parts if part.name in states]
    with ThreadPoolExecutor(max_workers=max(1, len(parts))) as threads:
        pages = list(threads.map(_scrape_twice, parts))
        up = list(threads.map(lambda part: probes.answers(part, here.tools), parts))
    rows = []
    for part, page, answers in zip(parts, pages, up, strict=True):
        state = states[part.name]
        counter, gauge, unit = METRICS.get(part.name, ("", "", ""))
        rows.append(
            PartStatus(
                name=part.name,
                up=state.state == "RUNNING" and answers,
                state=state.state.lower() if answers or state.state != "RUNNING" else "not ready",
                pid=state.pid,
                up_s=max(0, now_s - state.since_s) if state.pid else 0,
                memory_bytes=probes.memory_bytes(state.pid) if state.pid else 0,
                address=str(part.address or part.metrics or ""),
                lag=probes.samples(page[2], gauge) if gauge else None,
                lag_unit=unit,
                readings_per_s=_rate(page, counter) if counter else None,
            )
        )
    return rows


def _scrape_twice(part: Part) -> tuple[str, float, str]:
    """The part's metrics page, the seconds until the next look, and that; empty pages if it has none."""
    if part.name not in METRICS or part.metrics is None:
        return "", 0.0, ""
    before_s = time.monotonic()
    first = probes.fetch(part.metrics, "/metrics")[1]
    time.sleep(BETWEEN_SCRAPES_S)
    after_s = time.monotonic()
    return first, after_s - before_s, probes.fetch(part.metrics, "/metrics")[1]


def _rate(page: tuple[str, float, str], counter: str) -> float | None:
    first, second = probes.samples(page[0], counter), probes.samples(page[2], counter)
    return None if first is None or second is None or page[1] <= 0 else (second - first) / page[1]


def _print_table(rows: list[PartStatus], python_bytes: int, servers_bytes: int) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for title, justify in (
        ("part", "left"), ("state", "left"), ("pid", "right"), ("up", "right"), ("memory", "right"),
        ("address", "left"), ("lag", "right"), ("readings/s", "right"),
    ):  # fmt: skip
        table.add_column(title, justify=justify)  # type: ignore[arg-type]
    for row in rows:
        table.add_row(
            row.name,
            f"[green]{row.state}[/]" if row.up else f"[red]{row.state}[/]",
            str(row.pid or ""),
            duration(row.up_s),
            f"{row.memory_bytes / 1e6:.0f} MB",
            row.address,
            "" if row.lag is None else f"{row.lag:.0f} {row.lag_unit}",
            "" if row.readings_per_s is None else f"{row.readings_per_s:.1f}",
        )
    console = Console(width=None if os.isatty(1) else 120)
    console.print(table)
    total = (python_bytes + servers_bytes) / 1e6
    console.print(f"memory in all {total:.0f} MB, of which Python {python_bytes / 1e6:.0f} MB", highlight=False)


def duration(seconds: int) -> str:
    """`42 s`, `7 min`, `3 h 05`, `12 d`."""
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min"
    if seconds < 2 * 86_400:
        return f"{seconds // 3600} h {seconds % 3600 // 60:02}"
    return f"{seconds // 86_400} d"
