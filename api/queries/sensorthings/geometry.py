"""The `st_` and `geo.` functions, by shapely: no PostGIS is needed, for the geometries that are stored are few.

A function of a stored geometry becomes a value for each of them, and those go into the statement as parameters.
Coordinates are degrees, WGS 84, and so are distances and lengths, as SensorThings has it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

MAX_POINTS = 10_000


@dataclass(frozen=True)
class Function:
    """`name` is shapely's; it `takes` so many geometries, each one or an array, and a `pattern` after them or not."""

    name: str
    gives: Literal["bool", "number"] = "bool"
    takes: int = 2
    pattern: bool = False


FUNCTIONS: dict[str, Function] = {
    "geo.distance": Function("distance", "number"),
    "geo.length": Function("length", "number", 1),
    "geo.intersects": Function("intersects"),
    "st_equals": Function("equals"),
    "st_disjoint": Function("disjoint"),
    "st_touches": Function("touches"),
    "st_within": Function("within"),
    "st_overlaps": Function("overlaps"),
    "st_crosses": Function("crosses"),
    "st_intersects": Function("intersects"),
    "st_contains": Function("contains"),
    "st_relate": Function("relate_pattern", pattern=True),
}


@dataclass
class Stored:
    """The stored geometries by source (`places`, `areas`): ids, and as many geometries."""

    ids: dict[str, list[int]] = field(default_factory=dict)
    shapes: dict[str, Array] = field(default_factory=dict)

    def put(self, source: str, rows: Sequence[tuple[int, str]]) -> None:
        """Rows of (id, GeoJSON)."""
        self.ids[source] = [key for key, _ in rows]
        self.shapes[source] = _shapely().from_geojson([text for _, text in rows])


@cache
def _shapely() -> ModuleType:
    import shapely  # here, for it takes 10 MB, and few ask

    return shapely


def read_wkt(text: str) -> Any:
    """A literal's geometry, with `SRID=4326;` before it or not. Raises `ValueError` with a sentence."""
    shapely = _shapely()
    try:
        found = shapely.from_wkt(text.rpartition(";")[2])
    except shapely.errors.GEOSException as e:
        raise ValueError(f"{text[:60]!r} is not well-known text ({str(e).partition(chr(10))[0]})") from None
    if shapely.get_num_coordinates(found) > MAX_POINTS:
        raise ValueError(f"a geometry has more than {MAX_POINTS} points")
    if not np.isfinite(shapely.get_coordinates(found)).all():
        raise ValueError(f"{text[:60]!r} has a coordinate that is no number")
    return found


def apply(name: str, operands: Sequence[Any], pattern: str | None) -> Array:
    """The function's values, one for each geometry of the operand that is an array; one where none is.

    Raises `ValueError` with a sentence.
    """
    if pattern is not None and (len(pattern) != 9 or set(pattern) - set("TF*012")):
        raise ValueError(f"{pattern[:20]!r} is not a pattern of nine characters T F * 0 1 2")
    shapely = _shapely()
    try:
        found = getattr(shapely, FUNCTIONS[name].name)(*operands, *([] if pattern is None else [pattern]))
    except shapely.errors.GEOSException as e:
        raise ValueError(f"{name} can't be worked out ({str(e).partition(chr(10))[0]})") from None
    return np.atleast_1d(np.asarray(found))
