"""The shipped limits on the sample's recorded readings: they must not flood anybody with flags."""

import numpy as np
import pytest

from deploy.local.tools import ROOT
from deploy.replay.sample import Week, read_weeks
from schemas.city import read_city
from schemas.datasets import parse_datasets, shipped_files
from schemas.flags import Flag, Test, fired_tests, mask_of
from schemas.registry import fold
from tests.bench import faults

SAMPLE = ROOT / "deploy" / "sample_city"
UNCALIBRATED = {"no2": Test.GROSS_RANGE_SUSPECT}
"""Below -5 ppb for a third of the time, as these three sensors left the factory: suspect is what they are."""


@pytest.mark.parametrize(("dataset", "steps", "columns"), [("air-quality", 2880, 18), ("traffic", 864, 40)])
def test_sensors_that_work_are_hardly_flagged(dataset: str, steps: int, columns: int) -> None:
    city = read_city(SAMPLE)
    whole = next(week for week in read_weeks(SAMPLE) if week.dataset == dataset)
    week = Week(dataset, whole.origin_ms, whole.step_ms, whole.columns[:columns], whole.values[:steps, :columns])
    nothing = faults.Faulty(week.values, np.zeros(week.values.shape, np.int64), np.zeros(week.values.shape, bool))
    registry = fold({dataset: city.datasets[dataset]}, city.registrations)
    tests = faults.run(week, nothing, registry)
    for column, (sensor, metric) in enumerate(week.columns):
        there = np.isfinite(week.values[:, column])
        found = tests[there, column] & ~np.uint32(UNCALIBRATED.get(metric, 0))
        assert not (found & mask_of(Flag.FAIL)).any(), (sensor, metric)
        assert (found != 0).mean() <= 0.01, (sensor, metric, fired_tests(int(np.bitwise_or.reduce(found))))


def test_every_metric_has_limits_of_every_kind_that_fits_it() -> None:
    for dataset in parse_datasets(shipped_files()).values():
        for name, metric in dataset.metrics.items():
            assert metric.fail and metric.suspect and metric.sentinels and metric.time_gap, name
            assert metric.clock and metric.clock.ahead_s, name
            assert metric.flat_line or name == "humidity", f"{name}: fog is flat, nothing else"
            assert metric.spike or metric.rate_of_change or metric.attenuated or dataset.id == "traffic", name
