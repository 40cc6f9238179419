"""One live connection, without I/O: messages in, actions out, time is an argument.

    code                    when                                                   then
    4000 bad_request        not a JSON object, binary, too long, no hello first    closed: fix the client
    4001 unauthorized       a token that is none of the server's keys              closed: another, or none
    4003 forbidden          a key that is blocked, or whose time is over           closed: another, or none
    4006 version            the subprotocol cityfeed.v1.json was not offered       closed: fix the client
    4108 hello_timeout      no hello in time                                       closed: back off
    4129 rate               more messages than the limits allow                    closed: back off
    4224 max_age            the connection is a day old                            closed: come back now

    error                   when (the connection stays open)
    bad_message             JSON, but not as the message's type has it
    unknown_type            there is no such message
    unknown_topic, bad_filter, bad_tick          see `filters.wish_of`
    archived                a replay's beginning has left the database; history has it
    bad_range               a replay's `from` or `to` is no time with offset, or `from` is not before `to`
    duplicate_id            the id is in use
    duplicate               this connection has an equal subscription, under the id in the text
    too_many_subscriptions  the limit is reached
    unknown_id              unsubscribe from what there is not

4100 (the process is full), 4130 (too many connections of an address), 4200, 4201 and 4208 are the shell's and the
hub's.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial

import msgspec

from api.live.filters import Wish, wish_of
from api.live.keys import Grant, Refusal
from api.live.messages import (
    SUBPROTOCOL,
    Close,
    Error,
    Hello,
    Limits,
    Ping,
    Pong,
    Replay,
    ServerMessage,
    Subscribe,
    Unsubscribe,
    Welcome,
    decode,
)
from api.times import parse_moment
from schemas.errors import SubscriptionError

CLIENT_TYPES = ("hello", "subscribe", "replay", "unsubscribe", "ping")


@dataclass(frozen=True, slots=True)
class Send:
    """Send this message."""

    message: ServerMessage


@dataclass(frozen=True, slots=True)
class Join:
    """Subscribe this connection."""

    message: Subscribe
    wish: Wish


@dataclass(frozen=True, slots=True)
class Play:
    """Replay stored readings to this connection: those received in [from_ms, to_ms), epoch ms; None: and go on.

    `ended` is to be called when it is over and nothing follows: its id is free again.
    """

    message: Replay
    wish: Wish
    from_ms: int
    to_ms: int | None
    ended: Callable[[], object]


@dataclass(frozen=True, slots=True)
class Leave:
    """End a subscription."""

    id: str | int


@dataclass(frozen=True, slots=True)
class Shut:
    """Close the connection; nothing follows."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Greet:
    """The connection said hello: it is the hub's from now on, after this message."""

    message: Welcome
    grant: Grant | None = None


Action = Send | Join | Play | Leave | Shut | Greet


class _Envelope(msgspec.Struct):
    type: str | None = None
    id: str | int | None = None


