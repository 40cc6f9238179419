"""The role `windows`: clean records in, one fenced transaction per flush out.

Records wait in `_pending` until a flush; when it is full, `take` waits, so Faust's buffers fill and its fetcher
stops: nothing is dropped. While the database is away the flush is tried again for ever with the same records,
after the state was loaded anew, for nobody knows whether the lost transaction was committed.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg

from schemas import wire
from schemas.errors import GapError, PipelineError
from schemas.registry import Registration, Registry, encode
from schemas.settings import Settings
from schemas.topics import partition_of
from schemas.wire import Record
from stream_processors import metrics
from stream_processors.migrations import migrate
from stream_processors.repair import DirtyMarks, Key, Mark, as_columns
from stream_processors.series import Rows, SeriesTable, join
from stream_processors.store import Position, Store
from stream_processors.windows import ALL_S, Closed, Marks, Windows, close_rows, reading_end, weights

Array = npt.NDArray[Any]

log = logging.getLogger(__name__)

REPAIR_WINDOWS = 20_000  # most windows made again in one transaction
REPAIR_READINGS = 1_000_000  # and about so many readings loaded for them at the most
_RETRY_S = 0.5
_AWAY = (psycopg.OperationalError, psycopg.InterfaceError, OSError)  # TimeoutError is an OSError
_LAST_FLUSH_S = 5.0  # partitions are given up after this even if the database did not take the last flush


class WindowsRole:
    """Owns the partitions that Kafka's group gives it; see the module's docstring."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings = settings
        self._registry = registry
        self._store: Store | None = None
        self._positions: dict[int, Position] = {}
        self._parts: list[int] = []
        self._generation = 0
        self._waiting = False  # for the database, and it was said
        self._pending: list[tuple[int, int, Record]] = []  # (partition, offset, record)
        self._pending_readings = 0
        self._room = asyncio.Condition()
        self._lock = asyncio.Lock()  # one flush at a time, none while partitions change hands
        self._registrations: list[Registration] = []
        self._load_state(SeriesTable(registry))

    # -- what Faust calls -----------------------------------------------------------------------------------

    async def assign(self, log_ends: Mapping[int, tuple[int, int]]) -> dict[int, int]:
        """Become the owner of these partitions ({partition: (first, next) offset in Kafka}).

        Gives the offset that each is to be read from. Waits for the database as long as it takes, or until the
        partitions are revoked.
        """
        self._parts = sorted(log_ends)
        generation = self._generation
        while generation == self._generation:
            async with self._lock:
                if await self._open(log_ends):
                    return {part: position.next_offset for part, position in self._positions.items()}
            await asyncio.sleep(_RETRY_S)
        return {}

    async def revoke(self) -> None:
        """Store what is pending, if the database takes it at once, and give all partitions up."""
        self._generation += 1
        async with self._lock:
            if self._store is not None and self._positions:
                try:
                    async with asyncio.timeout(_LAST_FLUSH_S):
                        await self._flush()
                except (*_AWAY, PipelineError) as e:
                    log.warning("partitions are given up with records pending, the next owner takes them: %s", e)
            self._positions = {}
            async with self._room:
                self._keep_pending([])

    async def take(self, part: int, offset: int, value: bytes) -> None:
        """Take one clean record; waits while there is no room."""
        generation = self._generation
        async with self._room:
            bound = 2 * self._settings.windows_flush_readings
            await self._room.wait_for(lambda: self._pending_readings < bound or generation != self._generation)
            if generation != self._generation or part not in self._positions:
                return  # the partition went to another owner while this waited
            record = wire.decode(value)
            self._pending.append((part, offset, record))
            self._pending_readings += len(record.readings) + 1  # ticks count too: bounded in records as well
            if self._pending_readings >= self._settings.windows_flush_readings:
                self._room.notify_all()

    async def run(self) -> None:
        """Flush by time and size, for ever."""
        while True:
            await self._wait_for_work()
            async with self._lock:
                went_well = not self._positions or await self._work()
            if not went_well:
                await asyncio.sleep(_RETRY_S)

    async def _work(self) -> bool:
        """One round; False where the database is away. What it refuses for good is raised: the process ends."""
        try:
            if self._store is None and not await self._open():
                return False
            await self._put_registrations()
            await self._flush()
            await self._repair()
        except _AWAY as e:
            log.warning("the database did not take a flush, trying again: %s", str(e).strip())
            await self._disconnect()
            return False
        return True

    async def stop(self) -> None:
        """Store what is pending and close the connection."""
        await self.revoke()
        await self._disconnect()

    def register(self, registrations: list[Registration]) -> None:
        """Registrations came on the topic `sensors`: for the tables, and for periods."""
        self._registrations += registrations
        self._table.refresh()

    def committed(self) -> dict[int, int]:
        """The next offset of each partition that is safe in the database."""
        return {part: position.next_offset for part, position in self._positions.items()}

    def measure_lag(self, ends: Mapping[int, int]) -> None:
        """Set the lag gauges from the partitions' end offsets."""
        behind = [max(0, ends.get(part, 0) - p.next_offset) for part, p in self._positions.items()]
        metrics.WINDOWS_LAG.set(sum(behind))
        metrics.WINDOWS_DIRTY.set(len(self._dirty))

    # -- opening --------------------------------------------------------------------------------------------

    async def _open(self, log_ends: Mapping[int, tuple[int, int]] | None = None) -> bool:
        """Connect, take the fence, load the state; False where the database is not there (yet).

        `log_ends` are held against the positions; only fresh ones may be, so a reconnection gives none.
        """
        await self._disconnect()
        try:
            await migrate(self._settings.database_url, self._settings.database_schema)
            self._store = await Store.connect(self._settings.database_url, self._settings.database_schema)
            await self._load(self._store, log_ends or {})
        except _AWAY as e:
            await self._disconnect()
            if not self._waiting:
                log.warning("waiting for the database (CITYFEED_DATABASE_URL): %s", str(e).strip())
            self._waiting = True
            metrics.DATABASE_UP.set(0)
            return False
        self._waiting = False
        metrics.DATABASE_UP.set(1)
        return True

    async def _disconnect(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            await store.close()

    async def _load(self, store: Store, log_ends: Mapping[int, tuple[int, int]]) -> None:
        positions = await store.acquire(self._parts)
        for part, (first, log_end) in log_ends.items():
            _check_against_log(part, positions[part], first, log_end)
        self._positions = positions
        self._tick = {part: position.tick for part, position in positions.items()}
        table = SeriesTable(self._registry)
        mine = {key: number for key, number in (await store.series()).items() if self._part(key) in positions}
        table.add(mine, {key: self._part(key) for key in mine})
        self._load_state(table)
        ids = table.columns["id"]
        newest = await store.newest(ids.tolist())
        slot = self._slots(newest["series"])
        self._windows.restore(slot, reading_end(newest["start"], newest["period_s"]), newest["received"])
        for width_s in ALL_S:
            windows = await store.newest_windows(ids.tolist(), width_s)
            self._windows.restore_closed(self._slots(windows["series"]), width_s, windows["start"] + width_s * 1000)
        marks = await store.marks(list(positions))
        for series, width_s, start, marked, touched in marks:
            mark_slot = int(self._slots(np.array([series]))[0])
            self._dirty.marks[width_s, mark_slot, start] = Mark(marked, touched)
            self._windows.restore_closed(np.array([mark_slot]), width_s, np.array([start + width_s * 1000]))
        self._windows.finish_restore()
        known = np.zeros(len(ids), bool)
        known[slot] = True
        since = self._windows.open_since()[known]
        end = np.full(len(since), 1 << 43)
        self._windows.remember(self._rows(await store.readings_between(ids[known], since, end)))
        async with self._room:
            self._keep_pending([item for item in self._pending if item[1] >= positions[item[0]].next_offset])
        log.info("owner of partitions %s, %d series, %d dirty marks", sorted(positions), len(table), len(marks))

    def _load_state(self, table: SeriesTable) -> None:
        self._table = table
        self._windows = Windows(table)
        self._dirty = DirtyMarks(
            quiet_ms=self._settings.repair_quiet_s * 1000, max_delay_ms=self._settings.repair_max_delay_s * 1000
        )
        self._index_of_id = np.zeros(0, np.int64)

    # -- flushing -------------------------------------------------------------------------------------------

    async def _wait_for_work(self) -> None:
        deadline = self._settings.windows_flush_ms / 1000
        try:
            async with asyncio.timeout(deadline), self._room:
                await self._room.wait_for(lambda: self._pending_readings >= self._settings.windows_flush_readings)
        except TimeoutError:
            pass

    async def _flush(self) -> None:
        """Store what is pending with the windows that it closes. Raises what the store raises."""
        store, items = self._store, list(self._pending)
        if store is None or not items:
            return
        started = time.perf_counter()
        accepted, positions, ticks = self._follow(items)
        async with store.transaction(self._positions):
            if accepted:
                await self._store_readings(store, accepted)
            closed, marks = self._windows.close(ticks)
            for window in closed:
                await self._store_closed(store, window, positions)
            await self._store_marks(store, marks)
            await store.put_positions(positions)
        self._positions, self._tick = positions, ticks
        async with self._room:
            self._keep_pending(self._pending[len(items) :])
        metrics.WINDOWS_FLUSH_S.observe(time.perf_counter() - started)

    def _follow(
        self, items: list[tuple[int, int, Record]]
    ) -> tuple[list[tuple[int, int, Record]], dict[int, Position], dict[int, int]]:
        """The records that follow the chain, and the positions and ticks after them.

        A record is the next one when its `prev_raw` is the raw offset of our last; a lower one is a repeat. Raises
        `GapError` for one that leaves records out.
        """
        positions = {part: Position(**_fields(p)) for part, p in self._positions.items()}
        ticks = dict(self._tick)
        accepted: list[tuple[int, int, Record]] = []
        for part, offset, record in items:
            position = positions[part]
            if offset < position.next_offset:
                continue  # Faust read from an older commit
            position.next_offset = offset + 1
            if position.raw is not None and record.raw <= position.raw:
                metrics.WINDOWS_SKIPPED.inc()
                continue
            if position.raw is not None and record.prev_raw != position.raw:
                raise GapError(
                    f"readings.clean partition {part} offset {offset} follows raw {record.prev_raw}, but the last one"
                    f" stored is raw {position.raw}: records between are missing. Nothing more is stored from this"
                    " partition until someone looks."
                )
            position.raw = record.raw
            if record.tick:
                # Not the maximum: after a gateway's clock was ahead for a while, time goes on from where it is.
                ticks[part] = position.tick = record.tick
            if len(record.readings):
                accepted.append((part, offset, record))
        return accepted, positions, ticks

    async def _store_readings(self, store: Store, accepted: list[tuple[int, int, Record]]) -> None:
        batch = join([record.readings for _, _, record in accepted])
        if unknown := self._table.unknown(batch):
            self._table.add(await store.add_series(unknown), {key: self._part(key) for key in unknown})
        counts = [len(record.readings) for _, _, record in accepted]
        part = np.repeat([part for part, _, _ in accepted], counts)
        position = np.repeat([self._positions[part].at(offset) for part, offset, _ in accepted], counts)
        slot = self._table.slots(batch)
        stored = await store.put_readings(batch, self._table.columns["id"][slot], part, position)
        rows = Rows(
            slot, batch.start, batch.period_s, batch.value, batch.flag, batch.received,
            self._table.span_ms(slot, batch.period_s),
        )  # fmt: skip
        put = stored.new | stored.replaced
        standing = _last_of_each(rows, np.flatnonzero(put))  # of several revs in one flush, only the last is stored
        await self._store_marks(store, self._windows.take(rows.take(standing), rows.take(stored.replaced)))
        metrics.WINDOWS_READINGS.inc(int(stored.new.sum()))
        metrics.WINDOWS_REVISED.inc(int(stored.replaced.sum()))
        metrics.WINDOWS_CONFLICTS.inc(int(stored.conflict.sum()))
        metrics.WINDOWS_REPEATS.inc(int((~put & ~stored.conflict).sum()))

    async def _store_closed(
        self, store: Store, closed: Closed, positions: dict[int, Position], *, repaired: bool = False
    ) -> None:
        columns = self._table.columns[closed.slot]
        out_seq = _number(columns["part"], positions)
        await store.put_windows(
            closed.width_s,
            columns["id"],
            closed.start,
            columns["part"],
            out_seq,
            closed.aggregates,
            expect_new=not repaired,
        )
        counter = metrics.WINDOWS_REPAIRED if repaired else metrics.WINDOWS_CLOSED
        counter.labels(str(closed.width_s)).inc(len(closed.slot))

    async def _store_marks(self, store: Store, marks: list[Marks]) -> None:
        rows = []
        log_ms = self._log_ms()
        for mark in marks:
            for (width_s, slot, start), times in self._dirty.add(mark, log_ms):
                columns = self._table.columns[slot]
                rows.append((int(columns["part"]), int(columns["id"]), width_s, start, times.marked, times.touched))
        await store.put_marks(rows)

    # -- repair ---------------------------------------------------------------------------------------------

    async def _repair(self) -> None:
        """Make due windows again from the stored readings: windows, their marks' deletion, one transaction."""
        store = self._store
        keys = self._dirty.due(self._log_ms(), REPAIR_WINDOWS)
        if store is None or not keys:
            return
        positions = {part: Position(**_fields(p)) for part, p in self._positions.items()}
        done: list[Key] = []
        loaded = 0
        async with store.transaction(positions):
            width_s, slot, start = as_columns(keys)
            for width in np.unique(width_s).tolist():
                of_width = np.flatnonzero(width_s == width)
                for chosen in self._bounded(_by_day(of_width, start), slot, width):
                    if loaded >= REPAIR_READINGS:
                        break
                    loaded += await self._repair_windows(store, width, slot[chosen], start[chosen], positions)
                    done += [keys[i] for i in chosen.tolist()]
            width_s, slot, start = as_columns(done)
            columns = self._table.columns[slot]
            await store.drop_marks(columns["part"], columns["id"], width_s, start)
            await store.put_positions(positions)
        self._positions = positions
        self._dirty.remove(done)

    def _bounded(self, chunks: list[Array], slot: Array, width_s: int) -> list[Array]:
        """Chunks of windows cut so that none loads many more than `REPAIR_READINGS`, by what is expected of each."""
        cut: list[Array] = []
        for chunk in chunks:
            span_s = np.maximum(self._table.columns["rule_span_s"][slot[chunk]], 1)
            number = np.cumsum(width_s // span_s) // REPAIR_READINGS
            cut += [chunk[number == k] for k in np.unique(number)]
        return cut

    async def _repair_windows(
        self, store: Store, width_s: int, slot: Array, start: Array, positions: dict[int, Position]
    ) -> int:
        """Windows of one width and day from the stored readings; gives how many readings were loaded."""
        width = width_s * 1000
        by = self._table.columns["weight"][slot]
        weighed = by >= 0
        load_slot = np.concatenate((slot, by[weighed]))
        load_start = np.concatenate((start, start[weighed]))
        loaded = self._rows(
            await store.readings_between(self._table.columns["id"][load_slot], load_start, load_start + width)
        )
        wanted = np.isin((loaded.slot << 43) + loaded.start // width * width, (slot << 43) + start)
        eligible = loaded.span_ms < width
        rows, among = _distinct_rows(loaded.take(wanted & eligible)), _distinct_rows(loaded.take(eligible))
        if len(rows):
            closed = close_rows(rows, width_s, weights(rows, among, self._table))
            await self._store_closed(store, closed, positions, repaired=True)
        made = np.unique((rows.slot << 43) + rows.start // width * width)
        gone = ~np.isin((slot << 43) + start, made)  # a rev changed the period: no reading is this window's any more
        await store.drop_windows(width_s, self._table.columns["id"][slot[gone]], start[gone])
        return len(loaded)

    # -- small things ---------------------------------------------------------------------------------------

    def _keep_pending(self, items: list[tuple[int, int, Record]]) -> None:
        """These wait for a flush; with `_room` held."""
        self._pending = items
        self._pending_readings = sum(len(record.readings) + 1 for _, _, record in items)
        self._room.notify_all()

    def _part(self, key: tuple[str, str, str]) -> int:
        return partition_of(key[0], key[1], self._settings.kafka_partitions)

    def _log_ms(self) -> int:
        """The log's time: the newest tick."""
        return max(self._tick.values(), default=0)

    def _slots(self, ids: Array) -> Array:
        """Slots of database keys."""
        known = self._table.columns["id"]
        if len(self._index_of_id) <= int(known.max(initial=0)):
            self._index_of_id = np.full(int(known.max(initial=0)) + 1, -1)
        self._index_of_id[known] = np.arange(len(known))
        return self._index_of_id[ids]

    def _rows(self, loaded: Mapping[str, Array]) -> Rows:
        slot = self._slots(loaded["series"])
        return Rows(
            slot, loaded["start"], loaded["period_s"], loaded["value"], loaded["flag"], loaded["received"],
            self._table.span_ms(slot, loaded["period_s"]),
        )  # fmt: skip

    async def _put_registrations(self) -> None:
        """Store what came on the topic `sensors`; one that PostgreSQL can't hold is said and passed over."""
        count = len(self._registrations)
        if self._store is None or not count:
            return
        rows = {
            r.key: (r.dataset, r.sensor, r.valid_from, r.valid_to, r.site.lon, r.site.lat, encode(r).decode())
            for r in self._registrations[:count]
        }
        try:
            await self._store.put_registrations(list(rows.values()))
        except psycopg.DataError:
            for key, row in rows.items():
                try:
                    await self._store.put_registrations([row])
                except psycopg.DataError as e:
                    log.error("the registration %s can't be stored and is passed over: %s", key, str(e).strip())
        del self._registrations[:count]


def _check_against_log(part: int, position: Position, first: int, end: int) -> None:
    """Hold the stored position against what Kafka has: a gap is said, never passed over in silence."""
    if position.next_offset > end:
        log.error(
            "readings.clean partition %d ends at %d, but %d were stored: the log was made anew; going on with its"
            " next epoch",
            part, end, position.next_offset,
        )  # fmt: skip
        position.log_epoch += 1
        position.next_offset, position.raw = first, None
    elif position.next_offset < first:
        log.error(
            "readings.clean partition %d begins at %d, stored is up to %d: %d records are lost; the outage was longer"
            " than CITYFEED_KAFKA_RETENTION_H",
            part, first, position.next_offset, first - position.next_offset,
        )  # fmt: skip
        metrics.WINDOWS_GAPS.inc()
        position.next_offset, position.raw = first, None


def _fields(position: Position) -> dict[str, Any]:
    return {name: getattr(position, name) for name in Position.__slots__}


def _number(part: Array, positions: dict[int, Position]) -> Array:
    """The next `out_seq` of each row, counted per partition."""
    out_seq = np.zeros(len(part), np.int64)
    for p in np.unique(part).tolist():
        rows = np.flatnonzero(part == p)
        out_seq[rows] = positions[p].out_seq + 1 + np.arange(len(rows))
        positions[p].out_seq += len(rows)
    return out_seq


def _by_day(rows: Array, start: Array) -> list[Array]:
    """Row numbers split by UTC day, so that a query finds its readings in one chunk."""
    day = start[rows] // 86_400_000
    return [rows[day == d] for d in np.unique(day)]


def _last_of_each(rows: Rows, chosen: Array) -> Array:
    """Of the chosen row numbers, the last of each (slot, start)."""
    backwards = chosen[::-1]
    _, first = np.unique((rows.slot[backwards] << 43) + rows.start[backwards], return_index=True)
    return np.sort(backwards[first])


def _distinct_rows(rows: Rows) -> Rows:
    """Rows of distinct (slot, start): a range that was asked for twice gives its readings twice."""
    _, first = np.unique((rows.slot << 43) + rows.start, return_index=True)
    return rows.take(first)
