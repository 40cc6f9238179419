"""The last readings of each series in event time, as many as its rules look back: a stretch a series, in flat columns.

    place    base                          end
             | -  -  -  a  b  c  d  e  f  g |            | the next series' base
                         `--- size -------'   `- room ---'

What a rule looks back at stands in a row before the reading, in one column with those of all other series: value and
start of the reading `lag` back are at its place minus `lag`. Where a series has not so many, the places hold NaN and
`NEVER_MS`. New readings go in at the end; when the room is used up, the last `size` move to the base. Readings that
the room could never hold go in behind all series, and their last ones come home.

20 bytes a place, and twice as many places as readings kept. A reading out of order is put where it belongs, so that
what follows is judged as if it had come in time; one older than all that is kept changes nothing here.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from stream_processors.quality.columns import NEVER_MS

Array = npt.NDArray[Any]

LEAST_ROOM = 16


class History:
    """Stretches of (start, value, rev) by series, small integers."""

    def __init__(self) -> None:
        self.newest = np.zeros(0, np.int64)  # per series: the start of its newest reading
        self.start = np.zeros(0, np.int64)  # columns of all series, by place
        self.value = np.zeros(0)
        self._rev = np.zeros(0, np.int32)
        self._base = np.zeros(0, np.int64)  # per series: its first place
        self._size = np.zeros(0, np.int64)  # per series: readings to keep; 0: it has no places yet
        self._end = np.zeros(0, np.int64)  # per series: the place of its next reading
        self._filled = np.zeros(0, np.int64)  # per series: readings kept, at most `size`
        self._used = 0

    def make_room(self, series: Array, keep: Array) -> None:
        """Places for at least `keep` (n) readings of `series` (n)."""
        more = int(series.max(initial=-1)) + 1 - len(self._size)
        if more > 0:
            for name, empty in (("newest", NEVER_MS), ("_base", 0), ("_size", 0), ("_end", 0), ("_filled", 0)):
                setattr(self, name, np.concatenate((getattr(self, name), np.full(more, empty, np.int64))))
        short = self._size[series] < keep
        if short.any():
            for one, wanted in dict(zip(series[short].tolist(), keep[short].tolist(), strict=True)).items():
                self._lay_out(one, wanted, self.rows(one))

    def rows(self, series: int) -> tuple[Array, Array, Array]:
        """(start, value, rev) kept of one series, oldest first: views, good until the next reading goes in."""
        end = int(self._end[series])
        kept = slice(end - int(self._filled[series]), end)
        return self.start[kept], self.value[kept], self._rev[kept]

    def kept(self, series: Array) -> Array:
        """How many readings are kept (n) of `series` (n)."""
        return np.asarray(self._filled[series])

    def put(self, series: Array, number: Array, last: Array, start: Array, value: Array, rev: Array) -> Array:
        """Put readings (n) in that are newer than all of their series, sorted by series and start; their places.

        `number` (n): which reading of its series it is in this batch, from 0; `last`: the rows that are their series'
        last ones. What is kept before a reading stands before its place, until the next readings go in.
        """
        of, many = series[last], number[last] + 1
        away: list[int] = []
        size = self._size[of]
        full = self._end[of] + many > self._base[of] + size + _room(size)
        if full.any():
            away = self._make_way(of[full], many[full])
        place: Array = self._end[series] + number
        self.start[place], self.value[place], self._rev[place] = start, value, rev
        self._end[of] += many
        self._filled[of] = np.minimum(self._filled[of] + many, size)
        self.newest[of] = start[last]
        for one in away:
            self._move(one, int(self._base[one]))
        return place

    def insert(self, series: int, start: Array, value: Array, rev: Array) -> bool:
        """Put readings of one series where they belong; of several revs the highest stays. Whether anything changed."""
        size = int(self._size[series])
        known_start, known_value, known_rev = self.rows(series)
        if len(known_start) == size:  # all places are taken: what is older than all of it would fall out at once
            newer = start >= known_start[0]
            start, value, rev = start[newer], value[newer], rev[newer]
        if not len(start):
            return False
        starts = np.concatenate((known_start, start))
        values, revs = np.concatenate((known_value, value)), np.concatenate((known_rev, rev))
        order = np.lexsort((-np.arange(len(starts)), revs, starts))  # of equal revs, the first one that came stays
        last = np.append(starts[order][1:] != starts[order][:-1], True)
        chosen = order[last][-size:]
        if len(chosen) == len(known_start) and bool((chosen == np.arange(len(chosen))).all()):
            return False
        self._lay_out(series, size, (starts[chosen], values[chosen], revs[chosen]))
        return True

    def everything(self) -> dict[str, Array]:
        """All that is kept: `size` and `filled` by series, then `start`, `value`, `rev` of them, oldest first."""
        filled = self._filled
        number = np.arange(int(filled.sum())) - np.repeat(np.cumsum(filled) - filled, filled)
        place = np.repeat(self._end - filled, filled) + number
        rows: dict[str, Array] = {"start": self.start[place], "value": self.value[place], "rev": self._rev[place]}
        return {"size": self._size, "filled": filled, **rows}

    def take_up(self, series: Array, kept: dict[str, Array]) -> None:
        """Take what `everything` gave, into a history that knows nothing; `series` (S): what number each has here."""
        filled = kept["filled"]
        if not len(series):
            return
        self.make_room(series, kept["size"])
        some = np.flatnonzero(filled)
        end = np.cumsum(filled)
        number = np.arange(int(filled.sum())) - np.repeat(end - filled, filled)
        self.put(np.repeat(series, filled), number, end[some] - 1, kept["start"], kept["value"], kept["rev"])

    def _make_way(self, series: Array, many: Array) -> list[int]:
        """Move what is kept of `series` (k) to where `many` (k) more fit behind it; those that are not at home now."""
        away: list[int] = []
        free = self._used
        for one, more in zip(series.tolist(), many.tolist(), strict=True):
            size = int(self._size[one])
            if more <= _room(size):
                self._move(one, int(self._base[one]))
                continue
            self._have(free + size + more)
            self._move(one, free)
            free += size + more
            away.append(one)
        return away

    def _move(self, series: int, to: int) -> None:
        """Put the last `size` places of a series at `to`; its next reading comes behind them."""
        size, end = int(self._size[series]), int(self._end[series])
        for column in (self.start, self.value, self._rev):
            column[to : to + size] = column[end - size : end]
        self._end[series] = to + size

    def _lay_out(self, series: int, size: int, rows: tuple[Array, Array, Array]) -> None:
        """These rows, oldest first, before the end of `size` places; where they were, if the size is the same."""
        if self._size[series] != size:
            places = size + int(_room(size))
            self._have(self._used + places)
            self._base[series], self._size[series] = self._used, size
            self._used += places
        base, count = int(self._base[series]), len(rows[0])
        end = base + size
        self.start[base : end - count], self.value[base : end - count] = NEVER_MS, np.nan
        self.start[end - count : end], self.value[end - count : end], self._rev[end - count : end] = rows
        self._end[series], self._filled[series] = end, count
        self.newest[series] = rows[0][-1] if count else NEVER_MS

    def _have(self, places: int) -> None:
        if places <= len(self.start):
            return
        grown = max(2 * len(self.start), places, 1024)
        for name in ("start", "value", "_rev"):
            column = getattr(self, name)
            setattr(self, name, np.concatenate((column, np.zeros(grown - len(column), column.dtype))))


def _room(size: Any) -> Any:
    """Places for new readings behind `size` that are kept."""
    return np.maximum(size, LEAST_ROOM)
