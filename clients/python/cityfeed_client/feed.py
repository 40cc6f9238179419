"""The live feed for programs with threads, or with nothing: iterate, and events come."""

import threading
import time
from collections.abc import Callable, Generator, Iterator
from types import TracebackType
from typing import Self, Unpack

from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection, connect

from cityfeed_client import addresses, messages, reconnect
from cityfeed_client.endings import CONNECT, Ending, Tries, how_it_ended
from cityfeed_client.events import Event, State
from cityfeed_client.session import Session, Speed, Subscription
from cityfeed_client.wanted import Filter, Mode, Time, replay_of, subscription_of


class Feed:
    """A live feed that survives lost connections; iterate over it for events, from one thread.

    `url` is the server's (`http://host:port`). `token` (or what gives one) is sent in the first message, never in
    the URL. `wait` decides how long to wait before the next try (`reconnect.wait_s`). `close` may be called from
    another thread. Iterating raises `Stopped`, `SubscriptionRefused` and `NotALiveFeed`.
    """

    def __init__(
        self,
        url: str,
        *,
        client: str = "cityfeed_client",
        token: str | Callable[[], str] | None = None,
        wait: reconnect.Wait = reconnect.wait_s,
    ) -> None:
        self.url = addresses.live_url(url)
        self._session = Session(client, token)
        self._tries = Tries(self._session, wait, self.url)
        self._socket: ClientConnection | None = None
        self._closed = threading.Event()
        self._events = self._run()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        self._events.close()

    def __iter__(self) -> Iterator[Event]:
        return self._events

    def subscribe(
        self, topic: str = "readings", *, mode: Mode = "latest", tick_ms: int | None = None, snapshot: bool = True,
        cursor: str | None = None, **wanted: Unpack[Filter],
    ) -> Subscription:  # fmt: skip
        """Ask for a topic; with a `cursor` (of a subscription, or of a page of history) go on from there."""
        return self._add(subscription_of(topic, mode, tick_ms, snapshot, cursor, wanted))

    def replay(
        self, topic: str = "readings", *, since: Time, until: Time | None = None, speed: Speed = "max",
        **wanted: Unpack[Filter],
    ) -> Subscription:  # fmt: skip
        """Ask for the past in its order, `speed` times as fast as it was; without `until` it goes on live."""
        return self._add(replay_of(topic, since, until, speed, wanted))

    def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription."""
        self._session.unsubscribe(subscription)
        self._flush()

    def close(self) -> None:
        """End it; whoever iterates comes to the end."""
        self._closed.set()
        if (socket := self._socket) is not None:
            socket.close()

    def _add(self, subscription: Subscription) -> Subscription:
        self._session.subscribe(subscription)
        self._flush()
        return subscription

    def _flush(self) -> None:
        if self._socket is not None:
            waiting, self._session.outbox = self._session.outbox, []
            for message in waiting:
                self._socket.send(messages.encode(message))

    def _run(self) -> Generator[Event, None, None]:
        while not self._closed.is_set():
            yield State(state="connecting")
            ended = Ending(None, "")
            try:
                with connect(self.url, **CONNECT) as self._socket:
                    yield from self._listen(self._socket)
                    ended = Ending(None, self._session.broken or "")
            except (ConnectionClosed, InvalidHandshake, OSError, TimeoutError, EOFError) as e:
                ended = how_it_ended(e, self.url)
            finally:
                self._socket = None
            if self._closed.is_set():
                break
            waiting = self._tries.after(ended)
            yield waiting
            self._closed.wait(waiting.wait_s)
        yield State(state="closed")

    def _listen(self, socket: ClientConnection) -> Iterator[Event]:
        session = self._session
        session.connected()
        self._flush()
        heard_s = time.monotonic()
        while session.broken is None:
            patience_s = session.patience_s(heard_s, time.monotonic())
            self._flush()
            try:
                text = socket.recv(timeout=patience_s)
            except TimeoutError:
                if time.monotonic() - heard_s >= session.silence_s:
                    raise TimeoutError("nothing came, not even a heartbeat") from None
                continue
            heard_s = time.monotonic()
            try:
                found = session.received(text, heard_s)
            finally:
                self._flush()
            yield from found
            heard_s = time.monotonic()  # what the reader of events took is not the server's silence
