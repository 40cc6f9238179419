"""What a subscription wants, checked, in one canonical form, so that equal wishes are one group."""

import math
import re
from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Any

from api.live.messages import TICKS_MS, TOPICS, Filter, Replay, Subscribe
from api.params import WIDTHS
from api.places import Bbox
from schemas.errors import SubscriptionError
from schemas.flags import COUNTED, Flag
from schemas.readings import METRIC_PATTERN, SENSOR_PATTERN, Origin

Place = tuple[float, float]
"""(lon, lat) in degrees WGS 84."""

ORIGINS = {"live": Origin.LIVE, "import": Origin.IMPORT}
ALL_FLAGS = frozenset(int(f) for f in Flag)
INDEX_PATTERN = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


@dataclass(frozen=True, slots=True)
class Wish:
    """The canonical form; empty sets are no restriction, `tick_ms` 0 is mode `all`. `flags`: of readings."""

    topic: str
    tick_ms: int
    datasets: frozenset[str] = frozenset()
    metrics: frozenset[str] = frozenset()
    sensors: frozenset[str] = frozenset()
    widths: frozenset[int] = frozenset()
    indices: frozenset[str] = frozenset()
    categories: frozenset[str] = frozenset()
    bbox: Bbox | None = None
    flags: frozenset[int] = ALL_FLAGS
    origins: frozenset[int] = frozenset({int(Origin.LIVE)})

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


def wish_of(message: Subscribe | Replay, datasets: Collection[str]) -> Wish:
    """The canonical form of a subscription. Raises `SubscriptionError`: `unknown_topic`, `bad_filter`, `bad_tick`."""
    if message.topic not in TOPICS:
        raise SubscriptionError(
            "unknown_topic", f"there is no topic {message.topic[:40]!r} here; topics are {', '.join(TOPICS)}"
        )
    conflated = isinstance(message, Subscribe) and message.mode == "latest"
    tick_ms = message.tick_ms if isinstance(message, Subscribe) and conflated else 0
    if conflated and tick_ms not in TICKS_MS:
        raise SubscriptionError("bad_tick", f"tick_ms is one of {', '.join(map(str, TICKS_MS))}")
    wanted = message.filter
    for problem in _mistakes(message.topic, wanted, datasets):
        raise SubscriptionError("bad_filter", problem)
    usual = frozenset(int(f) for f in (COUNTED if conflated else Flag))
    return Wish(
        message.topic,
        tick_ms,
        frozenset(wanted.dataset),
        frozenset(wanted.metric),
        frozenset(wanted.sensor),
        frozenset(WIDTHS[w].seconds for w in wanted.width),
        frozenset(wanted.index),
        frozenset(wanted.category),
        None if wanted.bbox is None else Bbox(*wanted.bbox),
        (frozenset(wanted.flag) or usual) if message.topic == "readings" else ALL_FLAGS,
        frozenset(int(ORIGINS[o]) for o in wanted.origin) or frozenset({int(Origin.LIVE)}),
    )


def _mistakes(topic: str, wanted: Filter, datasets: Collection[str]) -> list[str]:
    taken = TOPICS[topic]
    found = [
        f"topic {topic} has no filter {name!r}; it has {', '.join(taken)}"
        for name in Filter.__struct_fields__
        if getattr(wanted, name) not in ((), None) and name not in taken
    ]
    found += [
        f"there is no dataset {d[:40]!r}; datasets are {', '.join(sorted(datasets))}"
        for d in wanted.dataset
        if d not in datasets
    ]
    for name, values, pattern in (
        ("metric", wanted.metric, METRIC_PATTERN),
        ("sensor", wanted.sensor, SENSOR_PATTERN),
        ("index", wanted.index, INDEX_PATTERN),
    ):
        found += [f"{name} {v[:40]!r} is not of the form {pattern.pattern}" for v in values if not pattern.fullmatch(v)]
    found += [f"width {w[:40]!r} is none of {', '.join(WIDTHS)}" for w in wanted.width if w not in WIDTHS]
    found += [
        f"flag {f} is none of {', '.join(map(str, sorted(ALL_FLAGS)))}" for f in wanted.flag if f not in ALL_FLAGS
    ]
    if wanted.bbox is not None:
        west, south, east, north = wanted.bbox
        sound = all(map(math.isfinite, wanted.bbox)) and -90 <= south <= north <= 90
        if not (sound and -180 <= west <= 180 and -180 <= east <= 180):
            found.append("bbox is [minLon, minLat, maxLon, maxLat] in degrees, minLat <= maxLat")
    return found


def queries_of(wish: Wish) -> list[list[tuple[str, str]]]:
    """The wish as query parameters of history, without the dataset: what fills a gap. A page of windows has one
    width, so there may be several.
    """
    origins = [name for name, origin in ORIGINS.items() if origin in wish.origins]
    widths = [name for name, width in WIDTHS.items() if not wish.widths or width.seconds in wish.widths]
    named: dict[str, list[Any]] = {
        "sensor": sorted(wish.sensors), "metric": sorted(wish.metrics),
        "index": sorted(wish.indices),
        "category": sorted(wish.categories),
        "flag": sorted(wish.flags) if wish.flags != ALL_FLAGS else [],
        "origin": origins if wish.topic == "readings" else [],
    }  # fmt: skip
    if wish.bbox is not None:
        named["bbox"] = [",".join(f"{getattr(wish.bbox, f.name):g}" for f in fields(wish.bbox))]
    asked = [(name, str(value)) for name, values in named.items() for value in values]
    return [[("width", width), *asked] for width in widths] if wish.topic == "windows" else [asked]
