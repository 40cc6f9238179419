"""Corrected hours: made of a sensor's stored hours, in the transaction that makes its indices.

A corrected hour is a reading of an hour of a metric of its own. It is a function of the stored hours (measured value,
humidity, channels), so a late or corrected one makes it again, with the next rev; where one is missing there is none.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas import topics
from schemas.corrections import Rule, correct
from schemas.flags import Flag
from schemas.indices.days import HOUR_MS
from schemas.readings import Origin
from stream_processors.outgoing import names_of
from stream_processors.owner import HOUR_S, Owner, Work, index_marks
from stream_processors.series import Key, Rows
from stream_processors.store import Store

Array = npt.NDArray[Any]
Sensor = tuple[str, str]  # (dataset, sensor)


async def begin_corrections(owner: Owner, store: Store) -> bool:
    """Mark the hours of datasets whose correction is new or another one, in the table only: the state is to be loaded
    anew where this gives True. To be called in a transaction.
    """
    known = await store.corrections(list(owner.positions))
    begun = False
    for dataset in owner.registry.datasets.values():
        for metric, rule in dataset.corrections.items():
            text = rule.text(metric)
            of = rule.inputs(metric)[0]
            by_part: dict[int, list[int]] = {part: [] for part in owner.positions}
            for slot, key in enumerate(owner.table.keys):
                if key[0] == dataset.id and key[2] == of:
                    by_part[owner.part(key)].append(int(owner.table.columns["id"][slot]))
            for part, series in by_part.items():
                if known.get((part, dataset.id, metric)) != text:
                    await store.begin_correction(part, dataset.id, metric, text, series)
                    begun = True
    return begun


async def correct_hours(work: Work, changed: Mapping[Sensor, list[tuple[str, int]]]) -> None:
    """Make the corrected hours again of which an input changed: (metric, start in epoch ms) by sensor."""
    owner = work.owner
    for sensor, hours in changed.items():
        dataset = owner.registry.datasets.get(sensor[0])
        for metric, rule in (dataset.corrections if dataset else {}).items():
            inputs = rule.inputs(metric)
            starts = sorted({start for of, start in hours if of in inputs})
            if starts:
                await _correct(work, (*sensor, metric), rule, np.array(starts, np.int64))


async def _correct(work: Work, key: Key, rule: Rule, starts: Array) -> None:
    owner = work.owner
    values, live = await _inputs(work, key, rule, starts)
    measured, humidity, *channels = values
    value = correct(rule, measured, humidity, (channels[0], channels[1]) if rule.channels else None)
    wanted = np.isfinite(value)
    if owner.table.slot(key) is None:
        if not wanted.any():
            return
        owner.table.add(await work.store.add_series([key]), {key: owner.part(key)})
    slot = owner.table.slot(key)
    assert slot is not None
    n, part = len(starts), owner.part(key)
    position = work.positions[part]
    columns = {
        "series": np.full(n, owner.table.columns["id"][slot]),
        "start": starts,
        "period_s": np.full(n, HOUR_S),
        "value": value,
        "flag": np.where(wanted, Flag.NOT_EVALUATED, Flag.MISSING).astype(np.int64),
        "tests": np.zeros(n, np.int64),
        "origin": np.where(live, Origin.LIVE, Origin.IMPORT).astype(np.int64),
        "received": np.full(n, work.store.now_ms),
        "part": np.full(n, part),
        "position": np.full(n, position.at(max(position.next_offset - 1, 0))),
    }
    rev = await work.store.put_derived(columns, wanted)
    at = np.flatnonzero(rev)
    if not len(at):
        return
    made = {name: column[at] for name, column in columns.items()} | {"rev": rev[at]}
    slots = np.full(len(at), slot)
    rows = Rows(
        slots, made["start"], made["period_s"], made["value"], made["flag"], made["received"],
        np.full(len(at), HOUR_MS), made["origin"],
    )  # fmt: skip
    await work.put_marks(owner.windows.take(rows, rows.take(made["rev"] > 1)))
    await work.put_marks(index_marks(owner.table, HOUR_S, slots, made["start"]))
    out_seq = work.outgoing.number(made["part"])
    names = ("start", "period_s", "value", "flag", "tests", "rev", "origin", "received")
    work.outgoing.add(
        topics.AMENDED,
        made["part"],
        {
            **names_of(owner.table.keys, slots),
            **{name: made[name] for name in names},
            "source_rev": np.ones(len(at), np.int64),
            "published": np.full(len(at), work.store.now_ms),
            "out_seq": out_seq,
        },
    )


async def _inputs(work: Work, key: Key, rule: Rule, starts: Array) -> tuple[list[Array], Array]:
    """The hourly means (n each) of a correction's inputs, NaN where not there; and whether anything came live (n)."""
    owner = work.owner
    values, live = [], np.zeros(len(starts), bool)
    for metric in rule.inputs(key[2]):
        column = np.full(len(starts), np.nan)
        slot = owner.table.slot((*key[:2], metric))
        if slot is not None:
            of = owner.table.columns[[slot]]
            loaded = await work.store.means_between(
                HOUR_S, of["id"], starts[:1], starts[-1:] + HOUR_MS, of["rule_span_s"]
            )
            hour = loaded["start"] // HOUR_MS * HOUR_MS
            place = np.searchsorted(starts, hour)
            hit = (place < len(starts)) & (starts[np.minimum(place, len(starts) - 1)] == hour)
            column[place[hit]] = loaded["value"][hit]
            live[place[hit]] |= loaded["origin"][hit] == Origin.LIVE
        values.append(column)
    return values, live
