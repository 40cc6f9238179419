"""Drains dirty marks of judgements: readings around a late or corrected one are judged again among stored neighbours.

A mark is an hour of a series. Its readings, and as many before and after as the rules of order look back, are loaded
and judged by the same rules as in the stream; those that have other flags or tests now get the next `rev` (the old
row goes to the history), are published on `readings.amended`, and their windows are made again. All of it is one
transaction with the deletion of the marks, so the flags end as a function of the stored readings in event-time order.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.quality import Season
from schemas.registry import Registry
from stream_processors import ordering
from stream_processors.amend import put_amended
from stream_processors.owner import HOUR_S, Owner, Work, index_marks
from stream_processors.quality.again import Stretch, changed
from stream_processors.quality.parameters import NO_CLIMATE, Table, climate, parameters
from stream_processors.repair import as_columns, ranges
from stream_processors.series import Key, SeriesTable
from stream_processors.store import Store
from stream_processors.verdicts import ask
from stream_processors.windows import Kind, Marks

Array = npt.NDArray[Any]

MOST_HOURS = 20_000  # judged again in one transaction
MOST_READINGS = 500_000  # and about so many readings loaded for them
_HOUR_MS = HOUR_S * 1000


def judge_marks(table: SeriesTable, slot: Array, start: Array) -> list[Marks]:
    """Marks of the hours of readings that came out of order or were corrected, where a rule of order is set."""
    asked = table.columns["in_order"][slot]
    if not asked.any():
        return []
    slot, start = ordering.distinct(slot[asked], start[asked] // _HOUR_MS * _HOUR_MS)
    return [Marks(HOUR_S, slot, start, False, Kind.JUDGE)]


async def rejudge(owner: Owner, store: Store) -> None:
    """Judge the readings of due marks again. Raises what the store raises."""
    keys = owner.dirty.due(owner.log_ms(), MOST_HOURS, Kind.JUDGE)
    if not keys:
        return
    _, slot, _ = as_columns(keys)
    expected = np.cumsum(HOUR_S // np.maximum(owner.table.columns["rule_span_s"][slot], 1))
    keys = keys[: max(1, int(np.searchsorted(expected, MOST_READINGS)))]
    async with owner.transaction(store) as work:
        width_s, slot, start = as_columns(keys)
        slots = np.unique(slot)
        rules = _Rules(owner.registry, [owner.table.keys[s] for s in slots.tolist()])
        of, begin, end = ranges(slot, start, _HOUR_MS)
        keep = rules.rows["keep"][np.searchsorted(slots, of)]
        loaded = await store.readings_around(owner.table.columns["id"][of], begin, end, keep)
        if len(loaded["series"]):
            await _amend(work, rules, slots, _distinct(loaded), (slot, start))
        columns = owner.table.columns[slot]
        await store.drop_marks(Kind.JUDGE, columns["part"], columns["id"], width_s, start)
    owner.dirty.remove(keys)


async def _amend(
    work: Work, rules: "_Rules", slots: Array, loaded: dict[str, Array], marks: tuple[Array, Array]
) -> None:
    owner = work.owner
    slot = owner.slots(loaded["series"])
    series = np.searchsorted(slots, slot)
    order = np.lexsort((loaded["start"], series))
    loaded = {name: column[order] for name, column in loaded.items()}
    slot, series = slot[order], series[order]
    hour = loaded["start"] // _HOUR_MS
    touched = np.isin(ordering.keys(slot, hour), ordering.keys(marks[0], marks[1] // _HOUR_MS))
    tests = loaded["tests"].astype(np.uint32)
    stretch = Stretch(
        series, loaded["start"], loaded["value"], loaded["flag"], tests, touched, rules.table.take(series),
    )  # fmt: skip
    at, flag, tests = changed(stretch, rules.climates)
    if not len(at):
        return
    amended = await put_amended(work, {name: column[at] for name, column in loaded.items()}, flag, tests)
    await work.put_marks(owner.windows.amend(owner.rows(amended)))
    of_an_hour = np.flatnonzero(amended["period_s"] == HOUR_S)  # such a reading is a window itself
    await work.put_marks(index_marks(owner.table, HOUR_S, slot[at][of_an_hour], amended["start"][of_an_hour]))
    await ask(work, HOUR_S, slot[at][of_an_hour], amended["start"][of_an_hour])


def _distinct(loaded: dict[str, Array]) -> dict[str, Array]:
    """Each reading once: the neighbourhoods of two marks overlap."""
    _, first = np.unique(ordering.keys(loaded["series"], loaded["start"]), return_index=True)
    return {name: column[first] for name, column in loaded.items()}


class _Rules:
    """The rules' parameters, a row for each series, and the climates that they name."""

    def __init__(self, registry: Registry, keys: list[Key]) -> None:
        climates: dict[tuple[Season, ...], int] = {(): 0}
        tables = [NO_CLIMATE]
        rows = []
        for key in keys:
            rule, dataset = registry.rule(*key), registry.datasets.get(key[0])
            row = parameters(rule.metric, rule.cadence_s or rule.period_s, dataset.position if dataset else None)
            if rule.metric.climatology not in climates:
                climates[rule.metric.climatology] = len(tables)
                tables.append(climate(rule.metric))
            row["climate"] = climates[rule.metric.climatology]
            rows.append(row)
        self.rows: Array = np.concatenate(rows)
        self.table = Table()
        self.table.append(self.rows)
        self.climates = np.stack(tables)
