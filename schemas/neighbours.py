"""Hours against the neighbours' hours: on closed windows, since neighbours live on other partitions.

An hour is suspect where its mean differs from the median of the means of the sensors within a radius by more than a
limit, by more than a share of it, and by more than a multiple of how far the neighbours themselves are from it (their
median absolute deviation: Iglewicz and Hoaglin, "How to detect and handle outliers", 1993). The verdict is the hour's:
once it is closed, its readings get it by an amendment, for one sensor's readings can't wait for another's windows.
"""

import math
import statistics
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.quality import Neighbours
from schemas.registry import Registry

Array = npt.NDArray[Any]

_EARTH_M = 6_371_008.8  # mean radius (IUGG)


def within(lon: Array, lat: Array, radius_m: float) -> Array:
    """(S, S): which sensors are each other's neighbours; degrees WGS 84, NaN has none. Nobody is his own neighbour."""
    return np.array([within_of(lon, lat, i, radius_m) for i in range(len(lon))]).reshape(len(lon), len(lon))


def within_of(lon: Array, lat: Array, sensor: int, radius_m: float) -> Array:
    """(S): which sensors are neighbours of one of them."""
    lon, lat = np.radians(lon), np.radians(lat)
    half = np.sin((lat[sensor] - lat) / 2) ** 2
    half = half + np.cos(lat[sensor]) * np.cos(lat) * np.sin((lon[sensor] - lon) / 2) ** 2
    near = 2 * _EARTH_M * np.arcsin(np.sqrt(np.clip(half, 0, 1))) <= radius_m
    near[sensor] = False
    return np.asarray(near)


def judge(mean: Array, near: Array, limits: Neighbours) -> tuple[Array, Array]:
    """(judged, suspect): masks (S, H) of `mean` (S, H), NaN where a sensor has no mean of an hour; `near` (S, S)."""
    judged, suspect = np.zeros(mean.shape, bool), np.zeros(mean.shape, bool)
    for sensor in range(len(mean)):
        others = mean[near[sensor]]
        enough = (np.isfinite(others).sum(axis=0) >= limits.min_sensors) & np.isfinite(mean[sensor])
        if not enough.any():
            continue
        median = np.nanmedian(others[:, enough], axis=0)
        spread = np.nanmedian(np.abs(others[:, enough] - median), axis=0)
        apart = np.abs(mean[sensor, enough] - median)
        judged[sensor] = enough
        least = np.maximum(limits.share * np.abs(median), limits.spread * spread)
        suspect[sensor, enough] = (apart > limits.suspect) & (apart > least)
    return judged, suspect


def judge_one(own: float, others: Iterable[float], limits: Neighbours) -> bool | None:
    """Whether one sensor's hour is suspect beside its neighbours' (NaN where one has none); None: no verdict. What
    `judge` says, for a handful of numbers.
    """
    known = [mean for mean in others if math.isfinite(mean)]
    if len(known) < limits.min_sensors or not math.isfinite(own):
        return None
    median = statistics.median(known)
    spread = statistics.median(abs(mean - median) for mean in known)
    return abs(own - median) > max(limits.suspect, limits.share * abs(median), limits.spread * spread)


class Places:
    """Where the registered sensors of a dataset stood, and when; made anew when the registry changed."""

    def __init__(self, registry: Registry, dataset: str) -> None:
        self._sensors: list[str] = []
        self._rows_of: dict[str, list[int]] = {}
        rows: list[tuple[float, float, int, int]] = []
        for sensor in registry.sensors(dataset):
            for since, until, registration in registry.validities(dataset, sensor):
                if (lon := registration.site.lon) is not None and (lat := registration.site.lat) is not None:
                    self._rows_of.setdefault(sensor, []).append(len(rows))
                    self._sensors.append(sensor)
                    rows.append((lon, lat, since, until))
        columns = list(zip(*rows, strict=True)) if rows else [()] * 4
        self._lon, self._lat = np.array(columns[0], float), np.array(columns[1], float)
        self._since, self._until = np.array(columns[2], np.int64), np.array(columns[3], np.int64)
        self._near: dict[tuple[int, float], Array] = {}

    def near(self, sensor: str, at_ms: int, radius_m: float) -> list[str]:
        """The other sensors within the radius at a moment (epoch ms); none where the sensor had no place."""
        for row in self._rows_of.get(sensor, ()):
            if self._since[row] <= at_ms < self._until[row]:
                key = (row, radius_m)
                if key not in self._near:
                    self._near[key] = np.flatnonzero(within_of(self._lon, self._lat, row, radius_m))
                at = self._near[key]
                there = at[(self._since[at] <= at_ms) & (at_ms < self._until[at])]
                return [name for i in there.tolist() if (name := self._sensors[i]) != sensor]
        return []
