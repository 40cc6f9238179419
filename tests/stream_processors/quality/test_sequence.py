"""Flags are a function of the stored readings in event-time order, however the log was cut."""

from dataclasses import dataclass, field

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.datasets import Metric
from schemas.quality import Attenuated, FlatLine, RateOfChange, Season, Spike, TimeGap
from stream_processors.quality.again import Stretch, changed
from stream_processors.quality.history import History
from stream_processors.quality.parameters import of_rows
from stream_processors.quality.sequence import Sequence
from tests.stream_processors.quality.series import Rows as Log
from tests.stream_processors.quality.series import each, flags, judge, rows, table

STEP_MS = 60_000
T0 = 1_564_617_600_000
EVERYTHING = Metric(
    cadence_s=60,
    fail=(-50, 60),
    climatology=(Season((7, 8), (0, 30)),),
    spike=Spike(2.5, 8.5),
    rate_of_change=RateOfChange(0.045, 0.2),
    flat_line=FlatLine(0.15, 120, 300),
    attenuated=Attenuated(300, 3, 0.35, 0.12),
    time_gap=TimeGap(90, 200),
)
ORDER_ONLY = Metric(cadence_s=60, spike=Spike(2.5), attenuated=Attenuated(300, 3, 0.35), time_gap=TimeGap(90))


@dataclass
class Stored:
    """What the database would have: the newest rev of each reading, with its flag and tests; and its owner's marks."""

    metric: Metric
    rows: dict[tuple[int, int], tuple[float, int, int, int]] = field(default_factory=dict)  # value, rev, flag, tests
    newest: dict[int, int] = field(default_factory=dict)
    marks: set[tuple[int, int]] = field(default_factory=set)

    def take(self, batch: Log, sequence: Sequence) -> None:
        judged, amended = judge(self.metric, batch, sequence)
        _, value = each(self.metric, batch)
        for i, flag in enumerate(judged.flag().tolist()):
            key, rev = (int(batch.series[i]), int(batch.start[i])), int(batch.rev[i])
            if key in self.rows and rev <= self.rows[key][1]:
                continue  # a repeat
            if key[1] <= self.newest.get(key[0], -1):
                self.marks.add(key)
            self.newest[key[0]] = max(self.newest.get(key[0], -1), key[1])
            self.rows[key] = (float(value[i]), rev, flag, int(judged.tests[i]))
        if amended is not None:
            for i, flag in enumerate(amended.judged.flag().tolist()):
                key = (int(amended.series[i]), int(amended.start[i]))
                was = self.rows[key]
                assert was[1] == amended.rev[i], "an amendment is of the newest rev"
                self.rows[key] = (was[0], was[1], flag, int(amended.judged.tests[i]))

    def drain(self) -> None:
        keep = int(table(self.metric)[0]["keep"][0])
        wanted: set[tuple[int, int]] = set()
        for series, start in self.marks:
            of = sorted(key for key in self.rows if key[0] == series)
            at = of.index((series, start))
            wanted |= set(of[max(0, at - keep - 1) : at + keep + 2])
        keys = sorted(wanted)
        series, start = np.array(keys, np.int64).reshape(-1, 2).T
        value, _, flag, tests = (np.array(c) for c in zip(*(self.rows[k] for k in keys), strict=True))
        touched = np.array([k in self.marks for k in keys])
        row, climates = table(self.metric)
        stretch = Stretch(
            series, start, value, flag, tests.astype(np.uint32), touched, of_rows(np.repeat(row, len(keys)))
        )
        for i, new_flag, new_tests in zip(*changed(stretch, climates), strict=True):
            was = self.rows[keys[i]]
            self.rows[keys[i]] = (was[0], was[1], int(new_flag), int(new_tests))
        self.marks.clear()

    def whole(self) -> dict[tuple[int, int], tuple[int, int]]:
        """(flag, tests) of all that is stored, judged in one go in event-time order."""
        keys = sorted(self.rows)
        value = [self.rows[k][0] for k in keys]
        judged, amended = judge(self.metric, rows([k[1] for k in keys], value, [k[0] for k in keys]))
        assert amended is None
        return {k: (int(f), int(t)) for k, f, t in zip(keys, judged.flag(), judged.tests, strict=True)}

    def said(self) -> dict[tuple[int, int], tuple[int, int]]:
        return {key: (flag, tests) for key, (_, _, flag, tests) in self.rows.items()}


