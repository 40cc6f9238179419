"""What a feed gives, one after the other. Every event has `rows`, so that whoever wants only rows asks nothing else."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypedDict

if TYPE_CHECKING:
    from cityfeed_client.session import Subscription


class Row(TypedDict, total=False):
    """A row of any topic, as the server sent it: the fields are those of its topic, and later ones may be there too.

    Times are RFC 3339 UTC. `value` None is a reading without a value (flag 9); `unit` is UCUM.
    """

    dataset: str
    sensor: str
    metric: str
    unit: str | None
    start: str
    end: str
    period_s: int
    value: float | None
    flag: int
    tests: int
    rev: int
    origin: Literal["live", "import"]
    received: str
    newer_failed: str
    width: str
    n: int
    n_expected: int | None
    coverage: float | None
    mean: float | None
    min: float | None
    max: float | None
    std: float | None
    p50: float | None
    p95: float | None
    first: float | None
    last: float | None
    complete: bool
    published: str
    index: str
    category: str | None


@dataclass(frozen=True, kw_only=True)
class _Event:
    rows: list[Row] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Snapshot(_Event):
    """A part (from 0) of the state as it is now; the part with `last` ends it, and changes follow."""

    subscription: "Subscription"
    part: int
    last: bool


@dataclass(frozen=True, kw_only=True)
class Rows(_Event):
    """What came. `n_conflated` readings were superseded by newer ones of their series and left out (mode latest).

    `replay` rows are of the past: a replay that was asked for, or what was missed while the connection was lost.
    """

    subscription: "Subscription"
    seq: tuple[int, int]
    cursor: str
    n_conflated: int = 0
    replay: bool = False


@dataclass(frozen=True, kw_only=True)
class Reset(_Event):
    """The server could not go on where this subscription was: rows ARE MISSING before the snapshot that follows.

    `reason` is expired, epoch, too_far or bad_cursor; `history` has the addresses of what is missing, if told.
    """

    subscription: "Subscription"
    reason: str
    history: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Gap(_Event):
    """Frames went missing between the server and here; the subscription is being resumed, nothing is lost yet."""

    subscription: "Subscription"
    expected: int
    found: int


@dataclass(frozen=True, kw_only=True)
class ReplayEnd(_Event):
    """A replay came to its end; without an end asked for, the live rows follow."""

    subscription: "Subscription"
    cursor: str | None = None


@dataclass(frozen=True, kw_only=True)
class Heartbeat(_Event):
    """The server lives; `lag_ms` is how old the newest thing from the city's sensors is."""

    t: str
    lag_ms: int


@dataclass(frozen=True, kw_only=True)
class Source(_Event):
    """A source behind the feed failed (`last_error`), or is back (None)."""

    source: str
    updated: str | None
    last_error: str | None


@dataclass(frozen=True, kw_only=True)
class Problem(_Event):
    """An `error` of the server that ends nothing; one with `retry_after_s` is tried again by itself."""

    code: str
    message: str
    subscription: "Subscription | None" = None
    retry_after_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class State(_Event):
    """Where the connection stands; `wait_s` is how long `waiting` takes, `detail` why."""

    state: Literal["connecting", "live", "waiting", "closed"]
    detail: str = ""
    wait_s: float = 0.0
    code: int | None = None


Event = Snapshot | Rows | Reset | Gap | ReplayEnd | Heartbeat | Source | Problem | State
