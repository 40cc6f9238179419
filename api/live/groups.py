"""Groups: subscriptions with equal wishes, which get the same bytes.

A group numbers its frames and encodes each once. A `Channel` is one member's place in a group: while its client's
transport takes no more, what the client misses waits there, bounded:

    mode latest   in a map by series; leaves as one frame with seq [from, to] when there is room
    mode all      in a queue of frames; when it is full the client is closed (4208) and comes back by cursor
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from api.live.filters import Wish
from api.live.frames import text_frame
from api.live.messages import Close, RawData, encode


class Change(NamedTuple):
    """One reading on its way to the groups; `json` is its row, encoded once for all of them."""

    series: int
    start: int
    rev: int
    json: bytes


class Link(Protocol):
    """A client's transport. `send` never blocks; when it took too much, `writable` turns False until it drained."""

    writable: bool

    def send(self, frame: bytes) -> None:
        """Write a frame."""

    def close(self, code: int, reason: str) -> None:
        """Say why and close; further frames are dropped."""

    def abort(self) -> None:
        """Drop the connection, with all that waits in its buffer."""


class Member:
    """One connection and its channels."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.ids: dict[str | int, int] = {}
        self.channels: dict[int, Channel] = {}
        self.gone = False
        self.blocked_since_s: float | None = None

    def flush(self) -> None:
        """Send what waits, while the transport takes it."""
        for channel in list(self.channels.values()):
            while self.link.writable and (frame := channel.next_frame()) is not None:
                self.link.send(frame)

    def close(self, code: int, reason: str) -> None:
        """Close the connection; it gets nothing more."""
        if not self.gone:
            self.gone = True
            self.link.close(code, reason)


class Channel(ABC):
    """One member's place in one group."""

    def __init__(self, member: Member, group: "Group") -> None:
        self.member = member
        self.group = group
        self._snapshot: Iterator[bytes] = iter(())
        self._in_snapshot = False

    def start_snapshot(self, frames: Iterator[bytes]) -> None:
        """Send these frames before anything else; changes wait meanwhile."""
        self._snapshot, self._in_snapshot = frames, True

    @property
    def behind(self) -> bool:
        """Whether something waits here."""
        return self._in_snapshot or self._has_backlog()

    def next_frame(self) -> bytes | None:
        """The next frame that waits, None for none."""
        if self._in_snapshot:
            if (frame := next(self._snapshot, None)) is not None:
                return frame
            self._in_snapshot = False
        return self._from_backlog()

    @abstractmethod
    def _has_backlog(self) -> bool: ...

    @abstractmethod
    def _from_backlog(self) -> bytes | None: ...


class LatestChannel(Channel):
    """Backlog: the newest row of each series, and the span of frames that they stand for."""

    def __init__(self, member: Member, group: "Group") -> None:
        super().__init__(member, group)
        self._rows: dict[int, bytes] = {}
        self._from = 0
        self._n_conflated = 0

    def offer(self, frame: bytes, rows: Mapping[int, bytes], n_conflated: int) -> None:
        """Take the group's newest frame: to the client, or its rows into the backlog."""
        if self.member.link.writable and not self.behind:
            self.member.link.send(frame)
            return
        if not self._rows:
            self._from = self.group.seq
        n = len(self._rows) + len(rows)
        self._rows.update(rows)
        self._n_conflated += n_conflated + n - len(self._rows)

    def _has_backlog(self) -> bool:
        return bool(self._rows)

    def _from_backlog(self) -> bytes | None:
        if not self._rows:
            return None
        frame = self.group.data(self._from, self._n_conflated, list(self._rows.values()))
        self._rows, self._n_conflated = {}, 0
        return frame


class AllChannel(Channel):
    """Backlog: a bounded queue of frames."""

    def __init__(self, member: Member, group: "Group", most_frames: int) -> None:
        super().__init__(member, group)
        self._frames: deque[bytes] = deque()
        self._most_frames = most_frames

    def offer(self, frame: bytes) -> None:
        """Take the group's newest frame: to the client, or into the queue; a full queue closes the client."""
        if self.member.link.writable and not self.behind:
            self.member.link.send(frame)
        elif len(self._frames) < self._most_frames:
            self._frames.append(frame)
        else:
            self._frames.clear()
            self.member.close(Close.SLOW, "too slow for mode all; come back with the last cursor")

    def _has_backlog(self) -> bool:
        return bool(self._frames)

    def _from_backlog(self) -> bytes | None:
        return self._frames.popleft() if self._frames else None


