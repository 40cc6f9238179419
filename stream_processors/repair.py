"""Dirty marks: closed windows whose stored row is not what the stored readings say, and when to make them again.

Narrow windows at once; hours and days after `quiet_ms` of log time without another late reading for them, or at
the latest `max_delay_ms` after the first, so that a shuffled backfill does not recompute a day a thousand times.
Pure: the log's time is an argument; the marks are stored by the caller, in the transaction of what made them.
"""

import heapq
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stream_processors import ordering
from stream_processors.windows import Kind, Marks

Array = npt.NDArray[Any]
Key = tuple[int, int, int, int]  # (kind, width_s, slot, start epoch ms)

AT_ONCE = 0


@dataclass(slots=True)
class Mark:
    """Log time (epoch ms) of the first late reading and of the newest one; `AT_ONCE` in `touched`: due."""

    marked: int
    touched: int


class DirtyMarks:
    """The marks of the partitions that a process holds; a mirror of table `dirty`."""

    def __init__(self, *, quiet_ms: int, max_delay_ms: int) -> None:
        self._quiet_ms = quiet_ms
        self._max_delay_ms = max_delay_ms
        self.marks: dict[Key, Mark] = {}

    def __len__(self) -> int:
        return len(self.marks)

    def add(self, marks: Marks, log_ms: int) -> list[tuple[Key, Mark]]:
        """Take marks in; gives those that are new or changed, for the table."""
        changed: list[tuple[Key, Mark]] = []
        for slot, start in zip(marks.slot.tolist(), marks.start.tolist(), strict=True):
            key = (int(marks.kind), marks.width_s, slot, start)
            touched = AT_ONCE if marks.at_once else log_ms
            known = self.marks.get(key)
            if known is None:
                known = self.marks[key] = Mark(log_ms, touched)
            elif known.touched == touched or known.touched == AT_ONCE:
                continue
            else:
                known.touched = touched
            changed.append((key, known))
        return changed

    def due(self, log_ms: int, limit: int, kind: int = Kind.WINDOW) -> list[Key]:
        """At most `limit` marks of a kind that are due at this log time: narrow windows first, those of a series
        together, in the order of time.
        """
        ready = (
            key
            for key, mark in self.marks.items()
            if key[0] == kind
            and (
                mark.touched == AT_ONCE
                or not 0 <= log_ms - mark.touched < self._quiet_ms  # before 0: the log's clock was set back
                or log_ms - mark.marked >= self._max_delay_ms
            )
        )
        return heapq.nsmallest(limit, ready)

    def remove(self, keys: list[Key]) -> None:
        """These windows were made again."""
        for key in keys:
            self.marks.pop(key, None)


def ranges(slot: Array, start: Array, width_ms: int) -> tuple[Array, Array, Array]:
    """(slot, begin, end) of the stretches that windows of one width make up, given in any order and maybe twice."""
    keys = np.unique(ordering.keys(slot, start))
    first = np.ones(len(keys), bool)
    first[1:] = keys[1:] != keys[:-1] + width_ms
    last = np.append(first[1:], True)[: len(keys)]
    slot, at = ordering.of_keys(keys)
    return slot[first], at[first], at[last] + width_ms


def as_columns(keys: list[Key]) -> tuple[Array, Array, Array]:
    """(width_s, slot, start) of keys, as columns."""
    table = np.array(keys, np.int64).reshape(-1, 4)
    return table[:, 1], table[:, 2], table[:, 3]
