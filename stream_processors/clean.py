"""One clean record from each raw record: units, quality rules, clock checks, repeats dropped.

Pure: nothing here does I/O or reads the clock. `Cleaner` is the memory of one partition. Records that wait are cleaned
together: they are stacked into one batch, for columns cost by the call, and their rows go back to where they came from.
"""

import functools
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.datasets import Metric
from schemas.flags import RULES_VERSION
from schemas.quality import Season
from schemas.quantities import QUANTITIES
from schemas.readings import COLUMNS, EMPTY, PERIOD_FROM_REGISTRY, Origin, Readings, Reject
from schemas.registry import Registry
from schemas.units import canonical_unit, conversion
from schemas.wire import Record
from stream_processors.quality import STEP_TESTS, Judged, judge_each, sequence
from stream_processors.quality.columns import Columns
from stream_processors.quality.parameters import NO_CLIMATE, NO_LIMIT_MS, PARAMETERS, Table, climate, parameters
from stream_processors.quality.sequence import Amended, Batch
from stream_processors.recent import Recent
from stream_processors.stack import stack, unstack

Array = npt.NDArray[Any]

REASONS = {
    "not_a_record": "the bytes are not a record of schemas/wire.py",
    "dataset_unknown": "no such dataset in schemas/datasets or in the city folder",
    "metric_unknown": "no such quantity in schemas/quantities.py",
    "unit_unknown": "no conversion to the canonical unit in schemas/units.py",
    "clock_future": "further ahead of its receipt than CITYFEED_FUTURE_TOLERANCE_S",
    "beyond_repair": "older at its receipt than the dataset's repair_horizon_s; import it as history",
    "clock_past": "before the dataset's accept_since, or before 1970",
    "conflict": "the same reading and rev came before with another value; the first stays",
}
"""Why `clean` refuses a reading; each goes to the dead letters with its row."""


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What became of one raw record: the clean one, what was refused, how many repeats were dropped."""

    record: Record
    rejects: list[Reject]
    repeats: int


@dataclass(slots=True)
class _Rules:
    """Columns with one row for each series (dataset, sensor, metric, unit) that the partition has seen."""

    reason: list[str]  # "" where the series can be cleaned
    table: Array  # structured, see _RULE_DTYPE
    quality: Table


_RULE_DTYPE = np.dtype(
    [
        ("refused", "u1"), ("factor", "f8"), ("offset", "f8"), ("period_s", "i4"), ("accept_since", "i8"),
        ("horizon_ms", "i8"), ("series", "i8"),
    ]
)  # fmt: skip


_NONE = np.zeros(0, np.int64)
_encoder, _decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder()


class Cleaner:
    """The memory of one partition: its series' rules, and the readings of the last `horizon_ms` to tell repeats.

    `prev_raw` is the raw offset of the record cleaned last, -1 at the beginning of the log.
    """

    def __init__(self, registry: Registry, *, prev_raw: int, future_ms: int, horizon_ms: int) -> None:
        self.prev_raw = prev_raw
        self._registry = registry
        self._future_ms = future_ms
        self._sensor_of: dict[tuple[str, str], int] = {}
        self._unit_of: dict[tuple[str, str], int] = {}
        self._row = np.full((0, 0), -1)  # by sensor and (metric, unit): row in the rules' table
        self._keys: dict[tuple[str, str, str], int] = {}
        self._rules = _Rules([], np.zeros(0, _RULE_DTYPE), Table())
        self._climates = NO_CLIMATE[None]
        self._climate_of: dict[tuple[Season, ...], int] = {(): 0}
        self._recent = Recent(horizon_ms)
        self._sequence = sequence.Sequence()

    def forget_rules(self) -> None:
        """The registry changed: look every series up again."""
        self._row = np.full((0, 0), -1)
        self._rules = _Rules([], np.zeros(0, _RULE_DTYPE), Table())

    def clean(self, records: Sequence[tuple[int, Record]]) -> list[Cleaned]:
        """Clean raw records with their offsets, in the order of the log; one that could not be read comes as an empty
        one. What a reading says of one in an earlier record of these is in that one's flag; of one that was cleaned
        before, it is an amendment behind its own record.
        """
        full = [record.readings for _, record in records if len(record.readings)]
        results = self._clean(full) if full else iter(())
        cleaned: list[Cleaned] = []
        for offset, record in records:
            kept, rejects, repeats = next(results) if len(record.readings) else (EMPTY, [], 0)
            chained = Record("clean", kept, record.tick, offset, self.prev_raw, RULES_VERSION)
            cleaned.append(Cleaned(chained, rejects, repeats))
            self.prev_raw = offset
        return cleaned

    def remember(self, record: Record, *, in_order: bool = True) -> None:
        """Take back into memory what an earlier process cleaned (its clean records, oldest first). Not `in_order`: only
        to tell repeats, for the rules of order know of it by a snapshot.
        """
        batch = record.readings
        if batch.source_rev is not None:  # what was amended came before as it was
            batch = batch.take(batch.rev == batch.source_rev)
        if len(batch):
            batch = replace(batch, tests=batch.tests & ~np.uint32(STEP_TESTS), flag=batch.flag.copy())
            rows = self._rows(batch)
            self._repeats(batch, rows)
            if in_order:
                self._in_order(batch, rows, self._rules.quality.take(rows)["evaluated"])
        self.prev_raw = max(self.prev_raw, record.raw)

    def snapshot(self) -> bytes:
        """What the rules of order remember of each series, for `restore` in another process; about 40 bytes a reading
        kept. It stands for everything up to `prev_raw`.
        """
        columns = {name: column.tobytes() for name, column in self._sequence.snapshot().items()}
        return _encoder.encode({"rules": RULES_VERSION, "series": list(self._keys), "columns": columns})

    def restore(self, snapshot: bytes) -> bool:
        """Take a snapshot up, before the first record; False for one of other rules, which is left alone."""
        kept = _decoder.decode(snapshot)
        if kept["rules"] != RULES_VERSION:
            return False
        keys = [(dataset, sensor, metric) for dataset, sensor, metric in kept["series"]]
        series = np.array([self._keys.setdefault(key, len(self._keys)) for key in keys], np.int64)
        self._sequence.restore(series, kept["columns"])
        return True

    def _clean(self, batches: Sequence[Readings]) -> Iterator[tuple[Readings, list[Reject], int]]:
        """Of each batch: its readings cleaned, what was refused of them, how many repeats were dropped."""
        raw = stack(batches)
        of = np.repeat(np.arange(len(batches)), [len(batch) for batch in batches])
        rows = self._rows(raw)
        rule = self._rules.table
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is no number, and judged so
            value = raw.value * rule["factor"][rows] + rule["offset"][rows]
        period_s = np.where(raw.period_s == PERIOD_FROM_REGISTRY, rule["period_s"][rows], raw.period_s).astype("<i4")
        live = raw.origin != Origin.IMPORT
        p = self._rules.quality.take(rows)
        judged, value = judge_each(
            Columns(
                value, raw.value, raw.start, period_s, raw.received, live, raw.lon, raw.lat, p, self._climates
            )
        )  # fmt: skip
        cleaned = replace(
            raw, value=value, period_s=period_s, tests=judged.tests, flag=np.empty(len(value), np.uint8)
        )  # fmt: skip
        evaluated = judged.evaluated

        # The usual case, with nothing to refuse, is asked for first.
        wrong = {
            "clock_future": raw.start > raw.received + self._future_ms,
            "clock_past": (live & (raw.start < rule["accept_since"][rows])) | (raw.start < 0),
            "beyond_repair": live & (raw.start < raw.received - rule["horizon_ms"][rows]),
        }
        refused = rule["refused"][rows].astype(bool)
        of_batch: list[list[Reject]] = [[] for _ in batches]
        if functools.reduce(np.logical_or, wrong.values(), refused).any():
            for i, reason in self._refused(rows, refused, wrong):
                of_batch[of[i]].append(_reject(raw, i, reason))
                refused[i] = True
            kept = ~refused
            cleaned, raw, rows, of = cleaned.take(kept), raw.take(kept), rows[kept], of[kept]
            evaluated = evaluated[kept]
        repeated, conflict = self._repeats(cleaned, rows)
        repeats = np.bincount(of[repeated & ~conflict], minlength=len(batches))
        if repeated.any():
            for i in np.flatnonzero(conflict).tolist():
                of_batch[of[i]].append(_reject(raw, i, "conflict"))
            kept = ~repeated
            cleaned, rows, evaluated, of = cleaned.take(kept), rows[kept], evaluated[kept], of[kept]
        if len(cleaned):
            cleaned, amended_by = self._in_order(cleaned, rows, evaluated)
            of = np.concatenate((of, of[amended_by]))
        kept_of_batch = (_canonical(rows_of) for rows_of in unstack(cleaned, of, batches))
        return zip(kept_of_batch, of_batch, repeats.tolist(), strict=True)

    def _in_order(self, cleaned: Readings, rows: Array, evaluated: Array) -> tuple[Readings, Array]:
        """What the rules of order say too, written into `flag` and `tests`; at the end, what they say now of readings
        of earlier records, and the row (k) that says so of each of these.
        """
        series, p = self._rules.table["series"][rows], self._rules.quality.take(rows)
        judged, amended = self._sequence.take(
            Batch(
                series, cleaned.start, cleaned.value, cleaned.rev, cleaned.period_s, cleaned.origin,
                cleaned.received, p, Judged(cleaned.tests, evaluated),
            )
        )  # fmt: skip
        cleaned.flag[:], cleaned.tests[:] = judged.flag(), judged.tests
        return (cleaned, _NONE) if amended is None else (_with_amended(cleaned, amended), amended.by)

    def _refused(self, rows: Array, refused: Array, wrong: dict[str, Array]) -> Iterator[tuple[int, str]]:
        """The readings to refuse, each once, with the reason."""
        for i in np.flatnonzero(refused).tolist():
            yield i, self._rules.reason[rows[i]]
        known = refused.copy()
        for reason, fired in wrong.items():
            for i in np.flatnonzero(fired & ~known).tolist():
                yield i, reason
            known |= fired

    def _repeats(self, batch: Readings, rows: Array) -> tuple[Array, Array]:
        series = self._rules.table["series"][rows]
        live = batch.origin != Origin.IMPORT
        if live.all():
            return self._recent.repeats(series, batch.start, batch.rev, batch.value, batch.received)
        # A history of years would fill the memory, and is not in the live feed: its repeats are told by the database.
        repeated, conflict = np.zeros(len(batch), bool), np.zeros(len(batch), bool)
        repeated[live], conflict[live] = self._recent.repeats(
            series[live], batch.start[live], batch.rev[live], batch.value[live], batch.received[live]
        )
        return repeated, conflict

    def _rows(self, batch: Readings) -> Array:
        """Row in the rules' table of each reading."""
        sensor, unit = _numbers(self._sensor_of, batch.sensors), _numbers(self._unit_of, batch.metrics)
        grow = (len(self._sensor_of) - self._row.shape[0], len(self._unit_of) - self._row.shape[1])
        if max(grow) > 0:
            room = [(0, size + more if more > 0 else 0) for size, more in zip(self._row.shape, grow, strict=True)]
            self._row = np.pad(self._row, room, constant_values=-1)
        rows: Array = self._row[sensor[batch.sensor], unit[batch.metric]]
        unknown = rows < 0
        if unknown.any():
            pairs = np.stack((sensor[batch.sensor[unknown]], unit[batch.metric[unknown]]), axis=1)
            self._learn_all(np.unique(pairs, axis=0))
            rows = self._row[sensor[batch.sensor], unit[batch.metric]]
        return rows

    def _learn_all(self, pairs: Array) -> None:
        """Make the rows of series that were not seen before, (sensor, unit) of each."""
        sensors, units = list(self._sensor_of), list(self._unit_of)
        known = len(self._rules.reason)
        table = np.empty(known + len(pairs), _RULE_DTYPE)
        table[:known] = self._rules.table
        quality = np.empty(len(pairs), PARAMETERS)
        for i, (sensor, unit) in enumerate(pairs.tolist()):
            self._row[sensor, unit] = known + i
            table[known + i : known + i + 1], quality[i : i + 1] = self._learn(*sensors[sensor], *units[unit])
        self._rules.table = table
        self._rules.quality.append(quality)
        self._sequence.expect(table["series"][known:], quality["keep"])

    def _learn(self, dataset_id: str, sensor: str, metric: str, unit: str) -> tuple[Array, Array]:
        """The rows (1) of a series that was not seen before, in the table and in that of the quality parameters."""
        dataset = self._registry.datasets.get(dataset_id)
        row = np.zeros(1, _RULE_DTYPE)
        rule = self._registry.rule(dataset_id, sensor, metric)
        line = conversion(metric, unit or rule.unit)
        reason = ""
        if dataset is None:
            reason = "dataset_unknown"
        elif metric not in QUANTITIES:
            reason = "metric_unknown"
        elif line is None:
            reason = "unit_unknown"
        row["refused"] = bool(reason)
        row["factor"], row["offset"] = line or (1.0, 0.0)
        row["period_s"] = rule.period_s
        row["horizon_ms"] = (dataset.repair_horizon_s if dataset else 0) * 1000 or NO_LIMIT_MS
        row["accept_since"] = dataset.accept_since_ms() if dataset else 0
        span_s, position = rule.cadence_s or rule.period_s, dataset.position if dataset else None
        quality = parameters(
            rule.metric, span_s, position, factor=row["factor"].item(), offset=row["offset"].item()
        )  # fmt: skip
        quality["climate"] = self._climate(rule.metric)
        row["series"] = self._keys.setdefault((dataset_id, sensor, metric), len(self._keys))
        self._rules.reason.append(reason)
        return row, quality

    def _climate(self, metric: Metric) -> int:
        """The row of a metric's climate in the table of climates."""
        if metric.climatology not in self._climate_of:
            self._climate_of[metric.climatology] = len(self._climates)
            self._climates = np.concatenate((self._climates, climate(metric)[None]))
        return self._climate_of[metric.climatology]


