"""The rules' parameters as columns: one row a series, made when the series is first seen."""

from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.datasets import Metric, Position
from schemas.quality import MAX_SENTINELS, attenuated_readings, flat_line_steps

Array = npt.NDArray[Any]

PARAMETERS = np.dtype(
    [
        ("evaluated", "?"),  # a rule that needs no other reading is set: passing it means something
        ("fail_low", "f8"), ("fail_high", "f8"), ("suspect_low", "f8"), ("suspect_high", "f8"),
        ("sentinels", "f8", (MAX_SENTINELS,)),
        ("climate", "i4"),  # row in the table of climates; 0: none
        ("ahead_ms", "i8"), ("behind_ms", "i8"),
        ("west", "f8"), ("south", "f8"), ("east", "f8"), ("north", "f8"),
        ("spike_suspect", "f8"), ("spike_fail", "f8"), ("spike_by_step", "?"),
        ("rate_suspect", "f8"), ("rate_fail", "f8"),
        ("flat_tolerance", "f8"), ("flat_suspect_n", "i4"), ("flat_fail_n", "i4"),  # readings back; 0: not set
        ("attenuated_ms", "i8"), ("attenuated_n", "i4"), ("attenuated_min_obs", "i4"),
        ("attenuated_suspect", "f8"), ("attenuated_fail", "f8"),
        ("gap_suspect_ms", "i8"), ("gap_fail_ms", "i8"),
        ("keep", "i4"),  # readings to remember of the series
    ]
)  # fmt: skip
"""A limit that is not set is one that nothing passes: infinite, or `NO_LIMIT_MS`."""

NO_LIMIT_MS = 1 << 62
LEAST_KEPT = 2  # a spike is judged from the two readings before
NO_CLIMATE = np.tile(np.array([-np.inf, np.inf, -np.inf, np.inf]), (12, 1))
"""A climate (12, 4): by month (January first) fail_low, fail_high, suspect_low, suspect_high."""


def parameters(metric: Metric, span_s: int, position: Position | None = None) -> Array:
    """The row (1) of a series; `span_s`: the time between its readings (0: not known). `climate` is left 0."""
    row = np.zeros(1, PARAMETERS)
    row["evaluated"] = bool(metric.fail or metric.suspect or metric.sentinels or position)
    row["fail_low"], row["fail_high"] = metric.fail or (-np.inf, np.inf)
    row["suspect_low"], row["suspect_high"] = metric.suspect or (-np.inf, np.inf)
    row["sentinels"] = np.nan
    row["sentinels"][0, : len(metric.sentinels)] = metric.sentinels
    row["west"], row["south"], row["east"], row["north"] = position.bbox if position else (-180, -90, 180, 90)
    row["spike_suspect"], row["spike_fail"] = _limits(metric.spike)
    row["spike_by_step"] = metric.spike is not None and metric.spike.method == "differential"
    row["rate_suspect"], row["rate_fail"] = _limits(metric.rate_of_change)
    clock, gap, flat, attenuated = metric.clock, metric.time_gap, metric.flat_line, metric.attenuated
    row["ahead_ms"], row["behind_ms"] = _ms(clock.ahead_s if clock else None), _ms(clock.behind_s if clock else None)
    row["gap_suspect_ms"], row["gap_fail_ms"] = _ms(gap.suspect_s if gap else None), _ms(gap.fail_s if gap else None)
    row["attenuated_suspect"] = row["attenuated_fail"] = -np.inf
    keep = LEAST_KEPT
    if flat is not None and span_s:
        steps = flat_line_steps(flat.suspect_s, span_s), flat_line_steps(flat.fail_s, span_s)
        row["flat_tolerance"] = flat.tolerance
        row["flat_suspect_n"], row["flat_fail_n"] = steps
        keep = max(keep, *steps)
    if attenuated is not None and span_s:
        n = attenuated_readings(attenuated.period_s, span_s)
        row["attenuated_ms"], row["attenuated_n"] = attenuated.period_s * 1000, n
        row["attenuated_min_obs"] = attenuated.min_obs
        row["attenuated_suspect"] = -np.inf if attenuated.suspect is None else attenuated.suspect
        row["attenuated_fail"] = -np.inf if attenuated.fail is None else attenuated.fail
        keep = max(keep, n)
    row["keep"] = keep
    return row


def climate(metric: Metric) -> Array:
    """The climate (12, 4) of a metric, see `NO_CLIMATE`."""
    table = NO_CLIMATE.copy()
    for season in metric.climatology:
        months = np.array(season.months) - 1
        if season.fail is not None:
            table[months, 0:2] = season.fail
        if season.suspect is not None:
            table[months, 2:4] = season.suspect
    return table


def _limits(rule: Any) -> tuple[float, float]:
    suspect, fail = (None, None) if rule is None else (rule.suspect, rule.fail)
    return (np.inf if suspect is None else suspect), (np.inf if fail is None else fail)


def _ms(seconds: int | None) -> int:
    return NO_LIMIT_MS if seconds is None else seconds * 1000
