"""The role `windows`: clean records in, one fenced transaction per flush out.

Records wait in `_pending` until a flush; when it is full, `take` waits, so Faust's buffers fill and its fetcher
stops: nothing is dropped. While the database is away the flush is tried again for ever with the same records,
after the state was loaded anew, for nobody knows whether the lost transaction was committed. While Kafka takes no
published rows they gather in table `outbox`, up to `outbox_rows`; then nothing is stored that would add to them.
"""

import asyncio
import logging
import time
import zlib
from collections.abc import Mapping

import psycopg

from schemas import wire
from schemas.errors import PipelineError
from schemas.registry import Registration, Registry
from schemas.settings import Settings
from stream_processors import metrics
from stream_processors.chain import Item
from stream_processors.correct import begin_corrections
from stream_processors.flush import flush
from stream_processors.migrations import migrate
from stream_processors.outbox import READ_RECORDS, Outbox
from stream_processors.owner import Owner
from stream_processors.registering import register
from stream_processors.reindex import reindex
from stream_processors.rejudge import rejudge
from stream_processors.remake import remake
from stream_processors.series import NEVER_MS
from stream_processors.store import Store
from stream_processors.verdicts import answer
from stream_processors.windows_start import hold_against_logs

log = logging.getLogger(__name__)

MOST_UNDRAINED = 20
"""Flushes of a backlog after which marks are drained all the same."""
_RETRY_S = 0.5
_AWAY = (psycopg.OperationalError, psycopg.InterfaceError, OSError)  # TimeoutError is an OSError
_LAST_FLUSH_S = 5.0  # partitions are given up after this even if the database did not take the last flush


