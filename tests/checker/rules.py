"""What the datasets' files say, as far as it decides what is stored and which windows there are."""

import tomllib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

DATASETS = Path(__file__).resolve().parents[2] / "schemas" / "datasets"

WIDTHS_S = (60, 300, 900, 3600, 86400)
FUTURE_MS = 300_000  # CITYFEED_FUTURE_TOLERANCE_S as shipped
WEIGHTED_BY = {"speed": "volume"}
COUNTED = (1, 2, 3)

_KM_PER_MILE = 1.609344
# (metric, unit as sent) -> factor to the canonical unit; what is not here is sent in the canonical unit.
_FACTORS = {("speed", unit): _KM_PER_MILE for unit in ("mph", "[mi_i]/h")}
_CANONICAL = {"ug/m3", "µg/m³", "km/h", "{veh}", "veh", "Cel", "°C", "%", "[ppb]", "ppb", "[ppm]", "ppm", "1", "s", ""}


@dataclass(frozen=True)
class Rule:
    """What a dataset's file says of a metric; times in s, `fail` in the canonical unit."""

    unit: str
    period_s: int
    cadence_s: int
    fail: tuple[float, float] | None
    accept_since_ms: int


class Rules:
    """The datasets that ship, and those of a city folder, which win. Sensors without rules of their own only."""

    def __init__(self, city: Path | None = None) -> None:
        files = {file.name: file for file in DATASETS.glob("*.toml")}
        files |= {file.name: file for file in (city / "datasets").glob("*.toml")} if city else {}
        self._of: dict[tuple[str, str], Rule] = {}
        for file in files.values():
            dataset = tomllib.loads(file.read_text("utf-8"))
            since = dataset.get("accept_since", datetime.fromisoformat("2000-01-01T00:00:00Z"))
            for metric, said in dataset["metrics"].items():
                self._of[dataset["id"], metric] = Rule(
                    said.get("unit", ""),
                    said.get("period_s", 0),
                    said.get("cadence_s", 0),
                    tuple(said["fail"]) if "fail" in said else None,
                    int(since.timestamp() * 1000),
                )

    def find(self, dataset: str, metric: str) -> Rule | None:
        """The rule of a metric; None where the dataset does not have it."""
        return self._of.get((dataset, metric))

    def canonical(self, dataset: str, metric: str, unit: str, value: float) -> float:
        """The value in the canonical unit. Raises `ValueError` for a unit that this table does not have."""
        rule = self.find(dataset, metric)
        unit = unit or (rule.unit if rule else "")
        if (metric, unit) in _FACTORS:
            return value * _FACTORS[metric, unit]
        if unit not in _CANONICAL:
            raise ValueError(f"the checker does not know how {metric} in {unit!r} becomes canonical")
        return value

    def span_s(self, dataset: str, metric: str, period_s: int) -> int:
        """The time that a reading stands for: its own period, else the longer of the metric's period and cadence."""
        rule = self.find(dataset, metric) or Rule("", 0, 0, None, 0)
        if period_s > 0 and period_s != rule.period_s:
            return period_s
        return max(rule.period_s, rule.cadence_s)