def _numbers(known: dict[tuple[str, str], int], names: Sequence[tuple[str, str]]) -> Array:
    """The number of each name; a new one gets the next."""
    numbers = np.fromiter(map(known.get, names, itertools.repeat(-1)), np.int64, len(names))
    for i in np.flatnonzero(numbers < 0).tolist():
        numbers[i] = known.setdefault(names[i], len(known))
    return numbers


def _canonical(batch: Readings) -> Readings:
    """The same readings with canonical units in the dictionary of metrics."""
    metrics, index = _canonical_metrics(batch.metrics)
    if index is None:
        return batch if metrics == batch.metrics else replace(batch, metrics=metrics)
    return replace(batch, metrics=metrics, metric=index.astype(batch.metric.dtype)[batch.metric])


@functools.lru_cache(1024)
def _canonical_metrics(metrics: tuple[tuple[str, str], ...]) -> tuple[tuple[tuple[str, str], ...], Array | None]:
    """The dictionary with canonical units, and where it is shorter, for two source units became one, the new index of
    each entry.
    """
    canonical = [(metric, canonical_unit(metric) or unit) for metric, unit in metrics]
    distinct = tuple(dict.fromkeys(canonical))
    if len(distinct) == len(canonical):
        return distinct, None
    return distinct, np.array([distinct.index(entry) for entry in canonical])


