"""Our flags are those of ioos_qc: on the three real sensors, and on series with faults put in."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.datasets import Metric
from schemas.quality import Attenuated, FlatLine, RateOfChange, Season, Spike, TimeGap
from tests.stream_processors.quality import oracle
from tests.stream_processors.quality.series import flags, one_series, originals, real

CADENCE_S = 60
LIMITS: dict[str, dict[str, Any]] = {
    "gross_range": {"fail": (-5.0, 40.0), "suspect": (0.0, 25.0)},
    "climatology": {
        "climatology": (
            Season((8, 9), (2.0, 20.0), (-2.0, 30.0)),
            Season((12, 1), (5.0, 9.0)),
            Season((3,), fail=(1, 2)),
        )
    },
    "spike": {"spike": Spike(3.03, 8.03)},
    "spike by step": {"spike": Spike(3.03, 8.03, "differential")},
    "rate_of_change": {"rate_of_change": RateOfChange(0.0203, 0.0803)},
    "flat_line": {"flat_line": FlatLine(0.103, 180, 420)},
    "attenuated": {"attenuated": Attenuated(600, 5, 0.3003, 0.1003)},
    "time_gap": {"time_gap": TimeGap(fail_s=150)},
}  # fmt: skip


def metric(*rules: str) -> Metric:
    return Metric(cadence_s=CADENCE_S, **{k: v for rule in rules for k, v in LIMITS[rule].items()})


@originals
@pytest.mark.parametrize("rule", LIMITS)
def test_the_real_sensors_get_the_flags_of_ioos_qc(rule: str) -> None:
    batch = real("sensortoolkit", "air-quality", "epa-sensortoolkit-rtp/toco_toucan_*.csv")
    assert len(batch.sensors) == 3
    seen: set[int] = set()
    for sensor in range(3):
        for number in range(len(batch.metrics)):
            start, value = one_series(batch, sensor, number)
            ours, theirs = (
                flags(metric(rule), start, value),
                oracle.flags(rule.partition(" ")[0], metric(rule), start, value),
            )
            assert np.flatnonzero(ours != theirs).tolist() == [], batch.metrics[number]
            seen |= set(ours.tolist())
    assert len(seen) > 1, "the rule said something"


FAULTS = ("none", "spike", "stuck", "gap", "sentinel", "nan", "jump")


@st.composite
def faulty_series(draw: st.DrawFn) -> tuple[Any, Any]:
    """(start, value): a minute series of tenths, with faults put in; limits lie between tenths, away from rounding."""
    n = draw(st.integers(3, 80))
    steps = draw(st.lists(st.integers(-12, 12), min_size=n, max_size=n))
    value = 10 + np.cumsum(steps) / 10
    gap_s = np.zeros(n, np.int64)
    for _ in range(draw(st.integers(0, 4))):
        fault, at = draw(st.sampled_from(FAULTS)), draw(st.integers(0, n - 1))
        if fault == "spike":
            value[at] += draw(st.sampled_from([-50.0, -9.0, -4.0, 4.0, 9.0, 50.0]))
        elif fault == "stuck":
            value[at : at + draw(st.integers(2, 15))] = value[at]
        elif fault == "gap":
            gap_s[at] = draw(st.sampled_from([60, 120, 3600, 86_400, 8_000_000])) if at else 0
        elif fault == "nan":
            value[at] = np.nan
        elif fault == "jump":
            value[at:] += draw(st.sampled_from([-20.0, 20.0]))
    value = np.round(value, 1)
    start = 1_564_617_600_000 + (np.arange(n) * CADENCE_S + np.cumsum(gap_s)) * 1000
    return start, value


@pytest.mark.parametrize("rule", LIMITS)
@settings(max_examples=60, deadline=None)
@given(of=faulty_series())
def test_generated_faults_get_the_flags_of_ioos_qc(rule: str, of: tuple[Any, Any]) -> None:
    start, value = of
    if rule == "flat_line" and np.median(np.diff(start)) != CADENCE_S * 1000:
        return  # ioos_qc counts by the file's median interval, we by the series' cadence
    theirs = oracle.flags(rule.partition(" ")[0], metric(rule), start, value)
    ours = flags(metric(rule), start, value)
    judged = ~np.isnan(value)  # ioos_qc judges a gap also where there is no value; the roll-up says missing
    assert ours[judged].tolist() == theirs[judged].tolist()


@settings(max_examples=60, deadline=None)
@given(of=faulty_series())
def test_all_rules_together_roll_up_as_in_ioos_qc(of: tuple[Any, Any]) -> None:
    start, value = of
    if np.median(np.diff(start)) != CADENCE_S * 1000:
        return
    rules = [rule for rule in LIMITS if " " not in rule]
    everything = metric(*rules)
    theirs = oracle.roll_up([oracle.flags(rule, everything, start, value) for rule in rules])
    judged = ~np.isnan(value)
    assert flags(everything, start, value)[judged].tolist() == theirs[judged].tolist()
