"""The data dictionary of rows: made from the answers' own types, so it can't say something else."""

from dataclasses import dataclass
from typing import Any

import msgspec

from api.rows import ReadingRow, WindowRow

ROWS: dict[str, type[msgspec.Struct]] = {"readings": ReadingRow, "windows": WindowRow}
"""What can be exported -> its row."""

PRIVACY = {
    "sensor": "An id of the device, not of a person.",
    "lon": "No finer than the sensor's registration allows (public_precision_m).",
    "lat": "No finer than the sensor's registration allows (public_precision_m).",
}
"""Fields with a rule of their own; the others are published as they are."""

_TYPES = {"integer": "integer", "number": "number", "string": "string", "boolean": "boolean"}


@dataclass(frozen=True)
class Column:
    """A column of a table: `type` is string, number, integer, boolean or datetime."""

    name: str
    type: str
    description: str
    nullable: bool

    @property
    def privacy(self) -> str:
        """The rule by which the field is published."""
        return PRIVACY.get(self.name, "Published as it is.")


def columns(of: str) -> list[Column]:
    """The columns of `readings` or `windows`, in the order of the files."""
    schema = msgspec.json.schema(ROWS[of])
    properties: dict[str, Any] = next(iter(schema["$defs"].values()))["properties"]
    return [_column(name, told) for name, told in properties.items()]


def _column(name: str, told: dict[str, Any]) -> Column:
    choices = [told, *told.get("anyOf", ())]
    kinds = [
        kind for one in choices for kind in ([one["type"]] if isinstance(one.get("type"), str) else one.get("type", []))
    ]
    kind = next((_TYPES[kind] for kind in kinds if kind in _TYPES), "string")
    if any(one.get("format") == "date-time" for one in choices):
        kind = "datetime"
    return Column(name, kind, told.get("description", ""), "null" in kinds)
