"""Index rows as pages and exports share them: stored rows, scored by the table that is asked for, as rows of a kind."""

from dataclasses import replace

import msgspec
import numpy as np

from api import history, index
from api.columns import Batch
from api.history import Query
from api.paging import Positions
from api.queries import indices, pages, series
from api.rows import IndexMeta
from api.state import AppState
from api.times import rfc3339
from schemas.indices.hourly import INDICES
from schemas.units import canonical_unit


async def known(connection: series.Connection, chosen: pages.Filter) -> pages.Filter:
    """The filter with all its series."""
    found = await indices.chosen(connection, chosen)
    named = (
        pages.Series(key, sensor, metric, canonical_unit(metric), index=name) for key, sensor, name, metric in found
    )
    return replace(chosen, series=tuple(named))


async def batch(
    here: AppState, connection: series.Connection, query: Query, kind: type[msgspec.Struct], chosen: pages.Filter,
    rows: pages.Rows, at: Positions, now_ms: int | None = None,
) -> Batch:  # fmt: skip
    """Stored rows as rows of a kind; with `now_ms` they have an age. By another table the overall rows are made again
    of what stood beside them at the same positions.
    """
    asked, dataset = query.asked, query.dataset.id
    names = await indices.names(connection, np.unique(rows["series"]).tolist())
    values = index.as_stored(rows)
    if asked.table:
        beside = await indices.beside(connection, chosen, names, rows, at)
        values = index.by_table(rows, names, asked.table, beside)
    place = None
    if "lon" in kind.__struct_encode_fields__:
        place = history.places_of(here.registry, dataset, {key: sensor for key, (sensor, _, _) in names.items()}, rows)
    made = index.index_rows(kind, dataset, rows, names, values, asked.lang, now_ms, place)
    return Batch(dataset, rows, {}, made=made)


def meta(query: Query, order: str, limit: int, from_ms: int | None, to_ms: int, cursor: str = "") -> IndexMeta:
    """What an answer of indices covers."""
    dataset, names = query.dataset, query.indices
    return IndexMeta(
        None if from_ms is None else rfc3339(from_ms), rfc3339(to_ms), order, limit, dataset.licence,
        dataset.attribution, query.asked.lang, {name: INDICES[name].title for name in names},
        {name: INDICES[name].source for name in names},
        {metric: rule.text(metric) for metric, rule in dataset.corrections.items()}, cursor,
    )  # fmt: skip
