"""History as pages and files share it: what a query of a noun means, and batches of its rows.

`NOUNS` is the registry: readings, windows and indices have a `Noun` each, and what they say here is all that pages,
exports and formats know of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from api import columns, paging, params, places
from api.columns import Batch, Column
from api.params import Asked
from api.problems import bad_parameter
from api.queries import gaps, pages, series
from api.queries.indices import INDICES as INDEX_TABLE
from api.queries.readings import READINGS
from api.queries.windows import WINDOWS
from api.rows import AggregateRow, IndexRow, LatestIndexRow, ReadingRow, WindowRow
from api.state import AppState
from api.times import LAST_MS
from schemas.datasets import Dataset
from schemas.errors import RequestError
from schemas.indices.hourly import INDICES
from schemas.registry import FOREVER_MS, Registry
from schemas.topics import partition_of

ORDER = "UTC day of start, then series, then start; the order of series never changes"
GROUPED_ORDER = "start, then area, sensor and metric"
_NAMES = ("dataset", "sensor", "area", "metric", "unit", "width", "tz", "start", "end")


@dataclass(frozen=True)
class Noun:
    """A kind of history: its rows, their columns, the table they are in, the range of a query without `from`."""

    name: str
    row: type[msgspec.Struct]
    columns: dict[str, Column]
    table: pages.Table
    default_range_s: Callable[[Asked], int]


def _index_range_s(asked: Asked) -> int:
    daily = bool(asked.index) and all(INDICES[name].day_of for name in asked.index)
    return (31 if daily else 7) * params.DAY_S


NOUNS: dict[str, Noun] = {
    noun.name: noun
    for noun in (
        Noun("readings", ReadingRow, columns.READING, READINGS, lambda asked: params.READINGS_DEFAULT_RANGE_S),
        Noun("windows", WindowRow, columns.WINDOW, WINDOWS, lambda asked: params.WIDTHS[asked.width].default_range_s),
        Noun("index", IndexRow, {}, INDEX_TABLE, _index_range_s),  # its rows are made by api/index.py
    )
}


@dataclass(frozen=True)
class Query:
    """A query of a dataset's history that makes sense."""

    noun: Noun
    dataset: Dataset
    asked: Asked

    @property
    def grouped(self) -> bool:
        """Whether its windows are made on demand, in the rows of `AggregateRow`."""
        asked = self.asked
        if self.noun.name != "windows":
            return False
        local = asked.tz is not None and asked.tz != "UTC"
        return local or not params.WIDTHS[asked.width].stored or asked.group not in ((), ("sensor",))

    @property
    def digest(self) -> bytes:
        """Equal for equal queries, whatever their range, format and fields."""
        return paging.digest(self.noun.name, self.dataset.id, self.asked, self.width)

    @property
    def of_index(self) -> bool:
        """Whether its rows are of indices."""
        return self.noun.name == "index"

    @property
    def indices(self) -> tuple[str, ...]:
        """The indices that are asked for; none for readings and windows."""
        return (self.asked.index or self.dataset.indices) if self.of_index else ()

    @property
    def width(self) -> str:
        """The windows' width; empty for others."""
        return self.asked.width if self.noun.name == "windows" else ""

    def kind(self, format: str) -> type[msgspec.Struct]:
        """The kind of row that is written. Raises `RequestError` for a field that is not there."""
        row: type[msgspec.Struct] = (
            AggregateRow if self.grouped else LatestIndexRow if self.asked.latest else self.noun.row
        )
        known = row.__struct_encode_fields__
        if self.asked.gaps:
            known = (*known, "gap")
        fields = self.asked.fields
        for name in fields:
            if name not in known:
                meant = params.nearest(name, known)
                raise bad_parameter(
                    "fields", f"there is no field {name!r} here" + (f"; did you mean {meant!r}?" if meant else ""),
                    "fields are some of " + ",".join(known),
                )  # fmt: skip
        if self.asked.agg:
            fields = tuple(n for n in known if n in _NAMES) + self.asked.agg + (("gap",) if self.asked.gaps else ())
        if format == "geojson" or self.asked.gaps:
            fields = fields or known
        if format == "geojson":
            fields = (*fields, *columns.PLACE)
        return columns.kind_of(row, fields)

    @property
    def order(self) -> str:
        """In which order its rows come."""
        return GROUPED_ORDER if self.grouped else ORDER

    @property
    def columns(self) -> dict[str, Column]:
        """The columns of its rows."""
        gap = columns.READING_GAP if self.noun.name == "readings" else columns.WINDOW_GAP
        return self.noun.columns | gap | columns.PLACE


