"""One websocket of the live feed: moves messages between its transport, its session and the hub; keeps its time."""

import asyncio
import random
from collections.abc import Callable, Iterable

from api.live.frames import DIALECTS, message_frame
from api.live.groups import Member
from api.live.hub import Hub
from api.live.messages import ServerMessage
from api.live.protocol import Action, Greet, Join, Leave, Play, Send, Session, Shut
from api.live.seats import Seat
from api.live.serve import TransportLink

RECONNECT_MS = (500, 5_000)

Player = Callable[[Member, Play], None]


class Connection:
    """`api.live.serve.Owner` of a websocket; it leaves its seat when it is over."""

    __slots__ = ("_hub", "_link", "_loop", "_member", "_play", "_seat", "_session", "_timer")

    def __init__(self, link: TransportLink, hub: Hub, session: Session, play: Player, seat: Seat) -> None:
        self._link = link
        self._hub = hub
        self._session = session
        self._play = play
        self._seat = seat
        self._member: Member | None = None
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_at(session.due_s, self._keep_time)

    def received(self, data: str | bytes) -> None:
        self.act(self._session.received(data, self._loop.time()))

    def paused(self) -> None:
        if self._member is not None:
            self._member.pause()

    def resumed(self) -> None:
        if self._member is not None:
            self._member.flush()

    def lost(self) -> None:
        self._timer.cancel()
        if self._member is not None:
            self._hub.disconnect(self._member)
        self._seat.leave()

    def shutdown(self) -> None:
        if self._member is not None:
            self._hub.say_goodbye(self._member, random.randint(*RECONNECT_MS))

    def act(self, actions: Iterable[Action]) -> None:
        """Do what the session says."""
        for action in actions:
            match action:
                case Greet(welcome, grant):
                    if grant is not None and (refused := self._seat.take(grant)) is not None:
                        self._link.close(*refused)
                        return
                    self._send(welcome)
                    self._member = self._hub.connect(self._link)
                    self._keep_time()
                case Send(message):
                    self._send(message)
                case Join(message, wish) if self._member is not None:
                    self._hub.subscribe(self._member, message, wish)
                case Play() if self._member is not None:
                    self._play(self._member, action)
                case Leave(subscription) if self._member is not None:
                    self._hub.unsubscribe(self._member, subscription)
                case Shut(code, reason):
                    if self._member is not None:
                        self._member.close(code, reason)
                    else:
                        self._link.close(code, reason)

    def _send(self, message: ServerMessage) -> None:
        self._link.write(DIALECTS[self._link.dialect](message_frame(message)))

    def _keep_time(self) -> None:
        self._timer.cancel()
        self.act(self._session.due(self._loop.time()))
        if not self._session.closed:
            self._timer = self._loop.call_at(max(self._session.due_s, self._loop.time() + 0.01), self._keep_time)
