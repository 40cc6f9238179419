"""The hub: readings in, frames out to every connection that asked for them. No clock, no I/O of its own.

    tail --publish, flush--> Hub --take/flush--> Group --offer--> Channel --send--> Link (a client's transport)

A reading's row is encoded at most once for all groups, a frame once for all members of its group. A client that
does not read fills its own channels and nothing else.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import msgspec

from api.live.filters import Place, Wish
from api.live.frames import text_frame
from api.live.groups import AllGroup, Change, Group, LatestGroup, Link, Member
from api.live.latest import Latest, LatestRow
from api.live.messages import (
    Close,
    GoingAway,
    Hb,
    RawSnapshot,
    Row,
    ServerMessage,
    Status,
    Subscribe,
    Subscribed,
    encode,
    rfc3339,
)
from api.places import public_place
from schemas.readings import Array, Origin, Readings
from schemas.registry import Registration, Registry, Site
from schemas.settings import Settings

SNAPSHOT_ROWS = 500
FRAME_ROWS = 500
"""In mode `all`, a frame leaves at this size even if more records are at hand; one record is one frame at most."""

ORIGIN_NAMES: dict[int, Any] = {int(Origin.LIVE): "live", int(Origin.IMPORT): "import"}


class CursorEncoder(Protocol):
    """What the hub needs of `api.cursor.Cursors`."""

    def encode(self, kind: str, body: dict[str, Any]) -> str:
        """The opaque text of a cursor."""


class Hub:
    """All live connections of this process and what they hear."""

    def __init__(self, settings: Settings, registry: Registry, latest: Latest, cursors: CursorEncoder) -> None:
        self.members: set[Member] = set()
        self.status: Status | None = None
        self._settings = settings
        self._registry = registry
        self._latest = latest
        self._cursors = cursors
        self._cursor: str | None = None
        self._groups: dict[Wish, Group] = {}
        self._of_channel: dict[int, Group] = {}
        self._of_series: dict[int, list[Group]] = {}
        self._collecting: set[Group] = set()
        self._imports_wanted = False
        self._next_channel = 1

    # -- connections --------------------------------------------------------------------------------

    def connect(self, link: Link) -> Member:
        """A connection that said hello."""
        member = Member(link)
        self.members.add(member)
        if self.status is not None:
            self.send(member, self.status)
        return member

    def disconnect(self, member: Member) -> None:
        """Forget a connection."""
        member.gone = True
        self.members.discard(member)
        for ch in list(member.channels):
            self._leave(member, ch)

    def send(self, member: Member, message: ServerMessage) -> None:
        """One message to one client, ahead of what waits for it."""
        if not member.gone:
            member.link.send(text_frame(encode(message)))

    def subscribe(self, member: Member, message: Subscribe, wish: Wish) -> None:
        """Put a member into the group of its wish; it hears `subscribed`, its snapshot, and then every change."""
        group = self._groups.get(wish) or self._new_group(wish)
        channel = group.join(member)
        member.ids[message.id] = group.ch
        member.channels[group.ch] = channel
        cursor = self.cursor()
        recovered, reason = (False, "too_far") if message.cursor is not None else (None, None)
        self.send(member, Subscribed(message.id, group.ch, group.seq, cursor, recovered, reason))
        if message.snapshot or message.cursor is not None:
            channel.start_snapshot(self._snapshot(group, cursor))
        member.flush()

    def unsubscribe(self, member: Member, subscription: str | int) -> None:
        """End a subscription by its id."""
        if (ch := member.ids.pop(subscription, None)) is not None:
            self._leave(member, ch)

    # -- readings -----------------------------------------------------------------------------------

    def publish(self, readings: Readings, series: Array) -> None:
        """Give a record's readings, in their order, to the groups; `series` is what `Latest.apply` gave, (n,).

        To be called for records without readings too: the cursor moves. Mode `all` gets them at the next `flush`,
        or here when many wait: what comes together leaves in one frame.
        """
        self._cursor = None
        if not self._groups or not len(readings):
            return
        if not self._imports_wanted:
            live = readings.origin == Origin.LIVE
            if not live.all():
                readings, series = readings.take(live), series[live]
        for group in self._collect(readings, series.tolist()):
            if not group.wish.conflated:
                self._collecting.add(group)
                if group.waiting >= FRAME_ROWS:
                    group.flush(self.cursor())

    def flush(self) -> None:
        """Send what mode `all` is to have. To be called when the records at hand have been published."""
        if self._collecting:
            for group in self._collecting:
                group.flush(self.cursor())
            self._collecting.clear()

    def refresh(self, indices: Iterable[int]) -> None:
        """The latest readings of these series came from the database: tell the groups of mode `latest`."""
        for index in indices:
            if (row := self._latest.row(index)) is None:
                continue
            for group in self._groups_of(index):
                if group.wish.conflated and self._wanted_in_snapshot(group.wish, row):
                    group.take(Change(index, row.start, row.rev, encode(_row(row))))

    def tick(self, tick_ms: int) -> None:
        """The moment of groups with this tick."""
        for group in list(self._groups.values()):
            if group.wish.tick_ms == tick_ms and group.waiting:
                group.flush(self.cursor())

    def heartbeat(self, now_ms: int, lag_ms: int) -> None:
        """A heartbeat to all whose transport takes it, with the cursor of each channel that is up to date."""
        t, frames = rfc3339(now_ms), dict[tuple[int, ...], bytes]()
        for member in list(self.members):
            if not member.link.writable or member.gone:
                continue
            channels = tuple(sorted(ch for ch, channel in member.channels.items() if not channel.behind))
            if channels not in frames:
                cursors = {ch: self._of_channel[ch].covered(self.cursor()) for ch in channels}
                frames[channels] = text_frame(encode(Hb(t, cursors, lag_ms)))
            member.link.send(frames[channels])

    def drop_stalled(self, now_s: float) -> int:
        """Cut off every client that has not drained for `live_drain_timeout_s`; gives how many. Call it often."""
        dropped = 0
        for member in list(self.members):
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

    def cursor(self) -> str:
        """The cursor that covers all that was published; made once a record."""
        if self._cursor is None:
            self._cursor = self._cursors.encode("live", {"readings": dict(self._latest.positions)})
        return self._cursor

    # -- inside -------------------------------------------------------------------------------------

    def _new_group(self, wish: Wish) -> Group:
        ch, self._next_channel = self._next_channel, self._next_channel + 1
        group: Group = (
            LatestGroup(ch, wish, self.cursor())
            if wish.conflated
            else AllGroup(ch, wish, self.cursor(), self._settings.live_queue_frames)
        )
        self._groups[wish] = self._of_channel[ch] = group
        self._regrouped()
        return group

    def _leave(self, member: Member, ch: int) -> None:
        del member.channels[ch]
        group = self._of_channel[ch]
        group.leave(member)
        if not group.members:
            del self._groups[group.wish], self._of_channel[ch]
            self._regrouped()

    def _regrouped(self) -> None:
        self._of_series.clear()
        self._imports_wanted = any(Origin.IMPORT in wish.origins for wish in self._groups)

    def _groups_of(self, index: int) -> list[Group]:
        found = self._of_series.get(index)
        if found is None:
            key = self._latest.keys[index]
            found = self._of_series[index] = [g for w, g in self._groups.items() if w.wants_series(*key)]
        return found

    def _collect(self, readings: Readings, series: list[int]) -> set[Group]:
        """Give each reading to the groups that want it; gives the groups that got some."""
        touched: set[Group] = set()
        flags, origins = readings.flag.tolist(), readings.origin.tolist()
        starts, revs = readings.start.tolist(), readings.rev.tolist()
        for i, index in enumerate(series):
            change: Change | None = None
            for group in self._groups_of(index):
                if not group.wants(index, starts[i], revs[i], flags[i], origins[i]):
                    continue
                if group.wish.bbox is not None and not group.wish.wants_place(self._place(readings, i, index)):
                    continue
                if change is None:
                    change = Change(index, starts[i], revs[i], self._encode(readings, i, index))
                group.take(change)
                touched.add(group)
        return touched

    def _encode(self, r: Readings, i: int, index: int) -> bytes:
        value = float(r.value[i])
        row = Row(
            *self._latest.keys[index], self._latest.units[index], rfc3339(int(r.start[i])), int(r.period_s[i]),
            value if value == value else None, int(r.flag[i]), int(r.tests[i]), int(r.rev[i]),
            ORIGIN_NAMES[int(r.origin[i])], rfc3339(int(r.received[i])),
        )  # fmt: skip
        return encode(row)

    def _place(self, readings: Readings, i: int, index: int) -> Place | None:
        dataset, sensor, _ = self._latest.keys[index]
        known = self._registry.at(dataset, sensor, int(readings.start[i]))
        if readings.lon is not None and readings.lat is not None and readings.lon[i] == readings.lon[i]:
            site = Site(lon=float(readings.lon[i]), lat=float(readings.lat[i]))
            precision_m = known.public_precision_m if known else 0
            known = Registration(dataset, sensor, site=site, public_precision_m=precision_m)
        return public_place(known)

    def _snapshot(self, group: Group, cursor: str) -> Iterator[bytes]:
        """The state now, as frames; they are encoded when the client takes them."""
        rows = list(self._wanted_rows(group.wish))
        if isinstance(group, LatestGroup):
            for row in rows:
                group.knows(self._latest.index(row.dataset, row.sensor, row.metric), row.start, row.rev)
        parts = [rows[i : i + SNAPSHOT_ROWS] for i in range(0, len(rows), SNAPSHOT_ROWS)] or [[]]
        return (
            text_frame(encode(RawSnapshot(group.ch, n, n == len(parts) - 1, cursor, _raw(part))))
            for n, part in enumerate(parts)
        )

    def _wanted_rows(self, wish: Wish) -> Iterator[LatestRow]:
        for dataset in sorted(wish.datasets or self._registry.datasets):
            for row in self._latest.rows(dataset, wish.sensors or None, wish.metrics or None):
                if self._wanted_in_snapshot(wish, row):
                    yield row

    def _wanted_in_snapshot(self, wish: Wish, row: LatestRow) -> bool:
        if row.flag not in wish.flags or row.origin not in wish.origins:
            return False
        return wish.bbox is None or wish.wants_place(
            public_place(self._registry.at(row.dataset, row.sensor, row.start))
        )


def _row(row: LatestRow) -> Row:
    return Row(
        row.dataset, row.sensor, row.metric, row.unit, rfc3339(row.start), row.period_s, row.value, row.flag, row.tests,
        row.rev, ORIGIN_NAMES[row.origin], rfc3339(row.received),
        msgspec.UNSET if row.newer_failed is None else rfc3339(row.newer_failed),
    )  # fmt: skip


def _raw(rows: list[LatestRow]) -> list[msgspec.Raw]:
    return [msgspec.Raw(encode(_row(row))) for row in rows]
