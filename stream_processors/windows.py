"""Windows in event time: which are open, what closes them, what comes late for them.

Pure: rows that were stored go in (`take`), closed windows and dirty marks come out. Nothing reads the clock:
the watermark is the newest reading of each sensor, and for silent sensors the ticks in the log.

    start of readings  --a----b--------c--|-d--->         width 60 s, lateness 30 s
    window             [      open        )
    watermark          --------------------------> d      closed when watermark - lateness passes the end
    late               a reading for a closed window: stored, and the window marked dirty (repair.py)

A sensor that sends nothing for `silence_ms` of log time (ticks) has every window closed that ended so long ago.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.flags import COUNTED
from schemas.windows import NARROW_S, WIDE_S
from stream_processors import ordering
from stream_processors.aggregates import Aggregates, aggregate
from stream_processors.series import NEVER_MS, Rows, SeriesTable

Array = npt.NDArray[Any]

ALL_S = NARROW_S + WIDE_S
_DAY_MS = 86_400_000


class Kind(IntEnum):
    """What a dirty mark asks for: a window made again, the flags around a reading judged again, an index."""

    WINDOW = 0
    JUDGE = 1
    INDEX = 2


@dataclass(frozen=True, slots=True)
class Closed:
    """Windows of one width with their aggregates: columns of length G. `origin` is 1 where all readings were imported;
    `gone`: there are no readings any more.
    """

    width_s: int
    slot: Array
    start: Array
    aggregates: Aggregates
    origin: Array
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Marks:
    """Closed windows of one width whose rows must be made again from the stored readings: columns of length G.

    `at_once`: not to wait for quiet (a narrow window, or a wide one that has just closed). `kind` is one of `Kind`.
    """

    width_s: int
    slot: Array
    start: Array
    at_once: bool
    kind: int = Kind.WINDOW


class Windows:
    """The open windows of the partitions that a process holds."""

    def __init__(self, table: SeriesTable) -> None:
        self.table = table
        self.watermark = np.zeros(0, np.int64)  # per sensor: end of the newest reading
        self._heard = np.zeros(0, np.int64)  # per sensor: newest receipt
        self._newest = np.zeros(0, np.int64)  # per slot: start of the newest reading
        self._closed_until = np.zeros((0, len(ALL_S)), np.int64)  # per slot and width: end of the last closed window
        self._memory = {width_s: _Memory(width_s * 1000) for width_s in NARROW_S}
        self._pending: dict[int, dict[tuple[int, int], None]] = {width_s: {} for width_s in WIDE_S}
        self._expected = np.zeros((0, len(ALL_S)), np.int64)  # per slot and wide width: start of the last one pending

    def restore(self, slot: Array, start: Array, watermark: Array, received: Array) -> None:
        """Take up the newest stored reading of each series: its start, end and receipt, epoch ms."""
        self._grow()
        np.maximum.at(self._newest, slot, start)
        sensor = self.table.columns["sensor"][slot]
        np.maximum.at(self.watermark, sensor, watermark)
        np.maximum.at(self._heard, sensor, received)

    def restore_closed(self, slot: Array, width_s: int, until: Array) -> None:
        """Take up the end of the newest stored window of each series, epoch ms."""
        self._grow()
        np.maximum.at(self._closed_until[:, ALL_S.index(width_s)], slot, until)

    def finish_restore(self) -> None:
        """After `restore` and `restore_closed`: what came before is closed, the rest is open.

        A closed window that has readings has a stored row (or, wide, a mark), so what lies behind the newest row
        is open, but no more than a month of it (`lateness_s` may be less now than it was); where there is no row at
        all, a day behind the watermark is taken as open. A window that is made a second time comes out the same and
        gets no new rev.
        """
        self._grow()
        limit = self._limit({})
        for i, width_s in enumerate(ALL_S):
            width = width_s * 1000
            behind_ms = np.where(self._closed_until[:, i] > NEVER_MS, 31 * _DAY_MS, _DAY_MS)
            known = np.where(limit > NEVER_MS, (limit - behind_ms) // width * width, NEVER_MS)
            self._closed_until[:, i] = np.maximum(self._closed_until[:, i], known)
        self._level()
        for i, width_s in enumerate(ALL_S):
            width = width_s * 1000
            if width_s not in WIDE_S:
                continue
            watermark = self.watermark[self.table.columns["sensor"]]
            for slot in np.flatnonzero(limit > NEVER_MS).tolist():
                starts = range(int(self._closed_until[slot, i]), int(watermark[slot]) + 1, width)
                self._pending[width_s].update(dict.fromkeys((slot, start) for start in starts))

    def open_since(self) -> Array:
        """Start (epoch ms, per slot) from which stored readings belong to windows that are not all closed."""
        self._grow()
        since: Array = self._closed_until[:, [ALL_S.index(w) for w in NARROW_S]].min(axis=1)
        return since

    def remember(self, rows: Rows) -> None:
        """Take stored readings of open windows back into memory."""
        for width_s in NARROW_S:
            is_open = (rows.span_ms < width_s * 1000) & ~self._late(rows, width_s)
            self._memory[width_s].add(rows.take(is_open))

    def take(self, rows: Rows, replaced: Rows | None = None) -> list[Marks]:
        """Take readings that were stored just now, and those of them that replaced an older rev.

        Gives the marks of the closed windows that they belong to. Readings of open windows stay in memory.
        """
        marks = self._place(rows, replaced)
        sensor = self.table.columns["sensor"][rows.slot]
        np.maximum.at(self.watermark, sensor, reading_end(rows.start, rows.period_s))
        np.maximum.at(self._newest, rows.slot, rows.start)
        self._heard[sensor] = rows.received  # the last one, not the highest: a clock may have been ahead
        return marks

    def amend(self, rows: Rows) -> list[Marks]:
        """Take stored readings again whose flags are others now; gives marks as `take` does."""
        return self._place(rows, rows)

    def out_of_order(self, rows: Rows) -> Array:
        """The mask (n) of readings that are not newer than all of their series before them, in the log's order; to be
        asked before `take`.
        """
        self._grow()
        order = np.argsort(rows.slot, kind="stable")
        slot = rows.slot[order]
        key = ordering.keys(slot, rows.start[order])
        before = ordering.keys(slot, np.maximum(self._newest[slot], -1))
        before[1:] = np.maximum(before[1:], np.maximum.accumulate(key)[:-1])
        late = np.zeros(len(rows), bool)
        late[order] = key <= before
        return late

    def _place(self, rows: Rows, replaced: Rows | None) -> list[Marks]:
        self._grow()
        marks: list[Marks] = []
        # Whatever the span of a replaced reading is now, it was in the window before.
        again = np.isin(row_keys(rows), row_keys(replaced)) if replaced is not None and len(replaced) else None
        for width_s in ALL_S:
            eligible = rows.span_ms < width_s * 1000
            is_late = self._late(rows, width_s)
            late = eligible & is_late
            changed = late if again is None else late | (again & is_late)
            if changed.any():
                marks += self._marks(rows.take(changed), width_s)
            in_time = eligible & ~late
            fresh = rows if in_time.all() else rows.take(in_time)
            if width_s in WIDE_S:
                self._expect(fresh, width_s)
                continue
            if replaced is not None and len(replaced):
                self._memory[width_s].forget(replaced)
            self._memory[width_s].add(fresh)
        return marks

    def close(self, ticks: Mapping[int, int]) -> tuple[list[Closed], list[Marks]]:
        """Close what the watermarks and the ticks (partition -> epoch ms) have passed.

        Narrow windows come with their aggregates; wide ones as marks, for they are made from stored readings.
        """
        self._grow()
        closed: list[Closed] = []
        marks: list[Marks] = []
        limit = self._limit(ticks)
        watermark = self.watermark[self.table.columns["sensor"]]
        for i, width_s in enumerate(ALL_S):
            width = width_s * 1000
            # Not beyond the newest reading's window, for there is nothing: a tick that is years ahead would otherwise
            # make all that follows late.
            newest_end = ((watermark - 1) // width + 1) * width
            until = np.where(limit > NEVER_MS, np.minimum(limit // width * width, newest_end), NEVER_MS)
            before = self._closed_until[:, i]
            if not (until > before).any():
                continue
            after = self._closed_until[:, i] = np.maximum(before, until)
            if width_s in NARROW_S:
                closed += self._close_narrow(width_s, after)
            else:
                marks += self._close_wide(width_s, after)
        return closed, marks

    def _limit(self, ticks: Mapping[int, int]) -> Array:
        """Per slot: windows that end at or before this are closed."""
        columns = self.table.columns
        watermark = self.watermark[columns["sensor"]]
        limit = np.where(watermark > NEVER_MS, watermark - columns["lateness_ms"], NEVER_MS)
        if ticks:
            by_part = np.full(max(int(columns["part"].max(initial=0)), max(ticks)) + 1, NEVER_MS)
            by_part[list(ticks)] = list(ticks.values())
            tick = by_part[columns["part"]]
            silent = tick - columns["silence_ms"] > self._heard[columns["sensor"]]
            limit = np.where(silent, np.maximum(limit, tick - columns["silence_ms"]), limit)
        return limit

    def _late(self, rows: Rows, width_s: int) -> Array:
        end = (rows.start // (width_s * 1000) + 1) * (width_s * 1000)
        return np.asarray(end <= self._closed_until[rows.slot, ALL_S.index(width_s)])

    def _marks(self, rows: Rows, width_s: int) -> list[Marks]:
        """Marks for late rows, and for the windows of the series that they weigh."""
        start = rows.start // (width_s * 1000) * (width_s * 1000)
        slots, starts = [rows.slot], [start]
        weighed = np.flatnonzero(self.table.columns["weight"] >= 0)
        for target in weighed.tolist():
            of_target = rows.slot == self.table.columns["weight"][target]
            slots.append(np.full(int(of_target.sum()), target))
            starts.append(start[of_target])
        slot, start = ordering.distinct(np.concatenate(slots), np.concatenate(starts))
        return [Marks(width_s, slot, start, at_once=width_s in NARROW_S)]

    def _expect(self, rows: Rows, width_s: int) -> None:
        width = width_s * 1000
        start = rows.start // width * width
        other = start != self._expected[rows.slot, ALL_S.index(width_s)]
        if not other.any():  # the usual case: of the same windows as the readings before
            return
        slot, start = ordering.distinct(rows.slot[other], start[other])
        self._expected[slot, ALL_S.index(width_s)] = start
        self._pending[width_s].update(dict.fromkeys(zip(slot.tolist(), start.tolist(), strict=True)))

    def _close_narrow(self, width_s: int, until: Array) -> list[Closed]:
        rows, among = self._memory[width_s].close(until)
        return [close_rows(rows, width_s, among, self.table)] if len(rows) else []

    def _close_wide(self, width_s: int, until: Array) -> list[Marks]:
        pending = self._pending[width_s]
        if not pending:
            return []
        keys = np.array(list(pending), np.int64).reshape(-1, 2)
        ready = keys[:, 1] + width_s * 1000 <= until[keys[:, 0]]
        if not ready.any():
            return []
        self._pending[width_s] = dict.fromkeys(map(tuple, keys[~ready].tolist()))
        return [Marks(width_s, keys[ready, 0], keys[ready, 1], at_once=True)]

    def _level(self) -> None:
        """All series of a sensor close together: one that is new comes late for what its sensor has closed. Speed
        and the volume that weighs it are so judged alike, whichever comes first.
        """
        sensor = self.table.columns["sensor"]
        highest = np.full((self.table.sensors(), len(ALL_S)), NEVER_MS)
        np.maximum.at(highest, sensor, self._closed_until)
        self._closed_until = highest[sensor]

    def _grow(self) -> None:
        """Room for series that were added to the table."""
        more = len(self.table) - len(self._closed_until)
        if more:
            self._closed_until = np.vstack((self._closed_until, np.full((more, len(ALL_S)), NEVER_MS)))
            self._expected = np.vstack((self._expected, np.full((more, len(ALL_S)), NEVER_MS)))
            self._newest = np.concatenate((self._newest, np.full(more, NEVER_MS)))
            self._level()
        more = self.table.sensors() - len(self.watermark)
        if more:
            self.watermark = np.concatenate((self.watermark, np.full(more, NEVER_MS)))
            self._heard = np.concatenate((self._heard, np.full(more, NEVER_MS)))


class _Memory:
    """The readings of one width's open windows: chunks by the number of their window, joined when it closes."""

    def __init__(self, width_ms: int) -> None:
        self._width_ms = width_ms
        self._chunks: dict[int, list[Rows]] = {}

    def add(self, rows: Rows) -> None:
        if not len(rows):
            return
        number = rows.start // self._width_ms
        if (number == number[0]).all():
            self._chunks.setdefault(int(number[0]), []).append(rows)
            return
        order = np.argsort(number, kind="stable")
        for of_window in np.split(order, np.flatnonzero(np.diff(number[order])) + 1):
            self._chunks.setdefault(int(number[of_window[0]]), []).append(rows.take(of_window))

    def close(self, until: Array) -> tuple[Rows, Rows]:
        """Take out the readings whose window ends by `until` (per slot); and all readings of these windows."""
        out: list[Rows] = []
        among: list[Rows] = []
        latest = int(until.max(initial=NEVER_MS))
        for number in [n for n in self._chunks if (n + 1) * self._width_ms <= latest]:
            rows = concatenate(self._chunks[number])
            closing = (number + 1) * self._width_ms <= until[rows.slot]
            if closing.all():
                del self._chunks[number]
                out.append(rows)
                among.append(rows)
                continue
            self._chunks[number] = [rows.take(~closing)]
            if closing.any():
                out.append(rows.take(closing))
                among.append(rows)
        return concatenate(out), concatenate(among)

    def forget(self, rows: Rows) -> None:
        for number in np.unique(rows.start // self._width_ms).tolist():
            if number in self._chunks:
                kept = concatenate(self._chunks[number])
                self._chunks[number] = [kept.take(~np.isin(row_keys(kept), row_keys(rows)))]


def concatenate(chunks: list[Rows]) -> Rows:
    """One batch of rows of several, in order."""
    if len(chunks) == 1:
        return chunks[0]
    if not chunks:
        empty = np.zeros(0, np.int64)
        return Rows(empty, empty, empty, np.zeros(0), empty, empty, empty, empty)
    return Rows(*(np.concatenate([getattr(c, name) for c in chunks]) for name in Rows.__slots__))


def reading_end(start: Array, period_s: Array) -> Array:
    """When readings end, epoch ms; an instant lasts a millisecond, so that it belongs to the window that it is in."""
    end: Array = start + np.maximum(period_s.astype(np.int64) * 1000, 1)
    return end


def row_keys(rows: Rows) -> Array:
    """One integer for each row's (slot, start)."""
    return ordering.keys(rows.slot, rows.start)


def weights(rows: Rows, among: Rows, table: SeriesTable) -> Array:
    """The weight (n) of each row: the counted value of its weighing series at the same start, NaN where none."""
    found = np.full(len(rows), np.nan)
    by = table.columns["weight"][rows.slot].astype(np.int64)
    wanted = by >= 0
    if not wanted.any():
        return found
    candidates = among.take(np.isin(among.slot, np.unique(by[wanted])) & np.isin(among.flag, COUNTED))
    keys = row_keys(candidates)
    order = np.argsort(keys)
    want = ordering.keys(by[wanted], rows.start[wanted])
    place = np.searchsorted(keys, want, sorter=order)
    hit = place < len(keys)
    index = order[np.where(hit, place, 0)] if len(keys) else np.zeros(len(want), np.int64)
    hit &= keys[index] == want if len(keys) else False
    value = candidates.value[index] if len(keys) else np.zeros(len(want))
    found[wanted] = np.where(hit & (value >= 0), value, np.nan)
    return found


def close_rows(rows: Rows, width_s: int, among: Rows, table: SeriesTable) -> Closed:
    """The windows of these rows (distinct slot and start), aggregated; `among` has the readings that weigh them."""
    width = width_s * 1000
    rows = rows.take(ordering.order(rows.slot, row_keys(rows)))
    number = rows.start // width
    first = np.ones(len(rows), bool)
    first[1:] = (rows.slot[1:] != rows.slot[:-1]) | (number[1:] != number[:-1])
    begin = np.flatnonzero(first)
    slot, start = rows.slot[begin], number[begin] * width
    weight = weights(rows, among, table)
    window = np.cumsum(first) - 1
    aggregates = aggregate(window, start + width, width, rows.start, rows.span_ms, rows.value, rows.flag, weight)
    return Closed(width_s, slot, start, aggregates, np.minimum.reduceat(rows.origin, begin).astype(np.int64))


def gone_rows(slot: Array, width_s: int, start: Array) -> Closed:
    """Windows that no stored reading belongs to any more."""
    nothing, none = np.zeros(0, np.int64), np.zeros(0)
    end = start + width_s * 1000
    aggregates = aggregate(nothing, end, width_s * 1000, nothing, nothing, none, nothing, none)
    return Closed(width_s, slot, start, aggregates, np.zeros(len(start), np.int64), gone=True)
