"""What decoders give and are given, and the checks that all of them share."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from schemas.city import Source
from schemas.readings import MAX_PERIOD_S, MAX_SOURCE_REV, METRIC_PATTERN, PERIOD_FROM_REGISTRY, Origin, Reject

MAX_READINGS = 10_000  # in one message; more is refused as a whole
NO_PLACE = math.nan
_TEXT_NUMBER = re.compile(r"-?\d{1,15}(\.\d{1,15})?", re.ASCII)


class Row(NamedTuple):
    """One reading of the message's sensor; the fields are those of `schemas.readings.COLUMNS`."""

    metric: str
    unit: str  # as sent; "" is the registry's
    start: int  # epoch ms UTC
    period_s: int
    value: float
    rev: int = 1
    origin: int = Origin.LIVE
    lon: float = NO_PLACE
    lat: float = NO_PLACE


@dataclass(frozen=True, slots=True)
class Context:
    """What the topic says of a message. `source` is None on cityfeed's own topics."""

    dataset: str
    sensor: str
    source: Source | None = None

    @property
    def received_is_time(self) -> bool:
        """True where sources.toml says that the receive time stands for the measurement's."""
        return self.source is not None and self.source.time == "received"


Decoded = tuple[list[Row], list[Reject]]
Decoder = Callable[[bytes, Context, int], Decoded]
"""`decode(payload, context, received_ms)`; it never raises."""


@lru_cache(maxsize=4096)
def is_metric_name(name: str) -> bool:
    """True for a name that `schemas.readings.METRIC_PATTERN` allows."""
    return METRIC_PATTERN.fullmatch(name) is not None


def shown(value: Any) -> str:
    """A value as a detail may show it: short, whatever it is."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def bad_name(name: str) -> Reject:
    """The reject of a metric whose name can't be one."""
    return Reject(
        "metric_name",
        f"{shown(name)} is not a metric's name: lower-case letters, digits and hyphens, a letter first, at most 32, "
        "such as pm25; other names are mapped in sources.toml",
        {"metric": name[:64]},
    )


def number(metric: str, value: Any) -> float | Reject:
    """The value of a metric as a float: a finite JSON number, nothing else."""
    if type(value) is float or type(value) is int:
        return float(value)  # orjson gives nothing that a float can't hold, and neither NaN nor infinities
    row = {"metric": metric, "value": shown(value)}
    if isinstance(value, str):
        return Reject("value_type", f"{metric} is the text {shown(value)}; send a number without quotes", row)
    return Reject("value_type", f"{metric} is {shown(value)}; a value is a number, or null for no value", row)


def number_from_text(metric: str, value: Any) -> float | Reject:
    """The same for the families that send their numbers as text."""
    if isinstance(value, str) and _TEXT_NUMBER.fullmatch(value):
        return float(value)
    return number(metric, value)


def finite_sum(metric: str, value: float, base: float) -> float | Reject:
    """value + base, refused where that is no longer a finite number."""
    total = value + base
    if math.isfinite(total):
        return total
    return Reject("value_range", f"{metric}: {value!r} + {base!r} is not finite", {"metric": metric})


def period(given: Any, context: Context) -> int | Reject:
    """Seconds of the averaging period: the payload's, else the source's, else the registry's (-1)."""
    if given is None:
        if context.source is not None and context.source.period_s is not None:
            return context.source.period_s
        return PERIOD_FROM_REGISTRY
    if type(given) is int and 0 <= given <= MAX_PERIOD_S:
        return given
    return Reject("period", f"period_s is {shown(given)}; it is whole seconds from 0 (an instant) to {MAX_PERIOD_S}")


def revision(given: Any) -> int | Reject:
    """The revision; 1 where none is given."""
    if given is None:
        return 1
    if type(given) is int and 1 <= given <= MAX_SOURCE_REV:
        return given
    return Reject("rev", f"rev is {shown(given)}; it is a whole number from 1 to {MAX_SOURCE_REV}")


def origin(given: Any) -> int | Reject:
    """`live` or `import`; live where none is given."""
    if given is None or given == "live":
        return Origin.LIVE
    if given == "import":
        return Origin.IMPORT
    return Reject("origin", f'origin is {shown(given)}; it is "live" or "import" (history from a file)')


def place(lon: Any, lat: Any) -> tuple[float, float] | Reject:
    """(lon, lat) of a mobile sensor's reading in degrees WGS 84; NaNs where none is given."""
    if lon is None and lat is None:
        return NO_PLACE, NO_PLACE
    good = all(type(x) is float or type(x) is int for x in (lon, lat)) and -180 <= lon <= 180 and -90 <= lat <= 90
    if good:
        return float(lon), float(lat)
    return Reject("place", f"lon {shown(lon)}, lat {shown(lat)}: both are needed, in degrees, -180..180 and -90..90")
