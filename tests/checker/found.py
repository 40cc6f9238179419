"""What is in the tables and on Kafka, as it stands there."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import psycopg

from tests.checker.raw_log import LogRecord, column
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
    tests: int = 0
    known_to: int | None = None


@dataclass(frozen=True)
class StoredWindow:
    """A row of `windows` or `windows_history` (then with `known_to`)."""

    key: WindowKey
    statistics: dict[str, float | None]
    version: int
    part: int
    out_seq: int
    gone: bool = False
    known_to: int | None = None


@dataclass(frozen=True)
class PublishedWindow:
    """A row of the topic `windows`, in the order of its partition."""

    part: int
    out_seq: int
    key: WindowKey
    version: int
    statistics: dict[str, float | None]
    gone: bool = False


@dataclass(frozen=True)
class Letter:
    """A dead letter of one reading: what was refused, and why. Times in epoch ms."""

    reason: str
    key: Key
    rev: int
    value: float


@dataclass
class Found:
    """All that is compared."""

    readings: list[StoredReading] = field(default_factory=list)
    history: list[StoredReading] = field(default_factory=list)
    windows: list[StoredWindow] = field(default_factory=list)
    windows_history: list[StoredWindow] = field(default_factory=list)
    n_dirty: int = 0
    clean: list[LogRecord] = field(default_factory=list)
    published: list[PublishedWindow] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)


def in_tables(connection: "psycopg.Connection[Any]") -> Found:
    """Read everything that is stored, in one snapshot; the connection's search path names the schema."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        known_to = ", " + _ms("known_to")
        (dirty,) = connection.execute("SELECT count(*) FROM dirty").fetchone() or (0,)
        return Found(
            [_reading(row) for row in connection.execute(_readings("readings"))],
            [_reading(row[:-1], row[-1]) for row in connection.execute(_readings("readings_history", known_to))],
            [_window(row) for row in connection.execute(_windows("windows"))],
            [_window(row[:-1], row[-1]) for row in connection.execute(_windows("windows_history", known_to))],
            dirty,
        )


def _ms(column: str) -> str:
    return f"(extract(epoch FROM {column}) * 1000)::bigint"


def _readings(table: str, more: str = "") -> bytes:
    columns = (
        f"dataset, sensor, metric, {_ms('start')}, value, source_rev, rev, flag, period_s, {_ms('received')}, part"
    )
    columns += ", tests"
    return f"SELECT {columns}{more} FROM {table} JOIN series ON id = series ORDER BY 1, 2, 3, 4, 7".encode()


def _reading(row: tuple[Any, ...], known_to: int | None = None) -> StoredReading:
    return StoredReading(row[:4], *row[4:], known_to=known_to)


def _windows(table: str, more: str = "") -> bytes:
    columns = f"dataset, sensor, metric, width_s, {_ms('start')}, rev, part, out_seq, gone, {', '.join(STATISTICS)}"
    return f"SELECT {columns}{more} FROM {table} JOIN series ON id = series ORDER BY 1, 2, 3, 4, 5, 6".encode()


def _window(row: tuple[Any, ...], known_to: int | None = None) -> StoredWindow:
    return StoredWindow(row[:5], dict(zip(STATISTICS, row[9:], strict=True)), *row[5:9], known_to)


def log_records(records: Iterable[Any], log: int = 0) -> list[LogRecord]:
    """Kafka's records (aiokafka's) as the checker takes them, in order."""
    found = [LogRecord(record.partition, record.offset, record.value, log) for record in records]
    return sorted(found, key=lambda record: (record.part, record.log, record.offset))


def published_windows(records: Iterable[LogRecord]) -> Iterator[PublishedWindow]:
    """The rows of the topic `windows` from their bytes, without schemas/published.py."""
    for record in records:
        message = msgspec.msgpack.decode(record.value)
        assert (message["v"], message["kind"]) == (1, "windows")
        n = message["n"]
        columns = {name: column(message["c"][name], kind, n) for name, kind in _PUBLISHED.items()}
        for name, texts in message["names"].items():
            columns[name] = [texts[i] for i in columns[name]]
        for i in range(n):
            row = {name: values[i] for name, values in columns.items()}
            said = {name: _nothing_as_none(name, row[name]) for name in STATISTICS}
            key = (row["dataset"], row["sensor"], row["metric"], row["width_s"], row["start"])
            yield PublishedWindow(record.part, row["out_seq"], key, row["rev"], said, bool(row["gone"]))


_PUBLISHED = {
    **dict.fromkeys(("dataset", "sensor", "metric"), "I"),
    **dict.fromkeys(("width_s", "n", "n_expected", "rev"), "i"),
    **dict.fromkeys(("start", "out_seq"), "q"),
    **dict.fromkeys(STATISTICS[2:], "d"),
    "gone": "B",
}


def _nothing_as_none(name: str, value: float) -> float | None:
    return None if value != value or (name == "n_expected" and value == -1) else value


def letters(records: Iterable[LogRecord]) -> Iterator[Letter]:
    """The dead letters of single readings; those of whole messages and records are passed over."""
    for record in records:
        letter = msgspec.msgpack.decode(record.value)
        if letter["source"] == "kafka" and letter["reason"] != "not_a_record":
            row = json.loads(letter["payload"])
            key = (row["dataset"], row["sensor"], row["metric"], row["start"])
            yield Letter(letter["reason"], key, row["rev"], row["value"])
