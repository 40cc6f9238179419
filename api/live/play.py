"""Replays: stored readings again, in the order in which they came and at the client's speed, and then live."""

import math

from api.cursor import Cursor
from api.live.catch_up import RESERVED, CatchUp, Stream
from api.live.frames import message_frame
from api.live.groups import Group, Member
from api.live.hub import Hub
from api.live.log import Log
from api.live.messages import Error, Replayed, Subscribed
from api.live.past import Past, Place
from api.live.protocol import Play
from api.queries import stored
from api.queries.pool import Pool
from api.times import rfc3339
from schemas.errors import RequestError


class Player:
    """Plays to members, each replay in a task of `CatchUp`'s."""

    def __init__(self, hub: Hub, pool: Pool, read_log: Log, catch_up: CatchUp) -> None:
        self._hub = hub
        self._pool = pool
        self._log = read_log
        self._catch_up = catch_up

    def play(self, member: Member, asked: Play) -> None:
        """Begin a replay."""
        message = asked.message
        try:
            place = Place(asked.from_ms) if message.cursor is None else Place.of(self._hub.cursor_of(message.cursor))
        except RequestError as e:
            self._hub.send(member, Error("bad_cursor", str(e), message.id))
            asked.ended()
            return
        if asked.to_ms is None:
            group = self._hub.coming(asked.wish)
            ch = group.ch
            work = self._to_the_present(member, asked, place, group)
            self._catch_up.start(member, ch, work, lambda: self._hub.arrived(group))
        else:
            ch = self._hub.new_channel()
            self._catch_up.start(member, ch, self._to_its_end(member, asked, place, ch))
        member.ids[message.id] = ch

    async def _to_its_end(self, member: Member, asked: Play, place: Place, ch: int) -> None:
        if not await self._is_kept(member, asked, place):
            return
        stream = self._begin(member, asked, place, ch, 0)
        past = Past(self._hub, self._pool, asked.wish, place, asked.to_ms)
        await self._catch_up.tell(past, self._hub.catch(asked.wish, Cursor({})), stream, _speed(asked))
        end = Replayed(asked.message.id, ch, self._hub.text_of(past.place.cursor({}, past.place.moment_ms)))
        await stream.room()
        member.ids.pop(asked.message.id, None)
        asked.ended()
        self._hub.send(member, end)

    async def _to_the_present(self, member: Member, asked: Play, place: Place, group: Group) -> None:
        hub = self._hub
        if not await self._is_kept(member, asked, place):
            return
        stream = self._begin(member, asked, place, group.ch, group.seq - RESERVED)
        past = Past(hub, self._pool, asked.wish, place)
        await self._catch_up.tell(past, hub.catch(asked.wish, Cursor({})), stream, _speed(asked))
        at = {"readings": past.place.until, "amended": past.published}
        cursor = Cursor({source: at[source] for source in hub.readings.sources}, made_ms=place.moment_ms)
        catch = hub.catch(asked.wish, cursor)
        if not hub.ring.covers(catch.at):
            stretches = await self._log.after(catch.at, cursor.made_ms)
            if stretches is None:
                raise TimeoutError("the log does not reach back to what is stored")
            await self._catch_up.through_log(catch, stream, stretches)
        now = message_frame(Replayed(asked.message.id, group.ch, hub.cursor(asked.wish.topic)))
        await self._catch_up.through_ring(catch, stream, group, [now])

    async def _is_kept(self, member: Member, asked: Play, place: Place) -> bool:
        """Whether what was received since then is in the database; where some has left it, the client is told."""
        async with self._pool.connection() as connection:
            moved_ms = await stored.moved_until(connection, asked.wish)
        if place.moment_ms >= moved_ms:
            return True
        member.ids.pop(asked.message.id, None)
        asked.ended()
        text = f"readings before {rfc3339(moved_ms)} are in the archive: /v1/{{dataset}}/export has all of them"
        self._hub.send(member, Error("archived", text, asked.message.id))
        return False

    def _begin(self, member: Member, asked: Play, place: Place, ch: int, seq: int) -> Stream:
        text = self._hub.text_of(place.cursor({}, place.moment_ms))
        self._hub.send(member, Subscribed(asked.message.id, ch, seq, text, None))
        return Stream(self._hub, member, ch, seq)


def _speed(asked: Play) -> float:
    return math.inf if asked.message.speed == "max" else asked.message.speed
