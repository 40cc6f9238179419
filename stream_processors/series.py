"""The series that a `windows` process holds: a dense slot each, with what closing its windows needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.datasets import OCCUPANCY
from schemas.detector import METRICS as DETECTOR_METRICS
from schemas.indices.hourly import OF_QUARTERS
from schemas.quantities import QUANTITIES
from schemas.readings import Readings
from schemas.registry import Registry

Array = npt.NDArray[Any]
Key = tuple[str, str, str]  # (dataset, sensor, metric)

NEVER_MS = -(1 << 60)

_DTYPE = np.dtype(
    [
        ("id", "i4"), ("part", "i2"), ("sensor", "i4"), ("lateness_ms", "i8"), ("silence_ms", "i8"),
        ("rule_period_s", "i4"), ("rule_span_s", "i4"), ("weight", "i4"), ("feeds_index", "?"), ("feeds_quarters", "?"),
        ("in_order", "?"), ("compared", "?"), ("has_health", "?"),
    ]
)  # fmt: skip

DEFAULT_LATENESS_S, DEFAULT_SILENCE_S = 300, 900  # of a dataset that was removed while readings were under way


@dataclass(frozen=True, slots=True)
class Rows:
    """Columns of length n of readings in a partition's log order; times in epoch ms.

    `span_ms` is the time a reading stands for (0: not known); `origin` 1 is an import.
    """

    slot: Array
    start: Array
    period_s: Array
    value: Array
    flag: Array
    received: Array
    span_ms: Array
    origin: Array

    def __len__(self) -> int:
        return len(self.slot)

    def take(self, chosen: Array) -> "Rows":
        """The rows that a mask or an index array chooses."""
        return Rows(*(getattr(self, name)[chosen] for name in self.__slots__))


class SeriesTable:
    """Slots of series. `weight` of a slot is the slot of the series that weighs it (volume for speed), -1 for none."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._slot: dict[Key, int] = {}
        self._sensor: dict[tuple[str, str], int] = {}
        self._metric: dict[str, int] = {}
        self._slots = np.full((1, 1), -1)  # by sensor and metric; the last row and column are of what is not known
        self.keys: list[Key] = []
        self.columns = np.zeros(0, _DTYPE)

    def __len__(self) -> int:
        return len(self.keys)

    def slot(self, key: Key) -> int | None:
        """The slot of a series, None for one that has none yet."""
        return self._slot.get(key)

    def slots(self, batch: Readings) -> Array:
        """The slot (n) of each reading, -1 where its series has none yet."""
        sensor = np.fromiter(map(self._sensor.get, batch.sensors, repeat(-1)), np.int64, len(batch.sensors))
        metrics = (metric for metric, _ in batch.metrics)
        metric = np.fromiter(map(self._metric.get, metrics, repeat(-1)), np.int64, len(batch.metrics))
        found: Array = self._slots[sensor[batch.sensor], metric[batch.metric]]
        return found

    @staticmethod
    def unknown(batch: Readings, slot: Array) -> list[Key]:
        """The series of a batch that have no slot yet."""
        pairs = np.stack((batch.sensor, batch.metric), axis=1)[slot < 0]
        keys = ((*batch.sensors[s], batch.metrics[m][0]) for s, m in np.unique(pairs, axis=0).tolist())
        return list(dict.fromkeys(keys))  # two units of one metric are one series

    def add(self, ids: Mapping[Key, int], part: Mapping[Key, int]) -> None:
        """Give slots to series with their database keys and partitions."""
        new = [key for key in ids if key not in self._slot]
        rows = np.zeros(len(new), _DTYPE)
        for row, key in zip(rows, new, strict=True):
            dataset, sensor, _ = key
            row["id"], row["part"] = ids[key], part[key]
            row["sensor"] = self._sensor.setdefault((dataset, sensor), len(self._sensor))
            row["weight"] = -1
            self._metric.setdefault(key[2], len(self._metric))
            self._slot[key] = len(self.keys)
            self.keys.append(key)
        self.columns = np.concatenate((self.columns, rows))
        grown = np.full((len(self._sensor) + 1, len(self._metric) + 1), -1)
        grown[: self._slots.shape[0] - 1, : self._slots.shape[1] - 1] = self._slots[:-1, :-1]
        self._slots = grown
        for key in new:
            self._slots[self._sensor[key[:2]], self._metric[key[2]]] = self._slot[key]
            self._refresh(key)
            self._link_weight(key)

    def refresh(self) -> None:
        """The registry changed: look periods up again."""
        for key in self.keys:
            self._refresh(key)

    def span_ms(self, slot: Array, period_s: Array) -> Array:
        """The time that each reading stands for: its own period where it brings one, else the longer of the
        series' period and cadence (an instant every five minutes stands for five minutes); 0 where none is known.
        """
        own = (period_s > 0) & (period_s != self.columns["rule_period_s"][slot])
        return np.where(own, period_s, self.columns["rule_span_s"][slot]).astype(np.int64) * 1000

    def sensors(self) -> int:
        """Number of sensors with a slot."""
        return len(self._sensor)

    def _refresh(self, key: Key) -> None:
        dataset = self._registry.datasets.get(key[0])
        rule = self._registry.rule(*key)
        row = self.columns[self._slot[key] : self._slot[key] + 1]
        row["lateness_ms"] = (dataset.lateness_s if dataset else DEFAULT_LATENESS_S) * 1000
        row["silence_ms"] = (dataset.silence_s if dataset else DEFAULT_SILENCE_S) * 1000
        row["rule_period_s"] = rule.period_s
        row["rule_span_s"] = max(rule.period_s, rule.cadence_s)
        rules = rule.metric.spike, rule.metric.rate_of_change, rule.metric.flat_line, rule.metric.attenuated
        row["in_order"] = any(one is not None for one in (*rules, rule.metric.time_gap))
        row["compared"] = rule.metric.neighbours is not None
        is_detector = key[2] in DETECTOR_METRICS
        row["has_health"] = is_detector and self._registry.rule(*key[:2], OCCUPANCY).metric.detector is not None
        inputs = dataset.index_inputs() if dataset else {}
        fed = [pollutant for pollutant, metric in inputs.items() if metric == key[2]]
        row["feeds_index"] = dataset is not None and key[2] in dataset.hour_inputs()
        row["feeds_quarters"] = not OF_QUARTERS.isdisjoint(fed)

    def _link_weight(self, key: Key) -> None:
        """A series and the one that weighs it may come in either order."""
        dataset, sensor, metric = key
        quantity = QUANTITIES.get(metric)
        if quantity and quantity.weight and (dataset, sensor, quantity.weight) in self._slot:
            self.columns["weight"][self._slot[key]] = self._slot[dataset, sensor, quantity.weight]
        for other in QUANTITIES.values():
            if other.weight == metric and (dataset, sensor, other.metric) in self._slot:
                self.columns["weight"][self._slot[dataset, sensor, other.metric]] = self._slot[key]


JOINED = ("start", "period_s", "value", "rev", "origin", "received", "flag", "tests")


def join(batches: Sequence[Readings]) -> dict[str, Array]:
    """The columns of several batches as one: `JOINED`, `source_rev`, and lon and lat where one has places."""
    columns = {name: _joined([getattr(batch, name) for batch in batches]) for name in JOINED}
    columns["source_rev"] = (
        columns["rev"]
        if all(batch.source_rev is None for batch in batches)
        else _joined([batch.source_revs() for batch in batches])
    )
    if any(batch.lon is not None for batch in batches):
        for name in ("lon", "lat"):
            places = [getattr(batch, name) for batch in batches]
            none = [np.full(len(b), np.nan) if p is None else p for b, p in zip(batches, places, strict=True)]
            columns[name] = _joined(none)
    return columns


def _joined(parts: list[Array]) -> Array:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
