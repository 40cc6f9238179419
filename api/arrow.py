"""Rows as Arrow tables: the types of Parquet and Arrow answers follow from the rows' fields.

Times are `timestamp[ms, UTC]`, numbers float64 or int64, lists and objects JSON texts. pyarrow is imported when it is
first needed: 60 MB that an API that nobody asks for Parquet does without.
"""

from collections.abc import Sequence
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec
import numpy as np

MOMENT, TEXT, NUMBER, COUNT, YES, OBJECT = "moment", "text", "number", "count", "yes", "object"
_KINDS: dict[Any, str] = {str: TEXT, float: NUMBER, int: COUNT, bool: YES}
_encode = msgspec.json.Encoder().encode


def kinds(row: type[msgspec.Struct]) -> dict[str, str]:
    """Field -> kind of its column."""
    hints = get_type_hints(row, include_extras=True)
    return {name: _kind(hints[name]) for name in row.__struct_encode_fields__}


def _kind(hint: Any) -> str:
    if get_origin(hint) is Annotated:
        inner, *notes = get_args(hint)
        schemas = [n.extra_json_schema or {} for n in notes if isinstance(n, msgspec.Meta)]
        return MOMENT if any(s.get("format") == "date-time" for s in schemas) else _kind(inner)
    if hint in _KINDS:
        return _KINDS[hint]
    inner = [part for part in get_args(hint) if part is not type(None)]
    return _kind(inner[0]) if len(inner) == 1 and type(None) in get_args(hint) else OBJECT


def schema(row: type[msgspec.Struct], notes: dict[str, str] | None = None) -> Any:
    """The Arrow schema of a kind of row; `notes` become its metadata."""
    import pyarrow as pa

    types = {
        MOMENT: pa.timestamp("ms", "UTC"), TEXT: pa.string(), NUMBER: pa.float64(), COUNT: pa.int64(),
        YES: pa.bool_(), OBJECT: pa.string(),
    }  # fmt: skip
    return pa.schema([(name, types[kind]) for name, kind in kinds(row).items()], notes or None)


def table(row: type[msgspec.Struct], rows: Sequence[msgspec.Struct]) -> Any:
    """A table of rows."""
    import pyarrow as pa

    columns = list(zip(*map(msgspec.structs.astuple, rows), strict=True)) or [()] * len(row.__struct_encode_fields__)
    made = schema(row)
    arrays = [
        pa.array(_values(kind, column), field.type)
        for field, kind, column in zip(made, kinds(row).values(), columns, strict=True)
    ]
    return pa.table(arrays, schema=made)


def _values(kind: str, column: Sequence[Any]) -> Any:
    if kind == MOMENT:
        return np.array([None if text is None else text[:-1] for text in column], "M8[ms]")
    if kind == OBJECT:
        return [None if value is None else _encode(value).decode() for value in column]
    return column