def query(noun: str, dataset: Dataset, asked: Asked, now_ms: int) -> Query:
    """Read a query. Raises `RequestError` 400 for parameters that contradict each other."""
    if asked.as_of_ms is not None and asked.as_of_ms > now_ms:
        raise bad_parameter("as_of", "it is in the future", "as_of=2026-01-31T00:00:00Z, a moment that has been.")
    if asked.agg and asked.fields:
        raise contradiction("agg", "`agg` and `fields` both choose fields.", "Give one of them.")
    if asked.gaps and ((asked.flag and 9 not in asked.flag) or asked.origin):
        raise contradiction(
            "gaps", "Gaps have flag 9 and no origin, and the filter leaves them out.",
            "Add flag=9, leave `origin` away, or leave gaps=show away.",
        )  # fmt: skip
    made = Query(NOUNS[noun], dataset, asked)
    _check_table(made)
    if asked.tz not in (None, "UTC") and params.WIDTHS[asked.width].seconds < params.DAY_S:
        raise contradiction(
            "tz", f"Windows of {asked.width} are the same in every time zone.",
            "`tz` goes with width=1d, 1w or 1mo.",
        )  # fmt: skip
    if asked.gaps and made.grouped:
        raise contradiction(
            "gaps", "What is aggregated on demand shows gaps as `coverage`.",
            "Leave gaps=show away, or ask for stored windows: width up to 1d, without `tz` and `group`.",
        )  # fmt: skip
    return made


def _check_table(made: Query) -> None:
    tables = sorted({table for name in made.indices for table in INDICES[name].tables})
    if made.asked.table and made.asked.table not in tables:
        names = ", ".join(made.indices) or "what this dataset has"
        raise bad_parameter(
            "table", f"{names} has no table {made.asked.table!r}",
            "table is one of " + ", ".join(tables) if tables else "Leave `table` away.",
        )  # fmt: skip


def contradiction(name: str, detail: str, remedy: str) -> RequestError:
    """The refusal of parameters that can't go together; `name` is the one to change."""
    title = "Parameters contradict each other"
    return RequestError(400, "contradictory-parameters", title, detail, name, remedy)


async def filter_of(
    here: AppState, connection: series.Connection, made: Query, start: paging.Start, now_ms: int, known: bool = False
) -> pages.Filter:
    """The query as the database is asked; `known`: with all its series (for text written by the database)."""
    asked, dataset = made.asked, made.dataset
    stays: list[tuple[str, int, int]] = []
    if asked.bbox is not None:
        registry = await series.stored_registry(connection, dataset)
        stays = places.stays(registry, dataset.id, asked.bbox)
    chosen = pages.Filter(
        dataset.id, asked.sensor, asked.metric, asked.flag, asked.origin,
        params.WIDTHS[asked.width].seconds if made.width else 0, asked.bbox, stays, asked.as_of_ms, asked.gaps,
        (), made.width, indices_of(made),
    )  # fmt: skip
    if not known and not asked.gaps:
        return chosen
    found = await _series(here, connection, made, start, now_ms)
    lost = await _lost(here, connection, made, found, start) if asked.gaps else ()
    return replace(chosen, series=found, lost=lost)


