"""The columns of history: how each field of a row is made from what the database gives, as values and as SQL text.

One description serves pages (rows), files (Arrow columns) and CSV that PostgreSQL writes itself, so that a field has
the same name and the same value everywhere.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, get_type_hints

import msgspec
import numpy as np
import numpy.typing as npt

from api import arrow
from api.queries.readings import GAP_LOST, GAP_NONE
from api.rows import Gap, ReadingRow, WindowRow
from api.times import FIRST_MS, rfc3339_column
from schemas.readings import Origin

Array = npt.NDArray[Any]

ORIGINS: dict[int, str] = {int(origin): origin.name.lower() for origin in Origin} | {
    GAP_NONE: "none",
    GAP_LOST: "none",
}
"""`origin` in answers; `none` is a gap that was asked for."""


@dataclass(frozen=True)
class Batch:
    """n rows of a dataset's history as the database gave them: `rows` has the column `series` and the table's, times
    in epoch ms; `names` are (sensor, metric, unit) by series; `place` the (n, 2) lon and lat, NaN without one.
    `made` are rows that are made already.
    """

    dataset: str
    rows: npt.NDArray[np.void]
    names: dict[int, tuple[str, str, str | None]]
    width: str = ""
    width_s: int = 0
    place: Array | None = None
    made: list[msgspec.Struct] | None = None

    def __len__(self) -> int:
        return len(self.rows if self.made is None else self.made)

    @property
    def content(self) -> list[Any]:
        """What its rows are made of: equal for equal rows, and sooner there than they."""
        place = b"" if self.place is None else self.place.tobytes()
        return [self.rows.tobytes(), sorted(self.names.items()), place]

    @cached_property
    def _series(self) -> tuple[list[int], Array]:
        keys, codes = np.unique(self.rows["series"], return_inverse=True)
        return keys.tolist(), codes

    def name(self, i: int) -> "Text":
        """The column of sensors (0), metrics (1) or units (2)."""
        keys, codes = self._series
        return Text([self.names[key][i] for key in keys], codes)


@dataclass(frozen=True)
class Text:
    """A column of few different texts: `labels[codes]`."""

    labels: list[str | None]
    codes: Array


Values = Array | Text


@dataclass(frozen=True)
class Column:
    """`of` gives a batch's values: `Text`, epoch ms, numbers (NaN is null), counts (below 0 is null where `nullable`).
    `sql` is the same as text of COPY CSV, of row `r` in the series and day `pair`; null is an empty field.
    """

    kind: str
    of: Callable[[Batch], Values]
    sql: str
    nullable: bool = False

    def as_list(self, batch: Batch) -> list[Any]:
        """Python values."""
        values = self.of(batch)
        if isinstance(values, Text):
            if len(values.labels) == 1:
                return values.labels * len(batch)
            return [values.labels[code] for code in values.codes.tolist()]
        if self.kind == arrow.MOMENT:
            return _moments(values)
        missing = np.isnan(values) if self.kind == arrow.NUMBER else values < 0 if self.nullable else np.False_
        if missing.any():
            if missing.all():
                return [None] * len(values)
            values = values.astype(object)
            values[missing] = None
        return list(values.tolist())

    def as_arrow(self, batch: Batch, type_: Any) -> Any:
        """An Arrow array of the type."""
        import pyarrow as pa

        values = self.of(batch)
        if isinstance(values, Text):
            codes = pa.array(values.codes.astype(np.int32))
            return pa.DictionaryArray.from_arrays(codes, pa.array(values.labels, type_)).dictionary_decode()
        if self.kind == arrow.MOMENT:
            return pa.array(values.astype(np.int64), pa.int64(), mask=values < FIRST_MS).cast(type_)
        if self.kind == arrow.NUMBER:
            return pa.array(values.astype(np.float64), type_, mask=np.isnan(values))
        mask = values < 0 if self.nullable else None
        return pa.array(values if self.kind == arrow.YES else values.astype(np.int64), type_, mask=mask)


def _moments(values: Array) -> list[Any]:
    never = values < FIRST_MS
    if not never.any():
        return list(rfc3339_column(values))
    texts = rfc3339_column(np.where(never, 0, values))
    return [None if no else text for no, text in zip(never.tolist(), texts, strict=True)]


def _moment_sql(expression: str) -> str:
    return f"""to_char({expression}, 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"""


def _known_moment_sql(expression: str) -> str:
    return f"CASE WHEN isfinite({expression}) THEN {_moment_sql(expression)} END"


def _plain(kind: str, name: str, sql: str = "", nullable: bool = False) -> Column:
    return Column(kind, lambda batch: batch.rows[name], sql or f"r.{name}", nullable)


def _number(name: str) -> Column:
    return _plain(arrow.NUMBER, name, f"nullif(r.{name}, 'NaN')")


def _constant(text: str) -> Callable[[Batch], Values]:
    return lambda batch: Text([getattr(batch, text)], np.zeros(len(batch), np.int64))


def _end(batch: Batch) -> Values:
    ends: Array = batch.rows["start"] + batch.rows["period_s"].astype(np.int64) * 1000
    return ends


def _window_end(batch: Batch) -> Values:
    ends: Array = batch.rows["start"] + batch.width_s * 1000
    return ends


def _origin(batch: Batch) -> Values:
    labels: list[str | None] = [ORIGINS[code] for code in sorted(ORIGINS)]
    return Text(labels, np.searchsorted(sorted(ORIGINS), batch.rows["origin"]))


_NAMES: dict[str, Column] = {
    "dataset": Column(arrow.TEXT, _constant("dataset"), "%(dataset)s"),
    "sensor": Column(arrow.TEXT, lambda batch: batch.name(0), "pair.sensor"),
    "metric": Column(arrow.TEXT, lambda batch: batch.name(1), "pair.metric"),
    "unit": Column(arrow.TEXT, lambda batch: batch.name(2), "pair.unit"),
}
_ORIGIN_SQL = "CASE r.origin " + " ".join(f"WHEN {code} THEN '{name}'" for code, name in ORIGINS.items()) + " END"

READING: dict[str, Column] = _NAMES | {
    "start": _plain(arrow.MOMENT, "start", _moment_sql("r.start")),
    "end": Column(arrow.MOMENT, _end, _moment_sql("r.start + r.period_s * interval '1 second'")),
    "period_s": _plain(arrow.COUNT, "period_s"),
    "value": _number("value"),
    "flag": _plain(arrow.COUNT, "flag"),
    "tests": _plain(arrow.COUNT, "tests"),
    "rev": _plain(arrow.COUNT, "rev"),
    "origin": Column(arrow.TEXT, _origin, _ORIGIN_SQL),
    "received": _plain(arrow.MOMENT, "received", _known_moment_sql("r.received")),
}

WINDOW: dict[str, Column] = _NAMES | {
    "width": Column(arrow.TEXT, _constant("width"), "%(width)s"),
    "start": _plain(arrow.MOMENT, "start", _moment_sql("r.start")),
    "end": Column(arrow.MOMENT, _window_end, _moment_sql("r.start + %(width_s)s * interval '1 second'")),
    "n": _plain(arrow.COUNT, "n"),
    "n_expected": _plain(arrow.COUNT, "n_expected", "CASE WHEN r.n_expected >= 0 THEN r.n_expected END", True),
    **{name: _number(name) for name in ("coverage", "mean", "min", "max", "std", "p50", "p95", "first", "last")},
    "complete": _plain(arrow.YES, "complete", "CASE WHEN r.complete THEN 'true' ELSE 'false' END"),
    "rev": Column(arrow.COUNT, lambda batch: np.maximum(batch.rows["rev"], 0), "greatest(r.rev, 0)"),
    "published": _plain(arrow.MOMENT, "published", _known_moment_sql("r.published")),
}


def _gap(name: str, none: int, lost: int) -> Column:
    """Why a row is a gap, by the numbers that say it in a column."""

    def of(batch: Batch) -> Values:
        values = batch.rows[name]
        return Text([None, "none", "lost"], np.select([values == none, values == lost], [1, 2], 0))

    return Column(arrow.TEXT, of, f"CASE r.{name} WHEN {none} THEN 'none' WHEN {lost} THEN 'lost' END")


READING_GAP = {"gap": _gap("origin", GAP_NONE, GAP_LOST)}
WINDOW_GAP = {"gap": _gap("rev", 0, -1)}
"""What rows have besides with gaps=show."""


def _place(i: int) -> Callable[[Batch], Values]:
    return lambda batch: np.full(len(batch), np.nan) if batch.place is None else batch.place[:, i]


PLACE: dict[str, Column] = {"lon": Column(arrow.NUMBER, _place(0), ""), "lat": Column(arrow.NUMBER, _place(1), "")}
"""What GeoJSON has besides; SQL does not know them."""

COLUMNS: dict[type[msgspec.Struct], dict[str, Column]] = {ReadingRow: READING, WindowRow: WINDOW}


@lru_cache(256)
def kind_of(row: type[msgspec.Struct], fields: tuple[str, ...]) -> type[msgspec.Struct]:
    """The kind of row that has these of a row's fields (and `gap`, `lon`, `lat`), in this order; all: the row's own."""
    if not fields or fields == row.__struct_encode_fields__:
        return row
    hints = {"gap": Gap} | {name: float | None for name in PLACE} | get_type_hints(row, include_extras=True)
    return msgspec.defstruct(row.__name__, [(name, hints[name]) for name in fields], frozen=True, gc=False)


def structs(kind: type[msgspec.Struct], columns: dict[str, Column], batch: Batch) -> list[msgspec.Struct]:
    """A batch as rows of a kind; a column at a time, for a page has up to 10,000."""
    if batch.made is not None:
        return batch.made
    return list(map(kind, *(columns[name].as_list(batch) for name in kind.__struct_encode_fields__)))


def table(kind: type[msgspec.Struct], columns: dict[str, Column], batch: Batch) -> Any:
    """A batch as an Arrow table."""
    import pyarrow as pa

    if batch.made is not None:
        return arrow.table(kind, batch.made)
    schema = arrow.schema(kind)
    return pa.table([columns[f.name].as_arrow(batch, f.type) for f in schema], schema=schema)
