"""What users say, as the protocol has it. Raises `CityfeedClientError` for what no server could take."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, TypedDict

from cityfeed_client.errors import CityfeedClientError
from cityfeed_client.session import Speed, Subscription

Mode = Literal["latest", "all"]
Time = datetime | str


class Filter(TypedDict, total=False):
    """Values of one field are OR, fields are AND. `bbox` is minLon, minLat, maxLon, maxLat in degrees."""

    dataset: Sequence[str]
    metric: Sequence[str]
    sensor: Sequence[str]
    width: Sequence[str]
    index: Sequence[str]
    category: Sequence[str]
    flag: Sequence[int]
    origin: Sequence[str]
    bbox: Sequence[float]


def filter_of(wanted: Filter) -> dict[str, Any]:
    """The protocol's filter; empty fields are left out."""
    found = dict[str, Any]()
    for name, value in wanted.items():
        if isinstance(value, str | int | float):
            raise CityfeedClientError(f"{name}={value!r}: it takes a list, such as {name}=[{value!r}]")
        if value:
            found[name] = list(value)  # type: ignore[call-overload]
    return found


def time_of(name: str, value: Time) -> str:
    """RFC 3339 in UTC."""
    if isinstance(value, str):
        return value
    if value.tzinfo is None:
        raise CityfeedClientError(f"{name} needs a time zone: {value.isoformat()} could be anywhere")
    return value.isoformat()


def subscription_of(
    topic: str, mode: Mode, tick_ms: int | None, snapshot: bool, cursor: str | None, wanted: Filter
) -> Subscription:
    """A subscription that is still to be asked for."""
    return Subscription(topic, filter_of(wanted), mode, tick_ms, snapshot, cursor)


def replay_of(topic: str, since: Time, until: Time | None, speed: Speed, wanted: Filter) -> Subscription:
    """A replay that is still to be asked for."""
    if speed != "max" and not 1 <= speed <= 600:
        raise CityfeedClientError(f"speed={speed}: it takes 1 to 600, or 'max'")
    words: dict[str, Any] = {"from": time_of("since", since), "speed": speed}
    if until is not None:
        words["to"] = time_of("until", until)
    return Subscription(topic, filter_of(wanted), "all", snapshot=False, replay=words)
