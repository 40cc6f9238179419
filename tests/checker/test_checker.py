"""The checker finds each kind of fault: a small log, what it must become, and one thing wrong at a time."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from schemas import wire
from schemas.dead_letters import DeadLetter
from schemas.dead_letters import encode as encode_letter
from schemas.published import Published, Texts
from schemas.published import encode as encode_published
from schemas.readings import readings
from schemas.wire import Record
from tests.checker import raw_log
from tests.checker.compare import CHECKS, judge
from tests.checker.found import Found, Letter, PublishedWindow, StoredReading, StoredWindow, letters, published_windows
from tests.checker.raw_log import LogRecord
from tests.checker.rules import Rules
from tests.checker.truth import Key, State, statistics, stored, windows

T0 = 1_772_409_600_000  # 2026-03-02T00:00:00Z
STEP_MS = 300_000
LOOP = ("traffic", "loop-1", "speed")
RULES = Rules()


def batch(times: list[int], speeds: list[float], rev: int = 1, received: int = T0 + 3_600_000) -> bytes:
    loop = readings(
        [("traffic", "loop-1")], [("speed", "mph")], sensor=[0] * len(times), value=speeds,
        start=[T0 + t * STEP_MS for t in times], period_s=300, rev=rev, received=received,
    )  # fmt: skip
    return wire.encode(Record("raw", loop))


RAW = [
    LogRecord(0, 0, batch(list(range(12)), [50.0 + i for i in range(12)])),
    LogRecord(0, 1, b"poison"),
    LogRecord(0, 2, batch([3, 4], [53.0, 1.0])),  # a repeat and a conflict
    LogRecord(0, 3, batch([5], [10.0], rev=3, received=T0 + 4_000_000)),
    LogRecord(0, 4, batch([5], [20.0], rev=2)),
    LogRecord(0, 5, wire.encode(Record("raw", tick=T0))),
]


def as_it_should_be() -> Found:
    """What a right chain makes of the log; the window of 03:15 was closed before its correction came."""
    truth = stored((r for record in RAW for r in raw_log.readings(record)), RULES)
    assert len(truth.conflicts) == 1
    found = Found()
    for key, states in truth.states.items():
        rows = [reading(key, state, i + 1) for i, state in enumerate(states)]
        found.history += [replace(row, known_to=states[i + 1].received) for i, row in enumerate(rows[:-1])]
        found.readings.append(rows[-1])
    corrected = next(key for key, states in truth.states.items() if len(states) > 1)
    for number, (key, said) in enumerate(windows(truth, lambda *_: 1)):
        version = 1
        if key[3] == 900 and key[4] <= corrected[3] < key[4] + 900_000:
            before = {k: states[0] for k, states in truth.states.items() if key[4] <= k[3] < key[4] + 900_000}
            early = statistics(key, before, before, lambda *_: 1)
            found.windows_history.append(StoredWindow(key, early, 1, 0, 100, known_to=T0))
            version = 2
        found.windows.append(StoredWindow(key, said, version, 0, 101 + number))
    for row in [*found.windows_history, *found.windows]:
        found.published.append(PublishedWindow(0, row.out_seq, row.key, row.version, row.statistics))
    (refused, value) = truth.conflicts[0]
    found.letters = [Letter("conflict", (*LOOP, refused.start), refused.rev, value)]
    found.clean = [
        LogRecord(0, r.offset, wire.encode(Record("clean", raw=r.offset, prev_raw=r.offset - 1))) for r in RAW
    ]
    return found


def reading(key: Key, state: State, version: int) -> StoredReading:
    return StoredReading(key, state.value, state.rev, version, 1, state.period_s, state.received, state.part)


def test_what_is_right_has_no_faults() -> None:
    report = judge(RAW, as_it_should_be(), RULES)
    assert report.is_good, report.text()
    assert report.compared["readings"] == 12
    assert report.compared["windows"] == 4 + 1 + 1
    assert report.compared["earlier states"] == report.compared["earlier windows"] == 1


def wrong_value(found: Found) -> None:
    found.readings[2] = replace(found.readings[2], value=found.readings[2].value + 0.001)


def repeat_as_revision(found: Found) -> None:
    row = found.readings[0]
    found.history.append(replace(row, known_to=row.received))
    found.readings[0] = replace(row, version=2)


def out_of_range(found: Found) -> None:
    found.readings[0] = replace(found.readings[0], flag=1, value=900 * 1.609344)


def in_the_wrong_order(found: Found) -> None:
    found.windows_history[0] = replace(found.windows_history[0], statistics=found.windows[-1].statistics)


def other_statistics(found: Found) -> None:
    found.windows[0] = replace(found.windows[0], statistics={**found.windows[0].statistics, "p95": 1.0})


def skipped_record(found: Found) -> None:
    found.clean[3:4] = []


def dirty(found: Found) -> None:
    found.n_dirty = 7


def unpublished(found: Found) -> None:
    found.published.pop(1)


def renumbered_repeat(found: Found) -> None:
    found.published.append(replace(found.published[0], out_seq=999))


def never_stored(found: Found) -> None:
    found.published.append(replace(found.published[0], out_seq=999, version=9))


WRONG: dict[str, Callable[[Found], object]] = {
    "lost": lambda found: found.readings.pop(),
    "invented": lambda found: found.readings.append(replace(found.readings[0], key=("traffic", "loop-2", "speed", T0))),
    "stored twice": repeat_as_revision,
    "wrong value": wrong_value,
    "wrong flag": out_of_range,
    "wrong history": lambda found: found.history.clear(),
    "missing windows": lambda found: found.windows.pop(),
    "extra windows": lambda found: found.windows.append(
        replace(found.windows[0], key=(*found.windows[0].key[:4], T0 + 86_400_000))
    ),
    "wrong windows": other_statistics,
    "wrong window history": in_the_wrong_order,
    "conflict not told": lambda found: found.letters.clear(),
    "broken chain": skipped_record,
    "dirty marks": dirty,
    "not published": unpublished,
    "published wrong": never_stored,
    "published twice": renumbered_repeat,
}


@pytest.mark.parametrize("kind", CHECKS)
def test_each_kind_of_fault_is_found(kind: str) -> None:
    log = RAW
    if kind == "wrong flag":
        log = [*RAW[1:], LogRecord(0, 9, batch([0], [900.0])), LogRecord(0, 10, RAW[0].value)]
    found = copy.deepcopy(as_it_should_be())
    WRONG[kind](found)
    report = judge(log, found, RULES)
    assert report.faults[kind], report.text()
    assert kind in report.text()


def test_the_rules_of_a_city_win_and_units_that_are_not_known_are_said(tmp_path: Path) -> None:
    assert RULES.canonical("traffic", "speed", "mph", 10.0) == pytest.approx(16.09344)
    with pytest.raises(ValueError, match="furlong"):
        RULES.canonical("traffic", "speed", "furlong/d", 1.0)
    folder = tmp_path / "datasets"
    folder.mkdir()
    (folder / "traffic.toml").write_text('id = "traffic"\n[metrics.speed]\ncadence_s = 7\n')
    assert Rules(tmp_path).span_s("traffic", "speed", 0) == 7
    assert Rules(tmp_path).find("traffic", "volume") is None


def test_published_rows_and_letters_are_read_from_their_bytes() -> None:
    statistics = ("coverage", "mean", "min", "max", "std", "p50", "p95", "first", "last")
    columns = {name: np.array([1.5, np.nan]) for name in statistics} | {
        "dataset": Texts(["traffic"], np.array([0, 0])), "sensor": Texts(["b", "a"], np.array([1, 0])),
        "metric": Texts(["speed"], np.array([0, 0])), "width_s": np.array([900, 900]), "start": np.array([T0, T0]),
        "n": np.array([3, 0]), "n_expected": np.array([3, -1]), "complete": np.array([1, 0]), "gone": np.array([0, 1]),
        "rev": np.array([1, 4]), "origin": np.array([0, 0]), "published": np.array([T0, T0]),
        "out_seq": np.array([7, 9]),
    }  # fmt: skip
    first, second = published_windows([LogRecord(2, 0, encode_published(Published("windows", columns)))])
    assert (first.part, first.out_seq, first.key) == (2, 7, ("traffic", "a", "speed", 900, T0))
    assert first.statistics == {"n": 3, "n_expected": 3} | dict.fromkeys(statistics, 1.5)
    assert (second.key[1], second.version, second.gone) == ("b", 4, True)
    assert second.statistics == {"n": 0, "n_expected": None} | dict.fromkeys(statistics)
    row = b'{"dataset": "traffic", "sensor": "a", "metric": "speed", "start": 5, "rev": 2, "value": 1.0}'
    letter = encode_letter(DeadLetter("kafka", "readings.raw", T0, "conflict", "", row))
    poison = encode_letter(DeadLetter("kafka", "readings.raw", T0, "not_a_record", "", b"x"))
    assert list(letters([LogRecord(0, 0, letter), LogRecord(0, 1, poison)])) == [
        Letter("conflict", ("traffic", "a", "speed", 5), 2, 1.0)
    ]
