"""All readings of a file judged in one go, in event-time order, by the rules that the stream has."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.readings import Origin, Readings
from schemas.registry import Registry
from schemas.units import conversion
from stream_processors.quality import judge_each
from stream_processors.quality.columns import Columns
from stream_processors.quality.parameters import NO_CLIMATE, Table, climate, parameters
from stream_processors.quality.sequence import Batch, Sequence

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Flags:
    """Of n readings: `value` in the canonical unit (NaN where there is none), `flag`, `tests`; `series` (n) small
    integers, one a (sensor, metric).
    """

    value: Array
    flag: Array
    tests: Array
    series: Array


def judge(batch: Readings, registry: Registry) -> Flags:
    """The flags of n readings of one dataset; units that have no conversion must have been refused before.

    A reading that is there twice is judged once: the one with the highest `rev`, of equal ones the last; the others
    have the verdict of the rules that need no other reading.
    """
    metrics = list(dict.fromkeys(metric for metric, _ in batch.metrics))
    of_metric = np.array([metrics.index(metric) for metric, _ in batch.metrics], np.int64)
    series = batch.sensor.astype(np.int64) * len(metrics) + of_metric[batch.metric]
    row = batch.sensor.astype(np.int64) * len(batch.metrics) + batch.metric
    distinct, row = np.unique(row, return_inverse=True)
    table, climates, factor, offset = Table(), [NO_CLIMATE], [], []
    for code in distinct.tolist():
        dataset_id, sensor = batch.sensors[code // len(batch.metrics)]
        metric, unit = batch.metrics[code % len(batch.metrics)]
        rule, dataset = registry.rule(dataset_id, sensor, metric), registry.datasets[dataset_id]
        line = conversion(metric, unit or rule.unit) or (1.0, 0.0)
        span_s = rule.cadence_s or rule.period_s
        made = parameters(rule.metric, span_s, dataset.position, factor=line[0], offset=line[1])
        if rule.metric.climatology:
            made["climate"] = len(climates)
            climates.append(climate(rule.metric))
        table.append(made)
        factor.append(line[0])
        offset.append(line[1])
    value = batch.value * np.array(factor)[row] + np.array(offset)[row]
    chosen = table.take(row)
    each, value = judge_each(
        Columns(
            value, batch.value, batch.start, batch.period_s, batch.received, batch.origin != Origin.IMPORT,
            batch.lon, batch.lat, chosen, np.stack(climates),
        )
    )  # fmt: skip
    sequence = Sequence()
    sequence.expect(series, chosen["keep"])
    judged, _ = sequence.take(
        Batch(series, batch.start, value, batch.rev, batch.period_s, batch.origin, batch.received, chosen, each)
    )
    return Flags(value, judged.flag(), judged.tests, series)
