"""Records of readings read from their bytes as docs/wire-format.md describes them, without schemas/wire.py."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

_TYPES = {
    "sensor": "I", "metric": "H", "start": "q", "period_s": "i", "value": "d", "rev": "i", "origin": "B",
    "received": "q", "flag": "B", "tests": "I",
}  # fmt: skip


@dataclass(frozen=True)
class LogRecord:
    """A Kafka record; `log` counts how often the log was made anew before it."""

    part: int
    offset: int
    value: bytes
    log: int = 0


@dataclass(frozen=True)
class LoggedReading:
    """A reading as it stands in the raw log: unit and value as the sensor sent them, times epoch ms."""

    dataset: str
    sensor: str
    metric: str
    unit: str
    start: int
    period_s: int
    value: float
    rev: int
    origin: int
    received: int
    part: int
    place: tuple[int, int]  # (log, offset)


def read_map(data: bytes) -> dict[str, Any] | None:
    """The map that a record is; None for bytes that are no record."""
    try:
        found = msgspec.msgpack.decode(data)
    except (msgspec.DecodeError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("v") == 1 and found.get("kind") in ("raw", "clean") else None


def readings(record: LogRecord) -> Iterator[LoggedReading]:
    """The readings of a raw record; none of a tick or of poison."""
    found = read_map(record.value)
    if found is None or not found["n"]:
        return
    columns = {name: column(found["c"][name], kind, found["n"]) for name, kind in _TYPES.items()}
    for i in range(found["n"]):
        dataset, sensor = found["sensors"][columns["sensor"][i]]
        metric, unit = found["metrics"][columns["metric"][i]]
        yield LoggedReading(
            dataset, sensor, metric, unit, *(columns[n][i] for n in ("start", "period_s", "value", "rev", "origin")),
            columns["received"][i], record.part, (record.log, record.offset),
        )  # fmt: skip


def column(packed: Any, kind: str, n: int) -> list[Any]:
    """A column of n values of a type of `struct`, packed as bytes or as the one number that all are."""
    if isinstance(packed, bytes):
        return list(struct.unpack(f"<{n}{kind}", packed))
    return [float(packed) if kind == "d" else packed] * n
