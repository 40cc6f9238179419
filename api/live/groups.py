"""Groups: subscriptions with equal wishes, which get the same bytes.

A group numbers its frames, makes each once, and joins those that leave together: one write for each client. A
`Channel` is one member's place in a group. While its client's transport takes no more, or has something to be told
first (a snapshot, what it missed), what the client misses waits there, bounded:

    mode latest   in a map by series; leaves as one frame with seq [from, to] when there is room
    mode all      in a queue of frames
    both          a member's channels together hold `most_bytes`; a full queue or more bytes close the client (4208),
                  and it comes back by cursor
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from api.live.filters import Wish
from api.live.frames import DIALECTS, Frame, data_frame, joined
from api.live.messages import Close

FRAME_ROWS = 500
"""A frame has at most so many rows; a bigger record is told in several, and their cursors stand inside it."""


class Change(NamedTuple):
    """One row on its way to the groups; `json` is made once for all of them."""

    series: int
    start: int
    rev: int
    json: bytes


class Link(Protocol):
    """A client's transport. `write` never blocks; when it took too much, `writable` turns False until it drained."""

    writable: bool
    dialect: str

    def write(self, data: bytes) -> None:
        """Write bytes of the link's dialect (`frames.DIALECTS`)."""

    def close(self, code: int, reason: str) -> None:
        """Say why and close; further frames are dropped."""

    def abort(self) -> None:
        """Drop the connection, with all that waits in its buffer."""


class Member:
    """One connection and its channels."""

    __slots__ = ("blocked_since_s", "channels", "gone", "ids", "link", "most_bytes", "waiting_bytes")

    def __init__(self, link: Link, most_bytes: int) -> None:
        self.link = link
        self.ids: dict[str | int, int] = {}
        self.channels: dict[int, Channel] = {}
        self.gone = False
        self.blocked_since_s: float | None = None
        self.most_bytes = most_bytes
        self.waiting_bytes = 0

    def send(self, frame: Frame) -> None:
        """A frame to this client, ahead of what waits for it."""
        if not self.gone:
            self.link.write(DIALECTS[self.link.dialect](frame))

    def pause(self) -> None:
        """The transport takes no more: what comes waits in the channels."""
        for channel in self.channels.values():
            channel.group.hold(channel)

    def flush(self) -> None:
        """The transport takes more: send what waits, while it does."""
        for channel in list(self.channels.values()):
            while self.link.writable and not self.gone and (frame := channel.next_frame()) is not None:
                self.send(frame)
            if self.link.writable and not self.gone and not channel.behind:
                channel.group.let_go(channel)

    def close(self, code: int, reason: str) -> None:
        """Close the connection; it gets nothing more."""
        if not self.gone:
            self.gone = True
            self.pause()
            self.link.close(code, reason)


class Channel(ABC):
    """One member's place in one group. `first` are frames that come before all others, such as a snapshot."""

    __slots__ = ("_first", "_has_first", "_waiting_bytes", "group", "member")

    def __init__(self, member: Member, group: "Group") -> None:
        self.member = member
        self.group = group
        self._first: Iterator[Frame] = iter(())
        self._has_first = False
        self._waiting_bytes = 0

    def tell_first(self, frames: Iterator[Frame]) -> None:
        """Send these frames before anything else; changes wait meanwhile."""
        self._first, self._has_first = frames, True
        self.group.hold(self)

    @property
    def behind(self) -> bool:
        """Whether something waits here."""
        return self._has_first or self._has_backlog()

    def next_frame(self) -> Frame | None:
        """The next frame that waits, None for none."""
        if self._has_first:
            if (frame := next(self._first, None)) is not None:
                return frame
            self._has_first, self._first = False, iter(())
        return self._from_backlog()

    def forget(self) -> None:
        """Drop what waits; the channel ends."""
        self._weigh(-self._waiting_bytes)

    @abstractmethod
    def knows(self, series: int) -> None:
        """A snapshot just told of a series what is at least as new as anything that waits."""

    def _weigh(self, more_bytes: int) -> None:
        self._waiting_bytes += more_bytes
        self.member.waiting_bytes += more_bytes
        if more_bytes > 0 and self.member.waiting_bytes > self.member.most_bytes:
            self.member.close(Close.SLOW, "too slow: too many bytes wait; come back with the last cursor")

    @abstractmethod
    def offer(self, frames: Sequence[Frame], rows: dict[int, bytes], n_conflated: int) -> None:
        """Take the group's newest frames, which could not go to the link, into the backlog. `rows` by series and
        `n_conflated` are what they hold in mode `latest`.
        """

    @abstractmethod
    def _has_backlog(self) -> bool: ...

    @abstractmethod
    def _from_backlog(self) -> Frame | None: ...


