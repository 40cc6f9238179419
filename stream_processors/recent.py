"""What a partition has seen lately, to tell repeats: columns, not objects, 28 bytes a reading.

A reading that is newer than all of its series needs no look-up, so remembering one costs an append; only what is
not newer is searched for, in sorted runs that are merged as they grow (a log-structured merge, ~log2(n) runs).
"""

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stream_processors import ordering

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class _Run:
    """Readings: key (series and start), rev, value, received (epoch ms). Sorted by key, one row a key, but for
    fresh ones, which are as they came.
    """

    key: Array
    rev: Array
    value: Array
    received: Array

    def rows(self, chosen: Array) -> "_Run":
        return _Run(self.key[chosen], self.rev[chosen], self.value[chosen], self.received[chosen])


MOST_READINGS = 1_000_000


class Recent:
    """The readings received in the last `horizon_ms`, at most `most`; older ones are forgotten, and are new again."""

    def __init__(self, horizon_ms: int, most: int = MOST_READINGS) -> None:
        self._horizon_ms = horizon_ms
        self._most = most
        self._length = 0
        self._newest = np.zeros(0, np.int64)  # per series: the latest start seen, never forgotten
        self._fresh: deque[_Run] = deque()
        self._runs: list[_Run] = []

    def __len__(self) -> int:
        return sum(len(run.key) for run in (*self._fresh, *self._runs))

    def repeats(self, series: Array, start: Array, rev: Array, value: Array, received: Array) -> tuple[Array, Array]:
        """(repeated, conflict): masks (n) of the readings that came before, with the same or a higher rev, and of
        those among them whose value of the same rev was another. The others are remembered.

        `series` are small integers, `start` and `received` epoch ms, in the order of the log.
        """
        n = len(series)
        repeated, conflict = np.zeros(n, bool), np.zeros(n, bool)
        if not n:
            return repeated, conflict
        key = ordering.keys(series, start)
        more = int(series.max()) + 1 - len(self._newest)
        if more > 0:
            self._newest = np.concatenate((self._newest, np.full(more, -1)))
        came = _Run(key, rev, value, received)
        if (start <= self._newest[series]).any() or _has_twins(series, key):
            repeated, conflict = self._compare(came)
            came = came.rows(~repeated)
        np.maximum.at(self._newest, series, start)
        self._fresh.append(came)
        self._length += len(came.key)
        if self._length > self._most:
            self._length = len(self)
            if self._length > self._most:
                self._halve()
        self._forget(int(received[-1]) - self._horizon_ms)
        return repeated, conflict

    def _compare(self, came: _Run) -> tuple[Array, Array]:
        known_rev, known_value = self._find(came.key)
        repeated, conflict = np.zeros(len(came.key), bool), np.zeros(len(came.key), bool)
        now: dict[int, tuple[int, float]] = {}  # this batch may hold a key several times
        rows = zip(
            came.key.tolist(),
            came.rev.tolist(),
            came.value.tolist(),
            known_rev.tolist(),
            known_value.tolist(),
            strict=True,
        )
        for i, (key, rev, value, *known) in enumerate(rows):
            seen_rev, seen_value = now.get(key, known)
            if rev > seen_rev:
                now[key] = (rev, value)
                continue
            repeated[i] = True
            # NaN (a sentinel) equals NaN here: the same reading again.
            same = value == seen_value or (value != value and seen_value != seen_value)
            conflict[i] = rev == seen_rev and not same
        return repeated, conflict

    def _find(self, key: Array) -> tuple[Array, Array]:
        """(rev, value) known for each key; rev 0 where none is."""
        self._sort_fresh()
        rev, value = np.zeros(len(key), np.int64), np.zeros(len(key))
        for run in self._runs:  # older first: a newer run has the higher rev
            place = np.minimum(np.searchsorted(run.key, key), len(run.key) - 1)
            hit = run.key[place] == key
            rev[hit], value[hit] = run.rev[place[hit]], run.value[place[hit]]
        return rev, value

    def _sort_fresh(self) -> None:
        if self._fresh:
            self._runs.append(_merge(list(self._fresh)))
            self._fresh.clear()
        self._runs = [run for run in self._runs if len(run.key)]
        while len(self._runs) > 1 and len(self._runs[-2].key) <= 2 * len(self._runs[-1].key):
            newer, older = self._runs.pop(), self._runs.pop()
            self._runs.append(_merge([older, newer]))

    def _halve(self) -> None:
        """Forget the older half of what is remembered."""
        received = np.concatenate([run.received for run in (*self._runs, *self._fresh)])
        self._sort_fresh()
        cut = int(np.partition(received, len(received) // 2)[len(received) // 2])
        kept = [run.rows(run.received > cut) for run in self._runs]
        self._runs = [run for run in kept if len(run.key)]
        self._length = len(self)

    def _forget(self, before_ms: int) -> None:
        while self._fresh and (not len(self._fresh[0].received) or self._fresh[0].received[-1] < before_ms):
            self._fresh.popleft()
        if self._runs and self._runs[0].received.min() < before_ms - self._horizon_ms:
            # Rewriting the oldest run costs its length, so it is done once a horizon.
            kept = [run.rows(run.received >= before_ms) for run in self._runs]
            self._runs = [run for run in kept if len(run.key)]


def _has_twins(series: Array, key: Array) -> bool:
    in_order = key[ordering.order(series, key)]
    return bool((in_order[1:] == in_order[:-1]).any())


def _merge(runs: list[_Run]) -> _Run:
    """One sorted run of several in the order of time; of a key, the row that came last."""
    joined = _Run(*(np.concatenate([getattr(run, name) for run in runs]) for name in _Run.__slots__))
    order = np.argsort(joined.key, kind="stable")
    key = joined.key[order]
    last = np.ones(len(key), bool)
    last[:-1] = key[1:] != key[:-1]
    return joined.rows(order[last])
