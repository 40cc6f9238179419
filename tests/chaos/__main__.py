"""`python -m tests.chaos [--seed N] [--scenario NAME ...]`: the long form, with what happens as it happens."""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests import servers as test_servers
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.world import world
from tests.checker.compare import Report
from tests.checker.stack import as_table
from tests.service_stack import port_block

RATE_PER_S = 150.0

console = Console(width=None if sys.stdout.isatty() else 160)


def main() -> None:
    """Run what the command line names, or everything; exit code 1 if the checker found anything."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="of all that is decided by chance; printed, so that a run comes again")
    parser.add_argument("--scenario", nargs="*", choices=[*SCENARIOS, []], metavar="NAME", help=", ".join(SCENARIOS))
    chosen = parser.parse_args()
    names = chosen.scenario or list(SCENARIOS)
    results: list[tuple[str, int, float, str]] = []
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("chaos", total=len(names))
        for name in names:
            seed = random.randrange(1_000_000) if chosen.seed is None else chosen.seed
            progress.update(task, description=f"{name}, seed {seed}")
            began = time.monotonic()
            results.append((name, seed, 0.0, _one(name, seed)))
            results[-1] = (name, seed, time.monotonic() - began, results[-1][3])
            progress.advance(task)
    console.print(_summary(results))
    sys.exit(1 if any(outcome != "good" for *_, outcome in results) else 0)


def _one(name: str, seed: int) -> str:
    """Run a scenario; "good", or what went wrong."""
    scenario = SCENARIOS[name]
    console.print(f"[bold]{name}[/]: {scenario.about}; make chaos SEED={seed} SCENARIO={name}")
    began = time.monotonic()
    report: Report | None = None
    error: Exception | AssertionError | None = None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, port_block() as port:
        Path(folder).chmod(0o755)  # PostgreSQL's user passes through
        with world(
            test_servers.settings(), port, Path(folder), seed, RATE_PER_S,
            lambda text: console.print(f"  {time.monotonic() - began:6.1f} s  {text}", highlight=False),
        ) as made:  # fmt: skip
            try:
                scenario.cause(made, scenario.rounds)
                report = made.judge()
            except Exception as e:
                error = e
            if error or (report and not report.is_good):
                for service, text in made.stack.logs().items():
                    console.print(f"[bold]log of {service}[/]\n" + "\n".join(text.splitlines()[-30:]), markup=True)
    if report is None:
        console.print(f"[bold red]{type(error).__name__}: {error}[/]")
        return f"{type(error).__name__}: {error}"
    console.print(as_table(report))
    for example in report.examples:
        console.print(example, markup=False)
    return "good" if report.is_good else report.text().splitlines()[0]


def _summary(results: list[tuple[str, int, float, str]]) -> Table:
    table = Table(title="chaos")
    for column in ("scenario", "seed", "s", "outcome"):
        table.add_column(column, justify="right" if column in ("seed", "s") else "left", overflow="fold")
    for name, seed, seconds, outcome in results:
        table.add_row(name, str(seed), f"{seconds:.0f}", outcome if outcome == "good" else f"[bold red]{outcome}[/]")
    return table


main()
