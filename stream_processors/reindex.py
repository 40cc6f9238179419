"""Drains dirty marks of indices: the rows that a changed hour changes are made again from the stored hours.

Rows, their revisions, what is published of them and the deletion of the marks are one transaction.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from schemas import topics
from schemas.indices.days import HOUR_MS
from schemas.indices.hourly import INDICES, OF_QUARTERS
from schemas.indices.stored import name, number
from schemas.published import Texts
from stream_processors import metrics
from stream_processors.correct import correct_hours
from stream_processors.indices import IndexRows, SensorHours, make, reach_h
from stream_processors.owner import HOUR_S, QUARTER_S, Owner, Work
from stream_processors.repair import Key, as_columns
from stream_processors.store import Store
from stream_processors.windows import Kind

Array = npt.NDArray[Any]
Sensor = tuple[str, str]  # (dataset, sensor)

MOST_MARKS = 5_000  # looked at in one transaction
MOST_SENSORS = 100  # made in one: some tenths of a second, in which no reading is stored
_NAMES = ("dataset", "sensor", "index", "metric")
_AS_STORED = ("start", "value", "concentration", "hours", "expected", "beyond", "origin", "out_seq")


async def reindex(owner: Owner, store: Store) -> None:
    """Make the rows of due marks. Raises what the store raises."""
    keys = owner.dirty.due(owner.log_ms(), MOST_MARKS, Kind.INDEX)
    if not keys:
        return
    by_sensor: dict[Sensor, list[Key]] = {}
    for key in keys:
        dataset, sensor, _ = owner.table.keys[key[2]]
        by_sensor.setdefault((dataset, sensor), []).append(key)
    chosen = dict(list(by_sensor.items())[:MOST_SENSORS])
    done = [key for of_sensor in chosen.values() for key in of_sensor]
    async with owner.transaction(store) as work:
        changed = {sensor: _changed(owner, sensor, of_sensor) for sensor, of_sensor in chosen.items()}
        await correct_hours(work, {sensor: _hours(owner, of_sensor) for sensor, of_sensor in chosen.items()})
        hours = await _load(work, changed)
        zone = ZoneInfo(owner.registry.time_zone)
        made = [
            (sensor, rows)
            for sensor, of_pollutant in changed.items()
            if (known := owner.registry.datasets.get(sensor[0]))
            for name in known.indices
            for rows in make(name, hours[sensor], of_pollutant, zone)
        ]
        if made:
            await _put(work, made)
        width_s, slot, start = as_columns(done)
        columns = owner.table.columns[slot]
        await store.drop_marks(Kind.INDEX, columns["part"], columns["id"], width_s, start)
    owner.dirty.remove(done)


def _inputs(owner: Owner, sensor: Sensor) -> dict[str, int]:
    """The slot of the series that feeds each pollutant of a sensor."""
    dataset = owner.registry.datasets.get(sensor[0])
    slots = {p: owner.table.slot((*sensor, m)) for p, m in (dataset.index_inputs() if dataset else {}).items()}
    return {pollutant: slot for pollutant, slot in slots.items() if slot is not None}


def _hours(owner: Owner, keys: list[Key]) -> list[tuple[str, int]]:
    """(metric, start) of the changed hours."""
    return [(owner.table.keys[slot][2], start) for _, _, slot, start in keys]


def _changed(owner: Owner, sensor: Sensor, keys: list[Key]) -> dict[str, list[int]]:
    """The starts of the changed hours by pollutant."""
    pollutant_of = {slot: pollutant for pollutant, slot in _inputs(owner, sensor).items()}
    changed: dict[str, list[int]] = {}
    for _, _, slot, start in keys:
        if slot in pollutant_of:
            changed.setdefault(pollutant_of[slot], []).append(start)
    return changed


async def _load(work: Work, changed: Mapping[Sensor, dict[str, list[int]]]) -> dict[Sensor, SensorHours]:
    """The stored hours that the changed ones' rows need, of all pollutants of each sensor."""
    owner = work.owner
    hours: dict[Sensor, SensorHours] = {}
    place: dict[int, tuple[Sensor, str]] = {}  # slot -> whose it is
    for sensor, of_pollutant in changed.items():
        starts = [start for of in of_pollutant.values() for start in of]
        inputs = _inputs(owner, sensor) if starts else {}
        low = min(starts, default=0) - max((reach_h(pollutant)[0] for pollutant in inputs), default=0) * HOUR_MS
        high = max(starts, default=0) + max((reach_h(pollutant)[1] for pollutant in of_pollutant), default=0) * HOUR_MS
        n = (high - low) // HOUR_MS + 1 if starts else 0
        hours[sensor] = SensorHours(low, {p: np.full(n, np.nan) for p in inputs}, {}, np.zeros(n, bool))
        place |= {slot: (sensor, pollutant) for pollutant, slot in inputs.items()}
    for width_s in (HOUR_S, QUARTER_S):
        wanted = [slot for slot, (_, pollutant) in place.items() if width_s == HOUR_S or pollutant in OF_QUARTERS]
        of = [hours[place[slot][0]] for slot in wanted]
        columns = owner.table.columns[np.array(wanted, np.int64)]
        loaded = await work.store.means_between(
            width_s,
            columns["id"],
            np.array([h.first_ms for h in of], np.int64),
            np.array([h.first_ms + len(h.live) * HOUR_MS for h in of], np.int64),
            columns["rule_span_s"],
        )
        _fill(owner.slots(loaded["series"]), loaded, place, hours, of_quarters=width_s == QUARTER_S)
    return hours