VALUES = st.sampled_from([0.0, 10.0, 10.0, 10.0, 10.1, 10.2, 11.0, 12.0, 13.0, 15.0, 20.0, 40.0, 70.0, np.nan])


@st.composite
def logs(draw: st.DrawFn, *, shuffled: bool) -> Log:
    """Readings of three series in the order that they come in; with gaps, repeats and corrections."""
    n = draw(st.integers(1, 60))
    series = draw(st.lists(st.integers(0, 2), min_size=n, max_size=n))
    minute = np.cumsum(draw(st.lists(st.sampled_from([0, 1, 1, 1, 1, 2, 5]), min_size=n, max_size=n)))
    value = draw(st.lists(VALUES, min_size=n, max_size=n))
    log = _without_doubles(rows(T0 + minute * STEP_MS, value, series))
    if not shuffled:
        return log
    reach = draw(st.sampled_from([1, 3, 10, 100]))
    place = (
        np.arange(len(log.start))
        + np.array(draw(st.lists(st.integers(0, reach), min_size=n, max_size=n)))[: len(log.start)]
    )
    log = log.take(np.argsort(place, kind="stable"))
    again = draw(st.lists(st.tuples(st.integers(0, len(log.start) - 1), st.integers(1, 3), VALUES), max_size=6))
    for at, rev, new in again:  # a correction, or (rev 1) a repeat
        old = log.take(np.array([at]))
        more = rows(old.start, old.value if rev == 1 else [new], old.series, rev)
        log = Log(*(np.concatenate((getattr(log, k), getattr(more, k))) for k in ("series", "start", "value", "rev")))
    return log


def _without_doubles(log: Log) -> Log:
    _, first = np.unique(np.stack((log.series, log.start)), axis=1, return_index=True)
    return log.take(np.sort(first))


def restarted(sequence: Sequence) -> Sequence:
    """Another process's memory, made from a snapshot."""
    kept = {name: column.tobytes() for name, column in sequence.snapshot().items()}
    fresh = Sequence()
    fresh.restore(np.arange(3), kept)
    return fresh


def feed(data: st.DataObject, log: Log, metric: Metric) -> Stored:
    stored, sequence = Stored(metric), Sequence()
    at = 0
    while at < len(log.start):
        size = data.draw(st.integers(1, 20), "batch")
        batch = _first_of_each(log, at, min(at + size, len(log.start)), stored)
        if len(batch.start):
            stored.take(batch, sequence)
        at += size
        if data.draw(st.booleans(), "restart"):
            sequence = restarted(sequence)
        if stored.marks and data.draw(st.booleans(), "drain"):
            stored.drain()
    if stored.marks:
        stored.drain()
    return stored


def _first_of_each(log: Log, begin: int, end: int, stored: Stored) -> Log:
    """`clean` drops repeats before the rules of order see a batch."""
    chosen, seen = [], {key: row[1] for key, row in stored.rows.items()}
    for i in range(begin, end):
        key, rev = (int(log.series[i]), int(log.start[i])), int(log.rev[i])
        if rev > seen.get(key, 0):
            seen[key] = rev
            chosen.append(i)
    return log.take(np.array(chosen, np.int64))


@settings(max_examples=60, deadline=None)
@given(log=logs(shuffled=False), data=st.data())
def test_how_the_stream_was_cut_changes_nothing(log: Log, data: st.DataObject) -> None:
    """In event-time order nothing is marked: the amendments alone bring the flags to what they must be."""
    stored = feed(data, log, EVERYTHING)
    assert not stored.marks
    assert stored.said() == stored.whole()


