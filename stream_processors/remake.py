"""Drains dirty marks of windows: each is made again from the stored readings, by the function that closes windows.

Windows, their revisions, what is published of them and the deletion of their marks are one transaction.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from stream_processors import ordering
from stream_processors.owner import Owner, Work, count_closed
from stream_processors.repair import Key, as_columns, ranges
from stream_processors.series import Rows
from stream_processors.store import Store
from stream_processors.verdicts import ask
from stream_processors.windows import Kind, close_rows, gone_rows

Array = npt.NDArray[Any]

MOST_WINDOWS = 20_000  # made again in one transaction
MOST_READINGS = 1_000_000  # and about so many readings loaded for them


async def remake(owner: Owner, store: Store) -> None:
    """Make due windows again. Raises what the store raises."""
    keys = owner.dirty.due(owner.log_ms(), MOST_WINDOWS)
    if not keys:
        return
    done: list[Key] = []
    loaded = 0
    async with owner.transaction(store) as work:
        width_s, slot, start = as_columns(keys)
        for width in np.unique(width_s).tolist():
            of_width = np.flatnonzero(width_s == width)
            for chosen in _bounded(owner, _by_day(of_width, start), slot, width):
                if loaded >= MOST_READINGS:
                    break
                loaded += await _remake(work, width, slot[chosen], start[chosen])
                done += [keys[i] for i in chosen.tolist()]
        width_s, slot, start = as_columns(done)
        columns = owner.table.columns[slot]
        await store.drop_marks(Kind.WINDOW, columns["part"], columns["id"], width_s, start)
    owner.dirty.remove(done)


async def _remake(work: Work, width_s: int, slot: Array, start: Array) -> int:
    """Windows of one width and day; gives how many readings were loaded."""
    table, width = work.owner.table, width_s * 1000
    by = table.columns["weight"][slot]
    weighed = by >= 0
    load_slot, begin, end = ranges(np.concatenate((slot, by[weighed])), np.concatenate((start, start[weighed])), width)
    stored = await work.store.readings_between(table.columns["id"][load_slot], begin, end)
    loaded = work.owner.rows(stored)
    wanted = np.isin(ordering.keys(loaded.slot, loaded.start // width * width), ordering.keys(slot, start))
    eligible = loaded.span_ms < width
    rows, among = _distinct_rows(loaded.take(wanted & eligible)), _distinct_rows(loaded.take(eligible))
    if len(rows):
        closed = close_rows(rows, width_s, among, table)
        await work.put_closed(closed, expect_new=False)
        count_closed(closed, repaired=True)
    made = np.unique(ordering.keys(rows.slot, rows.start // width * width))
    gone = ~np.isin(ordering.keys(slot, start), made)  # a rev changed the period: no reading is this window's any more
    if gone.any():
        await work.put_closed(gone_rows(slot[gone], width_s, start[gone]), expect_new=False)
    await ask(work, width_s, slot, start)
    return len(loaded)


def _bounded(owner: Owner, chunks: list[Array], slot: Array, width_s: int) -> list[Array]:
    """Chunks of windows cut so that none loads many more than `MOST_READINGS`, by what is expected of each."""
    cut: list[Array] = []
    for chunk in chunks:
        span_s = np.maximum(owner.table.columns["rule_span_s"][slot[chunk]], 1)
        number = np.cumsum(width_s // span_s) // MOST_READINGS
        cut += [chunk[number == k] for k in np.unique(number)]
    return cut


def _by_day(rows: Array, start: Array) -> list[Array]:
    """Row numbers split by UTC day, so that a query finds its readings in one chunk."""
    day = start[rows] // 86_400_000
    return [rows[day == d] for d in np.unique(day)]


def _distinct_rows(rows: Rows) -> Rows:
    """Rows of distinct (slot, start): a range that was asked for twice gives its readings twice."""
    _, first = np.unique(ordering.keys(rows.slot, rows.start), return_index=True)
    return rows.take(first)
