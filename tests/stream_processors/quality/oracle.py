"""The flags that ioos_qc gives, for the same parameters; one function a rule.

ioos_qc 3.0 wants pandas times and gives masked arrays; all that is here is the translation.
"""

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from ioos_qc import qartod

from schemas.datasets import Metric

Array = npt.NDArray[Any]

UNKNOWN = 2


def flags(rule: str, metric: Metric, start_ms: Array, value: Array) -> Array:
    """ioos_qc's flags (n) of one series for one rule of `metric`, whose other rules are not looked at."""
    time = start_ms.astype("datetime64[ms]").astype("datetime64[ns]")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(np.ma.filled(_RULES[rule](metric, time, value), UNKNOWN), np.uint8)


def _gross_range(metric: Metric, _: Array, value: Array) -> Any:
    return qartod.gross_range_test(value, metric.fail, metric.suspect)


def _climatology(metric: Metric, time: Array, value: Array) -> Any:
    config = qartod.ClimatologyConfig()
    for season in metric.climatology:
        for month in season.months:
            config.add((month, month), season.suspect or (-1e300, 1e300), season.fail, period="month")
    return qartod.climatology_test(config, value, time, np.full(len(value), np.nan))


def _spike(metric: Metric, _: Array, value: Array) -> Any:
    assert metric.spike
    return qartod.spike_test(value, metric.spike.suspect, metric.spike.fail, metric.spike.method)


def _rate_of_change(metric: Metric, time: Array, value: Array) -> Any:
    assert metric.rate_of_change
    limits = metric.rate_of_change
    return qartod.rate_of_change_test(value, time, limits.suspect or np.inf, limits.fail)


def _flat_line(metric: Metric, time: Array, value: Array) -> Any:
    assert metric.flat_line
    never = 10**9
    flat = metric.flat_line
    return qartod.flat_line_test(value, time, flat.suspect_s or never, flat.fail_s or never, flat.tolerance)


def _attenuated(metric: Metric, time: Array, value: Array) -> Any:
    assert metric.attenuated
    a = metric.attenuated
    nothing = -1.0
    return qartod.attenuated_signal_test(
        value, time, a.suspect or nothing, a.fail or nothing, test_period=a.period_s, min_obs=a.min_obs
    )


def _time_gap(metric: Metric, time: Array, _: Array) -> Any:
    assert metric.time_gap and metric.time_gap.fail_s
    found = np.ma.filled(qartod.time_gap_test(time, metric.time_gap.fail_s / 3600), UNKNOWN)
    found[0] = UNKNOWN  # ioos_qc gives the first reading the verdict of the second; we give it none
    return found


_RULES = {
    "gross_range": _gross_range,
    "climatology": _climatology,
    "spike": _spike,
    "rate_of_change": _rate_of_change,
    "flat_line": _flat_line,
    "attenuated": _attenuated,
    "time_gap": _time_gap,
}


def roll_up(flags: list[Array]) -> Array:
    """ioos_qc's aggregate of several rules' flags."""
    return np.asarray(qartod.qartod_compare(flags), np.uint8)
