"""The quality rules: what they cost beside ioos_qc, and which faults they find in real data."""

import statistics
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from deploy.local.tools import ROOT
from deploy.replay.sample import read_weeks
from schemas.datasets import Metric
from schemas.quality import Attenuated, Clock, FlatLine, RateOfChange, Season, Spike, TimeGap
from stream_processors.quality import judge_each
from stream_processors.quality.columns import Columns
from stream_processors.quality.parameters import NO_CLIMATE, Table, climate, parameters
from stream_processors.quality.sequence import Batch, Sequence
from tests.bench import faults
from tests.bench.figure import Figure
from tests.stream_processors.quality import oracle

Array = npt.NDArray[Any]

BATCHES = (500, 5_000)
STEP_S = 60
REFERENCE_BATCHES = 10
RUNS = 5
ALL_RULES = Metric(
    cadence_s=STEP_S,
    fail=(-60, 1000),
    suspect=(-30, 200),
    sentinels=(-999.0,),
    climatology=(Season((6, 7, 8), (-20, 150), (-50, 500)),),
    spike=Spike(50, 300),
    rate_of_change=RateOfChange(1, 5),
    flat_line=FlatLine(0.05, 3600, 14_400),
    attenuated=Attenuated(1800, 10, 0.02, 0.005),
    time_gap=TimeGap(600, 7200),
    clock=Clock(30, 3600),
)
TARGETS = ("spikes", "stuck values", "sentinels", "clock jumps")
RECALL, PRECISION = 0.95, 0.99


def measure() -> Iterator[Figure]:
    """Cost of the full rule set on the air sensors' week in batches, then the table of faults."""
    start, value = _columns()
    for size in BATCHES:
        rate, reference = _rates(start, value, size)
        yield Figure(
            f"all quality rules, batches of {size}", rate, "readings/s on one core", reference,
            "ioos_qc, the same rules and batches, a call a series", "under 1 us a reading, ratio at least 10",
            rate > 1e6 and rate >= 10 * reference, f"{1e6 / rate:.2f} us a reading; ioos_qc {1e6 / reference:.1f}",
        )  # fmt: skip
    rate, reference = _rates(start, value, value.size // 2)
    yield Figure(
        "all quality rules, half a week at once", rate, "readings/s on one core", reference,
        "ioos_qc, the same rules on the same columns at once", "ratio at least 10", rate >= 10 * reference,
        f"{1e6 / rate:.2f} us a reading; ioos_qc {1e6 / reference:.2f}",
    )  # fmt: skip
    for dataset in ("air-quality", "traffic"):
        for found in faults.measure(dataset):
            yield as_figure(found)


def as_figure(found: faults.Found) -> Figure:
    """A line of the table of faults."""
    met = found.recall >= RECALL and found.precision >= PRECISION
    return Figure(
        f"{found.kind} in {found.dataset}: recall", found.recall * 100, "%",
        target=f"recall {RECALL:.0%}, precision {PRECISION:.0%}" if found.kind in TARGETS else "",
        met=met if found.kind in TARGETS else None,
        note=f"precision {found.precision:.2%}; {found.n} {found.unit} were faulty",
    )  # fmt: skip


def _columns() -> tuple[Array, Array]:
    """(start (step), value (step, series)) of the air sensors' recorded week."""
    week = next(w for w in read_weeks(ROOT / "deploy" / "sample_city") if w.dataset == "air-quality")
    return week.origin_ms + np.arange(len(week.values)) * week.step_ms, week.values


def _rates(start: Array, value: Array, size: int) -> tuple[float, float]:
    """Medians of runs of ours and of ioos_qc by turns: one run alone takes a tenth of a second, some of it to begin."""
    runs = [(_ours(start, value, size), _reference(start, value, size)) for _ in range(RUNS)]
    ours, reference = zip(*runs, strict=True)
    return statistics.median(ours), statistics.median(reference)


def _ours(start: Array, value: Array, size: int) -> float:
    """Readings a second of CPU: the stream's functions on readings in the order of time, all series in each batch."""
    steps, many = value.shape
    series, starts = np.tile(np.arange(many), steps), np.repeat(start, many)
    flat = value.ravel()
    table, sequence = Table(), Sequence()
    row = np.repeat(parameters(ALL_RULES, STEP_S), many)
    row["climate"] = 1
    table.append(row)
    climates = np.stack((NO_CLIMATE, climate(ALL_RULES)))
    sequence.expect(np.arange(many), row["keep"])
    one, period = np.ones(size, np.int32), np.full(size, STEP_S, np.int32)
    live, origin = np.ones(size, bool), np.zeros(size, np.uint8)
    began = time.process_time()
    for at in range(0, len(flat) - size + 1, size):
        part = slice(at, at + size)
        chosen = table.take(series[part])
        received = starts[part] + STEP_S * 1000
        each, values = judge_each(
            Columns(flat[part], flat[part], starts[part], period, received, live, None, None, chosen, climates)
        )
        judged, _ = sequence.take(
            Batch(series[part], starts[part], values, one, period, origin, received, chosen, each)
        )
        judged.flag()
    return (len(flat) // size * size) / (time.process_time() - began)


def _reference(start: Array, value: Array, size: int) -> float:
    """The same of ioos_qc on some of the same batches, and its roll-up; it takes one series at a time."""
    rules = ("gross_range", "climatology", "spike", "rate_of_change", "flat_line", "attenuated", "time_gap")
    steps, done = max(3, size // value.shape[1]), 0
    began = time.process_time()
    for at in range(0, min(REFERENCE_BATCHES * steps, len(value) - steps + 1), steps):
        for column in value[at : at + steps].T:
            oracle.roll_up([oracle.flags(rule, ALL_RULES, start[at : at + steps], column) for rule in rules])
            done += len(column)
    return done / (time.process_time() - began)
