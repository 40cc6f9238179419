"""What a subscription wants, checked, in one canonical form, so that equal wishes are one group."""

import math
from collections.abc import Collection
from dataclasses import dataclass

from api.live.messages import TICKS_MS, TOPICS, Filter, Subscribe
from api.places import Bbox
from schemas.errors import SubscriptionError
from schemas.flags import COUNTED, Flag
from schemas.readings import METRIC_PATTERN, SENSOR_PATTERN, Origin

Place = tuple[float, float]
"""(lon, lat) in degrees WGS 84."""

ORIGINS = {"live": Origin.LIVE, "import": Origin.IMPORT}


@dataclass(frozen=True, slots=True)
class Wish:
    """The canonical form; empty sets are no restriction, `tick_ms` 0 is mode `all`.

    `flags` and `origins` are never empty.
    """

    topic: str
    tick_ms: int
    datasets: frozenset[str]
    metrics: frozenset[str]
    sensors: frozenset[str]
    bbox: Bbox | None
    flags: frozenset[int]
    origins: frozenset[int]

    @property
    def conflated(self) -> bool:
        """Whether this is mode `latest`."""
        return self.tick_ms > 0

    def wants_series(self, dataset: str, sensor: str, metric: str) -> bool:
        """Whether a series can have readings of interest."""
        return (
            (not self.datasets or dataset in self.datasets)
            and (not self.sensors or sensor in self.sensors)
            and (not self.metrics or metric in self.metrics)
        )

    def wants_place(self, place: Place | None) -> bool:
        """Whether a reading from there is of interest; one without a place is not, where a bbox is given."""
        return self.bbox is None or (place is not None and self.bbox.contains(*place))


def wish_of(message: Subscribe, datasets: Collection[str]) -> Wish:
    """The canonical form of a subscription. Raises `SubscriptionError`: `unknown_topic`, `bad_filter`, `bad_tick`."""
    if message.topic not in TOPICS:
        raise SubscriptionError(
            "unknown_topic", f"there is no topic {message.topic[:40]!r}; topics are {', '.join(TOPICS)}"
        )
    conflated = message.mode == "latest"
    if conflated and message.tick_ms not in TICKS_MS:
        raise SubscriptionError("bad_tick", f"tick_ms is one of {', '.join(map(str, TICKS_MS))}")
    wanted = message.filter
    for problem in _mistakes(wanted, datasets):
        raise SubscriptionError("bad_filter", problem)
    usual = frozenset(int(f) for f in (COUNTED if conflated else Flag))
    return Wish(
        message.topic,
        message.tick_ms if conflated else 0,
        frozenset(wanted.dataset),
        frozenset(wanted.metric),
        frozenset(wanted.sensor),
        None if wanted.bbox is None else Bbox(*wanted.bbox),
        frozenset(wanted.flag) or usual,
        frozenset(int(ORIGINS[o]) for o in wanted.origin) or frozenset({int(Origin.LIVE)}),
    )


def _mistakes(wanted: Filter, datasets: Collection[str]) -> list[str]:
    found = [
        f"there is no dataset {d[:40]!r}; datasets are {', '.join(sorted(datasets))}"
        for d in wanted.dataset
        if d not in datasets
    ]
    for name, values, pattern in (
        ("metric", wanted.metric, METRIC_PATTERN),
        ("sensor", wanted.sensor, SENSOR_PATTERN),
    ):
        found += [f"{name} {v[:40]!r} is not of the form {pattern.pattern}" for v in values if not pattern.fullmatch(v)]
    flags = sorted(int(f) for f in Flag)
    found += [f"flag {f} is none of {', '.join(map(str, flags))}" for f in wanted.flag if f not in flags]
    if wanted.bbox is not None:
        west, south, east, north = wanted.bbox
        sound = all(map(math.isfinite, wanted.bbox)) and -90 <= south <= north <= 90
        if not (sound and -180 <= west <= 180 and -180 <= east <= 180):
            found.append("bbox is [minLon, minLat, maxLon, maxLat] in degrees, minLat <= maxLat")
    return found
