"""What a wish missed since a cursor: rows out of the records after it, in frames that carry cursors of their own.

    Missed   everything, in the order it came (mode `all`)
    Changed  the newest of each series (mode `latest`)

Both are fed with batches, whatever store these come from, and know how far they are. Pure; a catch can be shared by
all who come back with the same cursor and the same wish.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import NamedTuple

from api.cursor import Cursor
from api.live.batches import Batch
from api.live.filters import Wish
from api.live.frames import Frame, data_frame
from api.live.groups import FRAME_ROWS, LatestGroup
from api.live.topics import Topic

CursorText = Callable[[dict[str, dict[int, int]], dict[int, int]], str]
"""Makes the text of a cursor from (at, within)."""


class Chunk(NamedTuple):
    """Rows as JSON, joined by commas, and the cursor that has them."""

    cursor: str
    rows: bytes


class Catch(ABC):
    """What has been read for a wish since a cursor; `at` and `within` are how far."""

    def __init__(self, topic: Topic, wish: Wish, cursor: Cursor, text: CursorText) -> None:
        self.topic = topic
        self.wish = wish
        self.at = {source: dict(cursor.of(source) or {}) for source in topic.sources}
        self.within = dict(cursor.within)
        self.bytes = 0
        self._text = text
        self._wanted: dict[int, bool] = {}

    def take(self, batch: Batch) -> None:
        """The next batch of one of the sources; what the reader has already is skipped."""
        at = self.at[batch.source]
        known = at.get(batch.partition, -1)
        if known >= batch.number:
            return
        for i in self.wanted(batch, batch.after(known, self.within.get(batch.partition, 0))):
            self._take(batch, i)
        at[batch.partition] = batch.number
        self.within.pop(batch.partition, None)

    def add(self, batch: Batch) -> None:
        """Rows that say nothing of how far the reader is."""
        for i in self.wanted(batch):
            self._take(batch, i)

    def wanted(self, batch: Batch, first: int = 0) -> Iterator[int]:
        """The rows of a batch, from `first` on, that the wish wants."""
        series = batch.series.tolist()
        return (i for i in range(first, len(series)) if self._wants(batch, i, series[i]))

    def _wants(self, batch: Batch, i: int, index: int) -> bool:
        wanted = self._wanted.get(index)
        if wanted is None:
            wanted = self._wanted[index] = self.topic.wants(self.wish, index)
        return (
            wanted
            and int(batch.origin[i]) in self.wish.origins
            and self._wants_flag(int(batch.flag[i]), int(batch.rev[i]))
            and (not self.wish.categories or batch.category(i) in self.wish.categories)
            and (self.wish.bbox is None or self.wish.wants_place(batch.place(i)))
        )

    def _wants_flag(self, flag: int, rev: int) -> bool:
        return flag in self.wish.flags

    @abstractmethod
    def _take(self, batch: Batch, i: int) -> None: ...

    @abstractmethod
    def chunks(self, group: object) -> list[Chunk]:
        """All that was read, as chunks of at most `FRAME_ROWS` rows; `group` is the one that the reader joins."""


class Missed(Catch):
    """Mode `all`. `drain` gives chunks and forgets them; `chunks` keeps them for the next who comes."""

    def __init__(self, topic: Topic, wish: Wish, cursor: Cursor, text: CursorText) -> None:
        super().__init__(topic, wish, cursor, text)
        self._chunks: list[Chunk] = []
        self._rows: list[bytes] = []

    def _take(self, batch: Batch, i: int) -> None:
        self._rows.append(batch.row(i))
        if len(self._rows) >= FRAME_ROWS:
            number, within = batch.mark(i + 1)
            at = self.at | {batch.source: self.at[batch.source] | {batch.partition: number}}
            self._seal(self._text(at, self.within | {batch.partition: within}))

    def _seal(self, cursor: str) -> None:
        rows = b",".join(self._rows)
        self._chunks.append(Chunk(cursor, rows))
        self.bytes += len(rows)
        self._rows = []

    def chunks(self, group: object) -> list[Chunk]:
        if self._rows:
            self._seal(self._text(self.at, self.within))
        return self._chunks

    def drain(self, everything: bool = False) -> list[Chunk]:
        """Chunks that are full, or everything; they are given once."""
        if everything:
            self.chunks(None)
        found, self._chunks, self.bytes = self._chunks, [], 0
        return found


class Changed(Catch):
    """Mode `latest`. A revision of what the reader may have is told whatever its flag, as a group does."""

    def __init__(self, topic: Topic, wish: Wish, cursor: Cursor, text: CursorText) -> None:
        super().__init__(topic, wish, cursor, text)
        self._rows: dict[int, tuple[int, int, bytes]] = {}
        self._began = text(self.at, self.within)

    def _wants_flag(self, flag: int, rev: int) -> bool:
        return flag in self.wish.flags or rev > 1

    def _take(self, batch: Batch, i: int) -> None:
        index, start, rev = int(batch.series[i]), int(batch.start[i]), int(batch.rev[i])
        known = self._rows.get(index)
        if known is None or (start, rev) > known[:2]:
            row = batch.row(i)
            self.bytes += len(row) - (len(known[2]) if known else 0)
            self._rows[index] = start, rev, row

    def chunks(self, group: object) -> list[Chunk]:
        told = group.newest if isinstance(group, LatestGroup) else lambda index: None
        rows = [
            row
            for index, (start, rev, row) in self._rows.items()
            # Older than what the reader had before, or gets from the group: never backwards.
            if start >= self.topic.newest_start(index) and (start, rev) >= (told(index) or (start, rev))
        ]
        parts = [b",".join(rows[i : i + FRAME_ROWS]) for i in range(0, len(rows), FRAME_ROWS)]
        # Who has the last part has everything, and who has only others is where it was.
        cursors = [self._began] * (len(parts) - 1) + [self._text(self.at, self.within)]
        return [Chunk(cursor, part) for cursor, part in zip(cursors, parts, strict=False)]


def frames(ch: int, last_seq: int, chunks: list[Chunk], first_seq: int | None = None) -> Iterator[Frame]:
    """Chunks as frames that end with number `last_seq`; with `first_seq` they begin there, and the last one spans the
    rest.
    """
    first = last_seq - len(chunks) + 1 if first_seq is None else first_seq
    for seq, chunk in enumerate(chunks, first):
        last = last_seq if seq == first + len(chunks) - 1 else seq
        yield data_frame(ch, (seq, last), chunk.cursor, 0, (chunk.rows,), replay=True)
