"""Faults put into the sample's recorded week, and how many of them the rules find.

The week goes through `Cleaner` as the stream would bring it: a record a step with all sensors' readings, amendments
applied. Rules and limits are those of the shipped datasets, with three more that depend on the sensors: gaps of more
than five readings and clocks that are more than an hour behind are suspect, and the air sensors, which stood side by
side, are each other's neighbours.

Recall: of the readings (spikes, sentinels, clock jumps) or of the events (stuck, dropout, drift, unit) the share that
the rule of the kind found. Precision: of the readings or hours that this rule flagged, the share that had the fault.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from deploy.local.tools import ROOT
from deploy.replay.sample import Week, read_weeks
from schemas import neighbours
from schemas.city import read_city
from schemas.datasets import Dataset
from schemas.flags import Test
from schemas.quality import Clock, Neighbours, TimeGap
from schemas.readings import readings
from schemas.registry import Registry, fold
from schemas.units import conversion
from schemas.wire import Record
from stream_processors.clean import Cleaner

Array = npt.NDArray[Any]

HOUR_MS = 3_600_000
SPIKE = Test.SPIKE_FAIL | Test.SPIKE_SUSPECT
STUCK = Test.FLAT_LINE_FAIL | Test.FLAT_LINE_SUSPECT
CLOCK = Test.CLOCK_AHEAD | Test.CLOCK_BEHIND
GAP = Test.TIME_GAP_FAIL | Test.TIME_GAP_SUSPECT


@dataclass
class Faulty:
    """A week [step, column] with a fault in it: `value` NaN where nothing is sent, `shift_ms` of the sensor's clock;
    `is_faulty` the mask of the readings, `events` (column, first step, step behind the last).
    """

    value: Array
    shift_ms: Array
    is_faulty: Array
    events: list[tuple[int, int, int]] = field(default_factory=list)


@dataclass(frozen=True)
class Found:
    """How well a kind of fault was found: `n` faults, and what the unit of them is."""

    kind: str
    dataset: str
    n: int
    unit: str
    recall: float
    precision: float


def measure(dataset: str, steps: int = 0, columns: int = 0) -> list[Found]:
    """Every kind of fault on one dataset's recorded week, or on its first steps and columns."""
    city = read_city(ROOT / "deploy" / "sample_city")
    week = next(w for w in read_weeks(ROOT / "deploy" / "sample_city") if w.dataset == dataset)
    chosen = week.values[: steps or None, : columns or None]
    week = Week(week.dataset, week.origin_ms, week.step_ms, week.columns[: columns or None], chosen)
    registry = fold({dataset: _with_more_rules(city.datasets[dataset], week.step_ms // 1000)}, city.registrations)
    return [found for kind in KINDS.values() if (found := kind(week, registry)) is not None]


def _with_more_rules(dataset: Dataset, step_s: int) -> Dataset:
    metrics = {
        name: msgspec.structs.replace(m, clock=Clock(30, 3600), time_gap=TimeGap(suspect_s=5 * step_s + 1))
        for name, m in dataset.metrics.items()
    }
    return msgspec.structs.replace(dataset, metrics=metrics)


# -- faults -------------------------------------------------------------------------------------------------


def _clean(week: Week) -> Faulty:
    shape = week.values.shape
    return Faulty(week.values.copy(), np.zeros(shape, np.int64), np.zeros(shape, bool))


def _dice(week: Week, kind: str) -> np.random.Generator:
    return np.random.default_rng([len(week.columns), *kind.encode()])


def _limit(registry: Registry, week: Week, column: int, rule: str) -> Any:
    sensor, metric = week.columns[column]
    return getattr(registry.rule(week.dataset, sensor, metric).metric, rule)


def _factor(registry: Registry, week: Week, column: int) -> float:
    """How many of the source's units a canonical one is."""
    sensor, metric = week.columns[column]
    line = conversion(metric, registry.rule(week.dataset, sensor, metric).unit)
    return 1 / line[0] if line else 1.0


def spikes(week: Week, registry: Registry) -> Found | None:
    """One reading in 200 is 1.2 to 5 times the metric's limit too high, never two in a row."""
    faulty, dice = _clean(week), _dice(week, "spike")
    for column in range(len(week.columns)):
        limit = _limit(registry, week, column, "spike")
        if limit is None:
            continue
        at = dice.choice(np.arange(1, len(week.values) - 1, 3), len(week.values) // 200, replace=False)
        at = at[np.isfinite(week.values[[at - 1, at, at + 1], column]).all(axis=0)]
        height = dice.uniform(1.2, 5, len(at)) * limit.suspect
        around = (week.values[at - 1, column] + week.values[at + 1, column]) / 2
        rise = np.abs(week.values[at - 1, column] - week.values[at + 1, column]) / 2
        faulty.value[at, column] = around + rise + height * _factor(registry, week, column)
        faulty.is_faulty[at, column] = True
    return _of_readings("spikes", week, faulty, run(week, faulty, registry), SPIKE)


def sentinels(week: Week, registry: Registry) -> Found | None:
    """One reading in 200 is -999."""
    faulty, dice = _clean(week), _dice(week, "sentinel")
    faulty.is_faulty = (dice.random(week.values.shape) < 1 / 200) & np.isfinite(week.values)
    faulty.value[faulty.is_faulty] = -999
    return _of_readings("sentinels", week, faulty, run(week, faulty, registry), Test.SENTINEL)


def clock_jumps(week: Week, registry: Registry) -> Found | None:
    """Each sensor's clock is wrong for an hour: two readings or 2 hours ahead, 2 hours or a day behind."""
    faulty, dice = _clean(week), _dice(week, "clock")
    by_sensor = _columns_of(week)
    length = HOUR_MS // week.step_ms
    for i, columns in enumerate(by_sensor.values()):
        begin = int(dice.integers(len(week.values) // 2, len(week.values) - length))
        shift_ms = (2 * week.step_ms, 2 * HOUR_MS, -2 * HOUR_MS, -24 * HOUR_MS)[i % 4]
        faulty.shift_ms[begin : begin + length, columns] = shift_ms
        faulty.is_faulty[begin : begin + length, columns] = True
    faulty.is_faulty &= np.isfinite(week.values)
    return _of_readings("clock jumps", week, faulty, run(week, faulty, registry), CLOCK)


def stuck(week: Week, registry: Registry) -> Found | None:
    """Each sensor gives one value for a day. Runs of an hour and more in the record are faults as well: these loops
    were filled in by the source, and no traffic is the same for twelve bins to a millionth.
    """
    faulty, dice = _clean(week), _dice(week, "stuck")
    length = min(24 * HOUR_MS // week.step_ms, len(week.values) // 2)
    recorded = np.zeros(week.values.shape, bool)
    for column in range(len(week.columns)):
        if _limit(registry, week, column, "flat_line") is None:
            continue
        begin = int(dice.integers(0, len(week.values) - length))
        faulty.value[begin : begin + length, column] = week.values[begin, column]
        if np.isfinite(week.values[begin, column]):
            faulty.events.append((column, begin, begin + length))
            faulty.is_faulty[begin : begin + length, column] = True
        if week.dataset == "traffic":
            recorded[:, column] = _runs(week.values[:, column], 12)
    faulty.is_faulty |= recorded
    return _of_events("stuck values", week, faulty, run(week, faulty, registry), STUCK)


def dropouts(week: Week, registry: Registry) -> Found | None:
    """Each sensor is silent for two hours; the gaps of the record count as faults."""
    faulty, dice = _clean(week), _dice(week, "dropout")
    length = 2 * HOUR_MS // week.step_ms
    for columns in _columns_of(week).values():
        begin = int(dice.integers(1, len(week.values) - length - 10))
        faulty.value[begin : begin + length, columns] = np.nan
    for column in range(len(week.columns)):
        there = np.isfinite(faulty.value[:, column])
        if not there.any():
            continue
        gone = _runs(np.where(there, np.nan, 1.0), 5)
        edge = np.flatnonzero(np.diff(gone.astype(np.int8)) == -1) + 1
        first = int(np.flatnonzero(there)[0])
        for after in edge[edge > first].tolist():
            faulty.is_faulty[after, column] = True
            faulty.events.append((column, after, after + 1))
    return _of_events("dropouts", week, faulty, run(week, faulty, registry), GAP)


def drifts(week: Week, registry: Registry) -> Found | None:
    """One sensor in ten drifts, up to half of its value more at the end of the week."""
    return _of_hours("drift", week, registry, lambda value: value * np.linspace(1, 1.5, len(value)))


def units(week: Week, registry: Registry) -> Found | None:
    """One sensor in ten changes its unit in mid-week: Celsius to Fahrenheit, mph to m/s, ug/m3 to mg/m3."""

    def change(value: Array, metric: str) -> Array:
        late = np.arange(len(value)) >= len(value) // 2
        other = {"temperature": value * 1.8 + 32, "speed": value * 0.44704}.get(metric, value / 1000)
        return np.where(late, other, value)

    return _of_hours("unit mix-ups", week, registry, change, by_metric=True)


KINDS: dict[str, Callable[[Week, Registry], Found | None]] = {
    "spikes": spikes,
    "stuck values": stuck,
    "sentinels": sentinels,
    "clock jumps": clock_jumps,
    "dropouts": dropouts,
    "drift": drifts,
    "unit mix-ups": units,
}


# -- through the stream -------------------------------------------------------------------------------------


def run(week: Week, faulty: Faulty, registry: Registry) -> Array:
    """The tests (step, column) that fired in the end; a reading that `clean` refused for its clock has both clock
    tests.
    """
    sensors = list(dict.fromkeys(sensor for sensor, _ in week.columns))
    metrics = list(dict.fromkeys(metric for _, metric in week.columns))
    sensor = np.array([sensors.index(s) for s, _ in week.columns])
    metric = np.array([metrics.index(m) for _, m in week.columns])
    cleaner = Cleaner(registry, prev_raw=-1, future_ms=300_000, horizon_ms=900_000)
    tests = np.zeros(faulty.value.shape, np.uint32)
    place: dict[tuple[int, int, int], tuple[int, int]] = {}
    for step, row in enumerate(faulty.value):
        columns = np.flatnonzero(np.isfinite(row))
        now_ms = week.origin_ms + step * week.step_ms
        start = now_ms + faulty.shift_ms[step, columns]
        raw = readings(
            [(week.dataset, s) for s in sensors], [(m, "") for m in metrics], sensor=sensor[columns],
            metric=metric[columns], value=row[columns], start=start, received=now_ms + week.step_ms,
        )  # fmt: skip
        (cleaned,) = cleaner.clean([(step, Record("raw", raw))])
        for reject in cleaned.rejects:
            if reject.reason.startswith("clock"):
                tests[step, week.columns.index((reject.row["sensor"], reject.row["metric"]))] = CLOCK
        kept = cleaned.record.readings
        came = dict(zip(zip(sensor[columns], metric[columns], start, strict=True), columns.tolist(), strict=True))
        for key, fired in zip(zip(kept.sensor, kept.metric, kept.start, strict=True), kept.tests, strict=True):
            if key in came:
                place[key] = (step, came[key])
            tests[place[key]] = fired
    return tests


# -- counting -----------------------------------------------------------------------------------------------


def _of_readings(kind: str, week: Week, faulty: Faulty, tests: Array, rule: Test) -> Found:
    fired = (tests & rule) != 0
    hit = int((fired & faulty.is_faulty).sum())
    return Found(
        kind, week.dataset, int(faulty.is_faulty.sum()), "readings", hit / max(int(faulty.is_faulty.sum()), 1),
        hit / max(int(fired.sum()), 1),
    )  # fmt: skip


def _of_events(kind: str, week: Week, faulty: Faulty, tests: Array, rule: Test) -> Found:
    fired = (tests & rule) != 0
    found = sum(bool(fired[begin:end, column].any()) for column, begin, end in faulty.events)
    precision = int((fired & faulty.is_faulty).sum()) / max(int(fired.sum()), 1)
    return Found(kind, week.dataset, len(faulty.events), "events", found / max(len(faulty.events), 1), precision)


def _of_hours(
    kind: str, week: Week, registry: Registry, change: Callable[..., Array], *, by_metric: bool = False
) -> Found | None:
    """By the neighbours' hours, the week's second half: found where a tenth of a sensor's hours are suspect; precision
    in sensors.
    """
    faulty, dice = _clean(week), _dice(week, kind)
    compared = {
        metric: limits for metric in dict.fromkeys(m for _, m in week.columns)
        if (limits := registry.datasets[week.dataset].metrics[metric].neighbours)
    }  # fmt: skip
    bad: set[int] = set()
    for metric in compared:
        columns = [i for i, (_, m) in enumerate(week.columns) if m == metric]
        chosen = dice.choice(columns, max(1, len(columns) // 10), replace=False)
        for column in chosen.tolist():
            value = faulty.value[:, column]
            faulty.value[:, column] = change(value, metric) if by_metric else change(value)
            bad.add(column)
    judged, caught = set(), set()
    for metric, limits in compared.items():
        columns = [i for i, (_, m) in enumerate(week.columns) if m == metric]
        factor = _factor(registry, week, columns[0])
        mean = _hours(faulty.value[:, columns], HOUR_MS // week.step_ms) / factor
        hours, suspect = neighbours.judge(mean, _near(week, registry, columns, limits), limits)
        half = mean.shape[1] // 2
        for i, column in enumerate(columns):
            if hours[i, half:].sum() >= 12:
                judged.add(column)
                if suspect[i, half:].sum() >= hours[i, half:].sum() / 10:
                    caught.add(column)
    if not judged & bad:
        return None
    hit = len(bad & caught)
    return Found(kind, week.dataset, len(bad & judged), "sensors", hit / len(bad & judged), hit / max(len(caught), 1))


def _hours(value: Array, per_hour: int) -> Array:
    """(S, H): means of whole hours of (step, S), where three quarters of the readings are there."""
    whole = value[: len(value) // per_hour * per_hour].reshape(-1, per_hour, value.shape[1])
    there = np.isfinite(whole)
    enough = there.sum(axis=1) >= 0.75 * per_hour
    mean = np.where(there, whole, 0).sum(axis=1) / np.maximum(there.sum(axis=1), 1)
    return np.where(enough, mean, np.nan).T


def _near(week: Week, registry: Registry, columns: list[int], limits: Neighbours) -> Array:
    """Loops by their places; the three air sensors stood side by side, wherever the sample shows them."""
    if week.dataset == "air-quality":
        return np.asarray(~np.eye(len(columns), dtype=bool))
    sites = [registry.registrations(week.dataset, week.columns[c][0])[0].site for c in columns]
    return neighbours.within(np.array([s.lon for s in sites]), np.array([s.lat for s in sites]), limits.radius_m)


def _columns_of(week: Week) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for i, (sensor, _) in enumerate(week.columns):
        found.setdefault(sensor, []).append(i)
    return found


def _runs(value: Array, least: int) -> Array:
    """The mask of what is in a run of at least so many equal numbers."""
    same = np.diff(value) == 0
    edge = np.flatnonzero(np.diff(np.concatenate(([False], same, [False])).astype(np.int8)))
    inside = np.zeros(len(value), bool)
    for begin, end in edge.reshape(-1, 2).tolist():
        if end - begin + 1 >= least:
            inside[begin : end + 1] = True
    return inside
