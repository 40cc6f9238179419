"""What a process holds of the partitions that it owns: state loaded from the database, and one way to change both.

    async with owner.transaction(store) as work:
        ...                                     store, move work.positions, publish through work.outgoing

At the end of the block records to publish, positions and everything else are committed together; the state in memory
moves after the commit. Where it fails nobody knows whether it was committed: the state is to be loaded anew.
"""

import contextlib
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas.neighbours import Places
from schemas.published import Texts
from schemas.readings import Array
from schemas.registry import Registry
from schemas.settings import Settings
from schemas.topics import WINDOWS, partition_of
from stream_processors import metrics
from stream_processors.outbox import Outbox
from stream_processors.outgoing import Outgoing, names_of
from stream_processors.repair import DirtyMarks, Mark
from stream_processors.series import Key, Rows, SeriesTable
from stream_processors.store import IndexKey, MarkRow, Position, Store
from stream_processors.windows import ALL_S, Closed, Kind, Marks, Windows, reading_end

log = logging.getLogger(__name__)

HOUR_S, QUARTER_S = 3600, 900  # what indices are made of


class Owner:
    """State of the partitions that are owned; empty until `load`."""

    def __init__(self, settings: Settings, registry: Registry, outbox: Outbox) -> None:
        self.settings = settings
        self.registry = registry
        self.outbox = outbox
        self.positions: dict[int, Position] = {}
        self.ticks: dict[int, int] = {}
        self._begin(SeriesTable(registry))

    def _begin(self, table: SeriesTable) -> None:
        self.table = table
        self.windows = Windows(table)
        self.dirty = DirtyMarks(
            quiet_ms=self.settings.repair_quiet_s * 1000, max_delay_ms=self.settings.repair_max_delay_s * 1000
        )
        self._slot_of_id = np.zeros(0, np.int64)
        self._places: dict[str, Places] = {}
        self._reach_m: dict[tuple[str, str], float] = {}
        self._places_of = -1  # the registry's `changes` that these two were made of
        self.index_series: dict[IndexKey, int] = {}

    async def load(self, store: Store, positions: dict[int, Position]) -> None:
        """Take up what is stored of these partitions: open windows, marks, and what was not published."""
        self.positions = positions
        self.ticks = {part: position.tick for part, position in positions.items()}
        self.outbox.own({part: position.published_seq for part, position in positions.items()})
        table = SeriesTable(self.registry)
        mine = {key: number for key, number in (await store.series()).items() if self.part(key) in positions}
        table.add(mine, {key: self.part(key) for key in mine})
        self._begin(table)
        ids = table.columns["id"]
        newest = await store.newest(ids.tolist())
        slot = self.slots(newest["series"])
        end = reading_end(newest["start"], newest["period_s"])
        self.windows.restore(slot, newest["start"], end, newest["received"])
        for width_s in ALL_S:
            windows = await store.newest_windows(ids.tolist(), width_s)
            self.windows.restore_closed(self.slots(windows["series"]), width_s, windows["start"] + width_s * 1000)
        marks = await store.marks(list(positions))
        for _, kind, series, width_s, start, marked, touched in marks:
            mark_slot = self.slots(np.array([series]))
            self.dirty.marks[kind, width_s, int(mark_slot[0]), start] = Mark(marked, touched)
            if kind == Kind.WINDOW:
                self.windows.restore_closed(mark_slot, width_s, np.array([start + width_s * 1000]))
        self.windows.finish_restore()
        known = np.zeros(len(ids), bool)
        known[slot] = True
        since = self.windows.open_since()[known]
        end = np.full(len(since), 1 << 43)
        self.windows.remember(self.rows(await store.readings_between(ids[known], since, end)))
        log.info("owner of partitions %s, %d series, %d dirty marks", sorted(positions), len(table), len(marks))

    def give_up(self) -> None:
        """Own nothing."""
        self.positions = {}
        self.outbox.own({})

    @contextlib.asynccontextmanager
    async def transaction(self, store: Store) -> AsyncIterator["Work"]:
        """A transaction under the fence; see the module's docstring. Raises what the store raises."""
        positions = {part: position.copy() for part, position in self.positions.items()}
        sent = self._sent()
        async with store.transaction(positions):
            work = Work(self, store, positions, Outgoing(positions))
            yield work
            await store.put_outbox(work.outgoing.records)
            await store.drop_outbox(sent)
            for part, seq in sent.items():
                work.positions[part].published_seq = seq
            await store.put_positions(work.positions)
        self.positions = work.positions
        self.outbox.offer(work.outgoing.records)

    def has_sent(self) -> bool:
        """Whether Kafka has rows of which the database does not know it."""
        return bool(self._sent())

    def _sent(self) -> dict[int, int]:
        sent = self.outbox.sent()
        return {part: seq for part, seq in sent.items() if seq > self.positions[part].published_seq}

    # -- looking up -----------------------------------------------------------------------------------------

    def part(self, key: Key) -> int:
        """The partition of a series."""
        return partition_of(key[0], key[1], self.settings.kafka_partitions)

    def log_ms(self) -> int:
        """The log's time: the newest tick."""
        return max(self.ticks.values(), default=0)

    def slots(self, ids: Array) -> Array:
        """Slots of database keys."""
        known = self.table.columns["id"]
        if len(self._slot_of_id) <= int(known.max(initial=0)):
            self._slot_of_id = np.full(int(known.max(initial=0)) + 1, -1)
        self._slot_of_id[known] = np.arange(len(known))
        return self._slot_of_id[ids]

    def places(self, dataset: str) -> Places:
        """Where the sensors of a dataset stand."""
        self._forget_old_places()
        if dataset not in self._places:
            self._places[dataset] = Places(self.registry, dataset)
        return self._places[dataset]

    def reach_m(self, dataset: str, metric: str) -> float:
        """The longest radius within which a sensor of the dataset compares this metric; 0: none does."""
        self._forget_old_places()
        if (dataset, metric) not in self._reach_m:
            sensors = ("", *self.registry.sensors(dataset))
            limits = [self.registry.rule(dataset, sensor, metric).metric.neighbours for sensor in sensors]
            self._reach_m[dataset, metric] = max((one.radius_m for one in limits if one is not None), default=0.0)
        return self._reach_m[dataset, metric]

    def _forget_old_places(self) -> None:
        if self._places_of != self.registry.changes:
            self._places, self._reach_m, self._places_of = {}, {}, self.registry.changes

    def rows(self, loaded: Mapping[str, Array]) -> Rows:
        """Stored readings as the windows know them."""
        slot = self.slots(loaded["series"])
        return Rows(
            slot, loaded["start"], loaded["period_s"], loaded["value"], loaded["flag"], loaded["received"],
            self.table.span_ms(slot, loaded["period_s"]), loaded["origin"],
        )  # fmt: skip