class WindowsRole:
    """Owns the partitions that Kafka's group gives it; see the module's docstring."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings = settings
        self._registry = registry
        self._outbox = Outbox(settings)
        self._owner = Owner(settings, registry, self._outbox)
        self._store: Store | None = None
        self._parts: list[int] = []
        self._generation = 0
        self._waiting = False  # for the database, and it was said
        self._held_up = False  # by rows that Kafka does not take, and it was said
        self._pending: list[Item] = []
        self._pending_readings = 0
        self._undrained = 0  # flushes since marks were drained
        self._answered_ms = NEVER_MS  # log time of the last look at the verdicts that are due
        self._room = asyncio.Condition()
        self._lock = asyncio.Lock()  # one flush at a time, none while partitions change hands
        self._registrations: list[Registration] = []

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
                    return self.committed()
            await asyncio.sleep(_RETRY_S)
        return {}

    async def revoke(self) -> None:
        """Store what is pending, if the database takes it at once, and give all partitions up."""
        self._generation += 1
        async with self._lock:
            if self._store is not None and self._owner.positions:
                try:
                    async with asyncio.timeout(_LAST_FLUSH_S):
                        await self._flush(self._store)
                except (*_AWAY, PipelineError) as e:
                    log.warning("partitions are given up with records pending, the next owner takes them: %s", e)
            self._owner.give_up()
            async with self._room:
                self._keep_pending([])

    async def take(self, part: int, offset: int, value: bytes) -> None:
        """Take one clean record; waits while there is no room."""
        generation = self._generation
        async with self._room:
            bound = 2 * self._settings.windows_flush_readings
            await self._room.wait_for(lambda: self._pending_readings < bound or generation != self._generation)
            if generation != self._generation or part not in self._owner.positions:
                return  # the partition went to another owner while this waited
            record = wire.decode(value)
            self._pending.append(Item(part, offset, record, zlib.crc32(value)))
            self._pending_readings += len(record.readings) + 1  # ticks count too: bounded in records as well
            if self._pending_readings >= self._settings.windows_flush_readings:
                self._room.notify_all()

    async def run(self) -> None:
        """Flush by time and size, for ever, and send what was published."""
        await asyncio.gather(self._outbox.run(), self._run())

    async def _run(self) -> None:
        while True:
            await self._wait_for_work()
            async with self._lock:
                went_well = not self._owner.positions or await self._work()
            if not went_well:
                await asyncio.sleep(_RETRY_S)

    async def _work(self) -> bool:
        """One round; False where the database is away. What it refuses for good is raised: the process ends."""
        try:
            if self._store is None and not await self._open():
                return False
            assert self._store is not None
            if not self._is_held_up():
                await self._store_what_came(self._store)
            await self._refill(self._store)
        except _AWAY as e:
            log.warning("the database did not take a flush, trying again: %s", str(e).strip())
            await self._disconnect()
            return False
        return True

    async def _store_what_came(self, store: Store) -> None:
        await self._put_registrations(store)
        await self._flush(store)
        if self._is_time_to_drain():
            await rejudge(self._owner, store)
            await remake(self._owner, store)
            await reindex(self._owner, store)
            await self._answer(store)

    def _is_held_up(self) -> bool:
        """Whether as many published rows wait for Kafka as may. Numbers have holes, so they count only where the memory
        is full, too.
        """
        waiting = self._unpublished() if self._outbox.is_full else 0
        held_up = waiting >= self._settings.outbox_rows
        if held_up and not self._held_up:
            log.warning(
                "Kafka takes no published rows: %d wait in the database, and nothing more is stored until it does"
                " (CITYFEED_OUTBOX_ROWS)", waiting,
            )  # fmt: skip
        self._held_up = held_up
        return held_up

    def _unpublished(self) -> int:
        return self._outbox.backlog({part: p.out_seq for part, p in self._owner.positions.items()})

    async def _answer(self, store: Store) -> None:
        """Give the verdicts that are due: once for each tick, and as long as there are more."""
        log_ms = self._owner.log_ms()
        if log_ms != self._answered_ms:
            self._answered_ms = NEVER_MS if await answer(self._owner, store) else log_ms

    def _is_time_to_drain(self) -> bool:
        """Marks wait while a backlog does, for what it holds would mark the same windows again; but not for ever."""
        busy = self._pending_readings >= self._settings.windows_flush_readings
        self._undrained = self._undrained + 1 if busy and self._undrained < MOST_UNDRAINED else 0
        return self._undrained == 0

    async def stop(self) -> None:
        """Store what is pending and close the connection."""
        await self.revoke()
        await self._disconnect()

    def register(self, registrations: list[Registration]) -> None:
        """Registrations came on the topic `sensors`: for the tables, and for periods."""
        self._registrations += registrations
        self._owner.table.refresh()

    def committed(self) -> dict[int, int]:
        """The next offset of each partition that is safe in the database."""
        return {part: position.next_offset for part, position in self._owner.positions.items()}

    def measure_lag(self, ends: Mapping[int, int]) -> None:
        """Set the lag gauges from the partitions' end offsets."""
        behind = [max(0, ends.get(part, 0) - p.next_offset) for part, p in self._owner.positions.items()]
        metrics.WINDOWS_LAG.set(sum(behind))
        metrics.WINDOWS_DIRTY.set(len(self._owner.dirty))
        metrics.OUTBOX.set(self._unpublished())
        metrics.WINDOWS_LOG_TIME.set(min(self._owner.ticks.values(), default=0) / 1000)
        metrics.WINDOWS_WATERMARK.set(max(0, int(self._owner.windows.watermark.max(initial=0))) / 1000)

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
        if log_ends:
            await hold_against_logs(self._settings, store, positions, log_ends)
        await self._owner.load(store, positions)
        if any(dataset.corrections for dataset in self._owner.registry.datasets.values()):
            async with store.transaction(positions):
                begun = await begin_corrections(self._owner, store)
            if begun:
                await self._owner.load(store, positions)
        self._registrations = list(self._registry.everything())  # of partitions that were another's, too
        async with self._room:
            self._keep_pending([item for item in self._pending if item.offset >= positions[item.part].next_offset])

    # -- flushing -------------------------------------------------------------------------------------------

    async def _wait_for_work(self) -> None:
        deadline = self._settings.windows_flush_ms / 1000
        try:
            async with asyncio.timeout(deadline), self._room:
                await self._room.wait_for(lambda: self._pending_readings >= self._settings.windows_flush_readings)
        except TimeoutError:
            pass

    async def _flush(self, store: Store) -> None:
        """Store what is pending with the windows that it closes. Raises what the store raises."""
        items = list(self._pending)
        if not items and not self._owner.has_sent():
            return
        started = time.perf_counter()
        await flush(self._owner, store, items)
        async with self._room:
            self._keep_pending(self._pending[len(items) :])
        metrics.WINDOWS_FLUSH_S.observe(time.perf_counter() - started)

    async def _refill(self, store: Store) -> None:
        """Give the outbox what it does not have in memory."""
        for part, after in self._outbox.wanted():
            self._outbox.refill(part, await store.outbox_after(part, after, READ_RECORDS))

    def _keep_pending(self, items: list[Item]) -> None:
        """These wait for a flush; with `_room` held."""
        self._pending = items
        self._pending_readings = sum(len(item.record.readings) + 1 for item in items)
        self._room.notify_all()

    async def _put_registrations(self, store: Store) -> None:
        """Store what came on the topic `sensors`, of sensors in the partitions owned."""
        count = len(self._registrations)
        if not count:
            return
        await register(self._owner, store, self._registrations[:count])
        del self._registrations[:count]
