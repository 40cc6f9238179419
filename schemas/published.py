"""The bytes of a Kafka record of published rows, version 1: what the database made and subscribers follow.

The topics `windows`, `index` and `readings.amended` carry rows that were numbered in the transaction that stored
them. A record has rows of one partition, MessagePack, in the manner of schemas/wire.py:

    v         1
    kind      a name in KINDS; the topic of the same name carries it
    n         number of rows, at least 1
    names     {text column: [the distinct texts]}
    c         {column: bytes of n little-endian values | one number where all n are equal}; of a text column indices
              into its names

Every kind has `out_seq`: ONE counter over all kinds of a partition. Within a topic and partition it grows, also
within a record, and has holes (other kinds, dead letters, revisions that changed nothing). After a restart rows are
sent again from `positions.published_seq` on: a reader skips those whose `out_seq` is not above the last it took from
that topic and partition. Readers ignore keys and columns they do not know; a new meaning is a new version.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt

from schemas import topics
from schemas.errors import WireError

VERSION = 1
MAX_ROWS = 1_000_000  # a record that says more is not ours
ROWS_PER_RECORD = 4_000  # what the outbox puts in one: under 1 MiB

Array = npt.NDArray[Any]
Table = dict[str, "np.dtype[Any] | None"]
"""Columns by name, in the order of the wire; None is text."""

_TEXT = None
_I4, _I8, _F8, _U1, _U4 = (np.dtype(name) for name in ("<i4", "<i8", "<f8", "u1", "<u4"))

WINDOWS: Table = {
    "dataset": _TEXT,
    "sensor": _TEXT,
    "metric": _TEXT,
    "width_s": _I4,
    "start": _I8,  # epoch ms UTC: [start, start + width_s)
    "n": _I4,
    "n_expected": _I4,  # -1: the cadence is not known, and coverage is NaN
    "coverage": _F8,
    "mean": _F8,  # this and the rest NaN where n is 0
    "min": _F8,
    "max": _F8,
    "std": _F8,
    "p50": _F8,
    "p95": _F8,
    "first": _F8,
    "last": _F8,
    "complete": _U1,
    "gone": _U1,  # 1: no stored reading is this window's any more; n is 0, and it is no longer served
    "rev": _I4,  # 1, 2, 3, ...: each published change of the window
    "origin": _U1,  # 1: made from imported readings alone
    "published": _I8,  # epoch ms UTC of the transaction
    "out_seq": _I8,
}

AMENDED: Table = {
    "dataset": _TEXT,
    "sensor": _TEXT,
    "metric": _TEXT,
    "start": _I8,
    "period_s": _I4,
    "value": _F8,  # canonical unit
    "flag": _U1,
    "tests": _U4,
    "rev": _I4,  # of the row, above the one before
    "source_rev": _I4,  # the sensor's own
    "origin": _U1,
    "received": _I8,
    "published": _I8,
    "out_seq": _I8,
}
"""Readings whose flag or tests changed when they were judged again among stored neighbours (`topics.AMENDED`)."""

INDEX: Table = {
    "dataset": _TEXT,
    "sensor": _TEXT,
    "index": _TEXT,  # us-aqi, nowcast, eaqi, daqi, who
    "metric": _TEXT,  # the pollutant, or `overall`
    "table": _TEXT,  # the year that names the authority's table
    "driver": _TEXT,  # the pollutant whose value it is; empty: no data
    "source": _TEXT,  # the metric that fed it, such as pm25-corr; empty: no data
    "category": _TEXT,  # the authority's name, or `no data`
    "start": _I8,  # epoch ms UTC: [start, end)
    "end": _I8,
    "value": _F8,  # NaN: no data
    "concentration": _F8,  # what the value is of, canonical unit; NaN: too few hours
    "hours": _I4,  # how many hours were there, of
    "expected": _I4,
    "coverage": _F8,  # hours / expected
    "beyond": _U1,  # 1: above the official table
    "rev": _I4,  # 1, 2, 3, ...: each published change of the row
    "origin": _U1,  # 1: of imported readings alone
    "published": _I8,  # epoch ms UTC of the transaction
    "out_seq": _I8,
}

KINDS: dict[str, Table] = {topics.WINDOWS: WINDOWS, topics.INDEX: INDEX, topics.AMENDED: AMENDED}
"""To add a kind: its columns above, a line here, its topic in schemas/topics.py."""


@dataclass(frozen=True, slots=True)
class Texts:
    """A text column of n rows: the distinct texts, and each row's index (n) into them."""

    names: Sequence[str]
    index: Array

    def __len__(self) -> int:
        return len(self.index)

    def values(self) -> list[str]:
        """The text of each row."""
        return [self.names[i] for i in self.index.tolist()]

    def take(self, chosen: Array) -> "Texts":
        """The rows that a mask or an index array chooses."""
        return Texts(self.names, self.index[chosen])


