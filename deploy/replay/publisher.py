"""A fast MQTT publisher: the I/O shell around `deploy.replay.mqtt.Session`.

QoS 1. At most `window` messages are unacknowledged, then `publish` waits; so memory is bounded, and a broker that is
slow slows the caller down. A lost connection is made again, and what was not acknowledged is sent again: a message
that `flush` has waited for is with the broker, at least once.
"""

import asyncio
import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import cast

from deploy.replay.mqtt import DISCONNECT, PING, Message, MqttRefused, Session, connect_packet
from schemas.errors import CityfeedError
from schemas.settings import Settings

CONNECT_TIMEOUT_S = 5.0
RETRY_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
WRITE_MESSAGES = 1_000  # encoded at a time, so that acknowledgements are read in between


class BrokerAway(CityfeedError):
    """No MQTT broker answered in time."""


@dataclass(frozen=True)
class Broker:
    """Where the broker is and how it is spoken to."""

    host: str
    port: int
    username: str = ""
    password: str = ""
    keepalive_s: int = 60

    @classmethod
    def of(cls, settings: Settings) -> "Broker":
        """The broker of the settings."""
        return cls(settings.mqtt_host, settings.mqtt_port, settings.mqtt_username, str(settings.mqtt_password))


@dataclass
class Publisher:
    """`async with Publisher(broker) as publisher: await publisher.publish(messages); await publisher.flush()`.

    `window`: most unacknowledged messages. `patience_s`: how long the first connection may take (`BrokerAway`
    afterwards); later ones are tried for ever. `reconnections` counts the later ones. `forgets`: see `Session`.
    """

    broker: Broker
    window: int = 5_000
    patience_s: float = 10.0
    client_id: str = ""
    forgets: bool = False
    reconnections: int = 0
    session: Session = field(init=False)
    _link: "_Link | None" = None
    _keeper: asyncio.Task[None] | None = None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.session = Session(self.window, self.forgets)

    async def __aenter__(self) -> "Publisher":
        first = asyncio.get_running_loop().create_future()
        self._keeper = asyncio.create_task(self._keep(first))
        try:
            await asyncio.wait_for(asyncio.shield(first), self.patience_s)
        except TimeoutError:
            await self._stop()
            raise BrokerAway(
                f"no MQTT broker answers at {self.broker.host}:{self.broker.port}; "
                "start the stack with `make run` or `cityfeed up`, or name another with CITYFEED_MQTT_HOST and _PORT"
            ) from None
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await self._stop()

    async def publish(self, messages: Iterable[Message], retain: bool = False) -> int:
        """Write all these messages, waiting while the window is full; how many they were.

        Returns when the last was written, not when it was acknowledged: see `flush`.
        """
        rest: Iterator[Message] = iter(messages)
        before = self.session.published
        while True:
            link = await self._writable()
            limit = min(WRITE_MESSAGES, self.session.room)
            taken = self.session.published
            link.write(self.session.publish(rest, limit, retain))
            if self.session.published - taken < limit:
                return self.session.published - before
            await asyncio.sleep(0)  # the loop reads acknowledgements

    async def flush(self, timeout_s: float | None = None) -> None:
        """Wait until all that was published is acknowledged. Raises `TimeoutError`."""
        async with asyncio.timeout(timeout_s):
            while len(self.session):
                await self._change()

    async def _writable(self) -> "_Link":
        while True:
            self._raise_if_over()
            if self._link is not None and self.session.connected and self.session.room and not self._link.paused:
                return self._link
            await self._change()

    async def _change(self) -> None:
        self._raise_if_over()
        self._changed.clear()
        await self._changed.wait()

    def _raise_if_over(self) -> None:
        if self._keeper is None:
            raise RuntimeError("the publisher is not open")
        if self._keeper.done():
            self._keeper.result()

    async def _keep(self, first: asyncio.Future[None]) -> None:
        """Connect, wait until the connection is lost, and again; ends only when the broker refuses us."""
        loop = asyncio.get_running_loop()
        failures = 0
        try:
            while True:
                link = _Link(self.session, self._changed)
                try:
                    async with asyncio.timeout(CONNECT_TIMEOUT_S):
                        await loop.create_connection(partial(_same, link), self.broker.host, self.broker.port)
                        link.write(self._connect_packet())
                        await link.accepted
                except MqttRefused as e:
                    link.abort()
                    if not first.done():
                        first.set_exception(e)
                        return
                    raise
                except asyncio.CancelledError:
                    link.abort()
                    raise
                except (OSError, TimeoutError):
                    link.abort()
                    await asyncio.sleep(RETRY_S[min(failures, len(RETRY_S) - 1)])
                    failures += 1
                    continue
                failures = 0
                link.write(self.session.resend())
                self._link = link
                self._changed.set()
                self.reconnections += first.done()
                if not first.done():
                    first.set_result(None)
                await link.over(self.broker.keepalive_s)
                self._link = None
        finally:
            self._changed.set()

    def _connect_packet(self) -> bytes:
        client_id = self.client_id or f"cityfeed-publisher-{os.getpid()}-{id(self):x}"
        return connect_packet(client_id, self.broker.username, self.broker.password, self.broker.keepalive_s)

    async def _stop(self) -> None:
        if self._keeper is not None:  # first, or it would connect again
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError, CityfeedError):
                await self._keeper
            self._keeper = None
        if self._link is not None:
            self._link.write(DISCONNECT)
            await self._link.close()
            self._link = None


class _Link(asyncio.Protocol):
    """One connection."""

    def __init__(self, session: Session, changed: asyncio.Event) -> None:
        self.paused = False
        self._session = session
        self._changed = changed
        self._transport: asyncio.Transport | None = None
        self._heard = True
        loop = asyncio.get_running_loop()
        self.accepted: asyncio.Future[None] = loop.create_future()
        self._lost: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._transport.set_write_buffer_limits(high=1 << 20)

    def data_received(self, data: bytes) -> None:
        self._heard = True
        try:
            self._session.receive(data)
        except (MqttRefused, ConnectionError) as e:
            if not self.accepted.done():
                self.accepted.set_exception(e)
            self.abort()
            return
        if self._session.connected and not self.accepted.done():
            self.accepted.set_result(None)
        self._changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._session.lost()
        if not self.accepted.done():
            self.accepted.set_exception(exc or ConnectionError("the broker closed the connection"))
        if not self._lost.done():
            self._lost.set_result(None)
        self._changed.set()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self._changed.set()

    def write(self, data: bytes) -> None:
        if self._transport is not None and data:
            self._transport.write(data)

    async def over(self, keepalive_s: float) -> None:
        """Ping twice in each keepalive; returns when the connection is lost or the broker silent for that long."""
        while not self._lost.done():
            self._heard = False
            self.write(PING)
            await asyncio.wait({self._lost}, timeout=keepalive_s / 2)
            if not self._lost.done() and not self._heard:
                self.abort()
                await self._lost

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def close(self, timeout_s: float = 1.0) -> None:
        """Write what is left and close; cut off a broker that does not read."""
        if self._transport is not None:
            self._transport.close()
            await asyncio.wait({self._lost}, timeout=timeout_s)
            self._transport.abort()


def _same(link: _Link) -> _Link:
    return link
