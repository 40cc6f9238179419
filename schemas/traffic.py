"""Traffic measures of road sections: pure functions over columns.

Sources: mean speed of a section as vehicle distance over vehicle time, and level of service by density, Highway
Capacity Manual (7th edition, chapters 4 and 12: basic freeway segments, pc/mi/ln). Travel time index and free-flow
speed, FHWA, Urban Congestion Report, documentation and definitions (ops.fhwa.dot.gov/perf_measurement/ucr): free flow
is the 85th percentile of off-peak speeds, a section is congested below 90 % of it. Vehicles are taken as passenger
cars.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

FREE_FLOW_SHARE = 0.85  # of off-peak hours that are slower
FREE_FLOW_DAYS = 28
FREE_FLOW_LEAST = 24
"""So many off-peak hours must be there to learn from; else the speed limit stands."""
OFF_PEAK = {"weekdays": ((9, 16), (19, 22)), "weekends": ((6, 22),)}
"""Off-peak hours [from, to), by the city's clocks. Our own setting, made of what FHWA's Urban Congestion Report says:
its day is 06:00 to 22:00, its peaks on weekdays are 06:00 to 09:00 and 16:00 to 19:00; off-peak is what is left.
"""

CONGESTED_BELOW, FREE_FROM = 0.85, 0.95
"""Shares of the free-flow speed around FHWA's 0.90: congestion begins below the first and ends at the second, so that a
speed that hovers about the bound does not flicker."""

LEVELS = "ABCDEF"
DENSITY_UPPER = np.array([11.0, 18.0, 26.0, 35.0, 45.0])
"""The highest density of A to E, passenger cars per mile and lane."""

KM_PER_MILE = 1.609344


def section_speed(speed: Array, volume: Array, length_km: Array) -> tuple[Array, Array, Array]:
    """Mean speed (km/h), vehicle distance (veh km) and vehicle time (veh h) of n periods over k parts.

    `speed` and `volume` are (n, k), NaN where not known; `length_km` is (k). The speed is total distance over total
    time, the harmonic mean weighted by flow: an arithmetic mean overstates it. Where no part of a period has a volume,
    each part counts as if it had one vehicle, and distance and time are NaN. A part without a speed, or standing
    still with no vehicle, is left out.
    """
    known = np.isfinite(speed) & (speed > 0)
    counted = known & np.isfinite(volume) & (volume >= 0)
    with np.errstate(over="ignore"):
        has_volume = (np.where(counted, volume, 0.0) * length_km).sum(axis=1) > 0
    used = np.where(has_volume[:, None], counted, known)
    vehicles = np.where(used, np.where(has_volume[:, None], volume, 1.0), 0.0)
    # By shares of the busiest part: of next to no vehicles the sums of distance or time may come to nothing.
    busiest = vehicles.max(axis=1, initial=0.0, keepdims=True)
    share = vehicles / np.where(busiest > 0, busiest, 1.0)
    with np.errstate(all="ignore"):
        hours_each = length_km / np.where(used, speed, 1.0)
        distance, time = (vehicles * length_km).sum(axis=1), (vehicles * hours_each).sum(axis=1)
        mean = np.where(busiest[:, 0] > 0, (share * length_km).sum(axis=1) / (share * hours_each).sum(axis=1), np.nan)
    mean = np.where(mean > 0, mean, np.nan)  # next to no speed: of a time without end
    return _finite(mean), _finite(np.where(has_volume, distance, np.nan)), _finite(np.where(has_volume, time, np.nan))


def free_flow_speed(learned: float, hours: int, limit_kmh: float | None) -> tuple[float, str | None]:
    """The free-flow speed (km/h): what was learned from so many off-peak hours, else the limit, and which of both;
    NaN and None where neither is known. A road that stood still for weeks, closed say, teaches nothing.
    """
    if hours >= FREE_FLOW_LEAST and np.isfinite(learned) and learned > 0:
        return learned, "learned"
    return (np.nan, None) if limit_kmh is None else (limit_kmh, "limit")


def travel_time_index(speed: Array, free_flow: float) -> Array:
    """Travel time over that of free flow (n); below 1 where traffic is faster than it."""
    with np.errstate(all="ignore"):
        return _finite(np.where(speed > 0, free_flow / speed, np.nan))


def delay_s(speed: Array, free_flow: float, length_km: float) -> Array:
    """Seconds (n) that a vehicle loses against free flow over the section; never below 0."""
    with np.errstate(all="ignore"):
        lost = length_km * 3600 * (1 / speed - 1 / np.float64(free_flow))
    lost = np.where(speed > 0, lost, np.nan)
    return np.where(np.isfinite(lost), np.maximum(lost, 0.0), np.nan)


def density(distance_vkm: Array, speed: Array, period_s: float, lane_km: float) -> Array:
    """Passenger cars per mile and lane (n): flow over speed, of a section of `lane_km` lane kilometres."""
    with np.errstate(all="ignore"):
        per_mile = distance_vkm / (period_s / 3600) / lane_km / speed * KM_PER_MILE
    return _finite(np.where(speed > 0, per_mile, np.nan))


def _finite(found: Array) -> Array:
    """What is beyond all floats (a speed of next to nothing) is not known."""
    return np.where(np.isfinite(found), found, np.nan)


def level_of_service(density_pc_mi_ln: Array) -> list[str | None]:
    """A to F of n densities; None where it is not known."""
    place = np.searchsorted(DENSITY_UPPER, np.round(density_pc_mi_ln, 9))
    return [
        LEVELS[i] if there else None
        for i, there in zip(place.tolist(), np.isfinite(density_pc_mi_ln).tolist(), strict=True)
    ]


def congested(share: Array, before: bool | None = None) -> list[bool | None]:
    """Whether each of n periods in a row is congested, by its share of the free-flow speed; with hysteresis.

    Between the bounds it stays what it was; `before` is what it was before the first. A period without speed is
    unknown (None), and so is what follows between the bounds.
    """
    states: list[bool | None] = []
    state = before
    for value in share.tolist():
        if not np.isfinite(value):
            state = None
        elif value < CONGESTED_BELOW:
            state = True
        elif value >= FREE_FROM:
            state = False
        states.append(state)
    return states
