"""The real slices that ship with the sample city, and windows computed from the raw files in the plainest way.

Nothing here uses the code under test: plain Python over plain lists.
"""

import csv
import gzip
import math
import statistics
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SAMPLE = Path(__file__).resolve().parents[2] / "deploy" / "sample_city"
MPH = 1.609344
WIDTHS_S = (60, 300, 900, 3600, 86400)


@dataclass(frozen=True)
class Series:
    """One series of a slice at its original times, in the unit of the file."""

    dataset: str
    sensor: str
    metric: str
    period_s: int
    readings: list[tuple[int, float]]  # (start epoch ms, value)

    def canonical(self, value: float) -> float:
        return value * MPH if self.metric == "speed" else value


def slices(dataset: str, rows: int | None = None) -> list[Series]:
    """All series of a dataset's slice; the first `rows` times of each."""
    weeks = tomllib.loads((SAMPLE / "data" / "weeks.toml").read_text())["week"]
    about = next(week for week in weeks if week["dataset"] == dataset)
    first, step_s = int(about["origin"].timestamp() * 1000), about["step_s"]
    with gzip.open(SAMPLE / "data" / about["file"], "rt") as file:
        header, *table = list(csv.reader(file))
    return [
        Series(
            dataset,
            *name.split("/"),
            step_s,
            [
                (first + i * step_s * 1000, float(row[column]))
                for i, row in enumerate(table[:rows])
                if row[column] != ""
            ],
        )
        for column, name in enumerate(header)
    ]


def expected_windows(series: Series) -> Iterator[tuple[int, int, dict[str, float]]]:
    """(width in s, start epoch ms, statistics) of every window wider than the period."""
    for width_s in WIDTHS_S:
        if width_s <= series.period_s:
            continue
        inside: dict[int, list[tuple[int, float]]] = defaultdict(list)
        for start, value in series.readings:
            inside[start // (width_s * 1000) * width_s * 1000].append((start, series.canonical(value)))
        for start, readings in inside.items():
            values = [value for _, value in sorted(readings)]
            yield (
                width_s,
                start,
                {
                    "n": len(values),
                    "n_expected": width_s / series.period_s,
                    "coverage": len(values) * series.period_s / width_s,
                    "mean": sum(values) / len(values),
                    "min": min(values),
                    "max": max(values),
                    "std": statistics.pstdev(values),
                    "p50": _percentile(values, 0.5),
                    "p95": _percentile(values, 0.95),
                    "first": values[0],
                    "last": values[-1],
                },
            )


def _percentile(values: list[float], q: float) -> float:
    ordered = sorted(values)
    place = (len(ordered) - 1) * q
    low, share = math.floor(place), place % 1
    return ordered[low] if share == 0 else ordered[low] * (1 - share) + ordered[low + 1] * share