def _fill(
    slot: Array,
    loaded: Mapping[str, Array],
    place: Mapping[int, tuple[Sensor, str]],
    hours: Mapping[Sensor, SensorHours],
    *,
    of_quarters: bool,
) -> None:
    """Put loaded means into their hours; of several in an hour the highest, which of quarters is what is asked for."""
    order = np.argsort(slot, kind="stable")
    distinct, begins = np.unique(slot[order], return_index=True)
    for of_slot, rows in zip(distinct.tolist(), np.split(order, begins[1:]), strict=False):
        sensor, pollutant = place[of_slot]
        of = hours[sensor]
        at = (loaded["start"][rows] - of.first_ms) // HOUR_MS
        column = np.full(len(of.live), -np.inf)
        np.maximum.at(column, at, loaded["value"][rows])
        target = of.quarters if of_quarters else of.means
        target[pollutant] = np.where(np.isinf(column), np.nan, column)
        of.live[at[loaded["origin"][rows] == 0]] = True


async def _put(work: Work, made: list[tuple[Sensor, IndexRows]]) -> None:
    owner = work.owner
    n = [len(rows.wanted) for _, rows in made]
    keys = [(*sensor, rows.index, rows.metric) for sensor, rows in made]
    if unknown := [key for key in dict.fromkeys(keys) if key not in owner.index_series]:
        owner.index_series |= await work.store.add_index_series(unknown)
    sources = [_sources(owner, sensor, rows) for sensor, rows in made]
    part = np.repeat([owner.part((*sensor, "")) for sensor, _ in made], n)
    columns = {
        "series": np.repeat([owner.index_series[key] for key in keys], n),
        "start": _joined([rows.rows.start for _, rows in made]),
        "until": _joined([rows.rows.end for _, rows in made]),
        "value": _joined([rows.rows.scored.value for _, rows in made]),
        "category": _joined([rows.rows.scored.category for _, rows in made]),
        "driver": np.array([number(driver) for _, rows in made for driver in rows.driver], np.int64),
        "source": np.array([number(source) for of in sources for source in of], np.int64),
        "edition": np.array([int(table) for _, rows in made for table in rows.rows.table], np.int64),
        "concentration": _joined([rows.rows.averages.concentration for _, rows in made]),
        "supplement": _joined([rows.rows.averages.supplement for _, rows in made]),
        "hours": _joined([rows.rows.averages.hours for _, rows in made]),
        "expected": _joined([rows.rows.averages.expected for _, rows in made]),
        "beyond": _joined([rows.rows.scored.beyond for _, rows in made]).astype(bool),
        "origin": _joined([rows.origin for _, rows in made]),
        "part": part,
        "out_seq": work.outgoing.number(part),
    }
    revised = await work.store.put_indices(columns, _joined([rows.wanted for _, rows in made]))
    at = np.flatnonzero(revised)
    if len(at):
        of_made = np.repeat(np.arange(len(made)), n)[at]
        published = _published(keys, of_made, {name: column[at] for name, column in columns.items()}, revised[at])
        published["published"] = np.full(len(at), work.store.now_ms)
        work.outgoing.add(topics.INDEX, part[at], published)
        for index, count in Counter(keys[i][2] for i in of_made.tolist()).items():
            metrics.INDICES_STORED.labels(index).inc(count)


def _sources(owner: Owner, sensor: Sensor, rows: IndexRows) -> list[str | None]:
    """The metric that fed each value."""
    feeds = owner.registry.datasets[sensor[0]].index_inputs()
    return [feeds[driver] if driver else None for driver in rows.driver]


def _published(
    keys: list[tuple[str, str, str, str]], of_made: Array, columns: Mapping[str, Array], rev: Array
) -> "dict[str, Array | Texts]":
    """The columns of `schemas.published.INDEX`, but for `published`."""
    index_of = [keys[i][2] for i in of_made.tolist()]
    categories = [
        INDICES[index].categories[category].name if category >= 0 else "no data"
        for index, category in zip(index_of, columns["category"].tolist(), strict=True)
    ]
    texts = {field: _texts([keys[i][at] for i in of_made.tolist()]) for at, field in enumerate(_NAMES)}
    return {
        **texts,
        "table": _texts([str(edition) for edition in columns["edition"].tolist()]),
        "driver": _texts([name(code) or "" for code in columns["driver"].tolist()]),
        "source": _texts([name(code) or "" for code in columns["source"].tolist()]),
        "category": _texts(categories),
        "end": columns["until"],
        "coverage": columns["hours"] / np.maximum(columns["expected"], 1),
        "rev": rev,
        **{field: columns[field] for field in _AS_STORED},
    }


def _texts(values: list[str]) -> Texts:
    names: dict[str, int] = {}
    codes = np.array([names.setdefault(value, len(names)) for value in values], np.int64)
    return Texts(list(names), codes)


def _joined(columns: list[Array]) -> Array:
    return np.concatenate(columns)
