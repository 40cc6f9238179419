"""The last readings of each series in event time, as many as its rules look back: a ring a series, in flat columns.

20 bytes a reading kept. A reading out of order is put where it belongs, so that what follows is judged as if it had
come in time; one older than all that is kept changes nothing here.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from stream_processors.quality.columns import NEVER_MS

Array = npt.NDArray[Any]


class History:
    """Rings of (start, value, rev) by series, small integers."""

    def __init__(self) -> None:
        self.newest = np.zeros(0, np.int64)  # per series: the start of its newest reading,
        self.value = np.zeros(0)  # its value,
        self.before = np.zeros(0, np.int64)  # the start of the one before,
        self.before_value = np.zeros(0)  # and its value: what most rules want, at hand
        self._base = np.zeros(0, np.int64)  # per series: where its ring begins in the columns
        self._size = np.zeros(0, np.int64)  # per series: the ring's length; 0: it has none yet
        self._count = np.zeros(0, np.int64)  # per series: readings put in since the ring was laid out
        self._used = 0
        self._start = np.zeros(0, np.int64)
        self._value = np.zeros(0)
        self._rev = np.zeros(0, np.int32)

    def make_room(self, series: Array, keep: Array) -> None:
        """Rings of at least `keep` (n) readings for `series` (n)."""
        more = int(series.max()) + 1 - len(self._size)
        if more > 0:
            for name in ("value", "before_value"):
                setattr(self, name, np.concatenate((getattr(self, name), np.full(more, np.nan))))
            for name, empty in (("newest", NEVER_MS), ("before", NEVER_MS), ("_base", 0), ("_size", 0), ("_count", 0)):
                setattr(self, name, np.concatenate((getattr(self, name), np.full(more, empty, np.int64))))
        short = self._size[series] < keep
        if short.any():
            for one, wanted in dict(zip(series[short].tolist(), keep[short].tolist(), strict=True)).items():
                self._lay_out(one, wanted, self.rows(one))

    def rows(self, series: int) -> tuple[Array, Array, Array]:
        """(start, value, rev) kept of one series, oldest first."""
        size, count = int(self._size[series]), int(self._count[series])
        filled = min(size, count)
        at = self._base[series] + np.arange(count - filled, count) % max(size, 1)
        return self._start[at], self._value[at], self._rev[at]

    def places(self, series: Array, lag: Array) -> tuple[Array, Array]:
        """(place, there) (..., n) of the readings `lag` (..., n) before the next one of `series` (n), 1 the newest:
        where they are in the columns, and whether there are so many; for `values` and `starts`.
        """
        size, count = self._size[series], self._count[series]
        there = lag <= np.minimum(size, count)
        place = count % np.maximum(size, 1) - lag
        place += np.where(place < 0, size, 0)
        place += self._base[series]
        return (place, there) if there.all() else (np.where(there, place, 0), there)

    def values(self, place: Array, there: Array) -> Array:
        """The values at places, NaN where nothing is."""
        return _filled(self._value[place], there, np.nan)

    def starts(self, place: Array, there: Array) -> Array:
        """The starts at places, `NEVER_MS` where nothing is."""
        return _filled(self._start[place], there, NEVER_MS)

    def kept(self, series: Array) -> Array:
        """How many readings are kept (n) of `series` (n)."""
        return np.minimum(self._size[series], self._count[series])

    def append_one_each(self, series: Array, start: Array, value: Array, rev: Array) -> None:
        """Put readings in that are newer than all of their series; one of each series."""
        count = self._count[series]
        at = self._base[series] + count % self._size[series]
        self._start[at], self._value[at], self._rev[at] = start, value, rev
        self._count[series] = count + 1
        self.before[series], self.before_value[series] = self.newest[series], self.value[series]
        self.newest[series], self.value[series] = start, value

    def append(self, series: Array, number: Array, total: Array, start: Array, value: Array, rev: Array) -> None:
        """Put readings in that are newer than all of their series; sorted by series and start.

        `number` (n): which reading of its series it is in this batch, from 0; `total` (n): of how many.
        """
        size = self._size[series]
        fits = number >= total - size
        at = (self._base[series] + (self._count[series] + number) % size)[fits]
        self._start[at], self._value[at], self._rev[at] = start[fits], value[fits], rev[fits]
        last = np.flatnonzero(number == total - 1)
        of = series[last]
        self._count[of] += total[last]
        alone = total[last] == 1
        self.before[of] = np.where(alone, self.newest[of], start[last - 1])
        self.before_value[of] = np.where(alone, self.value[of], value[last - 1])
        self.newest[of], self.value[of] = start[last], value[last]

    def insert(self, series: int, start: Array, value: Array, rev: Array) -> bool:
        """Put readings of one series where they belong; of several revs the highest stays. Whether anything changed."""
        size = int(self._size[series])
        known_start, known_value, known_rev = self.rows(series)
        if len(known_start) == size:  # the ring is full: what is older than all of it would fall out at once
            newer = start > known_start[0]
            newer |= start == known_start[0]
            start, value, rev = start[newer], value[newer], rev[newer]
        if not len(start):
            return False
        starts = np.concatenate((known_start, start))
        values, revs = np.concatenate((known_value, value)), np.concatenate((known_rev, rev))
        order = np.lexsort((-np.arange(len(starts)), revs, starts))  # of equal revs, the first one that came stays
        last = np.append(starts[order][1:] != starts[order][:-1], True)
        chosen = order[last][-size:]
        kept = starts[chosen], values[chosen], revs[chosen]
        if len(chosen) == len(known_start) and bool((chosen == np.arange(len(chosen))).all()):
            return False
        self._lay_out(series, size, kept)
        return True

    def everything(self) -> dict[str, Array]:
        """All that is kept: `size` and `filled` by series, then `start`, `value`, `rev` of them, oldest first."""
        filled = np.minimum(self._size, self._count)
        series = np.repeat(np.arange(len(filled)), filled)
        number = np.arange(len(series)) - np.repeat(np.cumsum(filled) - filled, filled)
        at = self._base[series] + (self._count[series] - filled[series] + number) % np.maximum(self._size[series], 1)
        rows = {"start": self._start[at], "value": self._value[at], "rev": self._rev[at]}
        return {"size": self._size, "filled": filled, **rows}

    def take_up(self, series: Array, kept: dict[str, Array]) -> None:
        """Take what `everything` gave, into a history that knows nothing; `series` (S): what number each has here."""
        filled = kept["filled"]
        if not len(series):
            return
        self.make_room(series, kept["size"])
        number = np.arange(int(filled.sum())) - np.repeat(np.cumsum(filled) - filled, filled)
        self.append(
            np.repeat(series, filled), number, np.repeat(filled, filled), kept["start"], kept["value"], kept["rev"]
        )

    def _lay_out(self, series: int, size: int, rows: tuple[Array, Array, Array]) -> None:
        """A ring of `size` with these rows, oldest first; in place where it has that size already."""
        if self._size[series] != size:
            if self._used + size > len(self._start):
                grown = max(2 * len(self._start), self._used + size, 1024)
                for name in ("_start", "_value", "_rev"):
                    column = getattr(self, name)
                    setattr(self, name, np.concatenate((column, np.zeros(grown - len(column), column.dtype))))
            self._base[series], self._size[series] = self._used, size
            self._used += size
        count = len(rows[0])
        at = self._base[series] + np.arange(count)
        self._start[at], self._value[at], self._rev[at] = rows
        self._count[series] = count
        for back, (of_start, of_value) in enumerate(((self.newest, self.value), (self.before, self.before_value)), 1):
            there = count >= back
            of_start[series] = rows[0][-back] if there else NEVER_MS
            of_value[series] = rows[1][-back] if there else np.nan


def _filled(column: Array, there: Array, empty: float) -> Array:
    if not there.all():
        column[~there] = empty
    return column