class LatestChannel(Channel):
    """Backlog: the newest row of each series, and the span of frames that they stand for."""

    __slots__ = ("_from", "_n_conflated", "_rows")

    def __init__(self, member: Member, group: "Group") -> None:
        super().__init__(member, group)
        self._rows: dict[int, bytes] = {}
        self._from: int | None = None
        self._n_conflated = 0

    def offer(self, frames: Sequence[Frame], rows: dict[int, bytes], n_conflated: int) -> None:
        if self._from is None:
            self._from = self.group.seq - len(frames) + 1
        self._n_conflated += n_conflated + sum(series in self._rows for series in rows)
        before = sum(len(row) for series in rows if (row := self._rows.get(series)) is not None)
        self._rows.update(rows)
        self._weigh(sum(map(len, rows.values())) - before)

    def knows(self, series: int) -> None:
        if (row := self._rows.pop(series, None)) is not None:
            self._n_conflated += 1
            self._weigh(-len(row))

    def _has_backlog(self) -> bool:
        return self._from is not None

    def _from_backlog(self) -> Frame | None:
        if self._from is None:
            return None
        frame = self.group.data(self._from, self._n_conflated, list(self._rows.values()))
        self._rows, self._n_conflated, self._from = {}, 0, None
        self._weigh(-self._waiting_bytes)
        return frame


class AllChannel(Channel):
    """Backlog: a bounded queue of frames."""

    __slots__ = ("_frames", "_most_frames")

    def __init__(self, member: Member, group: "Group", most_frames: int) -> None:
        super().__init__(member, group)
        self._frames: deque[Frame] = deque()
        self._most_frames = most_frames

    def offer(self, frames: Sequence[Frame], rows: dict[int, bytes], n_conflated: int) -> None:
        if len(self._frames) + len(frames) > self._most_frames:
            self.member.close(Close.SLOW, "too slow for mode all; come back with the last cursor")
            return
        self._frames.extend(frames)
        self._weigh(sum(len(frame.payload) for frame in frames))

    def knows(self, series: int) -> None:
        """Every row is told all the same."""

    def _has_backlog(self) -> bool:
        return bool(self._frames)

    def _from_backlog(self) -> Frame | None:
        if not self._frames:
            return None
        frame = self._frames.popleft()
        self._weigh(-len(frame.payload))
        return frame


class Group(ABC):
    """Equal subscriptions. `seq` numbers its frames, `cursor` covers the last of them."""

    def __init__(self, ch: int, wish: Wish, cursor: str) -> None:
        self.ch = ch
        self.wish = wish
        self.seq = 0
        self.cursor = cursor
        self._ready: dict[str, dict[Channel, Callable[[bytes], None]]] = {}

    def data(self, from_seq: int, n_conflated: int, rows: Sequence[bytes]) -> Frame:
        """A data frame [from_seq, seq] of rows that are JSON already."""
        return data_frame(self.ch, (from_seq, self.seq), self.cursor, n_conflated, rows)

    def covered(self, cursor: str) -> str:
        """The newest cursor that covers all that was sent: the given one where nothing waits for a tick."""
        return self.cursor if self.waiting else cursor

    def wants(self, series: int, start: int, rev: int, flag: int, origin: int) -> bool:
        """Whether a row of a series that the wish names passes the tests of the row itself."""
        return origin in self.wish.origins and (flag in self.wish.flags or self.revises(series, start, rev))

    def revises(self, series: int, start: int, rev: int) -> bool:
        """Whether the row replaces the very one that clients have."""
        return False

    def hold(self, channel: Channel) -> None:
        """The channel's frames are to wait in it."""
        self._ready[channel.member.link.dialect].pop(channel, None)

    def let_go(self, channel: Channel) -> None:
        """The channel's frames go to its link at once."""
        link = channel.member.link
        self._ready[link.dialect][channel] = link.write

    def join(self, member: Member) -> Channel:
        """Take a member in (it is in once at most); its channel hears the next frame on."""
        channel = self._make_channel(member)
        self._channels_of()[member] = channel
        self._ready.setdefault(member.link.dialect, {})
        if member.link.writable:
            self.let_go(channel)
        return channel

    def leave(self, member: Member) -> None:
        """Forget a member."""
        if (channel := self._channels_of().pop(member, None)) is not None:
            self.hold(channel)
            channel.forget()

    def _write(self, frames: Sequence[Frame]) -> list[Channel]:
        """To every channel that is ready, one write each; gives those that are not."""
        channels = self._channels_of()
        held: list[Channel] = []
        if sum(map(len, self._ready.values())) < len(channels):
            held = [c for c in channels.values() if c not in self._ready[c.member.link.dialect]]
        for dialect, writes in self._ready.items():
            if writes:
                data = joined(frames, dialect)
                for write in list(writes.values()):
                    write(data)
        return held

    @property
    def members(self) -> int:
        """How many connections it has."""
        return len(self._channels_of())

    @property
    @abstractmethod
    def waiting(self) -> int:
        """How many changes wait for the next frame."""

    @abstractmethod
    def take(self, change: Change) -> None:
        """Collect a row for the next frame."""

    @abstractmethod
    def flush(self, cursor: str) -> None:
        """Make frames of what was collected, if anything was, and hand them to every member."""

    @abstractmethod
    def _make_channel(self, member: Member) -> Channel: ...

    @abstractmethod
    def _channels_of(self) -> dict[Member, Channel]: ...


