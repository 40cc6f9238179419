"""PostgreSQL's binary formats to and from numpy columns in one step: COPY bodies in, arrays out.

COPY (PostgreSQL manual, COPY, "Binary Format"): a signature of 11 bytes, flags, an extension length; each row a
16-bit field count and per field a 32-bit length and big-endian bytes; a 16-bit -1 at the end. With rows of fixed width
and without nulls the whole body is one structured array.

Arrays (`array_send` in PostgreSQL's arrayfuncs.c), for COPY gives every row a message of its own, which costs the
reader microseconds a row: number of dimensions, whether there are nulls, the elements' type; of each dimension its
length and lower bound; per element a 32-bit length and big-endian bytes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_TRAILER = b"\xff\xff"
_EPOCH_2000_MS = 946_684_800_000  # PostgreSQL counts microseconds from 2000-01-01

KINDS: dict[str, tuple[str, int, int]] = {
    "int2": (">i2", 2, 21),
    "int4": (">i4", 4, 23),
    "int8": (">i8", 8, 20),
    "float8": (">f8", 8, 701),
    "timestamptz": (">i8", 8, 1184),  # as epoch milliseconds on our side
    "bool": ("?", 1, 16),
}
"""What each kind of column is in numpy, its bytes, and PostgreSQL's number of the type (pg_type.dat)."""
_HEAD, _DIMENSION = 12, 8  # bytes before the dimensions, and of each


def dump(columns: Mapping[str, tuple[str, Array]]) -> bytes:
    """The COPY body of columns {name: (kind, values)}, all of one length, in this order, without nulls."""
    n = len(next(iter(columns.values()))[1])
    rows = np.empty(n, _dtype([kind for kind, _ in columns.values()]))
    rows["fields"] = len(columns)
    for i, (kind, values) in enumerate(columns.values()):
        rows[f"length{i}"] = KINDS[kind][1]
        rows[f"value{i}"] = (values - _EPOCH_2000_MS) * 1000 if kind == "timestamptz" else values
    return _HEADER + rows.tobytes() + _TRAILER


def load(array: bytes | None, kind: str) -> Array:
    """The values (n) of a one-dimensional array of a kind; None, which `array_agg` makes of no rows, is empty.

    Raises `ValueError` where it is no such array, was cut off, or has nulls.
    """
    type_name, width, type_number = KINDS[kind]
    dtype = np.dtype([("length", ">i4"), ("value", type_name)])
    if array is None:
        return _native(np.zeros(0, dtype)["value"], kind)
    if len(array) < _HEAD:
        raise ValueError("the array has no head: it was cut off")
    dimensions, has_nulls, of = np.frombuffer(array, ">i4", 3).tolist()
    if of != type_number or has_nulls or dimensions not in (0, 1):
        raise ValueError(f"the array has nulls, or is not of {kind}")
    if not dimensions:
        return _native(np.zeros(0, dtype)["value"], kind)
    head = _HEAD + _DIMENSION
    if len(array) < head or len(array) != head + int(np.frombuffer(array, ">i4", 1, _HEAD)[0]) * dtype.itemsize:
        raise ValueError("the array is not as long as it says: it was cut off")
    elements = np.frombuffer(array, dtype, offset=head)
    if (elements["length"] != width).any():
        raise ValueError(f"the array has elements that are not of {kind}")
    return _native(elements["value"], kind)


def _native(values: Array, kind: str) -> Array:
    native = values.astype(values.dtype.newbyteorder("="))
    return native // 1000 + _EPOCH_2000_MS if kind == "timestamptz" else native


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
