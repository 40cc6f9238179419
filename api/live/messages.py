"""The messages of `cityfeed.v1.json`, as types: what is sent is what these say, and the schemas are made from them.

Every message is a JSON object with a `type`. Unknown fields are ignored, so that v1 can grow by addition; only a
filter is strict, for a filter field that is not understood would send more than was asked for.

`Snapshot` and `Data` are generic in their rows, for the schemas. They are sent as `frames` joins them, of rows that are
JSON already.
"""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Generic, Literal, TypeVar

import msgspec

SUBPROTOCOL = "cityfeed.v1.json"
VERSION = 1
TICKS_MS = (250, 1000, 5000)
PLACE_FILTERS = ("dataset", "metric", "sensor", "bbox")
TOPICS: dict[str, tuple[str, ...]] = {
    "readings": (*PLACE_FILTERS, "flag", "origin"),
    "windows": (*PLACE_FILTERS, "width", "origin"),
    "index": (*PLACE_FILTERS, "index", "category", "origin"),
}
"""The topics and the filters that each takes."""

SubscriptionId = str | int
R = TypeVar("R")


class Close:
    """Close codes: 40xx stop, 41xx back off with jitter, 42xx come back now."""

    BAD_REQUEST = 4000
    UNAUTHORIZED = 4001
    FORBIDDEN = 4003
    VERSION = 4006
    CAPACITY = 4100
    HELLO_TIMEOUT = 4108
    RATE = 4129
    CONNECTION_LIMIT = 4130
    SHUTDOWN = 4200
    NO_PONG = 4201
    SLOW = 4208
    MAX_AGE = 4224


# -- client to server -----------------------------------------------------------------------------------


class Filter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a subscription wants: values of one field are OR, fields are AND, an empty one is no restriction.

    `bbox` is [minLon, minLat, maxLon, maxLat] in degrees; minLon > maxLon crosses the antimeridian. `flag`: in
    mode `latest` 1, 2 and 3 unless asked. `origin` is `live` unless asked. `width` is for windows, `index` and
    `category` for indices.
    """

    dataset: tuple[str, ...] = ()
    metric: tuple[str, ...] = ()
    sensor: tuple[str, ...] = ()
    width: tuple[str, ...] = ()
    index: tuple[str, ...] = ()
    category: tuple[str, ...] = ()
    bbox: tuple[float, float, float, float] | None = None
    flag: tuple[int, ...] = ()
    origin: tuple[Literal["live", "import"], ...] = ()


class Hello(msgspec.Struct, frozen=True, tag_field="type", tag="hello"):
    """The first message, within the hello timeout; `client` names it. A `token` is for limits of one's own: without
    one a client is anonymous and hears the same.
    """

    token: str | None = None
    client: str = ""


class Subscribe(msgspec.Struct, frozen=True, tag_field="type", tag="subscribe"):
    """Ask for a topic. Mode `latest`: the newest of each (sensor, metric) once per `tick_ms`; `all`: every reading."""

    id: SubscriptionId
    topic: str
    filter: Filter = Filter()
    mode: Literal["latest", "all"] = "latest"
    tick_ms: int = 1000
    snapshot: bool = True
    cursor: str | None = None


class Replay(msgspec.Struct, frozen=True, tag_field="type", tag="replay", rename={"from_": "from"}):
    """Hear stored readings again as they came: those received in [from, to), RFC 3339 with an offset.

    `speed` times as fast as then, or as fast as the client reads. Without `to` it goes on live, in mode `all`. With the
    cursor of a replay that broke off, and the same words besides, it goes on there.
    """

    id: SubscriptionId
    topic: str
    from_: str
    to: str | None = None
    speed: Annotated[float, msgspec.Meta(ge=1, le=600)] | Literal["max"] = 1.0
    filter: Filter = Filter()
    cursor: str | None = None


class Unsubscribe(msgspec.Struct, frozen=True, tag_field="type", tag="unsubscribe"):
    """End the subscription with this id."""

    id: SubscriptionId


class Ping(msgspec.Struct, frozen=True, tag_field="type", tag="ping"):
    """Ask for a `pong` with the same `n`."""

    n: int = 0


ClientMessage = Hello | Subscribe | Replay | Unsubscribe | Ping


# -- server to client -----------------------------------------------------------------------------------


class Row(msgspec.Struct, frozen=True, gc=False):
    """A reading; times are RFC 3339 UTC with milliseconds. `value` null is a reading without a value (flag 9).

    `newer_failed`, in snapshots of mode `latest` only: the start of a newer reading that failed its checks.
    """

    dataset: str
    sensor: str
    metric: str
    unit: str
    start: str
    period_s: int
    value: float | None
    flag: int
    tests: int
    rev: int
    origin: Literal["live", "import"]
    received: str
    newer_failed: str | msgspec.UnsetType = msgspec.UNSET


class IndexRow(msgspec.Struct, frozen=True, gc=False):
    """An air quality index of [start, end), of a pollutant or, as metric `overall`, of the worst one.

    `table` is the year of the authority's table, `driver` the pollutant whose value it is, `source` the metric that fed
    it, `hours` of `expected` were there; `value` null is no data.
    """

    dataset: str
    sensor: str
    index: str
    metric: str
    table: str
    driver: str | None
    source: str | None
    category: str
    start: str
    end: str
    value: float | None
    concentration: float | None
    hours: int
    expected: int
    coverage: float | None
    beyond: bool
    rev: int
    published: str


class Limits(msgspec.Struct, frozen=True):
    """What a connection may do: messages per second on average and in a burst, bytes each, subscriptions."""

    rate_per_s: float
    rate_burst: int
    message_bytes: int
    subscriptions: int
    queue_frames: int


class Welcome(msgspec.Struct, frozen=True, tag_field="type", tag="welcome"):
    """The answer to `hello`: protocol version, the process's name, seconds between heartbeats."""

    v: int
    node: str
    hb_s: int
    limits: Limits
    schema_url: str


