"""Judges a running stack: reads its tables and its topics."""

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from tests.checker.compare import CHECKS, Report, judge
from tests.checker.found import in_tables, log_records
from tests.checker.raw_log import LogRecord
from tests.checker.rules import Rules
from tests.service_stack import ServiceStack


def judge_stack(stack: ServiceStack, before: Sequence[LogRecord] = ()) -> Report:
    """Compare what is stored with the raw log; `before` is what was in logs that are no more, oldest first."""
    with stack.connect() as connection:
        found = in_tables(connection)
    log = 1 + max((record.log for record in before), default=-1)
    found.clean = log_records(stack.records("readings.clean"), log)
    raw = [*before, *log_records(stack.records("readings.raw"), log)]
    return judge(raw, found, Rules(Path(stack.settings.city_dir)))


def as_table(report: Report) -> Table:
    """What was compared and every kind of fault, to be read."""
    table = Table(title="checker: " + ", ".join(f"{n:,} {what}" for what, n in report.compared.items()))
    for column in ("fault", "found", "what it means"):
        table.add_column(column, justify="right" if column == "found" else "left")
    for kind, n in report.faults.items():
        table.add_row(kind, f"[bold red]{n}[/]" if n else "0", CHECKS[kind])
    return table
