"""Where a sensor is, for the public: its place at a moment, no finer than its registration allows."""

import math
from dataclasses import dataclass

from schemas.registry import Registration, Registry

_METRES_PER_DEGREE = 111_320.0  # of latitude; of longitude at the equator


@dataclass(frozen=True)
class Bbox:
    """Degrees WGS 84, edges included. `west` > `east` crosses the antimeridian."""

    west: float
    south: float
    east: float
    north: float

    def contains(self, lon: float, lat: float) -> bool:
        """Whether a point is inside."""
        if not self.south <= lat <= self.north:
            return False
        if self.west <= self.east:
            return self.west <= lon <= self.east
        return lon >= self.west or lon <= self.east


def parse_bbox(text: str) -> Bbox:
    """Read `minLon,minLat,maxLon,maxLat`. Raises `ValueError` with a sentence."""
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"{text!r} is not four numbers minLon,minLat,maxLon,maxLat") from None
    if not (-180 <= west <= 180 and -180 <= east <= 180):
        raise ValueError(f"{text!r}: longitudes are from -180 to 180 degrees")
    if not (-90 <= south <= 90 and -90 <= north <= 90):
        raise ValueError(f"{text!r}: latitudes are from -90 to 90 degrees")
    if south > north:
        raise ValueError(f"{text!r}: minLat is greater than maxLat; the order is minLon,minLat,maxLon,maxLat")
    return Bbox(west, south, east, north)


def public_place(registration: Registration | None) -> tuple[float, float] | None:
    """(lon, lat) to publish: the nearest point of a grid of `public_precision_m`, so that neither an answer nor a
    search with ever smaller boxes tells more. None for a sensor without a place.
    """
    if registration is None or registration.site.lon is None or registration.site.lat is None:
        return None
    lon, lat = registration.site.lon, registration.site.lat
    if registration.public_precision_m <= 0:
        return lon, lat
    step = registration.public_precision_m / _METRES_PER_DEGREE
    lat = max(-90.0, min(90.0, round(lat / step) * step))
    step /= max(math.cos(math.radians(lat)), 1e-6)
    lon = max(-180.0, min(180.0, round(lon / step) * step))
    return round(lon, 6), round(lat, 6)


def stays(registry: Registry, dataset: str, bbox: Bbox) -> list[tuple[str, int, int]]:
    """(sensor, from, to), in epoch ms, of every stay of a sensor of the dataset inside the box."""
    found: list[tuple[str, int, int]] = []
    for sensor in registry.sensors(dataset):
        for since, until, registration in registry.validities(dataset, sensor):
            place = public_place(registration)
            if place is not None and bbox.contains(*place):
                found.append((sensor, since, until))
    return found
