"""Series for the tests of rules: judged as the stream does, and taken from the real files."""

import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from deploy.replay.readers import READERS
from schemas.datasets import Metric, Position
from schemas.readings import Origin, Readings
from stream_processors.quality import Judged, judge_each
from stream_processors.quality.columns import Columns
from stream_processors.quality.parameters import NO_CLIMATE, climate, of_rows, parameters
from stream_processors.quality.sequence import Amended, Batch, Sequence

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Rows:
    """Readings of several series in the order of the log."""

    series: Array
    start: Array
    value: Array
    rev: Array

    def take(self, rows: Array) -> "Rows":
        return Rows(self.series[rows], self.start[rows], self.value[rows], self.rev[rows])


def rows(start: Any, value: Any, series: Any = 0, rev: Any = 1) -> Rows:
    n = len(value)
    kinds = {"series": (series, np.int64), "start": (start, np.int64), "value": (value, float), "rev": (rev, np.int32)}
    return Rows(**{k: np.ascontiguousarray(np.broadcast_to(np.asarray(v, t), n)) for k, (v, t) in kinds.items()})


def table(metric: Metric, position: Position | None = None) -> tuple[Array, Array]:
    """(parameters of a series (1), climates) as `clean` makes them."""
    row = parameters(metric, metric.span_s, position)
    row["climate"] = 1 if metric.climatology else 0
    return row, np.stack((NO_CLIMATE, climate(metric)))


def each(metric: Metric, of: Rows, **columns: Any) -> tuple[Judged, Array]:
    n = len(of.value)
    row, climates = table(metric, columns.pop("position", None))
    given = {
        "source_value": of.value, "period_s": np.zeros(n, np.int32), "received": of.start, "live": np.ones(n, bool),
        "lon": None, "lat": None,
    } | columns  # fmt: skip
    return judge_each(
        Columns(value=of.value, start=of.start, parameters=of_rows(np.repeat(row, n)), climates=climates, **given)
    )


def judge(metric: Metric, of: Rows, sequence: Sequence | None = None) -> tuple[Judged, Amended | None]:
    """One batch through all rules."""
    judged, value = each(metric, of)
    n = len(value)
    batch = Batch(
        of.series, of.start, value, of.rev, np.zeros(n, np.int32), np.zeros(n, np.uint8), of.start,
        of_rows(np.repeat(table(metric)[0], n)), judged,
    )  # fmt: skip
    sequence = sequence or Sequence()
    sequence.expect(batch.series, batch.parameters["keep"])
    return sequence.take(batch)


def flags(metric: Metric, start: Any, value: Any) -> Array:
    """The flags of one series in one batch, all there."""
    judged, amended = judge(metric, rows(start, value))
    assert amended is None
    return judged.flag()


originals = pytest.mark.skipif(
    not os.environ.get("CITYFEED_TEST_ORIGINALS"), reason="CITYFEED_TEST_ORIGINALS names no folder"
)


@functools.cache
def real(reader: str, dataset: str, files: str) -> Readings:
    """A recorded data set."""
    folder = Path(os.environ["CITYFEED_TEST_ORIGINALS"])
    return READERS[reader].parse(sorted(folder.glob(files)), dataset)


def one_series(batch: Readings, sensor: int, metric: int) -> tuple[Array, Array]:
    """(start, value) of one series of a recorded data set, in time order."""
    of = (batch.sensor == sensor) & (batch.metric == metric)
    assert (batch.origin == Origin.IMPORT).all()
    order = np.argsort(batch.start[of], kind="stable")
    return batch.start[of][order], batch.value[of][order]