class Session:
    """The protocol's state for one connection. Times are seconds of any steady clock."""

    def __init__(
        self, welcome: Welcome, datasets: Collection[str], hello_timeout_s: float, max_age_s: float, now_s: float,
        grant_of: Callable[[str], Grant | Refusal | None] = lambda token: None,
    ) -> None:  # fmt: skip
        self._welcome = welcome
        self._limits: Limits = welcome.limits
        self._datasets = datasets
        self._grant_of = grant_of
        self._greeted = False
        self._closed = False
        self._wishes: dict[str | int, Wish | None] = {}  # None: a replay
        self._hello_by_s = now_s + hello_timeout_s
        self._ends_s = now_s + max_age_s
        self._tokens = float(self._limits.rate_burst)
        self._filled_s = now_s

    @property
    def closed(self) -> bool:
        """Whether `Shut` was said."""
        return self._closed

    @property
    def due_s(self) -> float:
        """When `due` should be called next."""
        return self._ends_s if self._greeted else min(self._hello_by_s, self._ends_s)

    def opened(self, subprotocols: Collection[str], query: Collection[str]) -> list[Action]:
        """The handshake: subprotocols offered, names of the URL's query parameters."""
        if SUBPROTOCOL not in subprotocols:
            return self._shut(Close.VERSION, f"offer the subprotocol {SUBPROTOCOL}")
        if {"token", "access_token"} & set(query):
            return self._shut(Close.BAD_REQUEST, "a token goes into hello, never into the URL")
        return []

    def due(self, now_s: float) -> list[Action]:
        """What the passing of time brings."""
        if self._closed:
            return []
        if not self._greeted and now_s >= self._hello_by_s:
            return self._shut(Close.HELLO_TIMEOUT, "no hello in time")
        if now_s >= self._ends_s:
            return self._shut(Close.MAX_AGE, "old; come back with the last cursor")
        return []

    def received(self, data: str | bytes, now_s: float) -> list[Action]:
        """A message of the client: text, or bytes, which are refused."""
        if self._closed:
            return []
        if not self._within_rate(now_s):
            return self._shut(Close.RATE, f"over {self._limits.rate_per_s:g} messages/s")
        if isinstance(data, bytes):
            return self._shut(Close.BAD_REQUEST, "messages are text")
        raw = data.encode("utf-8", "surrogatepass")
        if len(raw) > self._limits.message_bytes:
            return self._shut(Close.BAD_REQUEST, f"a message has at most {self._limits.message_bytes} bytes")
        try:
            message = decode(raw)
        except msgspec.ValidationError as e:
            return self._malformed(raw, str(e))
        except (msgspec.DecodeError, RecursionError):
            return self._shut(Close.BAD_REQUEST, "a message is a JSON object")
        if isinstance(message, Hello):
            return self._hello(message)
        if not self._greeted:
            return self._shut(Close.BAD_REQUEST, "hello comes first")
        if isinstance(message, Ping):
            return [Send(Pong(message.n))]
        if isinstance(message, Unsubscribe):
            return self._unsubscribe(message)
        return self._subscribe(message)

    def _hello(self, message: Hello) -> list[Action]:
        if self._greeted:
            return [_error("bad_message", "hello was said already")]
        grant = None if message.token is None else self._grant_of(message.token)
        if isinstance(grant, Refusal):
            return self._shut(*grant)
        if grant is not None:
            of_key = {name: getattr(grant.key, name) for name in ("rate_per_s", "rate_burst", "subscriptions")}
            self._limits = msgspec.structs.replace(self._limits, **of_key)
            self._tokens = float(self._limits.rate_burst)
        self._greeted = True
        return [Greet(msgspec.structs.replace(self._welcome, limits=self._limits), grant)]

    def _subscribe(self, message: Subscribe | Replay) -> list[Action]:
        if isinstance(message.id, str) and len(message.id) > 64:
            return [_error("bad_message", "an id has at most 64 characters")]
        if message.id in self._wishes:
            return [_error("duplicate_id", "this id is in use; unsubscribe it first", message.id)]
        if len(self._wishes) >= self._limits.subscriptions:
            text = f"a connection has at most {self._limits.subscriptions} subscriptions"
            return [_error("too_many_subscriptions", text, message.id)]
        try:
            wish = wish_of(message, self._datasets)
        except SubscriptionError as e:
            return [_error(e.code, str(e), message.id)]
        if isinstance(message, Replay):
            return self._replay(message, wish)
        for other, known in self._wishes.items():
            if known == wish:
                return [_error("duplicate", f"this connection has it already, as {other!r}", message.id)]
        self._wishes[message.id] = wish
        return [Join(message, wish)]

    def _replay(self, message: Replay, wish: Wish) -> list[Action]:
        if message.topic != "readings":
            return [_error("unknown_topic", "what is played again is readings", message.id)]
        try:
            from_ms = parse_moment(message.from_)
            to_ms = None if message.to is None else parse_moment(message.to)
        except ValueError as e:
            return [_error("bad_range", str(e), message.id)]
        if to_ms is not None and from_ms >= to_ms:
            return [_error("bad_range", "`from` is not before `to`", message.id)]
        # One that goes on live is a subscription of mode `all` from then on.
        goes_on = to_ms is None and wish not in self._wishes.values()
        if to_ms is None and not goes_on:
            return [_error("duplicate", "this connection hears it live already", message.id)]
        self._wishes[message.id] = wish if goes_on else None
        return [Play(message, wish, from_ms, to_ms, partial(self._wishes.pop, message.id, None))]

    def _unsubscribe(self, message: Unsubscribe) -> list[Action]:
        if self._wishes.pop(message.id, None) is None:
            return [_error("unknown_id", "there is no subscription with this id", message.id)]
        return [Leave(message.id)]

    def _malformed(self, raw: bytes, problem: str) -> list[Action]:
        try:
            envelope = msgspec.json.decode(raw, type=_Envelope)
        except msgspec.DecodeError:
            envelope = _Envelope()
            if not raw.lstrip().startswith(b"{"):
                return self._shut(Close.BAD_REQUEST, "a message is a JSON object")
        if not self._greeted:
            return self._shut(Close.BAD_REQUEST, "hello comes first")
        if envelope.type is not None and envelope.type not in CLIENT_TYPES:
            return [_error("unknown_type", f"there is no message {envelope.type[:40]!r}", envelope.id)]
        code = "bad_filter" if "$.filter" in problem else "bad_message"
        return [_error(code, problem[:400], envelope.id)]

    def _within_rate(self, now_s: float) -> bool:
        gained = (now_s - self._filled_s) * self._limits.rate_per_s
        self._tokens = min(float(self._limits.rate_burst), self._tokens + gained)
        self._filled_s = now_s
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def _shut(self, code: int, reason: str) -> list[Action]:
        self._closed = True
        return [Shut(code, reason)]


def _error(code: str, text: str, subscription: str | int | None = None) -> Send:
    return Send(Error(code, text, subscription))
