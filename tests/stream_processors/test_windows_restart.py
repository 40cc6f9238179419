"""Windows through crashes: whatever is cut, shuffled, corrected and restarted, rows end as the stored readings say.

A store in memory stands for the tables; `Store.commit` is one transaction. A crash throws the state away and loads
it from the tables as `windows_role` does.
"""

from dataclasses import dataclass, field

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.windows import NARROW_S
from stream_processors.repair import AT_ONCE, DirtyMarks
from stream_processors.series import Rows
from stream_processors.windows import ALL_S, Closed, Marks, Windows, close_rows
from tests.stream_processors.test_windows import MINUTE, SPEED, VOLUME, new_windows

SLOTS = (0, 1)  # speed, volume
PERIOD_S = 60
Truth = dict[tuple[int, int, int], tuple[int, float]]  # (width, slot, start ms) -> (n, mean)


@dataclass
class Tables:
    """What would be in the database."""

    readings: dict[tuple[int, int], float] = field(default_factory=dict)  # (slot, minute) -> value
    windows: Truth = field(default_factory=dict)
    marks: set[tuple[int, int, int]] = field(default_factory=set)  # (width, slot, start ms)


def rows(windows: Windows, minutes: list[tuple[int, int]], tables: Tables) -> Rows:
    slot = np.array([s for s, _ in minutes], np.int64)
    start = np.array([m for _, m in minutes], np.int64) * MINUTE
    period = np.full(len(minutes), PERIOD_S, np.int64)
    value = np.array([tables.readings[key] for key in minutes], float)
    flag = np.ones(len(minutes), np.uint8)
    return Rows(
        slot, start, period, value, flag, start, windows.table.span_ms(slot, period), np.zeros(len(slot), np.uint8)
    )


def put(tables: Tables, closed: Closed) -> None:
    for slot, start, n, mean in zip(
        closed.slot.tolist(),
        closed.start.tolist(),
        closed.aggregates.n.tolist(),
        closed.aggregates.mean.tolist(),
        strict=True,
    ):
        tables.windows[closed.width_s, slot, start] = (n, round(mean, 6))


def mark(tables: Tables, marks: list[Marks]) -> None:
    for m in marks:
        tables.marks |= {(m.width_s, s, t) for s, t in zip(m.slot.tolist(), m.start.tolist(), strict=True)}


def add_volume(windows: Windows, tables: Tables) -> None:
    """Volume is a series from its first reading on, which may be long after speed's."""
    if len(windows.table) == 1 and any(slot == 1 for slot, _ in tables.readings):
        windows.table.add({VOLUME: 101}, {VOLUME: 0})


def restored(tables: Tables) -> Windows:
    """As `WindowsRole._load` does it."""
    windows = new_windows(SPEED, period_s=PERIOD_S)
    add_volume(windows, tables)
    for slot in SLOTS:
        minutes = [m for s, m in tables.readings if s == slot]
        if minutes:
            newest = np.array([(max(minutes) + 1) * MINUTE])
            windows.restore(np.array([slot]), newest - MINUTE, newest, newest)
        for width_s in ALL_S:
            starts = [t for w, s, t in (*tables.windows, *tables.marks) if (w, s) == (width_s, slot)]
            if starts:
                windows.restore_closed(np.array([slot]), width_s, np.array([max(starts) + width_s * 1000]))
    windows.finish_restore()
    since = windows.open_since()
    keep = [(s, m) for s, m in sorted(tables.readings) if m * MINUTE >= since[s]]
    windows.remember(rows(windows, keep, tables))
    return windows


def drain(windows: Windows, tables: Tables) -> None:
    for width_s, slot, start in sorted(tables.marks):
        inside = [(s, m) for s, m in sorted(tables.readings) if start <= m * MINUTE < start + width_s * 1000]
        batch = rows(windows, inside, tables)
        chosen = batch.take((batch.slot == slot) & (batch.span_ms < width_s * 1000))
        if len(chosen):
            put(tables, close_rows(chosen, width_s, batch, windows.table))
        else:
            tables.windows.pop((width_s, slot, start), None)
    tables.marks.clear()


def truth(tables: Tables) -> Truth:
    """The plain computation: volume weighs speed where it is known and sums to more than 0."""
    found: Truth = {}
    for width_s in ALL_S:
        if width_s <= PERIOD_S:
            continue
        groups: dict[tuple[int, int], list[int]] = {}
        for slot, minute in tables.readings:
            groups.setdefault((slot, minute * MINUTE // (width_s * 1000) * width_s * 1000), []).append(minute)
        for (slot, start), minutes in groups.items():
            values = [tables.readings[slot, m] for m in minutes]
            weigh = [m for m in minutes if slot == 0 and (1, m) in tables.readings]
            total = sum(tables.readings[1, m] for m in weigh)
            weighted = total > 0
            pairs = [(tables.readings[0, m], tables.readings[1, m]) for m in weigh]
            mean = sum(v * w for v, w in pairs) / total if weighted else sum(values) / len(values)
            found[width_s, slot, start] = (len(values), round(mean, 6))
    return found


steps = st.lists(
    st.one_of(
        st.lists(st.tuples(st.sampled_from(SLOTS), st.integers(0, 200)), min_size=1, max_size=12),
        st.just("crash"),
        st.just("drain"),
        st.tuples(st.just("tick"), st.integers(0, 300)),
    ),
    max_size=25,
)


@settings(max_examples=400, deadline=None)
@given(steps)
def test_rows_are_what_the_stored_readings_say(plan: list[object]) -> None:
    tables = Tables()
    windows = restored(tables)
    tick = 0
    for number, step in enumerate(plan):
        if step == "crash":
            windows = restored(tables)
            continue
        if step == "drain":
            drain(windows, tables)
            continue
        if isinstance(step, tuple):
            tick = max(tick, step[1] * MINUTE)
        else:
            assert isinstance(step, list)
            fresh = list(dict.fromkeys(step))
            known = [key for key in fresh if key in tables.readings]  # a higher rev with another value
            tables.readings |= {(s, m): float((m * 7 + s * 31 + number) % 50) ** (1 + s) for s, m in fresh}
            add_volume(windows, tables)
            mark(tables, windows.take(rows(windows, fresh, tables), rows(windows, known, tables)))
        closed, marks = windows.close({0: tick})
        for one in closed:
            put(tables, one)
        mark(tables, marks)
    tables.readings |= {(s, 5000): 1.0 for s in SLOTS}  # time passes for all
    add_volume(windows, tables)
    mark(tables, windows.take(rows(windows, [(s, 5000) for s in SLOTS], tables)))
    closed, marks = windows.close({})
    for one in closed:
        put(tables, one)
    mark(tables, marks)
    drain(windows, tables)
    newest = {(w, s, 5000 * MINUTE // (w * 1000) * w * 1000) for w in ALL_S for s in SLOTS}
    expected = {key: value for key, value in truth(tables).items() if key not in newest}
    assert {key: value for key, value in tables.windows.items() if key not in newest} == expected


def test_marks_are_taken_up_again_after_a_restart() -> None:
    dirty = DirtyMarks(quiet_ms=1, max_delay_ms=1)
    dirty.add(Marks(NARROW_S[2], np.array([0]), np.array([0]), at_once=True), 5)
    assert dirty.marks[0, NARROW_S[2], 0, 0].touched == AT_ONCE
