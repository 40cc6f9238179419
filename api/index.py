"""Index rows as answers: names for the stored numbers, another table where one is asked for, advice in words. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from api.columns import ORIGINS
from api.times import rfc3339_column
from schemas.indices.advice import ADVICE, NO_DATA_ADVICE, category_name
from schemas.indices.hourly import INDICES, OVERALL, rescore
from schemas.indices.overall import worst
from schemas.indices.scale import Scored
from schemas.indices.stored import name, number
from schemas.units import canonical_unit

Array = npt.NDArray[Any]
Names = dict[int, tuple[str, str, str]]
"""(sensor, index, metric) by series."""

STALE_AFTER_MS = {False: 3 * 3_600_000, True: 48 * 3_600_000}
"""A newest row that ended so long ago says nothing of the air now: hours (the NowCast needs one of the latest three),
days."""


@dataclass(frozen=True)
class Shown:
    """Values of n rows as they are shown, stored or by another table; `driver` as in schemas/indices/stored.py."""

    value: Array
    category: Array
    beyond: Array
    driver: Array
    edition: Array


def as_stored(rows: npt.NDArray[np.void]) -> Shown:
    """What the rows say."""
    return Shown(rows["value"], rows["category"], rows["beyond"], rows["driver"], rows["edition"])


def by_table(rows: npt.NDArray[np.void], names: Names, table: str, beside: Iterable[Sequence[Any]]) -> Shown:
    """The same averages by another table of the authority; rows of indices that do not have it stay as they are.

    `beside`: what overall rows are made of: (sensor, index, metric, start, concentration, supplement).
    """
    stored = as_stored(rows)
    shown = Shown(*(getattr(stored, field).copy() for field in Shown.__dataclass_fields__))
    parts = _by_row(beside)
    for key in np.unique(rows["series"]).tolist():
        sensor, index_name, metric = names[key]
        if table not in INDICES[index_name].tables:
            continue
        at = np.flatnonzero(rows["series"] == key)
        if metric == OVERALL:
            for i in at.tolist():
                of = parts.get((sensor, index_name, int(rows["start"][i])), {})
                scored, drivers = worst(
                    {m: _score(index_name, m, c, s, table) for m, (c, s) in _in_order(index_name, of)}
                )
                _put(shown, np.array([i]), scored, drivers)
        else:
            scored = _score(index_name, metric, rows["concentration"][at], rows["supplement"][at], table)
            _put(shown, at, scored, [metric if there else None for there in np.isfinite(scored.value).tolist()])
        shown.edition[at] = int(table)
    return shown


_Parts = dict[str, tuple[Array, Array]]  # concentration and supplement (1) by pollutant


def _by_row(beside: Iterable[Sequence[Any]]) -> dict[tuple[str, str, int], _Parts]:
    parts: dict[tuple[str, str, int], _Parts] = defaultdict(dict)
    for sensor, index, metric, start, concentration, supplement in beside:
        parts[sensor, index, start][metric] = (np.array([concentration]), np.array([supplement]))
    return parts


def _in_order(index: str, parts: _Parts) -> list[tuple[str, tuple[Array, Array]]]:
    """As the processors have them: of equal pollutants the first drives."""
    return [(metric, parts[metric]) for metric in INDICES[index].pollutants if metric in parts]


def _score(index: str, metric: str, concentration: Array, supplement: Array, table: str) -> Scored:
    return rescore(INDICES[index], metric, concentration, supplement, [table] * len(concentration))


def _put(shown: Shown, at: Array, scored: Scored, drivers: Sequence[str | None]) -> None:
    if len(drivers):
        shown.value[at], shown.category[at], shown.beyond[at] = scored.value, scored.category, scored.beyond
        shown.driver[at] = [number(driver) for driver in drivers]
    else:
        shown.value[at], shown.category[at], shown.beyond[at], shown.driver[at] = np.nan, -1, False, -1


def index_rows(
    kind: type[msgspec.Struct],
    dataset: str,
    rows: npt.NDArray[np.void],
    names: Names,
    shown: Shown,
    language: str,
    now_ms: int | None = None,
    place: Array | None = None,
) -> list[msgspec.Struct]:
    """Rows of a kind (of `IndexRow`'s fields, or of `LatestIndexRow`'s with `now_ms`); a column at a time. `place`:
    (n, 2), lon and lat, NaN without one.
    """
    of = [names[key] for key in rows["series"].tolist()]
    told = [
        _told(index, category, language) for (_, index, _), category in zip(of, shown.category.tolist(), strict=True)
    ]
    n = len(rows)
    columns: Mapping[str, Sequence[Any]] = {
        "dataset": [dataset] * n,
        "sensor": [sensor for sensor, _, _ in of],
        "index": [index for _, index, _ in of],
        "table": [str(edition) for edition in shown.edition.tolist()],
        "metric": [metric for _, _, metric in of],
        "driver": [name(code) for code in shown.driver.tolist()],
        "source": [name(code) for code in rows["source"].tolist()],
        "averaging": [_averaging(index, metric) for _, index, metric in of],
        "start": list(rfc3339_column(rows["start"])),
        "end": list(rfc3339_column(rows["until"])),
        "value": _numbers(shown.value),
        "category": [t[0] for t in told],
        "colour": [t[1] for t in told],
        "beyond": shown.beyond.tolist(),
        "concentration": _numbers(rows["concentration"]),
        "unit": [canonical_unit(metric) for _, _, metric in of],
        "hours": rows["hours"].tolist(),
        "expected": rows["expected"].tolist(),
        "coverage": (rows["hours"] / np.maximum(rows["expected"], 1)).tolist(),
        "adults": [t[2] for t in told],
        "sensitive": [t[3] for t in told],
        "children": [t[4] for t in told],
        "rev": rows["rev"].tolist(),
        "origin": [ORIGINS[code] for code in rows["origin"].tolist()],
        "published": list(rfc3339_column(rows["published"])),
    }
    if place is not None:
        columns = {**columns, **{name: _numbers(place[:, i]) for i, name in enumerate(("lon", "lat"))}}
    if now_ms is not None:
        age_ms = np.maximum(now_ms - rows["until"], 0)
        limit = np.array([STALE_AFTER_MS[INDICES[index].day_of is not None] for _, index, _ in of])
        columns = {**columns, "age_s": (age_ms / 1000).tolist(), "stale": (age_ms > limit).tolist()}
    return list(map(kind, *(columns[field] for field in kind.__struct_encode_fields__)))


def _numbers(values: Array) -> list[float | None]:
    return [None if value != value else value for value in values.tolist()]


def _told(index: str, category: int, language: str) -> tuple[str, str | None, str, str, str]:
    """Category, colour, advice for adults, sensitive groups, children."""
    if category < 0:
        nothing = NO_DATA_ADVICE[language]
        return category_name("no data", language), None, nothing, nothing, nothing
    known = INDICES[index].categories[category]
    advice = ADVICE[language][known.severity]
    return category_name(known.name, language), known.colour, advice.adults, advice.sensitive, advice.children


def _averaging(index: str, metric: str) -> str:
    return "worst pollutant" if metric == OVERALL else INDICES[index].pollutants[metric].averaging
