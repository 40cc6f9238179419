"""PostgreSQL's binary COPY format, to and from numpy columns in one step.

The format (PostgreSQL manual, COPY, "Binary Format"): a signature of 11 bytes, flags, an extension length; each row
a 16-bit field count and per field a 32-bit length and big-endian bytes; a 16-bit -1 at the end. With rows of
fixed width and without nulls the whole body is one structured array.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_TRAILER = b"\xff\xff"
_EPOCH_2000_MS = 946_684_800_000  # PostgreSQL counts microseconds from 2000-01-01

KINDS: dict[str, tuple[str, int]] = {
    "int2": (">i2", 2),
    "int4": (">i4", 4),
    "int8": (">i8", 8),
    "float8": (">f8", 8),
    "timestamptz": (">i8", 8),  # as epoch milliseconds on our side
    "bool": ("?", 1),
}


def dump(columns: Mapping[str, tuple[str, Array]]) -> bytes:
    """The COPY body of columns {name: (kind, values)}, all of one length, in this order, without nulls."""
    n = len(next(iter(columns.values()))[1])
    rows = np.empty(n, _dtype([kind for kind, _ in columns.values()]))
    rows["fields"] = len(columns)
    for i, (kind, values) in enumerate(columns.values()):
        rows[f"length{i}"] = KINDS[kind][1]
        rows[f"value{i}"] = (values - _EPOCH_2000_MS) * 1000 if kind == "timestamptz" else values
    return _HEADER + rows.tobytes() + _TRAILER


def load(body: bytes, columns: Mapping[str, str]) -> dict[str, Array]:
    """Columns from a COPY body {name: kind}; the query must not give nulls.

    Raises `ValueError` where the body is not of this form.
    """
    if not body.startswith(_HEADER[:11]):
        raise ValueError("not PostgreSQL's binary COPY format")
    if len(body) < len(_HEADER) + len(_TRAILER) or not body.endswith(_TRAILER):
        raise ValueError("the COPY body has no end: it was cut off")
    dtype = _dtype(list(columns.values()))
    payload = memoryview(body)[len(_HEADER) : len(body) - len(_TRAILER)]
    if len(payload) % dtype.itemsize:
        raise ValueError("rows are not of the width that the columns have: a null?")
    rows = np.frombuffer(payload, dtype)
    loaded: dict[str, Array] = {}
    for i, (name, kind) in enumerate(columns.items()):
        if len(rows) and (rows[f"length{i}"] != KINDS[kind][1]).any():
            raise ValueError(f"column {name} has nulls or is not {kind}")
        values = rows[f"value{i}"]
        native = values.astype(values.dtype.newbyteorder("="))
        loaded[name] = native // 1000 + _EPOCH_2000_MS if kind == "timestamptz" else native
    return loaded


def by_nulls(nulls: Sequence[Array]) -> list[tuple[tuple[bool, ...], Array]]:
    """Split n rows by which of k groups of columns are null: [(null flags (k), row numbers)].

    Binary rows of fixed width have no nulls, so each pattern is a COPY of its own that leaves those columns out.
    """
    code = np.zeros(len(nulls[0]), np.int64)
    for i, mask in enumerate(nulls):
        code |= mask.astype(np.int64) << i
    return [
        (tuple(bool(pattern >> i & 1) for i in range(len(nulls))), np.flatnonzero(code == pattern))
        for pattern in np.unique(code).tolist()
    ]


def _dtype(kinds: Sequence[str]) -> np.dtype[Any]:
    fields: list[tuple[str, str]] = [("fields", ">i2")]
    for i, kind in enumerate(kinds):
        fields += [(f"length{i}", ">i4"), (f"value{i}", KINDS[kind][0])]
    return np.dtype(fields)