class Subscribed(msgspec.Struct, frozen=True, tag_field="type", tag="subscribed", omit_defaults=True):
    """The subscription `id` hears channel `ch` from `seq` + 1 on; frames of equal subscriptions have one channel.

    `recovered` answers a cursor (null: none was given): true means that all that was missed comes as `data` with
    `replay`. False means that it does not, and why: `expired` (kept nowhere any more), `epoch` (the log was made
    anew), `too_far` (too much, or its store does not answer), `bad_cursor` (not ours, or of another topic). A
    snapshot follows, and the addresses in `history` have what is between.
    """

    id: SubscriptionId
    ch: int
    seq: int
    cursor: str
    recovered: bool | None
    reason: str | None = None
    history: tuple[str, ...] = ()


class Snapshot(msgspec.Struct, Generic[R], frozen=True, tag_field="type", tag="snapshot"):
    """A part (from 0) of the state at `cursor` or later; the part with `last` ends it."""

    ch: int
    part: int
    last: bool
    cursor: str
    d: list[R]


class Data(msgspec.Struct, Generic[R], frozen=True, tag_field="type", tag="data", omit_defaults=True):
    """Rows of the topic. `seq` is [from, to]: from == the last to + 1, or something is missing (numbers may be below
    zero after a resume). `n_conflated` rows of this span were superseded by newer ones of their series and are not in
    `d`. `replay`: what was missed, or what was asked for by `replay`.
    """

    ch: int
    seq: tuple[int, int]
    cursor: str
    n_conflated: int
    d: list[R]
    replay: bool = False


class Replayed(msgspec.Struct, frozen=True, tag_field="type", tag="replayed"):
    """A replay is over. One without `to` has come to the present: from here on channel `ch` is live."""

    id: SubscriptionId
    ch: int
    cursor: str


class Hb(msgspec.Struct, frozen=True, tag_field="type", tag="hb"):
    """Heartbeat: the server's time, cursors by channel, and how old the newest thing from the city's sensors is."""

    t: str
    cursors: dict[int, str]
    lag_ms: int


class Status(msgspec.Struct, frozen=True, tag_field="type", tag="status"):
    """A source of the feed: when it last gave something, and what is wrong with it (null: nothing)."""

    source: str
    updated: str | None
    last_error: str | None


class Error(msgspec.Struct, frozen=True, tag_field="type", tag="error", omit_defaults=True):
    """A message that could not be followed; the connection stays open."""

    code: str
    msg: str
    id: SubscriptionId | None = None
    retry_after_ms: int | None = None


class GoingAway(msgspec.Struct, frozen=True, tag_field="type", tag="going_away"):
    """This process ends; come back after so long."""

    reconnect_in_ms: int


class Pong(msgspec.Struct, frozen=True, tag_field="type", tag="pong"):
    """The answer to a ping."""

    n: int


ServerMessage = Welcome | Subscribed | Replayed | Hb | Status | Error | GoingAway | Pong
DOCUMENTED = (
    Hello, Subscribe, Replay, Unsubscribe, Ping,
    Welcome, Subscribed, Snapshot[Row], Data[Row], Replayed, Hb, Status, Error, GoingAway, Pong,
)  # fmt: skip
"""Every message type, as a reader of the protocol sees it."""

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[ClientMessage] = msgspec.json.Decoder(ClientMessage)


def encode(message: msgspec.Struct) -> bytes:
    """The message as JSON."""
    return _encoder.encode(message)


def decode(data: bytes | str) -> ClientMessage:
    """A client's message. Raises `msgspec.ValidationError` (JSON, but not a message) or `msgspec.DecodeError`."""
    return _decoder.decode(data)


@lru_cache(4096)
def _whole_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def rfc3339(ms: int) -> str:
    """Epoch ms UTC as RFC 3339 with milliseconds and `Z`."""
    second, rest = divmod(ms, 1000)
    return f"{_whole_second(second)}.{rest:03d}Z"