@settings(max_examples=100, deadline=None)
@given(log=logs(shuffled=True), data=st.data())
def test_late_and_corrected_readings_end_with_the_flags_of_the_stored_order(log: Log, data: st.DataObject) -> None:
    stored = feed(data, log, EVERYTHING)
    assert stored.said() == stored.whole()


@settings(max_examples=50, deadline=None)
@given(log=logs(shuffled=True), data=st.data())
def test_the_same_where_no_rule_judges_a_reading_alone(log: Log, data: st.DataObject) -> None:
    stored = feed(data, log, ORDER_ONLY)
    assert stored.said() == stored.whole()


def test_a_spike_is_amended_when_the_next_reading_comes() -> None:
    """
    t     0   1   2 | 3
    value 10  10  20| 10        the 20 passes, then it is a spike
    """
    sequence = Sequence()
    first, nothing = judge(EVERYTHING, rows(T0 + np.arange(3) * STEP_MS, [10.0, 11.0, 20.0]), sequence)
    assert nothing is None
    _, amended = judge(EVERYTHING, rows([T0 + 3 * STEP_MS], [10.0]), sequence)
    assert amended is not None and len(amended) == 1
    assert (amended.start.tolist(), amended.value.tolist()) == ([T0 + 2 * STEP_MS], [20.0])
    assert (first.flag()[2], amended.judged.flag()[0]) == (3, 4)  # rate of change, then the spike


def put(history: History, *minutes: int) -> list[int]:
    """Readings of series 0, whose values are their minutes; their places."""
    number, minute = np.arange(len(minutes)), np.array(minutes)
    one = np.ones(len(minutes), np.int32)
    last = np.array([len(minutes) - 1])
    return [int(place) for place in history.put(one * 0, number, last, minute, minute.astype(float), one)]


def test_a_history_keeps_the_newest_in_event_time() -> None:
    history = History()
    history.make_room(np.array([0]), np.array([3]))
    for minute in (1, 2, 4, 5):
        put(history, minute)
    assert history.rows(0)[0].tolist() == [2, 4, 5]
    assert history.insert(0, np.array([3, 1]), np.array([3.0, 1.0]), np.array([1, 1]))
    assert history.rows(0)[0].tolist() == [3, 4, 5]
    assert history.insert(0, np.array([4]), np.array([40.0]), np.array([2]))
    assert history.rows(0)[1].tolist() == [3.0, 40.0, 5.0]
    assert not history.insert(0, np.array([4]), np.array([7.0]), np.array([2])), "of equal revs the first stays"
    history.make_room(np.array([0]), np.array([5]))
    assert history.rows(0)[1].tolist() == [3.0, 40.0, 5.0]


def test_what_was_before_a_reading_stands_before_its_place_however_many_come_at_once() -> None:
    """keep 3, so room for 16: some fit at the end, some only after a move, 40 at once never do."""
    history, minute = History(), 0
    history.make_room(np.array([1, 0]), np.array([3, 3]))
    put(history, *range(100, 103))
    for many in (1, 9, 4, 16, 40, 2, 17, 1, 40, 40, 15, 15):
        minutes = range(200 + minute, 200 + minute + many)
        for place, now in zip(put(history, *minutes), minutes, strict=True):
            before = [100, 101, 102, *range(200, now)][-3:]
            assert history.value[place - 3 : place + 1].tolist() == [*before, now]
            assert history.start[place - 3 : place + 1].tolist() == [*before, now]
        minute += many
        assert history.rows(0)[1].tolist() == [100.0, 101, 102, *range(200, 200 + minute)][-3:]
        assert history.rows(1)[0].tolist() == [], "the other series' places are left alone"


def test_a_series_by_itself_has_no_verdict_of_order() -> None:
    assert flags(ORDER_ONLY, [T0], [1.0]).tolist() == [2]