class Group(ABC):
    """Equal subscriptions. `seq` numbers its frames, `cursor` covers the last of them."""

    def __init__(self, ch: int, wish: Wish, cursor: str) -> None:
        self.ch = ch
        self.wish = wish
        self.seq = 0
        self.cursor = cursor

    def data(self, from_seq: int, n_conflated: int, rows: Sequence[bytes]) -> bytes:
        """A data frame [from_seq, seq] of rows that are JSON already."""
        message = RawData(self.ch, (from_seq, self.seq), self.cursor, n_conflated, [msgspec.Raw(row) for row in rows])
        return text_frame(encode(message))

    def covered(self, cursor: str) -> str:
        """The newest cursor that covers all that was sent: the given one where nothing waits for a tick."""
        return self.cursor if self.waiting else cursor

    def wants(self, series: int, start: int, rev: int, flag: int, origin: int) -> bool:
        """Whether a reading of a series that the wish names passes the tests of the reading itself."""
        return origin in self.wish.origins and (flag in self.wish.flags or self.revises(series, start, rev))

    def revises(self, series: int, start: int, rev: int) -> bool:
        """Whether the reading replaces the very one that clients have."""
        return False

    @property
    @abstractmethod
    def waiting(self) -> int:
        """How many changes wait for the next frame."""

    @property
    @abstractmethod
    def members(self) -> int:
        """How many connections it has."""

    @abstractmethod
    def join(self, member: Member) -> Channel:
        """Take a member in (it is in once at most); its channel hears the next frame on."""

    @abstractmethod
    def leave(self, member: Member) -> None:
        """Forget a member."""

    @abstractmethod
    def take(self, change: Change) -> None:
        """Collect a reading for the next frame."""

    @abstractmethod
    def flush(self, cursor: str) -> None:
        """Make the next frame of what was collected, if anything was, and hand it to every member."""


class LatestGroup(Group):
    """Mode `latest`: what changed since the last tick, the newest of each series."""

    def __init__(self, ch: int, wish: Wish, cursor: str) -> None:
        super().__init__(ch, wish, cursor)
        self._channels: dict[Member, LatestChannel] = {}
        self._changed: dict[int, bytes] = {}
        self._n_conflated = 0
        self._newest: dict[int, tuple[int, int]] = {}

    def knows(self, series: int, start: int, rev: int) -> None:
        """A snapshot told a client of this reading: nothing older may follow, not even what waits for the tick."""
        if (start, rev) > self._newest.get(series, (start, rev - 1)):
            self._newest[series] = start, rev
            self._n_conflated += self._changed.pop(series, None) is not None

    def revises(self, series: int, start: int, rev: int) -> bool:
        """A revision of what clients have is theirs whatever its flag: else a value that failed would stand."""
        known = self._newest.get(series)
        return known is not None and known[0] == start and rev > known[1]

    @property
    def waiting(self) -> int:
        return len(self._changed)

    @property
    def members(self) -> int:
        return len(self._channels)

    def join(self, member: Member) -> Channel:
        channel = self._channels[member] = LatestChannel(member, self)
        return channel

    def leave(self, member: Member) -> None:
        self._channels.pop(member, None)

    def take(self, change: Change) -> None:
        known = self._newest.get(change.series)
        if known is not None and (change.start, change.rev) <= known:
            self._n_conflated += (change.start, change.rev) != known
            return
        self._newest[change.series] = change.start, change.rev
        self._n_conflated += change.series in self._changed
        self._changed[change.series] = change.json

    def flush(self, cursor: str) -> None:
        if not self._changed:
            return
        rows, n_conflated = self._changed, self._n_conflated
        self._changed, self._n_conflated = {}, 0
        self.seq += 1
        self.cursor = cursor
        frame = self.data(self.seq, n_conflated, list(rows.values()))
        for channel in list(self._channels.values()):
            channel.offer(frame, rows, n_conflated)


class AllGroup(Group):
    """Mode `all`: every reading, at once."""

    def __init__(self, ch: int, wish: Wish, cursor: str, most_frames: int) -> None:
        super().__init__(ch, wish, cursor)
        self._channels: dict[Member, AllChannel] = {}
        self._rows: list[bytes] = []
        self._most_frames = most_frames

    @property
    def waiting(self) -> int:
        return len(self._rows)

    @property
    def members(self) -> int:
        return len(self._channels)

    def join(self, member: Member) -> Channel:
        channel = self._channels[member] = AllChannel(member, self, self._most_frames)
        return channel

    def leave(self, member: Member) -> None:
        self._channels.pop(member, None)

    def take(self, change: Change) -> None:
        self._rows.append(change.json)

    def flush(self, cursor: str) -> None:
        if not self._rows:
            return
        rows, self._rows = self._rows, []
        self.seq += 1
        self.cursor = cursor
        frame = self.data(self.seq, 0, rows)
        for channel in list(self._channels.values()):
            channel.offer(frame)