Columns = Mapping[str, "Array | Texts"]


@dataclass(frozen=True, slots=True)
class Published:
    """n rows of a kind as columns; see `KINDS` for names and types."""

    kind: str
    columns: Columns

    def __len__(self) -> int:
        return len(self.columns["out_seq"])


class _Message(msgspec.Struct, gc=False):
    v: int
    kind: str
    n: Annotated[int, msgspec.Meta(ge=1, le=MAX_ROWS)]
    names: dict[str, tuple[str, ...]]
    c: dict[str, bytes | int | float]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Message)


def encode(published: Published) -> bytes:
    """The record's bytes; there must be a row, and every column of the kind."""
    names: dict[str, Sequence[str]] = {}
    packed: dict[str, Any] = {}
    for name, dtype in KINDS[published.kind].items():
        column = published.columns[name]
        if isinstance(column, Texts):
            distinct, index = np.unique(column.index, return_inverse=True)
            names[name] = [column.names[i] for i in distinct.tolist()]
            column = index
        packed[name] = _pack(column, _U4 if dtype is None else dtype)
    message = {"v": VERSION, "kind": published.kind, "n": len(published), "names": names, "c": packed}
    return _encoder.encode(message)


def decode(data: bytes) -> Published:
    """Read a record's bytes. Raises `WireError` for bytes that are not a version 1 record of a known kind."""
    try:
        message = _decoder.decode(data)
    except (msgspec.DecodeError, ValueError, OverflowError, RecursionError) as e:
        raise WireError(f"not a record of published rows: {e}") from e
    if message.v != VERSION:
        raise WireError(f"published rows of version {message.v}; this program reads version {VERSION}")
    if (table := KINDS.get(message.kind)) is None:
        raise WireError(f"published rows of unknown kind {message.kind!r}")
    return Published(message.kind, {name: _column(message, name, dtype) for name, dtype in table.items()})


def _column(message: _Message, name: str, dtype: "np.dtype[Any] | None") -> "Array | Texts":
    if name not in message.c:
        raise WireError(f"a record of {message.kind} without column {name}")
    if dtype is not None:
        return _unpack(message.c[name], dtype, message.n, name)
    index = _unpack(message.c[name], _U4, message.n, name)
    names = message.names.get(name, ())
    if int(index.max()) >= len(names):
        raise WireError(f"column {name} names a text that the record does not list")
    return Texts(names, index)


def _pack(column: Any, dtype: "np.dtype[Any]") -> Any:
    # NaN is unequal to itself, so a column of NaN goes as bytes: right, and rare.
    if column[0] == column[-1] and (column == column[0]).all():
        return dtype.type(column[0]).item()
    return np.ascontiguousarray(column, dtype).tobytes()


def _unpack(packed: bytes | int | float, dtype: "np.dtype[Any]", n: int, name: str) -> Array:
    if isinstance(packed, bytes):
        if len(packed) != n * dtype.itemsize:
            raise WireError(f"column {name} has {len(packed)} bytes for {n} rows")
        return np.frombuffer(packed, dtype)
    if isinstance(packed, float) and dtype.kind != "f":
        raise WireError(f"column {name} holds whole numbers, not {packed!r}")
    try:
        return np.full(n, packed, dtype)
    except OverflowError as e:
        raise WireError(f"column {name} does not hold {packed!r}") from e
