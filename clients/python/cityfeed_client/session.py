"""The protocol from a client's side, without I/O: text in, events and text to send out.

A `Session` outlives its connections. On each one it says hello, and asks for every subscription again from where it
was: its CURSOR, which the frames and heartbeats that it has had in full move on.

    asked --subscribed--> snapshot --last part--> live        a connection lost before `live` begins anew
                  \\--------- recovered ---------/

Rows of windows and indices may come twice after a restart of the server's side; a key and rev that was here is
dropped. What is remembered for that is bounded: `REMEMBERED` keys a subscription, the oldest forgotten first.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import msgspec

from cityfeed_client import events, messages
from cityfeed_client.errors import NotALiveFeed, SubscriptionRefused
from cityfeed_client.events import Event, Row

FIRST_SILENCE_S = 20.0
HEARTBEATS_MISSED = 2.5
MOST_GAPS = 3
"""So many gaps with nothing good between them, and the connection is made anew."""

REMEMBERED = 100_000
REPEATING = ("windows", "index")
_KEY = ("dataset", "sensor", "metric", "index", "table", "width", "width_s", "start")

Speed = int | Literal["max"]


@dataclass(eq=False)
class Subscription:
    """What is asked for, and how far it has come. `cursor` may be kept and given to another feed, or to history."""

    topic: str
    filter: dict[str, Any] = field(default_factory=dict)
    mode: str = "latest"
    tick_ms: int | None = None
    snapshot: bool = True
    cursor: str | None = None
    replay: dict[str, Any] | None = None
    n_repeats: int = 0
    """Rows dropped because they were here before."""

    _id: int | None = field(default=None, init=False, repr=False)
    _state: str = field(default="idle", init=False, repr=False)
    _seq: int = field(default=0, init=False, repr=False)
    _parts: int = field(default=0, init=False, repr=False)
    _gaps: int = field(default=0, init=False, repr=False)
    _revs: "OrderedDict[tuple[Any, ...], int]" = field(default_factory=OrderedDict, init=False, repr=False)

    def request(self, number: int) -> dict[str, Any]:
        """The message that asks for it."""
        message: dict[str, Any] = {"id": number, "topic": self.topic}
        if self.filter:
            message["filter"] = self.filter
        if self.cursor is not None:
            message["cursor"] = self.cursor
        if self.replay is not None:
            return {"type": "replay"} | message | self.replay
        message |= {"type": "subscribe", "mode": self.mode, "snapshot": self.snapshot and self.cursor is None}
        if self.tick_ms is not None:
            message["tick_ms"] = self.tick_ms
        return message

    def fresh(self, rows: Sequence[dict[str, Any]]) -> list[Row]:
        """The rows that were not here before with this rev or a higher one."""
        if self.topic not in REPEATING:
            return cast(list[Row], list(rows))
        kept = []
        for row in rows:
            key, rev = tuple(map(row.get, _KEY)), row.get("rev", 0)
            if self._revs.get(key, rev - 1) >= rev:
                self.n_repeats += 1
                continue
            self._revs[key] = rev
            self._revs.move_to_end(key)
            kept.append(row)
        while len(self._revs) > REMEMBERED:
            self._revs.popitem(last=False)
        return cast(list[Row], kept)


class Session:
    """Every subscription of a feed, and the state of its connection.

    Raises, from `received`: `SubscriptionRefused`, and `NotALiveFeed` where what comes is not of the protocol.
    """

    def __init__(self, client: str, token: str | Callable[[], str] | None = None) -> None:
        self.subscriptions: list[Subscription] = []
        self.outbox: list[dict[str, Any]] = []
        """Messages to send, to be taken by whoever holds the connection."""
        self.going_away_ms: int | None = None
        self.healthy = False
        """Whether this connection has given something beyond its welcome."""
        self.broken: str | None = None
        """Why the connection is to be made anew, if it is."""
        self.silence_s = FIRST_SILENCE_S
        """How long nothing may come before the connection counts as lost."""
        self._client = client
        self._token = token
        self._greeted = False
        self._last_id = 0
        self._channels: dict[int, Subscription] = {}
        self._retries: list[tuple[float, Subscription]] = []

    def connected(self) -> None:
        """A new connection: hello, and forget the last one."""
        self._greeted, self.healthy, self.broken, self.going_away_ms = False, False, None, None
        self.silence_s = FIRST_SILENCE_S
        self._channels.clear()
        self._retries.clear()
        for subscription in self.subscriptions:
            subscription._state, subscription._id = "idle", None
        hello: dict[str, Any] = {"type": "hello", "client": self._client}
        if self._token is not None:
            hello["token"] = self._token() if callable(self._token) else self._token
        self.outbox = [hello]

    def subscribe(self, subscription: Subscription) -> None:
        """Add one; it is asked for now, or once the server has said welcome."""
        self.subscriptions.append(subscription)
        if self._greeted:
            self._ask(subscription)

    def unsubscribe(self, subscription: Subscription) -> None:
        """End one; nothing more of it comes."""
        self.subscriptions.remove(subscription)
        self._channels = {ch: s for ch, s in self._channels.items() if s is not subscription}
        if subscription._id is not None:
            self.outbox.append({"type": "unsubscribe", "id": subscription._id})
        subscription._id, subscription._state = None, "ended"

    def due(self, now_s: float) -> float | None:
        """Ask again for what the server had no room for; gives the time of the next look, None for none."""
        for at_s, subscription in [r for r in self._retries if r[0] <= now_s]:
            self._retries.remove((at_s, subscription))
            if subscription in self.subscriptions:
                self._ask(subscription)
        return min((at_s for at_s, _ in self._retries), default=None)

    def patience_s(self, heard_s: float, now_s: float) -> float:
        """How long to wait for the next message, heard last at `heard_s`; what is due now is asked again."""
        due_s, patience_s = self.due(now_s), heard_s + self.silence_s - now_s
        return max(0.0, patience_s if due_s is None else min(patience_s, due_s - now_s))

    def received(self, data: str | bytes, now_s: float) -> list[Event]:
        """What a message of the server means."""
        try:
            message = messages.decode(data)
        except msgspec.DecodeError as e:
            raise NotALiveFeed(f"what comes is not {messages.SUBPROTOCOL}: {e}") from None
        return [] if message is None else list(self._events(message, now_s))

    def _events(self, message: messages.Message, now_s: float) -> Iterator[Event]:
        self.healthy = self.healthy or not isinstance(message, messages.Welcome | messages.GoingAway)
        match message:
            case messages.Welcome():
                self._greeted = True
                self.silence_s = HEARTBEATS_MISSED * message.hb_s
                for subscription in self.subscriptions:
                    self._ask(subscription)
                yield events.State(state="live", detail=message.node)
            case messages.Subscribed():
                yield from self._subscribed(message)
            case messages.Snapshot():
                yield from self._snapshot(message)
            case messages.Data():
                yield from self._rows(message, message.d, message.n_conflated)
            case messages.Event():
                yield from self._rows(message, [message.d], 0)
            case messages.Replayed():
                yield from self._replayed(message)
            case messages.Hb():
                for ch, cursor in message.cursors.items():
                    known = self._channels.get(ch)
                    if known is not None and known._state == "live" and known.replay is None:
                        known.cursor = cursor
                yield events.Heartbeat(t=message.t, lag_ms=message.lag_ms)
            case messages.Status():
                yield events.Source(source=message.source, updated=message.updated, last_error=message.last_error)
            case messages.Error():
                yield self._problem(message, now_s)
            case messages.GoingAway():
                self.going_away_ms = message.reconnect_in_ms

    def _ask(self, subscription: Subscription) -> None:
        self._last_id += 1
        subscription._id, subscription._state, subscription._parts = self._last_id, "asked", 0
        self.outbox.append(subscription.request(self._last_id))

    def _of_id(self, number: object) -> Subscription | None:
        return next((s for s in self.subscriptions if s._id == number and number is not None), None)

    def _subscribed(self, message: messages.Subscribed) -> Iterator[Event]:
        subscription = self._of_id(message.id)
        if subscription is None:
            return
        self._channels[message.ch] = subscription
        subscription._seq = message.seq
        wants_snapshot = subscription.snapshot and subscription.replay is None
        if message.recovered is False:
            subscription.cursor = None
            subscription._state = "snapshot"
            subscription._revs.clear()
            yield events.Reset(subscription=subscription, reason=message.reason or "unknown", history=message.history)
        elif message.recovered is None and wants_snapshot:
            subscription._state = "snapshot"
        else:
            subscription._state = "live"
            if message.recovered is None and subscription.replay is None:
                subscription.cursor = message.cursor

    def _snapshot(self, message: messages.Snapshot) -> Iterator[Event]:
        subscription = self._channels.get(message.ch)
        if subscription is None or subscription._state == "asked":
            return
        subscription._parts += 1
        if message.last:
            subscription._state, subscription.cursor = "live", message.cursor
        rows = subscription.fresh(message.d)
        yield events.Snapshot(subscription=subscription, rows=rows, part=message.part, last=message.last)

    def _rows(
        self, message: messages.Data | messages.Event, found: Sequence[dict[str, Any]], n_conflated: int
    ) -> Iterator[Event]:
        subscription = self._channels.get(message.ch)
        if subscription is None or subscription._state == "asked":
            return  # of the subscription before this one, on the same channel
        first, last = message.seq
        if first != subscription._seq + 1:
            yield from self._gap(subscription, first)
            return
        subscription._seq = last
        subscription._gaps = 0
        if subscription._state == "snapshot" and not subscription._parts:
            subscription._state = "live"  # no snapshot comes: this topic has none
        if subscription._state == "live":
            subscription.cursor = message.cursor
        rows = subscription.fresh(found)
        if rows or n_conflated or not found:
            yield events.Rows(
                subscription=subscription, rows=rows, seq=message.seq, cursor=message.cursor,
                n_conflated=n_conflated, replay=message.replay,
            )  # fmt: skip

    def _gap(self, subscription: Subscription, found: int) -> Iterator[Event]:
        subscription._gaps += 1
        yield events.Gap(subscription=subscription, expected=subscription._seq + 1, found=found)
        if subscription._gaps >= MOST_GAPS:
            self.broken = "gaps without end"
            subscription._gaps = 0
            return
        self.outbox.append({"type": "unsubscribe", "id": subscription._id})
        self._ask(subscription)

    def _replayed(self, message: messages.Replayed) -> Iterator[Event]:
        subscription = self._channels.get(message.ch)
        if subscription is None or subscription.replay is None:
            return
        if message.cursor is not None:
            subscription.cursor = message.cursor
        if "to" in subscription.replay:
            self.subscriptions.remove(subscription)
            del self._channels[message.ch]
            subscription._state = "ended"
        else:
            subscription.replay = None  # from here on it is live, and is resumed as such
            subscription.mode = "all"
        yield events.ReplayEnd(subscription=subscription, cursor=message.cursor)

    def _problem(self, message: messages.Error, now_s: float) -> Event:
        subscription = self._of_id(message.id)
        retry_s = None if message.retry_after_ms is None else message.retry_after_ms / 1000
        if subscription is not None and retry_s is not None:
            subscription._id = None
            self._retries.append((now_s + retry_s, subscription))
        elif subscription is not None:
            self.subscriptions.remove(subscription)
            subscription._id, subscription._state = None, "ended"
            raise SubscriptionRefused(message.code, message.msg)
        return events.Problem(code=message.code, message=message.msg, subscription=subscription, retry_after_s=retry_s)
