"""What must be stored and what its windows say: lists, loops and the definitions."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.checker.raw_log import LoggedReading
from tests.checker.rules import COUNTED, FUTURE_MS, WEIGHTED_BY, WIDTHS_S, Rules

Series = tuple[str, str, str]  # (dataset, sensor, metric)
Key = tuple[str, str, str, int]  # and start, epoch ms
WindowKey = tuple[str, str, str, int, int]  # (dataset, sensor, metric, width in s, start)
Flags = Callable[[Key, int], int]  # (key, the sensor's rev) -> flag

STATISTICS = ("n", "n_expected", "coverage", "mean", "min", "max", "std", "p50", "p95", "first", "last")


@dataclass(frozen=True)
class State:
    """What a reading was from `place` in the log on, in canonical units; `rev` is the sensor's own number."""

    value: float
    rev: int
    period_s: int
    span_s: int
    received: int
    part: int
    place: tuple[int, int]


@dataclass
class Truth:
    """Every reading that must be stored with all its states, oldest first, and the conflicts on the way."""

    states: dict[Key, list[State]]
    conflicts: list[tuple[LoggedReading, float]]  # with the value in the canonical unit
    refused: int


def stored(log: Iterable[LoggedReading], rules: Rules) -> Truth:
    """What must be stored, from the raw log in each partition's order: the highest rev, of equal ones the first."""
    truth = Truth({}, [], 0)
    for reading in log:
        if not _accepted(reading, rules):
            truth.refused += 1
            continue
        key = (reading.dataset, reading.sensor, reading.metric, reading.start)
        rule = rules.find(reading.dataset, reading.metric)
        assert rule is not None
        state = State(
            rules.canonical(reading.dataset, reading.metric, reading.unit, reading.value),
            reading.rev,
            rule.period_s if reading.period_s == -1 else reading.period_s,
            rules.span_s(reading.dataset, reading.metric, reading.period_s),
            reading.received,
            reading.part,
            reading.place,
        )
        known = truth.states.setdefault(key, [])
        if not known or state.rev > known[-1].rev:
            known.append(state)
        elif state.rev == known[-1].rev and not same(state.value, known[-1].value):
            truth.conflicts.append((reading, state.value))
    return truth


def _accepted(reading: LoggedReading, rules: Rules) -> bool:
    rule = rules.find(reading.dataset, reading.metric)
    if rule is None or reading.start < 0 or reading.start > reading.received + FUTURE_MS:
        return False
    return reading.origin == 1 or reading.start >= rule.accept_since_ms


def windows(truth: Truth, flags: Flags) -> Iterator[tuple[WindowKey, dict[str, float | None]]]:
    """Every window that has readings wider apart than they last, with what it says of their last states."""
    now = {key: states[-1] for key, states in truth.states.items()}
    inside: dict[WindowKey, list[Key]] = defaultdict(list)
    for key, state in now.items():
        for width_s in WIDTHS_S:
            if state.span_s < width_s:
                inside[(*key[:3], width_s, key[3] // (width_s * 1000) * width_s * 1000)].append(key)
    for window, keys in inside.items():
        yield window, statistics(window, {key: now[key] for key in keys}, now, flags)


def statistics(
    window: WindowKey, inside: Mapping[Key, State], among: Mapping[Key, State], flags: Flags
) -> dict[str, float | None]:
    """The statistics of one window of these readings; what weighs them is looked up in `among`."""
    *_, width_s, begin = window
    end = begin + width_s * 1000
    keys = sorted(inside, key=lambda key: key[3])
    counted = [k for k in keys if flags(k, inside[k].rev) in COUNTED and math.isfinite(inside[k].value)]
    longest_s = max(state.span_s for state in inside.values())
    found: dict[str, float | None] = dict.fromkeys(STATISTICS)
    found["n"] = len(counted)
    if longest_s > 0:
        found["n_expected"] = round(width_s / longest_s)
        covered = 0
        for key, following in zip(counted, [*counted[1:], None], strict=True):
            until = min(end, following[3]) if following else end
            covered += min(inside[key].span_s * 1000, until - key[3])
        found["coverage"] = covered / (width_s * 1000)
    if not counted:
        return found
    values = [inside[key].value for key in counted]
    plain = math.fsum(values) / len(values)
    weighing = [(inside[k].value, w) for k in counted if (w := _weight(k, width_s, among, flags)) is not None]
    total = math.fsum(w for _, w in weighing)
    found |= {
        "mean": math.fsum(v * w for v, w in weighing) / total if total > 0 else plain,
        "min": min(values),
        "max": max(values),
        "std": math.sqrt(math.fsum((v - plain) ** 2 for v in values) / len(values)),
        "p50": percentile(values, 0.5),
        "p95": percentile(values, 0.95),
        "first": values[0],
        "last": values[-1],
    }
    return found


def _weight(key: Key, width_s: int, among: Mapping[Key, State], flags: Flags) -> float | None:
    """The counted value, 0 or more, of the metric that weighs this one, at the same start."""
    dataset, sensor, metric, start = key
    companion = (dataset, sensor, WEIGHTED_BY.get(metric, ""), start)
    state = among.get(companion)
    if state is None or state.span_s >= width_s or flags(companion, state.rev) not in COUNTED or not state.value >= 0:
        return None
    return state.value


def percentile(values: Sequence[float], q: float) -> float:
    """Between the two nearest values, as PostgreSQL's percentile_cont."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * q
    low, share = math.floor(place), place % 1
    return ordered[low] if share == 0 else ordered[low] * (1 - share) + ordered[low + 1] * share


def same(a: float | None, b: float | None) -> bool:
    """Equal but for the order of additions; no value equals no value."""
    if a is None or b is None:
        return a is b
    return (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)


def same_window(a: Mapping[str, float | None], b: Mapping[str, float | None]) -> bool:
    """Whether two windows say the same in every statistic."""
    return all(same(a[name], b[name]) for name in STATISTICS)
