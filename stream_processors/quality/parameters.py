"""The rules' parameters as columns: one row a series, made when the series is first seen."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.datasets import Metric, Position
from schemas.quality import HUGE, MAX_SENTINELS, attenuated_readings, flat_line_steps

Array = npt.NDArray[Any]

PARAMETERS = np.dtype(
    [
        ("evaluated", "?"),  # a rule that needs no other reading is set: passing it means something
        ("sure_low", "f8"), ("sure_high", "f8"),  # a value in between is a number, in range and no sentinel
        ("fail_low", "f8"), ("fail_high", "f8"), ("suspect_low", "f8"), ("suspect_high", "f8"),
        ("sentinels", "f8", (MAX_SENTINELS,)),
        ("climate", "i4"),  # row in the table of climates; 0: none
        ("ahead_ms", "i8"), ("behind_ms", "i8"),
        ("west", "f8"), ("south", "f8"), ("east", "f8"), ("north", "f8"),
        ("spike_least", "f8"), ("spike_suspect", "f8"), ("spike_fail", "f8"), ("spike_by_step", "?"),
        ("rate_least", "f8"), ("rate_suspect", "f8"), ("rate_fail", "f8"),
        ("flat_tolerance", "f8"), ("flat_suspect_n", "i4"), ("flat_fail_n", "i4"),  # readings back; 0: not set
        ("attenuated_ms", "i8"), ("attenuated_n", "i4"), ("attenuated_min_obs", "i4"),
        ("attenuated_suspect", "f8"), ("attenuated_fail", "f8"),
        ("attenuated_squares", "f8"),  # a sum of squares above this is above both limits, also rounded
        ("gap_least_ms", "i8"), ("gap_suspect_ms", "i8"), ("gap_fail_ms", "i8"),
        ("keep", "i4"),  # readings to remember of the series
    ]
)  # fmt: skip
"""A limit that is not set is one that nothing passes: infinite, or `NO_LIMIT_MS`; `least` is the lower one of both."""

_NAMES = PARAMETERS.names or ()
_ALWAYS = frozenset({"not_a_number", "sentinel", "gross_range", "position"})  # these need no parameter, or look fast

NO_LIMIT_MS = 1 << 62
LEAST_KEPT = 2  # a spike is judged from the two readings before
NO_CLIMATE = np.tile(np.array([-np.inf, np.inf, -np.inf, np.inf]), (12, 1))
"""A climate (12, 4): by month (January first) fail_low, fail_high, suspect_low, suspect_high."""


def parameters(
    metric: Metric, span_s: int, position: Position | None = None, *, factor: float = 1.0, offset: float = 0.0
) -> Array:
    """The row (1) of a series; `span_s`: the time between its readings (0: not known). `factor` and `offset` take the
    source's unit to the canonical one. `climate` is left 0.
    """
    row = np.zeros(1, PARAMETERS)
    row["evaluated"] = bool(metric.fail or metric.suspect or metric.sentinels or position)
    row["fail_low"], row["fail_high"] = metric.fail or (-np.inf, np.inf)
    row["suspect_low"], row["suspect_high"] = metric.suspect or (-np.inf, np.inf)
    sentinels = np.array(metric.sentinels) * factor + offset
    low = max(row["fail_low"][0], row["suspect_low"][0], np.nextafter(-HUGE, 0))
    high = min(row["fail_high"][0], row["suspect_high"][0], np.nextafter(HUGE, 0))
    plausible = ((sentinels >= low) & (sentinels <= high)).any()
    row["sure_low"], row["sure_high"] = (np.inf, -np.inf) if plausible else (low, high)
    row["sentinels"] = np.nan
    row["sentinels"][0, : len(metric.sentinels)] = metric.sentinels
    row["west"], row["south"], row["east"], row["north"] = position.bbox if position else (-180, -90, 180, 90)
    row["spike_suspect"], row["spike_fail"] = _limits(metric.spike)
    row["spike_by_step"] = metric.spike is not None and metric.spike.method == "differential"
    row["rate_suspect"], row["rate_fail"] = _limits(metric.rate_of_change)
    clock, gap, flat, attenuated = metric.clock, metric.time_gap, metric.flat_line, metric.attenuated
    row["ahead_ms"], row["behind_ms"] = _ms(clock.ahead_s if clock else None), _ms(clock.behind_s if clock else None)
    row["gap_suspect_ms"], row["gap_fail_ms"] = (
        _ms(seconds if seconds and seconds > span_s else None)  # a sensor that sends as seldom has no gaps
        for seconds in ((gap.suspect_s, gap.fail_s) if gap else (None, None))
    )
    for rule, unit in (("spike", ""), ("rate", ""), ("gap", "_ms")):
        row[f"{rule}_least{unit}"] = np.minimum(row[f"{rule}_suspect{unit}"], row[f"{rule}_fail{unit}"])
    row["attenuated_suspect"] = row["attenuated_fail"] = -np.inf
    row["attenuated_squares"] = np.inf
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
        row["attenuated_squares"] = max(attenuated.suspect or 0, attenuated.fail or 0) ** 2 * n * 1.000001
        keep = max(keep, n)
    row["keep"] = keep
    return row


class Table:
    """The parameters of many series in columns, and which rules any of them has."""

    def __init__(self) -> None:
        self._columns: dict[str, Array] = {name: np.zeros(0, PARAMETERS[name]) for name in _NAMES}
        self._columns["sentinels"] = np.zeros((0, MAX_SENTINELS))
        self.uses: frozenset[str] = frozenset()

    def append(self, rows: Array) -> None:
        """Add series (structured rows of `PARAMETERS`)."""
        for name in _NAMES:
            self._columns[name] = np.concatenate((self._columns[name], rows[name]))
        self.uses = self.uses | rules_used(rows)

    def take(self, rows: Array) -> "Chosen":
        """The parameters of n readings by their series' rows."""
        return Chosen(self._columns, rows, self.uses)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The parameters of n readings: `chosen["spike_fail"]` gathers that column."""

    columns: Mapping[str, Array]
    rows: Array
    uses: frozenset[str]

    def __getitem__(self, name: str) -> Array:
        return self.columns[name][self.rows]

    def take(self, rows: Array) -> "Chosen":
        """Those of some of the readings."""
        return Chosen(self.columns, self.rows[rows], self.uses)


def of_rows(rows: Array) -> Chosen:
    """The parameters of n readings that have a structured row each."""
    return Chosen({name: rows[name] for name in _NAMES}, np.arange(len(rows)), rules_used(rows))


def rules_used(rows: Array) -> frozenset[str]:
    """The rules that have a parameter in any of these rows."""
    used = {
        "climatology": rows["climate"] > 0,
        "clock": np.minimum(rows["ahead_ms"], rows["behind_ms"]) < NO_LIMIT_MS,
        "spike": np.isfinite(rows["spike_least"]),
        "rate_of_change": np.isfinite(rows["rate_least"]),
        "flat_line": (rows["flat_suspect_n"] > 0) | (rows["flat_fail_n"] > 0),
        "attenuated": rows["attenuated_n"] > 0,
        "time_gap": rows["gap_least_ms"] < NO_LIMIT_MS,
    }
    return frozenset(name for name, mask in used.items() if mask.any()) | _ALWAYS


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