class LatestGroup(Group):
    """Mode `latest`: what changed since the last tick, the newest of each series."""

    def __init__(
        self, ch: int, wish: Wish, cursor: str, state: Callable[[int], tuple[int, int] | None] = lambda series: None
    ) -> None:
        super().__init__(ch, wish, cursor)
        self._state = state  # (start, rev) of a series's newest row, whoever was told of it
        self._channels: dict[Member, LatestChannel] = {}
        self._changed: dict[int, bytes] = {}
        self._n_conflated = 0
        self._newest: dict[int, tuple[int, int]] = {}

    def knows(self, series: int, start: int, rev: int) -> None:
        """A snapshot told a client of this reading: nothing older may follow, not even what waits for the tick."""
        if (start, rev) > self._newest.get(series, (start, rev - 1)):
            self._newest[series] = start, rev
            self._n_conflated += self._changed.pop(series, None) is not None

    def newest(self, series: int) -> tuple[int, int] | None:
        """(start, rev) of the newest row of a series that the group was told of."""
        return self._newest.get(series)

    def revises(self, series: int, start: int, rev: int) -> bool:
        """A revision of what clients have is theirs whatever its flag: else a value that failed would stand."""
        known = self._newest.get(series)
        return rev > 1 if known is None else known[0] == start and rev > known[1]

    @property
    def waiting(self) -> int:
        return len(self._changed)

    def take(self, change: Change) -> None:
        known = self._newest.get(change.series)
        if known is None and (state := self._state(change.series)) is not None and (change.start, change.rev) < state:
            self._n_conflated += 1  # a member may have the newest from before there was this group
            return
        if known is not None and (change.start, change.rev) <= known:
            self._n_conflated += (change.start, change.rev) != known
            return
        self._newest[change.series] = change.start, change.rev
        self._n_conflated += change.series in self._changed
        self._changed[change.series] = change.json

    def flush(self, cursor: str) -> None:
        if not self._changed:
            return
        changed, n_conflated = self._changed, self._n_conflated
        self._changed, self._n_conflated = {}, 0
        rows = list(changed.values())
        frames: list[Frame] = []
        for i in range(0, len(rows), FRAME_ROWS):
            last = i + FRAME_ROWS >= len(rows)
            self.seq += 1
            if last:
                self.cursor = cursor  # the frames before it do not cover what is still to come
            frames.append(self.data(self.seq, n_conflated if last else 0, rows[i : i + FRAME_ROWS]))
        for channel in self._write(frames):
            channel.offer(frames, changed, n_conflated)

    def _make_channel(self, member: Member) -> LatestChannel:
        return LatestChannel(member, self)

    def _channels_of(self) -> dict[Member, Channel]:
        return self._channels  # type: ignore[return-value]


class AllGroup(Group):
    """Mode `all`: every reading, at once."""

    def __init__(self, ch: int, wish: Wish, cursor: str, most_frames: int) -> None:
        super().__init__(ch, wish, cursor)
        self._channels: dict[Member, AllChannel] = {}
        self._rows: list[bytes] = []
        self._frames: list[Frame] = []
        self._most_frames = most_frames

    @property
    def waiting(self) -> int:
        return len(self._rows) + len(self._frames)

    @property
    def full(self) -> bool:
        """Whether the rows that wait make a frame."""
        return len(self._rows) >= FRAME_ROWS

    def take(self, change: Change) -> None:
        self._rows.append(change.json)

    def seal(self, cursor: str) -> None:
        """Make a frame of the rows that wait; it leaves with the next flush."""
        if self._rows:
            self.seq += 1
            self.cursor = cursor
            self._frames.append(self.data(self.seq, 0, self._rows))
            self._rows = []

    def flush(self, cursor: str) -> None:
        self.seal(cursor)
        if not self._frames:
            return
        frames, self._frames = self._frames, []
        for channel in self._write(frames):
            channel.offer(frames, {}, 0)

    def _make_channel(self, member: Member) -> AllChannel:
        return AllChannel(member, self, self._most_frames)

    def _channels_of(self) -> dict[Member, Channel]:
        return self._channels  # type: ignore[return-value]