def _with_amended(batch: Readings, amended: Amended) -> Readings:
    """The batch with amendments behind it: the same value and `source_rev`, a higher `rev`."""
    n = len(amended)
    columns = {name: getattr(amended, name) for name in ("start", "value", "period_s", "origin", "received")}
    columns |= {"sensor": batch.sensor[amended.by], "metric": batch.metric[amended.by], "rev": amended.rev + 1}
    columns |= {"flag": amended.judged.flag(), "tests": amended.judged.tests}
    joined = {
        name: np.concatenate((getattr(batch, name), columns[name].astype(dtype))) for name, dtype in COLUMNS.items()
    }
    if batch.lon is not None and batch.lat is not None:  # the stored place stays
        nowhere = np.full(n, np.nan)
        joined |= {"lon": np.concatenate((batch.lon, nowhere)), "lat": np.concatenate((batch.lat, nowhere))}
    source_rev = np.concatenate((batch.rev, amended.rev)).astype("<i4")
    return Readings(batch.sensors, batch.metrics, **joined, source_rev=source_rev)


def _reject(batch: Readings, i: int, reason: str) -> Reject:
    dataset, sensor = batch.sensors[int(batch.sensor[i])]
    metric, unit = batch.metrics[int(batch.metric[i])]
    row = {"dataset": dataset, "sensor": sensor, "metric": metric, "unit": unit}
    row |= {
        name: getattr(batch, name)[i].item() for name in ("start", "period_s", "value", "rev", "origin", "received")
    }
    if batch.lon is not None and batch.lat is not None and np.isfinite(batch.lon[i]):
        row |= {"lon": batch.lon[i].item(), "lat": batch.lat[i].item()}
    return Reject(reason, f"{reason}: {REASONS[reason]}: {json.dumps(row)}", row)
