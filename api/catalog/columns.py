"""The data dictionary of rows: made from the answers' own types, so it can't say something else."""

from dataclasses import dataclass
from typing import Any

import msgspec

from api.rows import IndexRow, ReadingRow, WindowRow

ROWS: dict[str, type[msgspec.Struct]] = {"readings": ReadingRow, "windows": WindowRow, "index": IndexRow}
"""What can be exported -> its row."""

PRIVACY = {
    "sensor": "An id of the device, not of a person.",
    "lon": "No finer than the sensor's registration allows (public_precision_m).",
    "lat": "No finer than the sensor's registration allows (public_precision_m).",
}
"""Fields with a rule of their own; the others are published as they are."""

_VALUE = "as the column `unit` says"
UNITS = {
    "period_s": "s", "coverage": "1", "lon": "deg", "lat": "deg", "concentration": _VALUE,
    **dict.fromkeys(("value", "mean", "min", "max", "std", "p50", "p95", "first", "last"), _VALUE),
    **dict.fromkeys(("start", "end", "received", "published"), "UTC"),
}  # fmt: skip
"""UCUM codes of columns that have a unit; `value` of an index has none."""
SOURCES = {
    **dict.fromkeys(("sensor", "metric", "start", "period_s", "value", "rev", "origin"), "the sensor's message"),
    **dict.fromkeys(("dataset", "unit", "lon", "lat"), "the registry"),
    "received": "the gateway", "flag": "quality rules (docs/quality.md)", "tests": "quality rules (docs/quality.md)",
}  # fmt: skip
_MADE = {
    "readings": "worked out from the reading", "windows": "worked out from readings", "index": "worked out from hours"
}  # fmt: skip
_OF_THE_MESSAGE = ("dataset", "sensor", "metric", "unit", "lon", "lat")
"""Fields that mean the same in every row; the others of windows and indices are made of many readings."""

_TYPES = {"integer": "integer", "number": "number", "string": "string", "boolean": "boolean"}


@dataclass(frozen=True)
class Column:
    """A column of a table: `type` is string, number, integer, boolean or datetime."""

    name: str
    type: str
    description: str
    nullable: bool
    unit: str = ""
    source: str = ""

    @property
    def privacy(self) -> str:
        """The rule by which the field is published."""
        return PRIVACY.get(self.name, "Published as it is.")


def columns(of: str) -> list[Column]:
    """The columns of `readings`, `windows` or `index`, in the order of the files."""
    return columns_of(of, ROWS[of])


def columns_of(of: str, row: type[msgspec.Struct]) -> list[Column]:
    """The columns of a kind of row of these."""
    schema = msgspec.json.schema(row)
    properties: dict[str, Any] = next(iter(schema["$defs"].values()))["properties"]
    return [_column(of, name, told) for name, told in properties.items()]


def _column(of: str, name: str, told: dict[str, Any]) -> Column:
    choices = [told, *told.get("anyOf", ())]
    kinds = [
        kind for one in choices for kind in ([one["type"]] if isinstance(one.get("type"), str) else one.get("type", []))
    ]
    kind = next((_TYPES[kind] for kind in kinds if kind in _TYPES), "string")
    if any(one.get("format") == "date-time" for one in choices):
        kind = "datetime"
    of_message = of == "readings" or name in _OF_THE_MESSAGE
    source = SOURCES.get(name, _MADE[of]) if of_message else _MADE[of]
    unit = "" if (of, name) == ("index", "value") else UNITS.get(name, "")
    return Column(name, kind, told.get("description", ""), "null" in kinds, unit, source)
