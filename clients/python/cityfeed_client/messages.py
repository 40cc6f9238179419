"""The messages of `cityfeed.v1.json` that a client hears. Unknown types and fields are ignored: v1 only grows."""

from typing import Any

import msgspec

SUBPROTOCOL = "cityfeed.v1.json"

SubscriptionId = str | int


class _Message(msgspec.Struct, frozen=True, tag_field="type", tag=str.lower):
    pass


class Welcome(_Message, frozen=True):
    hb_s: float
    node: str = ""


class Subscribed(_Message, frozen=True):
    id: SubscriptionId
    ch: int
    seq: int
    cursor: str
    recovered: bool | None = None
    reason: str | None = None
    history: list[str] = []


class Snapshot(_Message, frozen=True):
    ch: int
    part: int
    last: bool
    cursor: str
    d: list[dict[str, Any]]


class Data(_Message, frozen=True):
    ch: int
    seq: tuple[int, int]
    cursor: str
    d: list[dict[str, Any]]
    n_conflated: int = 0
    replay: bool = False


class Event(_Message, frozen=True):
    ch: int
    seq: tuple[int, int]
    cursor: str
    d: dict[str, Any]
    replay: bool = False


class Replayed(_Message, frozen=True):
    ch: int
    cursor: str | None = None


class Hb(_Message, frozen=True):
    t: str
    cursors: dict[int, str] = {}
    lag_ms: int = 0


class Status(_Message, frozen=True):
    source: str
    updated: str | None = None
    last_error: str | None = None


class Error(_Message, frozen=True):
    code: str
    msg: str = ""
    id: SubscriptionId | None = None
    retry_after_ms: int | None = None


class GoingAway(_Message, frozen=True, tag="going_away"):
    reconnect_in_ms: int


class _Envelope(msgspec.Struct):
    type: str


Message = Welcome | Subscribed | Snapshot | Data | Event | Replayed | Hb | Status | Error | GoingAway

_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)
_envelope = msgspec.json.Decoder(_Envelope)
_KNOWN = {kind.__struct_config__.tag for kind in Message.__args__}


def decode(data: str | bytes) -> Message | None:
    """A message; None for one of a type that we do not know. Raises `msgspec.DecodeError` for what is none at all."""
    try:
        return _decoder.decode(data)
    except msgspec.ValidationError:
        if _envelope.decode(data).type in _KNOWN:
            raise
        return None


def encode(message: dict[str, Any]) -> str:
    """A client's message as text."""
    return msgspec.json.encode(message).decode()
