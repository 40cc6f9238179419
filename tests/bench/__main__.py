"""`python -m tests.bench [NAME ...]`: measure, print the table, write bench/results.json.

What was not measured now stays there as it was, also where a later figure failed.
"""

import json
import os
import platform
import sys
import tempfile
import traceback
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from deploy.local.tools import ROOT
from schemas.settings import Settings
from tests import servers
from tests.bench import (
    chain,
    committed,
    gateway,
    indices,
    live,
    local,
    opendata,
    quality,
    recovery,
    sensorthings,
    stream,
)  # fmt: skip
from tests.bench.figure import Figure
from tests.service_stack import ServiceStack, port_block, unique_settings

SERVICES = ("gateway", "clean", "windows", "api")


@contextmanager
def services(*names: str, **settings: Any) -> Iterator[ServiceStack]:
    """A stack of services on the test servers; the named ones are started and ready."""
    with servers.running() as shared, port_block() as port, tempfile.TemporaryDirectory() as folder:
        name = f"bench{uuid.uuid4().hex[:8]}"
        # As many partitions as users get: what `clean` and `windows` cost goes by the record.
        partitions = Settings().kafka_partitions
        chosen = unique_settings(shared, name, port, Path(folder), kafka_partitions=partitions, **settings)
        stack = ServiceStack(chosen, Path(folder))
        try:
            stack.start(*names)
            stack.wait_ready(*names)
            yield stack
        finally:
            stack.close()


def _gateway() -> Iterator[Figure]:
    with services() as stack:
        yield from gateway.generator(stack.settings)
        yield from gateway.measure(stack)


def _rates() -> Iterator[Figure]:
    with services(*SERVICES) as stack:
        yield from chain.rates(stack)


def _latency() -> Iterator[Figure]:
    with services(*SERVICES) as stack:
        yield from chain.latency(stack)


def _sensorthings() -> Iterator[Figure]:
    with services(*SERVICES) as stack:
        yield from sensorthings.measure(stack)


def _recovery() -> Iterator[Figure]:
    with services(*SERVICES) as stack:
        yield from recovery.measure(stack)


def _live_chain() -> Iterator[Figure]:
    with services(*SERVICES, live_connections_per_address=0) as stack:
        yield from live.chain(stack)


def _committed() -> Iterator[Figure]:
    for measure in (committed.one_hz, committed.five_minutes, committed.backfill, committed.shuffled):
        with services("gateway") as stack:  # a stack for each: what one leaves must not slow the next
            yield from measure(stack)


def _opendata() -> Iterator[Figure]:
    with services(*SERVICES) as stack:
        yield from opendata.measure(stack)


FIGURES: dict[str, Callable[[], Iterator[Figure]]] = {
    "gateway": _gateway,
    "chain": _rates,
    "latency": _latency,
    "live": live.measure,
    "live-chain": _live_chain,
    "stream": stream.measure,
    "sensorthings": _sensorthings,
    "indices": indices.measure,
    "recovery": _recovery,
    "quality": quality.measure,
    "committed": _committed,
    "opendata": _opendata,
    "local": local.measure,
}


def main() -> None:
    """Measure what is named on the command line, or everything."""
    chosen = sys.argv[1:] or list(FIGURES)
    if unknown := set(chosen) - set(FIGURES):
        sys.exit(f"no figure {sorted(unknown)[0]!r}; there are {', '.join(FIGURES)}")
    console = Console(width=None if sys.stdout.isatty() else 160)
    found: list[Figure] = []
    failed: list[str] = []
    for name in chosen:
        machine = {"processors": os.cpu_count(), "python": platform.python_version(), "load_before": os.getloadavg()[0]}
        figures: list[Figure] = []
        with console.status(f"measuring {name} ..."):
            try:
                for figure in FIGURES[name]():
                    figures.append(figure)
                    _keep(name, machine, figures, all_of_it=False)
                _keep(name, machine, figures, all_of_it=True)
            except Exception:
                traceback.print_exc()
                failed.append(name)
        found += figures
    console.print(_table(found))
    if failed:
        sys.exit(f"not measured to the end: {', '.join(failed)}")


def _keep(name: str, machine: dict[str, Any], figures: list[Figure], *, all_of_it: bool) -> None:
    """Put what was measured under its name into the results, at once: a later figure may fail."""
    path = ROOT / "bench" / "results.json"
    path.parent.mkdir(exist_ok=True)
    results = json.loads(path.read_text()) if path.exists() else {}
    kept = {known: results[known] for known in FIGURES if known in results}
    before = [] if all_of_it else kept.get(name, {}).get("figures", [])
    merged = {old["name"]: old for old in before} | {figure.name: figure.as_dict() for figure in figures}
    measured = {"machine": machine, "figures": list(merged.values())}
    path.write_text(json.dumps(kept | {name: measured}, indent=2) + "\n")


def _table(found: list[Figure]) -> Table:
    table = Table(title="cityfeed bench")
    for column in ("figure", "ours", "reference", "ratio", "target", "met", "note"):
        table.add_column(
            column, overflow="fold", justify="right" if column in ("ours", "reference", "ratio") else "left"
        )
    for f in found:
        table.add_row(
            f.name,
            f"{f.ours:,.1f} {f.unit}" if f.ours < 1000 else f"{f.ours:,.0f} {f.unit}",
            f"{f.reference:,.0f} ({f.reference_name})" if f.reference else "",
            f"{f.ratio:.2f}" if f.ratio else "",
            f.target,
            {True: "yes", False: "NO", None: ""}[f.met],
            f.note,
        )
    return table


main()
