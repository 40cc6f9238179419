"""The bytes of a Kafka record of readings, version 1.

MessagePack map; times are epoch milliseconds UTC; columns are little-endian numpy buffers:

    v         1
    kind      "raw" (gateway -> clean) | "clean" (clean -> windows, api)
    tick      the gateway's time when it wrote this record as a clock tick, else 0; a tick has no readings
    raw       position of the raw record that a clean record was made from   (clean only)
    prev_raw  `raw` of the clean record before it in the partition, -1 first (clean only)
    rules     version of the rule set                                        (clean only)
    raw_crc   CRC-32 of the raw record's bytes                               (clean only, may be missing)
    gap       why raw records between are missing: raw was made anew or cut  (clean only, where it is so)
    n         number of readings
    sensors   [[dataset, sensor], ...]
    metrics   [[metric, unit], ...]
    c         {column: bytes of n values | one number where all n are equal}, see schemas.readings.COLUMNS

A position is `log epoch << 44 | offset`: a raw log that is made anew begins a new epoch, so that `raw` only grows.
Readers ignore keys they do not know; a new meaning is a new version. `tests/schemas/wire_vectors.json` holds
test vectors for implementations in other languages. A record with no readings is a repeat guard, not noise:
`clean` writes exactly one record for each raw one, so that readers can see a gap.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np

from schemas.errors import WireError
from schemas.readings import COLUMNS, EMPTY, OPTIONAL_COLUMNS, Readings

VERSION = 1
MAX_READINGS = 1_000_000  # a record that says more is not ours


Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]  # MessagePack's integers reach further


class _Message(msgspec.Struct, gc=False):
    """The map that the bytes are, checked and built in one pass."""

    v: int
    kind: str
    tick: Int64
    n: int
    sensors: tuple[tuple[str, str], ...]
    metrics: tuple[tuple[str, str], ...]
    c: dict[str, bytes | int | float]
    raw: Int64 = -1
    prev_raw: Int64 = -1
    rules: str = ""
    raw_crc: Int64 = -1
    gap: str = ""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Message)


@dataclass(frozen=True, slots=True)
class Record:
    """One Kafka record; see the module's docstring for the fields."""

    kind: str
    readings: Readings = EMPTY
    tick: int = 0
    raw: int = -1
    prev_raw: int = -1
    rules: str = ""
    raw_crc: int = -1  # not known
    gap: str = ""


def encode(record: Record) -> bytes:
    """The record's bytes."""
    batch = record.readings
    message: dict[str, Any] = {"v": VERSION, "kind": record.kind, "tick": record.tick}
    if record.kind == "clean":
        message |= {"raw": record.raw, "prev_raw": record.prev_raw, "rules": record.rules}
        message |= {"raw_crc": record.raw_crc} if record.raw_crc >= 0 else {}
        message |= {"gap": record.gap} if record.gap else {}
    message |= {
        "n": len(batch),
        "sensors": batch.sensors,
        "metrics": batch.metrics,
        "c": {
            name: _pack(column, dtype)
            for name, dtype in (COLUMNS | OPTIONAL_COLUMNS).items()
            if len(batch) and (column := getattr(batch, name)) is not None
        },
    }
    return _encoder.encode(message)


def decode(data: bytes) -> Record:
    """Read a record's bytes. Raises `WireError` for bytes that are not a version 1 record."""
    try:
        message = _decoder.decode(data)
        if message.v != VERSION:
            raise WireError(f"record of version {message.v}; this program reads version {VERSION}")
        if message.kind not in ("raw", "clean"):
            raise WireError(f"record of unknown kind {message.kind!r}")
        chain = message.raw, message.prev_raw, message.rules, message.raw_crc, message.gap
        return Record(message.kind, _readings(message), message.tick, *chain)
    except WireError:
        raise
    except (msgspec.DecodeError, KeyError, ValueError, OverflowError, RecursionError) as e:
        raise WireError(f"not a record of readings: {type(e).__name__}: {e}") from e


def _readings(message: _Message) -> Readings:
    n = message.n
    if n == 0:
        return EMPTY
    if not 0 < n <= MAX_READINGS:
        raise WireError(f"a record of {n} readings; at most {MAX_READINGS}")
    packed = message.c
    columns = {name: _unpack(packed[name], dtype, n, name) for name, dtype in COLUMNS.items()}
    columns |= {
        name: _unpack(packed[name], dtype, n, name) for name, dtype in OPTIONAL_COLUMNS.items() if name in packed
    }
    if columns["sensor"].max() >= len(message.sensors) or columns["metric"].max() >= len(message.metrics):
        raise WireError("a reading names a sensor or a metric that the record does not list")
    if ("lon" in columns) != ("lat" in columns):
        raise WireError("lon without lat")
    return Readings(message.sensors, message.metrics, **columns)


def _pack(column: Any, dtype: np.dtype[Any]) -> Any:
    # NaN is unequal to itself, so a column of NaN goes as bytes: right, and rare.
    if column[0] == column[-1] and (column == column[0]).all():
        return column[0].item()
    return np.ascontiguousarray(column, dtype).tobytes()


def _unpack(packed: bytes | int | float, dtype: np.dtype[Any], n: int, name: str) -> Any:
    if isinstance(packed, bytes):
        if len(packed) != n * dtype.itemsize:
            raise WireError(f"column {name} has {len(packed)} bytes for {n} readings")
        return np.frombuffer(packed, dtype)
    if isinstance(packed, float) and dtype.kind != "f":
        raise WireError(f"column {name} holds whole numbers, not {packed!r}")
    column = np.empty(n, dtype)
    column.fill(packed)
    return column
