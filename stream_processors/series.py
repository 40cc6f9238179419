"""The series that a `windows` process holds: a dense slot each, with what closing its windows needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.quantities import QUANTITIES
from schemas.readings import Readings
from schemas.registry import Registry

Array = npt.NDArray[Any]
Key = tuple[str, str, str]  # (dataset, sensor, metric)

NEVER_MS = -(1 << 60)

_DTYPE = np.dtype(
    [
        ("id", "i4"), ("part", "i2"), ("sensor", "i4"), ("lateness_ms", "i8"), ("silence_ms", "i8"),
        ("rule_period_s", "i4"), ("rule_span_s", "i4"), ("weight", "i4"),
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
        self.keys: list[Key] = []
        self.columns = np.zeros(0, _DTYPE)

    def __len__(self) -> int:
        return len(self.keys)

    def slot(self, key: Key) -> int | None:
        """The slot of a series, None for one that has none yet."""
        return self._slot.get(key)

    def unknown(self, batch: Readings) -> list[Key]:
        """The series of a batch that have no slot yet."""
        pairs = np.unique(batch.sensor.astype(np.int64) * len(batch.metrics) + batch.metric)
        keys = (self._key(batch, code) for code in pairs.tolist())
        return [key for key in keys if key not in self._slot]

    def slots(self, batch: Readings) -> Array:
        """The slot (n) of each reading; all must have been added."""
        pair = batch.sensor.astype(np.int64) * len(batch.metrics) + batch.metric
        distinct, inverse = np.unique(pair, return_inverse=True)
        known = np.array([self._slot[self._key(batch, code)] for code in distinct.tolist()], np.int64)
        return known[inverse]

    def add(self, ids: Mapping[Key, int], part: Mapping[Key, int]) -> None:
        """Give slots to series with their database keys and partitions."""
        new = [key for key in ids if key not in self._slot]
        rows = np.zeros(len(new), _DTYPE)
        for row, key in zip(rows, new, strict=True):
            dataset, sensor, _ = key
            row["id"], row["part"] = ids[key], part[key]
            row["sensor"] = self._sensor.setdefault((dataset, sensor), len(self._sensor))
            row["weight"] = -1
            self._slot[key] = len(self.keys)
            self.keys.append(key)
        self.columns = np.concatenate((self.columns, rows))
        for key in new:
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
        rule = self.columns[slot]
        own = (period_s > 0) & (period_s != rule["rule_period_s"])
        return np.where(own, period_s, rule["rule_span_s"]).astype(np.int64) * 1000

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

    def _link_weight(self, key: Key) -> None:
        """A series and the one that weighs it may come in either order."""
        dataset, sensor, metric = key
        quantity = QUANTITIES.get(metric)
        if quantity and quantity.weight and (dataset, sensor, quantity.weight) in self._slot:
            self.columns["weight"][self._slot[key]] = self._slot[dataset, sensor, quantity.weight]
        for other in QUANTITIES.values():
            if other.weight == metric and (dataset, sensor, other.metric) in self._slot:
                self.columns["weight"][self._slot[dataset, sensor, other.metric]] = self._slot[key]

    @staticmethod
    def _key(batch: Readings, code: int) -> Key:
        dataset, sensor = batch.sensors[code // len(batch.metrics)]
        return dataset, sensor, batch.metrics[code % len(batch.metrics)][0]


def join(batches: Sequence[Readings]) -> Readings:
    """One batch of several, with one dictionary of sensors and one of metrics."""
    if len(batches) == 1:
        return batches[0]
    sensors: dict[tuple[str, str], int] = {}
    metrics: dict[tuple[str, str], int] = {}
    columns: dict[str, list[Array]] = {}
    for batch in batches:
        of_sensor = np.array([sensors.setdefault(s, len(sensors)) for s in batch.sensors], "<u4")
        of_metric = np.array([metrics.setdefault(m, len(metrics)) for m in batch.metrics], "<u2")
        columns.setdefault("sensor", []).append(of_sensor[batch.sensor])
        columns.setdefault("metric", []).append(of_metric[batch.metric])
        for name in ("start", "period_s", "value", "rev", "origin", "received", "flag", "tests"):
            columns.setdefault(name, []).append(getattr(batch, name))
        columns.setdefault("source_rev", []).append(batch.source_revs())
        for name in ("lon", "lat"):
            place = getattr(batch, name)
            columns.setdefault(name, []).append(np.full(len(batch), np.nan) if place is None else place)
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    if not np.isfinite(joined["lon"]).any():
        del joined["lon"], joined["lat"]
    return Readings(tuple(sensors), tuple(metrics), **joined)
