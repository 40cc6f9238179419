"""Hours against the neighbours' hours: on closed windows, since neighbours live on other partitions.

An hour is suspect where its mean differs from the median of the means of the sensors within a radius by more than a
limit, and by more than a share of it. Readings are not flagged by this: one sensor's readings would wait for another's
windows. The verdict is the hour's, and stands in the quality report.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.quality import Neighbours

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
        apart = np.abs(mean[sensor, enough] - median)
        judged[sensor] = enough
        suspect[sensor, enough] = (apart > limits.suspect) & (apart > limits.share * np.abs(median))
    return judged, suspect
