"""Stored readings as the live feed tells them: `Past` reads them in the order in which they came.

Where it is goes into the cursor of each frame, so that a replay that broke off goes on from there.
"""

from dataclasses import dataclass, field

from api.cursor import Cursor, Page, bad_cursor
from api.live.batches import Batch
from api.live.filters import Wish
from api.live.hub import UNTIL, Hub
from api.queries import stored
from api.queries.pool import Pool
from api.queries.stored import Slice, StoredRow
from schemas.readings import readings

STORED = b"stored"
"""In a cursor's page, in place of a query's digest: it stands in the middle of stored readings."""
FIRST_SLICE_MS = 10_000
LONGEST_SLICE_MS = 86_400_000
SLICE_ROWS = 10_000
FIELDS = ("start", "period_s", "value", "flag", "tests", "rev", "origin", "received")
NAN = float("nan")


@dataclass
class Place:
    """How far a reader is: see `api.queries.stored`; of the rows received at `moment_ms` it has the first `n_rows`."""

    moment_ms: int
    held: dict[int, int] = field(default_factory=dict)
    until: dict[int, int] = field(default_factory=dict)
    n_rows: int = 0

    def cursor(self, amended: dict[int, int], made_ms: int) -> Cursor:
        """The cursor that stands here; `amended` is how far the reader is in amendments."""
        at = {"readings": self.held, UNTIL: self.until, "amended": amended}
        return Cursor(at, page=Page(STORED, self.moment_ms, 0, (self.n_rows, 0)), made_ms=made_ms)

    @classmethod
    def of(cls, cursor: Cursor) -> "Place":
        """Where a cursor stands. Raises `RequestError` for one that stands elsewhere."""
        if cursor.page is None or cursor.page.query != STORED:
            raise bad_cursor("it is not of a replay")
        return cls(cursor.page.from_ms, cursor.at.get("readings", {}), cursor.at.get(UNTIL, {}), cursor.page.after[0])


@dataclass(frozen=True)
class Piece:
    """Readings that were received together, and where a reader is that has them."""

    received_ms: int
    batch: Batch
    place: Place


class Past:
    """Reads stored readings for a wish from a place on, up to `to_ms` if there is one."""

    def __init__(self, hub: Hub, pool: Pool, wish: Wish, place: Place, to_ms: int | None = None) -> None:
        self.place = place
        self.done = False
        self.published: dict[int, int] = {}
        """By partition: the number of the last row that had been published when the first slice was read: what was
        amended since then may be of rows that were given before.
        """
        self._hub = hub
        self._pool = pool
        self._wish = wish
        self._to_ms = to_ms
        self._slice_ms = FIRST_SLICE_MS
        self._fresh = not place.until

    async def read(self) -> list[Piece]:
        """The next slice; `done` when it was the last: all that is stored up to `place.until` has been given.

        Raises `psycopg.Error`.
        """
        place = self.place
        async with self._pool.connection() as connection:
            until, published, tick_ms = await stored.progress(connection)
            self.published = self.published or published
            end_ms = tick_ms + 1 if self._to_ms is None else self._to_ms
            while True:
                high_ms = min(place.moment_ms + self._slice_ms, max(end_ms, place.moment_ms + 1))
                last = high_ms >= end_ms
                if last and self._to_ms is None:
                    high_ms = max(high_ms, tick_ms) + stored.LATE_MS  # what came after the slowest partition's tick
                before = {} if self._fresh else place.until
                part = Slice(place.held, before, until, place.moment_ms, high_ms)
                limit = SLICE_ROWS if self._slice_ms > 1 else None  # one millisecond is read whole
                rows = await stored.readings(connection, self._wish, part, limit)
                if rows is not None:
                    break
                self._slice_ms = max(1, self._slice_ms // 4)
        if len(rows) < SLICE_ROWS // 4:
            self._slice_ms = min(LONGEST_SLICE_MS, self._slice_ms * 2)
        pieces = self._pieces(rows, until)
        self.place = Place(high_ms, place.held, until)
        self._fresh = False
        self.done = last
        return pieces

    def _pieces(self, rows: list[StoredRow], until: dict[int, int]) -> list[Piece]:
        place, pieces = self.place, list[Piece]()
        begin = 0
        while begin < len(rows):
            moment_ms = rows[begin].received
            end = begin
            late = moment_ms < place.moment_ms
            while end < len(rows) and (
                rows[end].received == moment_ms or (late and rows[end].received < place.moment_ms)
            ):
                end += 1
            skip = place.n_rows if moment_ms == place.moment_ms else 0
            if begin + skip < end:
                here = self._place_after(moment_ms, end - begin, until)
                pieces.append(Piece(moment_ms, batch_of(self._hub, rows[begin + skip : end]), here))
            begin = end
        return pieces

    def _place_after(self, moment_ms: int, n_rows: int, until: dict[int, int]) -> Place:
        if moment_ms < self.place.moment_ms:  # late ones: they are had with `until`
            return Place(self.place.moment_ms, self.place.held, until, self.place.n_rows)
        return Place(moment_ms, self.place.held, until, n_rows)


def batch_of(hub: Hub, rows: list[StoredRow]) -> Batch:
    """Stored rows as a batch; it says nothing of how far its reader is."""
    sensors = list(dict.fromkeys((row.dataset, row.sensor) for row in rows))
    metrics = list(dict.fromkeys((row.metric, hub.readings.unit(*row[:3])) for row in rows))
    sensor_of = {key: i for i, key in enumerate(sensors)}
    metric_of = {key: i for i, key in enumerate(metrics)}
    mobile = any(row.lon is not None for row in rows)
    columns = {name: [getattr(row, name) for row in rows] for name in FIELDS}
    made = readings(
        sensors, metrics,
        sensor=[sensor_of[row.dataset, row.sensor] for row in rows],
        metric=[metric_of[row.metric, hub.readings.unit(*row[:3])] for row in rows],
        lon=[NAN if row.lon is None else row.lon for row in rows] if mobile else None,
        lat=[NAN if row.lat is None else row.lat for row in rows] if mobile else None,
        **columns,
    )  # fmt: skip
    return hub.readings.of(made)
