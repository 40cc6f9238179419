"""Rows of traffic measures from windows of speed and volume. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from api.queries.traffic import Quarter
from api.rows import MeasureRow
from api.times import rfc3339
from schemas import traffic
from schemas.sections import Part, Section

Array = npt.NDArray[Any]

SILENT_AFTER_MS = 15 * 60_000
"""A section of which nothing was heard for so long is stale: what it said before says nothing of the traffic now."""
LEAD_MS = 2 * 3_600_000
"""So much before the range is looked at, so that congestion knows what it was."""


@dataclass(frozen=True)
class Asked:
    """The windows that are asked for: [from_ms, to_ms) by `width_ms`; `now_ms` only for the newest rows."""

    dataset: str
    from_ms: int
    to_ms: int
    width_ms: int
    now_ms: int | None = None


def sections_of(dataset: str, known: Iterable[Section], sensors: Iterable[str]) -> list[Section]:
    """The city's sections of a dataset, and each sensor that is in none as one of its own, without a length."""
    own = [section for section in known if section.dataset == dataset]
    inside = {part.sensor for section in own for part in section.parts} | {section.id for section in own}
    return own + [Section(s, s, dataset, (Part(s, 0.0),)) for s in sensors if s not in inside]


def rows_of(
    asked: Asked,
    section: Section,
    windows: Mapping[str, Mapping[str, Mapping[int, Quarter]]],
    free_flow: Mapping[str, tuple[float, int]],
) -> Iterator[MeasureRow]:
    """A row for each window in which a part of the section has a speed. `windows` by metric, sensor and start;
    `free_flow` by sensor: learned speed and from how many hours.
    """
    by_sensor = {part.sensor: windows.get("speed", {}).get(part.sensor, {}) for part in section.parts}
    starts = sorted({start for of in by_sensor.values() for start in of})
    if not starts:
        return
    volumes = windows.get("volume", {})
    nothing: Mapping[int, Quarter] = {}
    speed = _grid(starts, [by_sensor[part.sensor] for part in section.parts], "mean")
    volume = _grid(starts, [volumes.get(part.sensor, nothing) for part in section.parts], "total")
    has_length = all(part.length_km > 0 for part in section.parts)
    length = np.array([part.length_km if has_length else 1.0 for part in section.parts])
    lane_km = float(sum(length * np.array([part.lanes for part in section.parts])))
    mean, distance, time = traffic.section_speed(speed, volume, length)
    flow, source = _free_flow(section, length, free_flow)
    density = traffic.density(distance, mean, asked.width_ms / 1000, lane_km)
    levels = traffic.level_of_service(density)
    index = traffic.travel_time_index(mean, flow)
    total_km = float(length.sum())
    delay = traffic.delay_s(mean, flow, total_km)
    congested = _states(starts, mean / flow, asked.width_ms)
    there = np.isfinite(speed).sum(axis=1)
    for i, start in enumerate(starts):
        if not asked.from_ms <= start < asked.to_ms or not np.isfinite(mean[i]):
            continue
        end = start + asked.width_ms
        age_ms = None if asked.now_ms is None else max(asked.now_ms - end, 0)
        yield MeasureRow(
            asked.dataset, section.id, section.name, rfc3339(start), rfc3339(end), float(mean[i]),
            _number(np.nansum(volume[i]) if np.isfinite(volume[i]).any() else np.nan),
            _number(distance[i] if has_length else np.nan), _number(time[i] if has_length else np.nan),
            _number(flow), source, _number(index[i]),
            total_km if has_length else None,
            _number(total_km / mean[i] * 3600 if has_length else np.nan),
            _number(delay[i] if has_length else np.nan),
            _number(density[i]), levels[i], congested[i], int(there[i]), len(section.parts),
            None if age_ms is None else age_ms / 1000, False,
        )  # fmt: skip


def is_stale(heard_ms: int | None, span_s: int, now_ms: int) -> bool:
    """Whether a section is: heard of last at the end of a reading, never where None. One whose sensors send every
    `span_s` may be silent for two of those.
    """
    return heard_ms is None or now_ms - heard_ms > max(SILENT_AFTER_MS, 2000 * span_s)


def row_without_numbers(asked: Asked, section: Section, newest_ms: int | None, stale: bool) -> MeasureRow:
    """The newest row of a section that is stale, or has no closed window yet: when its newest window was."""
    start, end = (None, None) if newest_ms is None else (rfc3339(newest_ms), rfc3339(newest_ms + asked.width_ms))
    now_ms = asked.now_ms or 0
    age_s = None if newest_ms is None else max(now_ms - newest_ms - asked.width_ms, 0) / 1000
    return MeasureRow(
        asked.dataset, section.id, section.name, start, end, None, None, None, None, None, None, None, None, None, None,
        None, None, None, 0, len(section.parts), age_s, stale,
    )  # fmt: skip


def by_series(windows: Iterable[Quarter]) -> dict[str, dict[str, dict[int, Quarter]]]:
    """Windows by metric, sensor and start."""
    found: dict[str, dict[str, dict[int, Quarter]]] = {}
    for window in windows:
        found.setdefault(window.metric, {}).setdefault(window.sensor, {})[window.start] = window
    return found


def _grid(starts: list[int], parts: list[Mapping[int, Quarter]], field: str) -> Array:
    grid = np.full((len(starts), len(parts)), np.nan)
    for k, part in enumerate(parts):
        for i, start in enumerate(starts):
            if start in part:
                grid[i, k] = getattr(part[start], field)
    return grid


def _free_flow(section: Section, length: Array, learned: Mapping[str, tuple[float, int]]) -> tuple[float, str | None]:
    """Of a section: its length over the time that its parts take at free flow. `limit` where any part has only that."""
    parts = [
        traffic.free_flow_speed(*learned.get(part.sensor, (np.nan, 0)), section.speed_limit_kmh)
        for part in section.parts
    ]
    if any(source is None for _, source in parts):
        return np.nan, None
    speed = float(length.sum() / (length / np.array([speed for speed, _ in parts])).sum())
    return speed, "limit" if any(source == "limit" for _, source in parts) else "learned"


def _states(starts: list[int], share: Array, width_ms: int) -> list[bool | None]:
    """Congested or not; after a hole in the windows what was before is forgotten."""
    states: list[bool | None] = []
    begin = 0
    for i in range(1, len(starts) + 1):
        if i == len(starts) or starts[i] - starts[i - 1] > width_ms:
            states += traffic.congested(share[begin:i])
            begin = i
    return states


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
