"""Stores registrations; what changes a series' period or cadence makes its windows anew.

Coverage, expected readings and the widths that a series feeds all follow from the time that its readings stand for. So
when a registration changes that, every window of the series is marked, in the transaction that stores it: a process
that is killed in between finds the old registration there, and does both again.
"""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg

from schemas.datasets import Metric
from schemas.errors import WireError
from schemas.registry import Registration, Series, decode, encode
from stream_processors.owner import Owner
from stream_processors.series import Key
from stream_processors.store import Store
from stream_processors.windows import ALL_S, Marks

Array = npt.NDArray[Any]

log = logging.getLogger(__name__)


async def register(owner: Owner, store: Store, registrations: Sequence[Registration]) -> None:
    """Store registrations of sensors in the owned partitions, each key once; one that PostgreSQL can't hold is said and
    passed over.
    """
    mine = {r.key: r for r in registrations if owner.part((r.dataset, r.sensor, "")) in owner.positions}
    if not mine:
        return
    try:
        await _register(owner, store, list(mine.values()))
    except psycopg.DataError:
        for one in mine.values():
            try:
                await _register(owner, store, [one])
            except psycopg.DataError as e:
                log.error("the registration %s can't be stored and is passed over: %s", one.key, str(e).strip())


async def _register(owner: Owner, store: Store, registrations: list[Registration]) -> None:
    sensors = {(r.dataset, r.sensor) for r in registrations}
    known = [(slot, key) for slot, key in enumerate(owner.table.keys) if key[:2] in sensors]
    async with owner.transaction(store) as work:
        before = await store.newest_registrations(list(sensors)) if known else {}
        await store.put_registrations([
            (r.dataset, r.sensor, r.valid_from, r.valid_to, r.site.lon, r.site.lat, encode(r).decode())
            for r in registrations
        ])  # fmt: skip
        changed = [
            (slot, min(was_s, now_s))
            for slot, key in known
            if (was_s := _span_s(owner, key, before.get(key[:2]))) != (now_s := int(_now_s(owner, slot)))
        ]
        for width_s in ALL_S:
            slots = np.array([slot for slot, span_s in changed if span_s < width_s], np.int64)
            if len(slots):
                found = await store.window_starts(owner.table.columns["id"][slots], width_s)
                slot = owner.slots(found["series"])
                await work.put_marks([Marks(width_s, slot, found["start"], at_once=False)])
    if changed:
        log.info("the period of %d series changed: their windows are made anew", len(changed))
        await owner.load(store, owner.positions)  # open windows hold readings of the old period


def _now_s(owner: Owner, slot: int) -> int:
    return int(owner.table.columns["rule_span_s"][slot])


def _span_s(owner: Owner, key: Key, body: bytes | None) -> int:
    """What a reading of the series stood for by the registration that was stored (None: by its dataset)."""
    special = Series()
    if body is not None:
        try:
            special = decode(body).series.get(key[2]) or special
        except WireError as e:
            log.error("the stored registration of %s/%s can't be read: %s", key[0], key[1], e)
    dataset = owner.registry.datasets.get(key[0])
    general = dataset.metrics.get(key[2], Metric()) if dataset else Metric()
    period_s = general.period_s if special.period_s is None else special.period_s
    return max(period_s, general.cadence_s if special.cadence_s is None else special.cadence_s)