async def _lost(
    here: AppState, connection: series.Connection, made: Query, found: Sequence[pages.Series], start: paging.Start
) -> tuple[tuple[int, int, int], ...]:
    """(series, since, until), in epoch ms: what was due then may have been lost by a log. A reading is received within
    the dataset's lateness after its end, so what ended so long before is counted too.
    """
    late_ms = made.dataset.lateness_s * 1000
    until_ms = min(start.to_ms + late_ms, LAST_MS - 1)
    known = await gaps.between(connection, start.from_ms, until_ms, made.asked.as_of_ms)
    parts = {s.sensor: partition_of(made.dataset.id, s.sensor, here.settings.kafka_partitions) for s in found}
    return tuple(
        (s.id, gap.since_ms - late_ms, gap.until_ms or gap.noticed_ms)
        for gap in known
        if gap.since_ms is not None
        for s in found
        if parts[s.sensor] == gap.part
    )


def indices_of(made: Query) -> tuple[str, ...]:
    """The indices of its filter: of a dataset without any the empty name, which no index has."""
    return made.indices or ("",) if made.of_index else ()


async def _series(
    here: AppState, connection: series.Connection, made: Query, start: paging.Start, now_ms: int
) -> tuple[pages.Series, ...]:
    asked, dataset = made.asked, made.dataset.id
    found = await series.chosen(connection, dataset, asked.sensor, asked.metric, with_first=asked.gaps)
    registry = await series.stored_registry(connection, made.dataset) if asked.gaps else here.registry
    due_ms = min(now_ms - made.dataset.lateness_s * 1000, LAST_MS - 1)
    rows = []
    for key, sensor, metric, first_ms in found:
        rule = registry.rule(dataset, sensor, metric)
        since, until = expected(registry, dataset, sensor, first_ms, due_ms)
        step = rule.cadence_s or rule.period_s
        unit = here.unit(dataset, sensor, metric)
        rows.append(pages.Series(key, sensor, metric, unit, step if step <= params.DAY_S else 0, since, until))
    return tuple(rows)


def expected(registry: Registry, dataset: str, sensor: str, first_ms: int | None, due_ms: int) -> tuple[int, int]:
    """From when to when readings are expected: since the registration's start or the first reading, whichever is
    earlier, up to the registration's end or what is due by now.
    """
    validities = registry.validities(dataset, sensor)
    since = due_ms if first_ms is None else first_ms
    until = due_ms
    if validities:
        if validities[0][0] > 0:
            since = min(since, validities[0][0])
        if validities[-1][1] < FOREVER_MS:
            until = min(until, validities[-1][1])
    return since, max(since, until)


async def batch(
    here: AppState, connection: series.Connection, made: Query, rows: pages.Rows, with_places: bool
) -> Batch:
    """Rows with the names of their series, and their places where they are wanted."""
    keys = np.unique(rows["series"]).tolist()
    names = {
        key: (sensor, metric, here.unit(made.dataset.id, sensor, metric))
        for key, (sensor, metric) in (await series.names(connection, keys)).items()
    }
    width_s = params.WIDTHS[made.asked.width].seconds
    place = None
    if with_places:
        own = await series.own_places(connection, keys, rows["start"]) if made.noun.name == "readings" else {}
        sensors = {key: sensor for key, (sensor, _, _) in names.items()}
        place = places_of(here.registry, made.dataset.id, sensors, rows, own)
    return Batch(made.dataset.id, rows, names, made.width, width_s, place)


def places_of(
    registry: Registry,
    dataset: str,
    sensors: dict[int, str],
    rows: pages.Rows,
    own: dict[tuple[int, int], tuple[float, float]] | None = None,
) -> columns.Array:
    """(n, 2): the public place of each row's sensor at its start, or the reading's own. `sensors` are by series."""
    place = np.full((len(rows), 2), np.nan)
    for key, sensor in sensors.items():
        at = np.flatnonzero(rows["series"] == key)
        start = rows["start"][at]
        for since, until, registration in registry.validities(dataset, sensor):
            if (public := places.public_place(registration)) is not None:
                place[at[(start >= since) & (start < until)]] = public
    if own:
        for i, reading in enumerate(zip(rows["series"].tolist(), rows["start"].tolist(), strict=True)):
            if reading in own:
                place[i] = own[reading]
    return place