@dataclass
class Work:
    """A transaction under way: where to store, the positions after it, what it publishes."""

    owner: Owner
    store: Store
    positions: dict[int, Position]
    outgoing: Outgoing

    async def put_closed(self, closed: Closed, *, expect_new: bool) -> None:
        """Store windows of one width and publish those that are new or changed."""
        columns = self.owner.table.columns[closed.slot]
        part = columns["part"]
        out_seq = self.outgoing.number(part)
        changed, rev = await self.store.put_windows(closed, columns["id"], part, out_seq, expect_new=expect_new)
        if len(changed):
            self.outgoing.add(WINDOWS, part[changed], self._published(closed, changed, rev, out_seq[changed]))
            slot, start = closed.slot[changed], closed.start[changed]
            await self.put_marks(index_marks(self.owner.table, closed.width_s, slot, start))

    def _published(self, closed: Closed, rows: Array, rev: Array, out_seq: Array) -> "dict[str, Array | Texts]":
        n = len(rows)
        values = closed.aggregates
        statistics = ("n", "n_expected", "coverage", "mean", "min", "max", "std", "p50", "p95", "first", "last")
        columns: dict[str, npt.NDArray[np.generic] | Texts] = {
            **names_of(self.owner.table.keys, closed.slot[rows]),
            "width_s": np.full(n, closed.width_s),
            "start": closed.start[rows],
            **{name: getattr(values, name)[rows] for name in statistics},
            "complete": values.complete[rows],
            "gone": np.full(n, closed.gone),
            "rev": rev,
            "origin": closed.origin[rows],
            "published": np.full(n, self.store.now_ms),
            "out_seq": out_seq,
        }
        return columns

    async def put_marks(self, marks: Sequence[Marks]) -> None:
        """Keep marks in memory and in the table."""
        rows: list[MarkRow] = []
        log_ms = self.owner.log_ms()
        for mark in marks:
            for (kind, width_s, slot, start), times in self.owner.dirty.add(mark, log_ms):
                of = self.owner.table.columns[slot]
                rows.append((int(of["part"]), kind, int(of["id"]), width_s, start, times.marked, times.touched))
        await self.store.put_marks(rows)


def index_marks(table: SeriesTable, width_s: int, slot: Array, start: Array) -> list[Marks]:
    """Marks of the hours that changed with windows, or readings, of these series, where indices are made of them."""
    column = {HOUR_S: "feeds_index", QUARTER_S: "feeds_quarters"}.get(width_s)
    feeds = table.columns[column][slot] if column else np.zeros(0, bool)
    if not feeds.any():
        return []
    return [Marks(HOUR_S, slot[feeds], start[feeds] // (HOUR_S * 1000) * (HOUR_S * 1000), True, Kind.INDEX)]


def count_closed(closed: Closed, *, repaired: bool) -> None:
    """For the metrics."""
    counter = metrics.WINDOWS_REPAIRED if repaired else metrics.WINDOWS_CLOSED
    counter.labels(str(closed.width_s)).inc(len(closed.slot))
