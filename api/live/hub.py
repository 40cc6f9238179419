"""The hub: batches in, frames out to every connection that asked for them. No clock, no I/O of its own.

    tail --publish, flush--> Hub --take/flush--> Group --write--> Links (the clients' transports)

A row is encoded at most once for all groups, a frame once for all members of its group. A client that does not read
fills its own channels and nothing else. Who comes back with a cursor gets what it missed out of the ring, at once; what
that takes too long for, or needs another store, `later` does.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Protocol
from urllib.parse import urlencode

from api.cursor import Cursor
from api.live.batches import Batch
from api.live.catching import Catch, Changed, Missed, frames
from api.live.filters import Wish, queries_of
from api.live.frames import Frame, message_frame, snapshot_frame
from api.live.groups import AllGroup, Change, Channel, Group, LatestGroup, Link, Member
from api.live.latest import Latest
from api.live.messages import Close, GoingAway, Hb, ServerMessage, Status, Subscribe, Subscribed, rfc3339
from api.live.published import IndexTopic, RowsTopic, WindowsTopic, amended
from api.live.ring import Entry, Ring
from api.live.topics import ReadingsTopic, Topic
from schemas.errors import RequestError
from schemas.published import decode
from schemas.readings import Origin
from schemas.registry import Registry
from schemas.settings import Settings

SNAPSHOT_ROWS = 500
RESUME_RECORDS = 400
"""So many records of the ring are read at once for a client that comes back; more takes turns with all else."""
RESUME_BYTES = 2_000_000
"""A catch that is bigger is not kept for others, and sent as the client takes it."""
CATCHES = 256
"""Catches that are kept for others who come back from the same place."""
READ_BATCHES = 1_000
READ_ROWS = 64
"""So many batches of the ring, of at most so many rows, are kept as they were read last."""
HISTORY_SLACK_MS = {"readings": 2 * 3_600_000, "windows": 25 * 3_600_000, "index": 49 * 3_600_000}
"""So much before a cursor's time begins what came after it: an hour's reading, a day's window, a day's index."""
UNTIL = "until"
"""In the `at` of a cursor that stands in the middle of stored readings: up to which position they were read."""


class CursorCodec(Protocol):
    """What the hub needs of `api.cursor.Cursors`."""

    def encode_feed(self, cursor: Cursor) -> str:
        """The opaque text of a cursor."""

    def decode_feed(self, text: str) -> Cursor:
        """A cursor from its text."""


@dataclass(frozen=True)
class Resume:
    """A client that came back: its subscription, its group and where it was."""

    member: Member
    message: Subscribe
    group: Group
    cursor: Cursor


class Hub:
    """All live connections of this process and what they hear."""

    def __init__(self, settings: Settings, registry: Registry, latest: Latest, cursors: CursorCodec) -> None:
        self.members: set[Member] = set()
        self.status: Status | None = None
        self.readings = ReadingsTopic(latest, registry)
        self.windows = WindowsTopic(registry, self.readings.unit)
        self.index = IndexTopic(registry, self.readings.unit)
        self.numbered: tuple[RowsTopic, ...] = (self.windows, self.index)
        self.topics: dict[str, Topic] = {t.name: t for t in (self.readings, *self.numbered)}
        self.ring = Ring(settings.live_ring_bytes)
        self.at: dict[str, dict[int, int]] = {source: {} for t in self.topics.values() for source in t.sources}
        self.log_ms = 0
        """How far the log is in time (epoch ms), by its slowest partition."""
        self.rows_per_record = 10.0
        """On average, lately."""
        self.later: Callable[[Resume], None] | None = None
        self.cancel: Callable[[Member, int], None] = lambda member, ch: None
        self._settings = settings
        self._registry = registry
        self._cursors = cursors
        self._cursor: dict[str, str] = {}
        self._groups: dict[Wish, Group] = {}
        self._of_channel: dict[int, Group] = {}
        self._of_series: dict[str, dict[int, list[Group]]] = {}
        self._collecting: set[Group] = set()
        self._coming: dict[Group, int] = {}
        self._imports_wanted = False
        self._next_channel = 1
        self._topic_of = {source: t for t in self.topics.values() for source in t.sources}
        self._read: dict[int, Batch] = {}
        self._catches: OrderedDict[tuple[Wish, str], Catch] = OrderedDict()

    # -- connections --------------------------------------------------------------------------------

    def connect(self, link: Link) -> Member:
        """A connection that said hello."""
        member = Member(link, self._settings.live_queue_bytes)
        self.members.add(member)
        if self.status is not None:
            self.send(member, self.status)
        return member

    def disconnect(self, member: Member) -> None:
        """Forget a connection."""
        member.gone = True
        self.members.discard(member)
        member.ids.clear()
        for ch in list(member.channels):
            self._leave(member, ch)

    def send(self, member: Member, message: ServerMessage) -> None:
        """One message to one client, ahead of what waits for it."""
        member.send(message_frame(message))

    def subscribe(self, member: Member, message: Subscribe, wish: Wish) -> None:
        """Put a member into the group of its wish; it hears `subscribed`, its snapshot or what it missed, and then
        every change.
        """
        group = self._groups.get(wish) or self._new_group(wish)
        member.ids[message.id] = group.ch
        if message.cursor is not None:
            self._resume(member, message, group)
        else:
            self.start(member, message, group)

    def unsubscribe(self, member: Member, subscription: str | int) -> None:
        """End a subscription by its id."""
        if (ch := member.ids.pop(subscription, None)) is not None:
            self._leave(member, ch)

    def start(
        self, member: Member, message: Subscribe, group: Group, recovered: bool | None = None,
        reason: str | None = None, history: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        """Begin with the state as it is now: `subscribed`, then the snapshot if there is to be one."""
        group.flush(self.cursor(group.wish.topic))
        channel = self._join(member, group)
        cursor = self.cursor(group.wish.topic)
        snapshot = message.snapshot or recovered is False
        told = message_frame(Subscribed(message.id, group.ch, group.seq, cursor, recovered, reason, history))
        member.send(told if not snapshot else Frame(told.kind, told.payload))
        if snapshot:
            channel.tell_first(self._snapshot(channel, cursor))
        member.flush()

    # -- coming back --------------------------------------------------------------------------------

    def catch(self, wish: Wish, cursor: Cursor) -> Catch:
        """An empty catch from a cursor on."""
        kind = Changed if wish.conflated else Missed
        return kind(self.topics[wish.topic], wish, cursor, partial(self.cursor_text, made_ms=cursor.made_ms))

    def read_ring(self, catch: Catch, most: int = RESUME_RECORDS) -> bool:
        """Let a catch take records of the ring; gives whether it has them all now."""
        for entry in list(islice(self.ring.since(catch.at), most + 1)):
            if most <= 0:
                return False
            most -= 1
            catch.take(self._read_entry(entry))
        for source in catch.topic.sources:  # records without rows are not in the ring
            for partition, number in self.at[source].items():
                if number > catch.at[source].get(partition, -1):
                    catch.at[source][partition] = number
                    catch.within.pop(partition, None)
        return True

    def read(self, source: str, partition: int, number: int, value: bytes) -> Batch:
        """A record as the batch that it is. Raises `WireError`."""
        if source == "amended":
            return amended(self.readings, decode(value), partition)
        return self._topic_of[source].read(source, partition, number, value)

    def _read_entry(self, entry: Entry) -> Batch:
        if (known := self._read.get(entry.arrival)) is not None:
            return known
        batch = self.read(entry.source, entry.partition, entry.number, entry.value)
        if len(batch) <= READ_ROWS:
            self._read[entry.arrival] = batch
            if len(self._read) > READ_BATCHES:
                del self._read[next(iter(self._read))]
        return batch

    def is_ahead(self, wish: Wish, cursor: Cursor) -> bool:
        """Whether a cursor has readings that this process has not read yet.

        Numbers of published rows do not tell: history has the counter of all kinds, which one kind may never reach.
        """
        if "readings" not in self.topics[wish.topic].sources:
            return False
        at = self.at["readings"]
        return any(number > at.get(partition, -1) for partition, number in (cursor.of("readings") or {}).items())

    def give(self, resume: Resume, catch: Catch) -> None:
        """A catch that has everything: `subscribed`, what was missed, and from then on what the group hears."""
        member, group = resume.member, resume.group
        group.flush(self.cursor(group.wish.topic))
        chunks = catch.chunks(group)
        channel = self._join(member, group)
        cursor = self.same_place(resume.cursor)
        self.send(member, Subscribed(resume.message.id, group.ch, group.seq - len(chunks), cursor, True))
        channel.tell_first(frames(group.ch, group.seq, list(chunks)))
        member.flush()

    def refuse(self, member: Member, message: Subscribe, group: Group, reason: str, cursor: Cursor | None) -> None:
        """What was missed can't be given: say why, where it is, and start again from now."""
        history = () if cursor is None else self._history(group.wish, cursor)
        self.start(member, message, group, False, reason, history)

    def _resume(self, member: Member, message: Subscribe, group: Group) -> None:
        wish, text = group.wish, message.cursor or ""
        sources = self.topics[wish.topic].sources
        try:
            cursor = self.cursor_of(text)
        except RequestError:
            return self.refuse(member, message, group, "bad_cursor", None)
        inside = UNTIL in cursor.at
        if (inside and not cursor.made_ms) or any(cursor.of(source) is None for source in sources):
            return self.refuse(member, message, group, "bad_cursor", None)
        resume = Resume(member, message, group, cursor)
        at = {source: cursor.of(source) or {} for source in sources}
        if not inside and self.ring.covers(at) and not self.is_ahead(wish, cursor):
            catch = self._catches.get((wish, text)) or self.catch(wish, cursor)
            if self.read_ring(catch) and catch.bytes <= RESUME_BYTES:
                self._catches[wish, text] = catch
                self._catches.move_to_end((wish, text))
                while len(self._catches) > CATCHES:
                    self._catches.popitem(last=False)
                return self.give(resume, catch)
            self._catches.pop((wish, text), None)
        if self.later is None:
            return self.refuse(member, message, group, "too_far", cursor)
        self.later(Resume(member, message, self.coming(wish), cursor))
        return None

    def arrived(self, group: Group) -> None:
        """Somebody who was on the way to a group is there, or won't come."""
        self._coming[group] -= 1
        if not self._coming[group]:
            del self._coming[group]
        self._drop_if_empty(group)

    def coming(self, wish: Wish) -> Group:
        """The group of a wish, kept for somebody who is on the way; `arrived` ends that."""
        group = self._groups.get(wish) or self._new_group(wish)
        self._coming[group] = self._coming.get(group, 0) + 1
        return group

    def join(self, member: Member, group: Group) -> Channel:
        """For `later`: the client has everything up to the group's last frame, and hears the next one on."""
        return self._join(member, group)

    def _history(self, wish: Wish, cursor: Cursor) -> tuple[str, ...]:
        since: list[tuple[str, str]] = []
        if cursor.made_ms:
            since = [("from", rfc3339(cursor.made_ms - HISTORY_SLACK_MS[wish.topic]))]
        elif cursor.page:
            since = [("from", rfc3339(cursor.page.from_ms))]
        until = ("cursor", self.cursor(wish.topic))
        base = self._settings.api_public_url.rstrip("/")
        return tuple(
            f"{base}/v1/{dataset}/{wish.topic}?{urlencode([*since, *query, until])}"
            for dataset in sorted(wish.datasets or self._registry.datasets)
            for query in queries_of(wish)
        )

    # -- rows ---------------------------------------------------------------------------------------

    def publish(self, batch: Batch, value: bytes = b"") -> None:
        """Give a batch's rows, in their order, to the groups; `value` is the record that it was read from.

        To be called for records without rows too: the cursor moves. Mode `all` gets the rows at the next `flush`:
        what comes together leaves together.
        """
        topic = self._topic_of[batch.source]
        if len(batch):
            self.rows_per_record += (len(batch) - self.rows_per_record) / 100
            self.ring.add(batch.source, batch.partition, batch.number, value)
            if self._groups:
                self._collect(topic, batch)
        self.moved(batch.source, batch.partition, batch.number)

    def keep(self, batch: Batch, value: bytes) -> None:
        """A batch from before this process began: for those who come back, and nobody else."""
        if len(batch):
            self.ring.add(batch.source, batch.partition, batch.number, value)
        self.moved(batch.source, batch.partition, batch.number)

    def moved(self, source: str, partition: int, number: int) -> None:
        """A log has been read up to here."""
        self.at[source][partition] = number
        self._cursor.pop(self._topic_of[source].name, None)

    def flush(self) -> None:
        """Send what mode `all` is to have. To be called when the records at hand have been published."""
        if self._collecting:
            for group in self._collecting:
                group.flush(self.cursor(group.wish.topic))
            self._collecting.clear()

    def refresh(self, topic: str, indices: Iterable[int]) -> None:
        """The state of these keys came from the database: tell the groups of mode `latest`."""
        for index in indices:
            for group in self._groups_of(self.topics[topic], index):
                if group.wish.conflated and (found := self.topics[topic].now(group.wish, index)) is not None:
                    group.take(Change(index, *found))

    def tick(self, tick_ms: int) -> None:
        """The moment of groups with this tick."""
        for group in list(self._groups.values()):
            if group.wish.tick_ms == tick_ms and group.waiting:
                group.flush(self.cursor(group.wish.topic))

    # -- what connections hear besides --------------------------------------------------------------

    def heartbeat(self, now_ms: int, lag_ms: int, share: tuple[int, int] = (0, 1)) -> None:
        """A heartbeat to all whose transport takes it, with the cursor of each channel that is up to date.

        `share` (k, n): to every n-th connection from the k-th on.
        """
        t, made = rfc3339(now_ms), dict[tuple[int, ...], Frame]()
        k, n = share
        for member in [m for m in self.members if n == 1 or hash(m) // 64 % n == k]:
            if not member.link.writable or member.gone:
                continue
            channels = tuple(sorted(ch for ch, channel in member.channels.items() if not channel.behind))
            if channels not in made:
                groups = [self._of_channel[ch] for ch in channels]
                cursors = {g.ch: g.covered(self.cursor(g.wish.topic)) for g in groups}
                beat = message_frame(Hb(t, cursors, lag_ms))
                made[channels] = (
                    Frame(beat.kind, beat.payload, next(iter(cursors.values()))) if len(cursors) == 1 else beat
                )
            member.send(made[channels])

    def drop_stalled(self, now_s: float) -> int:
        """Cut off every client that has not drained for `live_drain_timeout_s`; gives how many. Call it often."""
        dropped = 0
        for member in [m for m in self.members if not m.link.writable or m.blocked_since_s is not None]:
            if member.link.writable:
                member.blocked_since_s = None
            elif member.blocked_since_s is None:
                member.blocked_since_s = now_s
            elif now_s - member.blocked_since_s >= self._settings.live_drain_timeout_s:
                member.link.abort()
                self.disconnect(member)
                dropped += 1
        return dropped

    def tell(self, status: Status) -> None:
        """What became of a source: to everyone now, and to those who come while something is wrong with it."""
        self.status = status if status.last_error is not None else None
        for member in list(self.members):
            self.send(member, status)

    def say_goodbye(self, member: Member, reconnect_in_ms: int) -> None:
        """This process ends: the client is told when to come back, and closed (4200)."""
        self.send(member, GoingAway(reconnect_in_ms))
        member.close(Close.SHUTDOWN, "this process ends; come back with the last cursor")

    def cursor(self, topic: str) -> str:
        """The cursor that covers all of a topic that was published; made once a record."""
        found = self._cursor.get(topic)
        if found is None:
            at = {source: self.at[source] for source in self.topics[topic].sources}
            found = self._cursor[topic] = self.cursor_text(at, {})
        return found

    def cursor_text(self, at: dict[str, dict[int, int]], within: dict[int, int], made_ms: int | None = None) -> str:
        """The text of a cursor; `made_ms`: what it lacks came after this moment, now unless given."""
        held = {partition: n for partition, n in within.items() if n}
        return self.text_of(Cursor(at, held, made_ms=self.log_ms if made_ms is None else made_ms))

    def same_place(self, cursor: Cursor) -> str:
        """The text of a cursor that somebody came back with, and is still at."""
        if UNTIL in cursor.at:
            return self.text_of(cursor)
        return self.cursor_text(cursor.at, cursor.within, cursor.made_ms)

    def text_of(self, cursor: Cursor) -> str:
        """The text of any cursor."""
        return self._cursors.encode_feed(cursor)

    def cursor_of(self, text: str) -> Cursor:
        """A cursor from its text. Raises `RequestError`."""
        return self._cursors.decode_feed(text)

    # -- inside -------------------------------------------------------------------------------------

    def _new_group(self, wish: Wish) -> Group:
        ch = self.new_channel()
        cursor = self.cursor(wish.topic)
        group: Group = (
            LatestGroup(ch, wish, cursor, partial(self._state, self.topics[wish.topic], wish))
            if wish.conflated
            else AllGroup(ch, wish, cursor, self._settings.live_queue_frames)
        )
        self._groups[wish] = self._of_channel[ch] = group
        self._regrouped()
        return group

    @staticmethod
    def _state(topic: Topic, wish: Wish, index: int) -> tuple[int, int] | None:
        found = topic.now(wish, index)
        return None if found is None else found[:2]

    def new_channel(self) -> int:
        """A channel number that nobody has."""
        ch, self._next_channel = self._next_channel, self._next_channel + 1
        return ch

    def _join(self, member: Member, group: Group) -> Channel:
        channel = member.channels[group.ch] = group.join(member)
        return channel

    def _leave(self, member: Member, ch: int) -> None:
        self.cancel(member, ch)
        member.channels.pop(ch, None)
        if (group := self._of_channel.get(ch)) is not None:
            group.leave(member)
            self._drop_if_empty(group)

    def _drop_if_empty(self, group: Group) -> None:
        if not group.members and group not in self._coming and self._groups.get(group.wish) is group:
            del self._groups[group.wish], self._of_channel[group.ch]
            self._collecting.discard(group)
            self._regrouped()

    def _regrouped(self) -> None:
        self._of_series = {name: {} for name in self.topics}
        self._imports_wanted = any(Origin.IMPORT in wish.origins for wish in self._groups)

    def _groups_of(self, topic: Topic, index: int) -> list[Group]:
        known = self._of_series.setdefault(topic.name, {})
        found = known.get(index)
        if found is None:
            found = known[index] = [
                g for w, g in self._groups.items() if w.topic == topic.name and topic.wants(w, index)
            ]
        return found

    def _collect(self, topic: Topic, batch: Batch) -> None:
        """Give each row to the groups that want it."""
        if not self._imports_wanted and not (batch.origin == Origin.LIVE).any():
            return
        flags, origins = batch.flag.tolist(), batch.origin.tolist()
        starts, revs = batch.start.tolist(), batch.rev.tolist()
        for i, index in enumerate(batch.series.tolist()):
            change: Change | None = None
            for group in self._groups_of(topic, index):
                wish = group.wish
                if not group.wants(index, starts[i], revs[i], flags[i], origins[i]):
                    continue
                if wish.bbox is not None and not wish.wants_place(batch.place(i)):
                    continue
                if wish.categories and batch.category(i) not in wish.categories:
                    continue
                if change is None:
                    change = Change(index, starts[i], revs[i], batch.row(i))
                group.take(change)
                if isinstance(group, AllGroup):
                    self._collecting.add(group)
                    if group.full:
                        group.seal(self._cursor_inside(topic, batch, i + 1))

    def _cursor_inside(self, topic: Topic, batch: Batch, i: int) -> str:
        """The cursor of who has the first i rows of a batch that is on its way."""
        number, within = batch.mark(i)
        at = {source: self.at[source] for source in topic.sources}
        at[batch.source] = self.at[batch.source] | {batch.partition: number}
        return self.cursor_text(at, {batch.partition: within})

    def _snapshot(self, channel: Channel, cursor: str) -> Iterator[Frame]:
        """The state as frames, made when the client takes them: its rows are of `cursor` or later."""
        group = channel.group
        topic, wish = self.topics[group.wish.topic], group.wish
        indices = topic.chosen(wish)
        for part, first in enumerate(range(0, len(indices) or 1, SNAPSHOT_ROWS)):
            rows: list[bytes] = []
            for index in indices[first : first + SNAPSHOT_ROWS]:
                if (found := topic.now(wish, index)) is None:
                    continue
                start, rev, row = found
                rows.append(row)
                channel.knows(index)
                if isinstance(group, LatestGroup):
                    group.knows(index, start, rev)
            yield snapshot_frame(group.ch, part, first + SNAPSHOT_ROWS >= len(indices), cursor, rows)
