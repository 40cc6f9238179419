"""The live feed for asyncio: the same as `feed`, awaited."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from types import TracebackType
from typing import Self, Unpack

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from cityfeed_client import addresses, messages, reconnect
from cityfeed_client.endings import CONNECT, Ending, Tries, how_it_ended
from cityfeed_client.events import Event, State
from cityfeed_client.session import Session, Speed, Subscription
from cityfeed_client.wanted import Filter, Mode, Time, replay_of, subscription_of


class AsyncFeed:
    """A live feed that survives lost connections; iterate over it for events, from one task.

    The arguments and what is raised are those of `Feed`.
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
        self._closed = asyncio.Event()
        self._events = self._run()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
        await self._events.aclose()

    def __aiter__(self) -> AsyncIterator[Event]:
        return self._events

    async def subscribe(
        self, topic: str = "readings", *, mode: Mode = "latest", tick_ms: int | None = None, snapshot: bool = True,
        cursor: str | None = None, **wanted: Unpack[Filter],
    ) -> Subscription:  # fmt: skip
        """Ask for a topic; with a `cursor` (of a subscription, or of a page of history) go on from there."""
        return await self._add(subscription_of(topic, mode, tick_ms, snapshot, cursor, wanted))

    async def replay(
        self, topic: str = "readings", *, since: Time, until: Time | None = None, speed: Speed = "max",
        **wanted: Unpack[Filter],
    ) -> Subscription:  # fmt: skip
        """Ask for the past in its order, `speed` times as fast as it was; without `until` it goes on live."""
        return await self._add(replay_of(topic, since, until, speed, wanted))

    async def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription."""
        self._session.unsubscribe(subscription)
        await self._flush()

    async def close(self) -> None:
        """End it; whoever iterates comes to the end."""
        self._closed.set()
        if self._socket is not None:
            await self._socket.close()

    async def _add(self, subscription: Subscription) -> Subscription:
        self._session.subscribe(subscription)
        await self._flush()
        return subscription

    async def _flush(self) -> None:
        if self._socket is not None:
            waiting, self._session.outbox = self._session.outbox, []
            for message in waiting:
                await self._socket.send(messages.encode(message))

    async def _run(self) -> AsyncGenerator[Event, None]:
        while not self._closed.is_set():
            yield State(state="connecting")
            ended = Ending(None, "")
            try:
                async with connect(self.url, **CONNECT) as self._socket:
                    async with contextlib.aclosing(self._listen(self._socket)) as found:
                        async for event in found:
                            yield event
                    ended = Ending(None, self._session.broken or "")
            except (ConnectionClosed, InvalidHandshake, OSError, TimeoutError, EOFError) as e:
                ended = how_it_ended(e, self.url)
            finally:
                self._socket = None
            if self._closed.is_set():
                break
            waiting = self._tries.after(ended)
            yield waiting
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(waiting.wait_s):
                    await self._closed.wait()
        yield State(state="closed")

    async def _listen(self, socket: ClientConnection) -> AsyncGenerator[Event, None]:
        session, clock = self._session, asyncio.get_running_loop().time
        session.connected()
        await self._flush()
        heard_s = clock()
        while session.broken is None:
            patience_s = session.patience_s(heard_s, clock())
            await self._flush()
            try:
                async with asyncio.timeout(patience_s):
                    text = await socket.recv()
            except TimeoutError:
                if clock() - heard_s >= session.silence_s:
                    raise TimeoutError("nothing came, not even a heartbeat") from None
                continue
            heard_s = clock()
            try:
                found = session.received(text, heard_s)
            finally:
                await self._flush()
            for event in found:
                yield event
            heard_s = clock()  # what the reader of events took is not the server's silence
