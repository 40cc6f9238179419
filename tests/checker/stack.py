"""Judges a running stack: reads its tables and its topics."""

from pathlib import Path

from rich.table import Table

from tests.checker.compare import CHECKS, Report, judge
from tests.checker.found import in_tables, letters, log_records, published_windows
from tests.checker.raw_log import LogRecord
from tests.checker.rules import Rules
from tests.service_stack import ServiceStack

TOPICS = ("readings.raw", "readings.clean", "windows", "dead-letters")
Logs = dict[str, list[LogRecord]]


def read_logs(stack: ServiceStack, before: Logs | None = None) -> Logs:
    """What is in the topics now, after what was `before` in logs that are no more."""
    before = before or {}
    number = 1 + max((record.log for records in before.values() for record in records), default=-1)
    return {topic: [*before.get(topic, []), *log_records(stack.records(topic), number)] for topic in TOPICS}


def judge_stack(stack: ServiceStack, before: Logs | None = None) -> Report:
    """Compare what is stored and published with the raw log."""
    with stack.connect() as connection:
        found = in_tables(connection)
    logs = read_logs(stack, before)
    found.clean = logs["readings.clean"]
    found.published = list(published_windows(logs["windows"]))
    found.letters = list(letters(logs["dead-letters"]))
    return judge(logs["readings.raw"], found, Rules(Path(stack.settings.city_dir)))


def as_table(report: Report) -> Table:
    """What was compared and every kind of fault, to be read."""
    table = Table(title="checker: " + ", ".join(f"{n:,} {what}" for what, n in report.compared.items()))
    for column in ("fault", "found", "what it means"):
        table.add_column(column, justify="right" if column == "found" else "left")
    for kind, n in report.faults.items():
        table.add_row(kind, f"[bold red]{n}[/]" if n else "0", CHECKS[kind])
    return table
