"""What is in the tables and on Kafka, as it stands there."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import psycopg

from tests.checker.raw_log import LogRecord
from tests.checker.truth import STATISTICS, Key, WindowKey


@dataclass(frozen=True)
class StoredReading:
    """A row of `readings` or `readings_history` (then with `known_to`); `rev` is the sensor's own number."""

    key: Key
    value: float
    rev: int
    version: int
    flag: int
    period_s: int
    received: int
    part: int
    known_to: int | None = None


@dataclass(frozen=True)
class StoredWindow:
    """A row of `windows` or `windows_history` (then with `known_to`)."""

    key: WindowKey
    statistics: dict[str, float | None]
    version: int
    part: int
    out_seq: int
    known_to: int | None = None


@dataclass(frozen=True)
class PublishedWindow:
    """A row of the topic `windows`, in the order of its partition."""

    part: int
    out_seq: int
    key: WindowKey
    version: int
    statistics: dict[str, float | None]


@dataclass
class Found:
    """All that is compared."""

    readings: list[StoredReading] = field(default_factory=list)
    history: list[StoredReading] = field(default_factory=list)
    windows: list[StoredWindow] = field(default_factory=list)
    windows_history: list[StoredWindow] = field(default_factory=list)
    n_dirty: int = 0
    clean: list[LogRecord] = field(default_factory=list)
    published: list[PublishedWindow] | None = None


def in_tables(connection: "psycopg.Connection[Any]") -> Found:
    """Read everything that is stored, in one snapshot; the connection's search path names the schema."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        columns = {row[0] for row in connection.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = current_schema()"
            " AND table_name = 'readings'"
        )}  # fmt: skip
        rev = "source_rev" if "source_rev" in columns else "rev"
        known_to = _ms("known_to")
        (dirty,) = connection.execute("SELECT count(*) FROM dirty").fetchone() or (0,)
        return Found(
            [StoredReading(*_reading(row)) for row in connection.execute(_readings("readings", rev).encode())],
            [
                StoredReading(*_reading(row), row[11])
                for row in connection.execute(_readings("readings_history", rev, f", {known_to}").encode())
            ],
            [_window(row) for row in connection.execute(_windows("windows").encode())],
            [
                _window(row[:-1], row[-1])
                for row in connection.execute(_windows("windows_history", f", {known_to}").encode())
            ],
            dirty,
        )


def _ms(column: str) -> str:
    return f"(extract(epoch FROM {column}) * 1000)::bigint"


def _readings(table: str, rev: str, more: str = "") -> str:
    return (
        f"SELECT dataset, sensor, metric, {_ms('start')}, value, {rev}, rev, flag, period_s, {_ms('received')}, part"
        f"{more} FROM {table} JOIN series ON id = series ORDER BY 1, 2, 3, 4, 7"
    )


def _reading(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return row[:4], *row[4:11]


def _windows(table: str, more: str = "") -> str:
    return (
        f"SELECT dataset, sensor, metric, width_s, {_ms('start')}, rev, part, out_seq, {', '.join(STATISTICS)}{more}"
        f" FROM {table} JOIN series ON id = series ORDER BY 1, 2, 3, 4, 5, 6"
    )


def _window(row: tuple[Any, ...], known_to: int | None = None) -> StoredWindow:
    return StoredWindow(row[:5], dict(zip(STATISTICS, row[8:], strict=True)), row[5], row[6], row[7], known_to)


def log_records(records: Iterable[Any], log: int = 0) -> list[LogRecord]:
    """Kafka's records (aiokafka's) as the checker takes them, in order."""
    found = [LogRecord(record.partition, record.offset, record.value, log) for record in records]
    return sorted(found, key=lambda record: (record.part, record.log, record.offset))
