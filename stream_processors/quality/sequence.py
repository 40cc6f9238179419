"""The rules of order in event time: in the stream, and again over stored readings, by the same functions.

`Sequence` is the memory of one partition's series. What is said of a reading depends on the readings before it and on
the next one in event time, not on how they were cut into batches:

    batches    [a   b] [c] [d   e]         the spike verdict of b comes with c, of c with d: amendments
    late                x                  stands between b and c now: it is judged by the rules of `EACH` only, and
                                           what is around it is judged again from the stored readings (judge_again)

What comes after a late reading is judged as if that had come in time, for it is put where it belongs.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stream_processors import ordering
from stream_processors.quality import STEP_TESTS, Judged, climatology, judge_steps
from stream_processors.quality.columns import Steps
from stream_processors.quality.history import History
from stream_processors.quality.parameters import Chosen

Array = npt.NDArray[Any]

_EACH_TESTS = np.uint32(~int(STEP_TESTS) & 0xFFFFFFFF)

NEWEST = np.dtype(
    [
        ("tests", "u4"), ("evaluated", "?"), ("each", "?"), ("period_s", "i4"), ("rev", "i4"), ("origin", "u1"),
        ("received", "i8"), ("value", "f8"),
    ]
)  # fmt: skip


_KEPT: dict[str, np.dtype[Any]] = {
    **{name: np.dtype("<i8") for name in ("size", "filled", "start")},
    "value": np.dtype("<f8"), "rev": np.dtype("<i4"), "newest": NEWEST,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Batch:
    """n readings in the order of the log: `series` small integers that were expected; `judged` is what the rules of
    `EACH` said. Values are NaN where there is none.
    """

    series: Array
    start: Array
    value: Array
    rev: Array
    period_s: Array
    origin: Array
    received: Array
    parameters: Chosen
    judged: Judged


@dataclass(frozen=True, slots=True)
class Amended:
    """Readings of earlier batches that have other flags or tests now: columns of length k. `by`: the row of the batch
    that says so, a reading of the same series.
    """

    by: Array
    series: Array
    start: Array
    value: Array
    rev: Array
    period_s: Array
    origin: Array
    received: Array
    judged: Judged

    def __len__(self) -> int:
        return len(self.series)


class Sequence:
    """The last readings of each series, and what was said of the newest one."""

    def __init__(self) -> None:
        self._history = History()
        self._newest = np.zeros(0, NEWEST)

    def expect(self, series: Array, keep: Array) -> None:
        """These series (n) may come from now on, with `keep` (n) readings to remember of each."""
        self._history.make_room(series, keep)
        more = len(self._history.newest) - len(self._newest)
        if more:
            self._newest = np.concatenate((self._newest, np.zeros(more, NEWEST)))

    def take(self, batch: Batch) -> tuple[Judged, Amended | None]:
        """What all rules say of a batch, and what they say now of readings that came before it."""
        history = self._history
        order = np.arange(len(batch.series))
        late = batch.start <= history.newest[batch.series]
        if late.any():
            self._take_late(batch, np.flatnonzero(late))
            order = order[~late]
        if not len(order):
            return batch.judged, None
        ordered = _Ordered(history, batch.series[order], batch.start[order], batch.value[order], batch.rev[order])
        if ordered.order is not None:
            order = order[ordered.order]
        own, previous = ordered.judge(batch.parameters.take(order))
        tests, evaluated = batch.judged.tests.copy(), batch.judged.evaluated.copy()
        tests[order] |= own.tests
        evaluated[order] |= own.evaluated
        amended = self._amend(order, ordered, previous)
        newest = order[ordered.last]
        self._remember(batch, newest, tests[newest], evaluated[newest])
        if not ordered.alone:
            inside = np.flatnonzero(ordered.number)
            tests[order[inside - 1]] |= previous.tests[inside]
            evaluated[order[inside - 1]] |= previous.evaluated[inside]
        return Judged(tests, evaluated), amended

    def snapshot(self) -> dict[str, Array]:
        """All that is remembered, as columns by series (0, 1, ...); `restore` takes their bytes."""
        return {**self._history.everything(), "newest": self._newest}

    def restore(self, series: Array, columns: dict[str, bytes]) -> None:
        """Take up a snapshot, into a memory that is empty; `series`: what number each of its series has here."""
        kept = {name: np.frombuffer(columns[name], dtype) for name, dtype in _KEPT.items()}
        self._history.take_up(series[: len(kept["size"])], kept)
        self._newest = np.zeros(len(self._history.newest), NEWEST)
        self._newest[series[: len(kept["newest"])]] = kept["newest"]

    def _amend(self, order: Array, ordered: "_Ordered", previous: Judged) -> Amended | None:
        """The newest readings of earlier batches, where the first of this batch says something new of them."""
        says = previous.evaluated | (previous.tests != 0)
        if not says.any():
            return None
        first = np.flatnonzero(says & (ordered.number == 0))
        series = ordered.series[first]
        known = self._newest[series]
        now = Judged(known["tests"] | previous.tests[first], known["evaluated"] | previous.evaluated[first])
        changed = (now.tests != known["tests"]) | (now.evaluated != known["evaluated"])
        if not changed.any():
            return None
        known, series, row = known[changed], series[changed], first[changed]
        columns = {name: known[name] for name in ("value", "rev", "period_s", "origin", "received")}
        judged = Judged(now.tests[changed], now.evaluated[changed])
        start = self._history.start[ordered.place[row] - 1]
        return Amended(by=order[row], series=series, start=start, judged=judged, **columns)

    def _remember(self, batch: Batch, rows: Array, tests: Array, evaluated: Array) -> None:
        """These are the newest of their series now."""
        newest = np.empty(len(rows), NEWEST)
        newest["tests"], newest["evaluated"], newest["each"] = tests, evaluated, batch.judged.evaluated[rows]
        for name in ("period_s", "rev", "origin", "received", "value"):
            newest[name] = getattr(batch, name)[rows]
        self._newest[batch.series[rows]] = newest

    def _take_late(self, batch: Batch, late: Array) -> None:
        """Put late readings where they belong, and judge the newest of their series again, for what comes next."""
        history = self._history
        for series in np.unique(batch.series[late]).tolist():
            rows = late[batch.series[late] == series]
            if not history.insert(series, batch.start[rows], batch.value[rows], batch.rev[rows]):
                continue
            for row in rows.tolist():  # a correction of the newest
                if batch.start[row] == history.newest[series] and batch.rev[row] > self._newest["rev"][series]:
                    at = np.array([row])
                    self._remember(batch, at, batch.judged.tests[at], batch.judged.evaluated[at])
            start, value, _ = history.rows(series)
            parameters = batch.parameters.take(np.repeat(rows[:1], len(start)))
            again, _ = _one_stretch(np.zeros(len(start), np.int64), start, value, parameters).judge(parameters)
            known = self._newest[series]
            known["tests"] = (known["tests"] & _EACH_TESTS) | again.tests[-1]
            known["evaluated"] = known["each"] | again.evaluated[-1]


class _Ordered:
    """n readings sorted by series and start, newer than what `history` had of their series; now they are in it.

    `alone`: each is the only one of its series, and the order is the given one; else `order` says which of the given
    ones these are: sorted, and of several revs of one reading the highest only. `number` (n): which reading of its
    series it is here, from 0; `last`: the rows that are their series' last ones; `place` (n): where it is in `history`.
    """

    def __init__(self, history: History, series: Array, start: Array, value: Array, rev: Array) -> None:
        self._history = history
        n = len(series)
        self.alone = n == 1 or _are_distinct(series, len(history.newest))
        self.order: Array | None = None
        if self.alone:
            self.number, self.last = np.zeros(n, np.int64), np.arange(n)
        else:
            self.order = _sorted(series, start, rev)
            series, start, value, rev = (column[self.order] for column in (series, start, value, rev))
            edge = np.flatnonzero(series[1:] != series[:-1])
            self.last = np.append(edge, len(series) - 1)
            begin = np.append(0, edge + 1)
            self.number = np.arange(len(series)) - np.repeat(begin, self.last - begin + 1)
        self.series, self.start, self.value = series, start, value
        self._before = history.kept(series)
        self.place = history.put(series, self.number, self.last, start, value, rev)

    def judge(self, parameters: Chosen) -> tuple[Judged, Judged]:
        """What the rules of order say of each, and of the one before each."""
        history, one, two = self._history, self.place - 1, self.place - 2
        return judge_steps(
            Steps(
                value=self.value,
                start=self.start,
                parameters=parameters,
                previous=history.value[one],
                previous_start=history.start[one],
                before=history.value[two],
                before_start=history.start[two],
                reach=self.reach,
                back=self.back,
                judging=not parameters["evaluated"].all(),
            )
        )

    def reach(self, rows: Array) -> Array:
        """How many readings (k) there are before each of `rows` (k)."""
        return np.asarray(self.number[rows] + self._before[rows])

    def back(self, rows: Array, lag: Array, *, starts: bool) -> tuple[Array, Array | None]:
        """(value, start) of the readings `lag` before `rows`; see `Steps`."""
        place = self.place[rows] - lag
        return self._history.value[place], self._history.start[place] if starts else None


def _are_distinct(series: Array, known: int) -> bool:
    place = np.arange(len(series))
    last = np.empty(known, np.int64)
    last[series] = place
    return bool((last[series] == place).all())


def _sorted(series: Array, start: Array, rev: Array) -> Array:
    """The rows by series and start; of several revs of one reading, the highest."""
    key = ordering.keys(series, start)
    order = ordering.order(series, key)
    in_order = key[order]
    if not (in_order[1:] == in_order[:-1]).any():
        return order
    order = np.lexsort((rev, key))
    return np.asarray(order[np.append(key[order][1:] != key[order][:-1], True)])


def _one_stretch(series: Array, start: Array, value: Array, parameters: Chosen) -> _Ordered:
    """Sorted readings, each once, of series (0, 1, ...) that have nothing before them."""
    history = History()
    if len(series):
        distinct, first = np.unique(series, return_index=True)
        history.make_room(distinct, parameters["keep"][first])
    return _Ordered(history, series, start, value, np.ones(len(series), np.int32))


def judge_again(series: Array, start: Array, value: Array, tests: Array, parameters: Chosen, climates: Array) -> Judged:
    """What the rules say of stored readings, sorted by series and start; `tests` is what was stored of them.

    The rules of `EACH` are not asked again, for they saw what the source sent. The first `keep` readings of a stretch
    lack what is before them and its last one lacks the next: the caller loads so many more and leaves them out.
    """
    ordered = _one_stretch(series, start, value, parameters)
    own, previous = ordered.judge(parameters)
    inside = np.flatnonzero(ordered.number > 0)
    own.tests[inside - 1] |= previous.tests[inside]
    own.evaluated[inside - 1] |= previous.evaluated[inside]
    each = parameters["evaluated"] | (climatology.has_span(start, parameters, climates) & np.isfinite(value))
    return Judged((tests.astype(np.uint32) & _EACH_TESTS) | own.tests, own.evaluated | each)
