"""The messages of `cityfeed.v1.json`, as types: what is sent is what these say, and the schemas are made from them.

Every message is a JSON object with a `type`. Unknown fields are ignored, so that v1 can grow by addition; only a
filter is strict, for a filter field that is not understood would send more than was asked for.

`Snapshot` and `Data` are generic in their rows: `Row` in the schemas, `msgspec.Raw` (JSON that is already made,
once for all groups) where they are sent.
"""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Generic, Literal, TypeVar

import msgspec

SUBPROTOCOL = "cityfeed.v1.json"
VERSION = 1
TICKS_MS = (250, 1000, 5000)
TOPICS = ("readings",)

SubscriptionId = str | int
R = TypeVar("R")


class Close:
    """Close codes: 40xx stop, 41xx back off with jitter, 42xx come back now."""

    BAD_REQUEST = 4000
    VERSION = 4006
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
    mode `latest` 1, 2 and 3 unless asked. `origin` is `live` unless asked.
    """

    dataset: tuple[str, ...] = ()
    metric: tuple[str, ...] = ()
    sensor: tuple[str, ...] = ()
    bbox: tuple[float, float, float, float] | None = None
    flag: tuple[int, ...] = ()
    origin: tuple[Literal["live", "import"], ...] = ()


class Hello(msgspec.Struct, frozen=True, tag_field="type", tag="hello"):
    """The first message, within the hello timeout. Without a `token` a client is anonymous; `client` names it."""

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


class Unsubscribe(msgspec.Struct, frozen=True, tag_field="type", tag="unsubscribe"):
    """End the subscription with this id."""

    id: SubscriptionId


class Ping(msgspec.Struct, frozen=True, tag_field="type", tag="ping"):
    """Ask for a `pong` with the same `n`."""

    n: int = 0


ClientMessage = Hello | Subscribe | Unsubscribe | Ping


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

    `recovered` answers a cursor (null: none was given): true means nothing was missed.
    """

    id: SubscriptionId
    ch: int
    seq: int
    cursor: str
    recovered: bool | None
    reason: str | None = None


class Snapshot(msgspec.Struct, Generic[R], frozen=True, tag_field="type", tag="snapshot"):
    """A part (from 0) of the state at `cursor` or later; the part with `last` ends it."""

    ch: int
    part: int
    last: bool
    cursor: str
    d: list[R]


class Data(msgspec.Struct, Generic[R], frozen=True, tag_field="type", tag="data"):
    """Readings. `seq` is [from, to]: from == the last to + 1, or something is missing. `n_conflated` readings of
    this span were superseded by newer ones of their series and are not in `d`.
    """

    ch: int
    seq: tuple[int, int]
    cursor: str
    n_conflated: int
    d: list[R]


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


RawSnapshot = Snapshot[msgspec.Raw]
RawData = Data[msgspec.Raw]

ServerMessage = Welcome | Subscribed | RawSnapshot | RawData | Hb | Status | Error | GoingAway | Pong
DOCUMENTED = (
    Hello, Subscribe, Unsubscribe, Ping,
    Welcome, Subscribed, Snapshot[Row], Data[Row], Hb, Status, Error, GoingAway, Pong,
)  # fmt: skip
"""Every message type, as a reader of the protocol sees it."""

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[ClientMessage] = msgspec.json.Decoder(ClientMessage)


def encode(message: ServerMessage | Row) -> bytes:
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
