"""Compares what is there with what must be there; each kind of fault has a name, a count and examples."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tests.checker.found import Found, StoredReading, StoredWindow
from tests.checker.raw_log import LogRecord, read_map, readings
from tests.checker.rules import Rules
from tests.checker.truth import Flags, Key, State, Truth, WindowKey, same, same_window, statistics, stored, windows

CHECKS = {
    "lost": "readings that the log has and the table has not",
    "invented": "readings that the table has and the log has not",
    "stored twice": "readings stored more than once, or repeats taken for revisions",
    "wrong value": "readings stored with another value, rev, period or partition than the log says",
    "wrong flag": "readings beyond their dataset's fail range that are not flagged so",
    "wrong history": "earlier states of readings that are missing, wrong, or with gaps in time",
    "missing windows": "windows that have readings and no row",
    "extra windows": "rows of windows that no reading belongs to",
    "wrong windows": "windows that say anything else than their stored readings",
    "wrong window history": "earlier rows of windows that no earlier state of the readings explains, or out of order",
    "conflict not told": "readings of a rev that was stored with another value, without a dead letter",
    "broken chain": "clean records that leave raw records out, or that were made twice differently",
    "dirty marks": "windows still waiting to be made again",
    "not published": "stored rows of windows that the topic has not",
    "published wrong": "rows on the topic that were never stored so",
    "published twice": "rows on the topic that a reader that skips by out_seq sees twice",
}
"""Every kind of fault, and what it means."""


@dataclass
class Report:
    """Faults by kind, with a few examples, and how much was compared."""

    compared: dict[str, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CHECKS, 0))
    examples: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return not any(self.faults.values())

    def fault(self, kind: str, example: str) -> None:
        """Count a fault; the first of each kind are kept to be read."""
        self.faults[kind] += 1
        if self.faults[kind] <= 3:
            self.examples.append(f"{kind}: {example}")

    def text(self) -> str:
        """One line of faults, for a failed assertion."""
        counts = ", ".join(f"{n} {kind}" for kind, n in self.faults.items() if n) or "no faults"
        return "\n  ".join([f"{counts} in {self.compared}", *self.examples])


def judge(raw: Iterable[LogRecord], found: Found, rules: Rules) -> Report:
    """Compare all that is found with what the raw log asks for; every window is expected to be closed."""
    report = Report()
    truth = stored((reading for record in raw for reading in readings(record)), rules)
    flags = _flags(found)
    _compare_readings(report, truth, found, rules)
    _compare_history(report, truth, found)
    _compare_windows(report, truth, found, flags)
    _compare_chain(report, found.clean)
    if found.n_dirty:
        report.faults["dirty marks"] = found.n_dirty
    _compare_published(report, found)
    _compare_letters(report, truth, found)
    return report


def _flags(found: Found) -> Flags:
    """The flags as stored: by what rules they were given is judged elsewhere."""
    flag = {(row.key, row.rev): row.flag for row in [*found.history, *found.readings]}
    return lambda key, rev: flag.get((key, rev), 2)


def _compare_readings(report: Report, truth: Truth, found: Found, rules: Rules) -> None:
    report.compared["readings"] = len(truth.states)
    there: dict[Key, StoredReading] = {}
    for row in found.readings:
        if row.key in there:
            report.fault("stored twice", str(row))
        there[row.key] = row
        if row.key not in truth.states:
            report.fault("invented", str(row))
            continue
        wanted = truth.states[row.key][-1]
        said = (wanted.rev, wanted.period_s, wanted.part)
        missing = row.flag == 9 and row.value != row.value
        if (row.rev, row.period_s, row.part) != said or not (missing or same(row.value, wanted.value)):
            report.fault("wrong value", f"{row}, the log says {wanted}")
        rule = rules.find(*row.key[0:3:2])
        if rule and rule.fail and not rule.fail[0] <= wanted.value <= rule.fail[1] and row.flag not in (4, 9):
            report.fault("wrong flag", str(row))
    for key, states in truth.states.items():
        if key not in there:
            report.fault("lost", f"{key} {states[-1]}")


def _compare_history(report: Report, truth: Truth, found: Found) -> None:
    """Each reading's rows, old ones first, are the log's states in order, known until the next one was received.

    Several rows may have one state (its flag was amended), but none may be the same in everything.
    """
    rows: dict[Key, list[StoredReading]] = defaultdict(list)
    for row in [*found.history, *found.readings]:
        rows[row.key].append(row)
    report.compared["earlier states"] = len(found.history)
    for key, versions in rows.items():
        versions.sort(key=lambda row: row.version)
        if any(
            (a.rev, a.flag, a.tests) == (b.rev, b.flag, b.tests) and same(a.value, b.value)
            for a, b in itertools.pairwise(versions)
        ):
            report.fault("stored twice", f"{key}: {versions}")
        kept = [v for i, v in enumerate(versions) if i == 0 or v.rev != versions[i - 1].rev]
        states = truth.states.get(key, [])
        if [v.rev for v in kept] != [s.rev for s in states] or not all(
            same(v.value, s.value) or v.flag == 9 for v, s in zip(kept, states, strict=True)
        ):
            report.fault("wrong history", f"{key}: {kept}, the log says {states}")
            continue
        for state, following, last in _steps(states, versions):
            if last.known_to != following.received:
                report.fault("wrong history", f"{key}: {state} is known to {last.known_to}, not {following.received}")


def _steps(states: list[State], versions: list[StoredReading]) -> Iterator[tuple[State, State, StoredReading]]:
    """(state, the one after it, the last row that has it)."""
    for state, following in itertools.pairwise(states):
        yield state, following, [v for v in versions if v.rev == state.rev][-1]


def _compare_windows(report: Report, truth: Truth, found: Found, flags: Flags) -> None:
    there = {row.key: row for row in found.windows if not row.gone}
    n = 0
    for key, wanted in windows(truth, flags):
        n += 1
        row = there.pop(key, None)
        if row is None:
            report.fault("missing windows", f"{key} {wanted}")
        elif not same_window(row.statistics, wanted):
            report.fault("wrong windows", f"{key} rev {row.version}: {row.statistics}, the readings say {wanted}")
    for row in there.values():
        report.fault("extra windows", str(row))
    report.compared["windows"] = n
    _compare_window_history(report, truth, found, flags)


def _compare_window_history(report: Report, truth: Truth, found: Found, flags: Flags) -> None:
    """Each earlier row says what the readings said after some part of the log, the parts in order.

    A window whose readings had their flags amended meanwhile is left out: the log does not say when.
    """
    earlier: dict[WindowKey, list[StoredWindow]] = defaultdict(list)
    for row in found.windows_history:
        if row.gone:
            continue
        earlier[row.key].append(row)
    changes = _changes(truth)
    n_rows = Counter(row.key for row in [*found.history, *found.readings])
    amended = [key for key, n in n_rows.items() if n > len(truth.states.get(key, []))]
    report.compared["earlier windows"] = len(found.windows_history)
    for key, rows in earlier.items():
        width_ms = key[3] * 1000
        span = range(key[4], key[4] + width_ms)
        if any(reading[:2] == key[:2] and reading[3] in span for reading in amended):
            continue
        of_sensor = [change for change in changes[key[:2]] if change[1][3] in span]
        rows.sort(key=lambda row: row.version)
        if not _explained(key, rows, of_sensor, flags):
            report.fault("wrong window history", f"{key}: {[(r.version, r.statistics) for r in rows]}")


def _changes(truth: Truth) -> dict[tuple[str, str], list[tuple[tuple[int, int], Key, State]]]:
    """Of each sensor: (place in the log, key, new state), in the order of the log."""
    found: dict[tuple[str, str], list[tuple[tuple[int, int], Key, State]]] = defaultdict(list)
    for key, states in truth.states.items():
        for state in states:
            found[key[:2]].append((state.place, key, state))
    for changes in found.values():
        changes.sort(key=lambda change: change[0])
    return found


def _explained(
    key: WindowKey, rows: list[StoredWindow], changes: list[tuple[tuple[int, int], Key, State]], flags: Flags
) -> bool:
    """Whether the rows are, in order, what the readings said after more and more of the changes."""
    now: dict[Key, State] = {}
    waiting = list(rows)
    for i, (place, changed, state) in enumerate(changes):
        now[changed] = state
        if i + 1 < len(changes) and changes[i + 1][0] == place:
            continue  # one record is taken as a whole
        inside = {k: s for k, s in now.items() if k[:3] == key[:3] and s.span_s < key[3]}
        if inside and waiting and same_window(waiting[0].statistics, statistics(key, inside, now, flags)):
            waiting.pop(0)
    return not waiting


def _compare_chain(report: Report, clean: Iterable[LogRecord]) -> None:
    """Every clean record follows the one before it or is a repeat; of each raw record the first one holds."""
    last: dict[tuple[int, int], int] = {}
    n = 0
    for record in clean:
        n += 1
        found = read_map(record.value)
        place = (record.part, record.log)
        if found is None or found["kind"] != "clean":
            report.fault("broken chain", f"partition {record.part} offset {record.offset} is no clean record")
        elif found["raw"] > last.get(place, -1):
            if place in last and found["prev_raw"] != last[place]:
                said = f"raw {found['raw']} follows {found['prev_raw']}, not {last[place]}"
                report.fault("broken chain", f"partition {record.part} offset {record.offset}: {said}")
            last[place] = found["raw"]
    report.compared["clean records"] = n


def _compare_published(report: Report, found: Found) -> None:
    """A reader that skips what is not above its last `out_seq` sees each stored row once, and nothing else."""
    stored_rows = {(row.key, row.version): row for row in [*found.windows_history, *found.windows]}
    seen: set[tuple[WindowKey, int]] = set()
    last: dict[int, int] = {}
    for row in found.published:
        if row.out_seq <= last.get(row.part, 0):
            continue
        last[row.part] = row.out_seq
        identity = (row.key, row.version)
        if identity in seen:
            report.fault("published twice", str(row))
        seen.add(identity)
        known = stored_rows.get(identity)
        if known is None or known.gone != row.gone or not same_window(known.statistics, row.statistics):
            report.fault("published wrong", f"{row}, stored is {known}")
    for identity in stored_rows.keys() - seen:
        report.fault("not published", str(identity))
    report.compared["published rows"] = len(found.published)


def _compare_letters(report: Report, truth: Truth, found: Found) -> None:
    """Each conflict is told; its value stands in the letter as the sensor sent it, or in the canonical unit."""
    told = defaultdict(set)
    for letter in found.letters:
        if letter.reason == "conflict":
            told[letter.key, letter.rev].add(letter.value)
    report.compared["conflicts"] = len(truth.conflicts)
    for reading, canonical in truth.conflicts:
        key = (reading.dataset, reading.sensor, reading.metric, reading.start)
        if not any(same(value, reading.value) or same(value, canonical) for value in told[key, reading.rev]):
            report.fault("conflict not told", str(reading))
