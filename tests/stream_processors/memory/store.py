"""The tables in memory, behind the methods of `stream_processors.store.Store`: transactions, the fence, lost links."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import psycopg

from schemas.errors import FencedError
from schemas.readings import Array
from stream_processors.store import MarkRow, OutRecord, Position, Stored
from stream_processors.store import readings as reading_tables
from stream_processors.windows import Closed
from tests.checker.found import StoredReading, StoredWindow
from tests.checker.truth import STATISTICS

Key = tuple[str, str, str]
_READING = tuple(reading_tables.READINGS)
_COMPARED = (*STATISTICS, "complete", "origin")


@dataclass
class Tables:
    """Everything that is stored; rows are never changed in place, so that a copy of the containers is a snapshot."""

    series: dict[Key, int] = field(default_factory=dict)
    readings: dict[tuple[int, int], dict[str, Any]] = field(default_factory=dict)
    readings_history: list[dict[str, Any]] = field(default_factory=list)
    windows: dict[tuple[int, int, int], dict[str, Any]] = field(default_factory=dict)
    windows_history: list[dict[str, Any]] = field(default_factory=list)
    dirty: dict[tuple[int, int, int, int, int], tuple[int, int]] = field(default_factory=dict)
    positions: dict[int, Position] = field(default_factory=dict)
    outbox: dict[tuple[int, int], OutRecord] = field(default_factory=dict)
    gaps: list[Any] = field(default_factory=list)

    def copy(self) -> "Tables":
        """A snapshot."""
        return Tables(**{f.name: getattr(self, f.name).copy() for f in fields(self)})


class MemoryDatabase:
    """The server. `calls_left` counts down to what goes wrong: `at_zero` is awaited, and then, unless it is only a
    pause, the connection is lost; `loses_commit`: the next commit happens, and its caller never hears of it.
    """

    def __init__(self) -> None:
        self.tables = Tables()
        self.owners: dict[int, MemoryStore] = {}
        self.calls_left: int | None = None
        self.at_zero: Callable[[], Awaitable[None]] | None = None
        self.loses_commit = False
        self.now_ms = 1_000_000_000_000

    def connect(self, *_: Any) -> "Awaitable[MemoryStore]":
        """In the place of `Store.connect`."""

        async def connected() -> MemoryStore:
            return MemoryStore(self)

        return connected()

    # -- for the checker --------------------------------------------------------------------------------

    def _name(self, series: int) -> Key:
        return next(key for key, number in self.tables.series.items() if number == series)

    def readings(self) -> list[StoredReading]:
        """As tests.checker reads table `readings`."""
        return [self._reading(row) for row in self.tables.readings.values()]

    def readings_history(self) -> list[StoredReading]:
        """And its history."""
        return [replace(self._reading(row), known_to=row["known_to"]) for row in self.tables.readings_history]

    def _reading(self, row: dict[str, Any]) -> StoredReading:
        return StoredReading(
            (*self._name(row["series"]), row["start"]), row["value"], row["source_rev"], row["rev"], row["flag"],
            row["period_s"], row["received"], row["part"],
        )  # fmt: skip

    def windows(self) -> list[StoredWindow]:
        """As tests.checker reads table `windows`."""
        return [self._window(key, row) for key, row in self.tables.windows.items()]

    def windows_history(self) -> list[StoredWindow]:
        """And its history."""
        return [self._window(row["key"], row) for row in self.tables.windows_history]

    def _window(self, key: tuple[int, int, int], row: dict[str, Any]) -> StoredWindow:
        said = {name: row[name] for name in STATISTICS}
        return StoredWindow((*self._name(key[0]), *key[1:]), said, row["rev"], row["part"], row["out_seq"], row["gone"])


class MemoryStore:
    """One connection; see `stream_processors.store.Store` for what its methods are."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database
        self._before: Tables | None = None  # the snapshot of the transaction under way
        self.is_lost = False
        self.now_ms = 0

    @property
    def _tables(self) -> Tables:
        return self._database.tables

    async def close(self) -> None:
        """End the connection."""
        self.lose()

    def lose(self) -> None:
        """The connection is gone, and what was not committed with it."""
        self.is_lost = True
        if self._before is not None:
            self._database.tables, self._before = self._before, None

    async def _call(self) -> None:
        database = self._database
        if database.calls_left is not None:
            database.calls_left -= 1
            if database.calls_left < 0:
                database.calls_left, at_zero = None, database.at_zero
                if at_zero is None:
                    self.lose()
                else:
                    await at_zero()
        if self.is_lost:
            raise psycopg.OperationalError("the connection is lost")

    @contextlib.asynccontextmanager
    async def transaction(self, positions: Mapping[int, Position]) -> AsyncIterator[None]:
        await self._call()
        self._before = self._tables.copy()
        self._database.now_ms += 1
        self.now_ms = self._database.now_ms
        try:
            self.check_fence(positions)
            yield
            await self._call()
        except BaseException:
            if self._before is not None:
                self._database.tables, self._before = self._before, None
            raise
        self._before = None
        if self._database.loses_commit:
            self._database.loses_commit = False
            self.lose()
            raise psycopg.OperationalError("the connection was lost while it committed")

    def check_fence(self, positions: Mapping[int, Position]) -> None:
        """Raises `FencedError` where a partition has another owner."""
        stored = self._tables.positions
        if lost := [part for part, p in positions.items() if stored[part].epoch != p.epoch]:
            raise FencedError(f"another process owns {lost}")

    # -- ownership --------------------------------------------------------------------------------------

    async def acquire(self, parts: Sequence[int]) -> dict[int, Position]:
        await self._call()
        for part in parts:
            self.end_owner(part)
            position = self._tables.positions.get(part) or Position(0, -1, 0, 0, 0, 0, 0)
            self._tables.positions[part] = replace(position, epoch=position.epoch + 1)
            self._database.owners[part] = self
        return {part: self._tables.positions[part].copy() for part in parts}

    def end_owner(self, part: int) -> None:
        """What pg_terminate_backend does."""
        owner = self._database.owners.get(part)
        if owner is not None and owner is not self:
            owner.lose()

    async def put_positions(self, positions: Mapping[int, Position]) -> None:
        await self._call()
        for part, position in positions.items():
            epoch = self._tables.positions[part].epoch
            self._tables.positions[part] = replace(position, epoch=epoch)

    async def put_log_gaps(self, gaps: Iterable[Any]) -> None:
        self._tables.gaps.extend(gaps)

    # -- series -----------------------------------------------------------------------------------------

    async def series(self) -> dict[Key, int]:
        await self._call()
        return dict(self._tables.series)

    async def add_series(self, keys: Sequence[Key]) -> dict[Key, int]:
        await self._call()
        for key in keys:
            self._tables.series.setdefault(key, len(self._tables.series) + 1)
        return {key: self._tables.series[key] for key in keys}

    async def put_registrations(self, rows: Sequence[Any]) -> None:
        await self._call()

    async def newest_registrations(self, sensors: Sequence[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
        await self._call()
        return {}

    # -- readings ---------------------------------------------------------------------------------------

    async def put_readings(self, columns: Mapping[str, Array]) -> Stored:
        await self._call()
        n = len(columns["series"])
        stored = Stored(*(np.zeros(n, bool) for _ in range(5)))
        for rows in reading_tables._occurrences(columns["series"], columns["start"]):
            chosen: dict[str, Any] = {name: columns[name][rows] for name in _READING}
            keys = list(zip(chosen["series"].tolist(), chosen["start"].tolist(), strict=True))
            there = [i for i, key in enumerate(keys) if key in self._tables.readings]
            known: dict[str, Any] = {"i": np.array(there, np.int64)}
            for name in reading_tables._KNOWN:
                known[name] = np.array([self._tables.readings[keys[i]][name] for i in there])
            replaces, amends, conflicts, unsure = reading_tables._compare(chosen, known)
            exists = np.zeros(len(rows), bool)
            exists[there] = True
            for i in np.flatnonzero(~exists | replaces).tolist():
                if exists[i]:
                    old = self._tables.readings[keys[i]]
                    self._tables.readings_history.append(old | {"known_to": chosen["received"][i].item()})
                self._tables.readings[keys[i]] = {name: chosen[name][i].item() for name in _READING}
            stored.new[rows], stored.replaced[rows], stored.amended[rows] = ~exists, replaces, amends
            stored.conflict[rows], stored.unsure[rows] = conflicts, unsure
        return stored

    async def readings_around(self, series: Array, begin: Array, end: Array, keep: Array) -> dict[str, Array]:
        await self._call()
        rows: list[dict[str, Any]] = []
        for s, low, high, k in zip(series.tolist(), begin.tolist(), end.tolist(), keep.tolist(), strict=True):
            of = [row for (number, _), row in sorted(self._tables.readings.items()) if number == s]
            rows += [row for row in of if row["start"] < low][-k - 1 :]
            rows += [row for row in of if low <= row["start"] < high]
            rows += [row for row in of if row["start"] >= high][: k + 1]
        return _columns(rows, tuple(reading_tables.JUDGED))

    async def put_judged(self, columns: Mapping[str, Array]) -> None:
        await self._call()
        said = {name: columns[name].tolist() for name in ("flag", "tests", "rev")}
        for i, key in enumerate(zip(columns["series"].tolist(), columns["start"].tolist(), strict=True)):
            old = self._tables.readings[key]
            self._tables.readings_history.append(old | {"known_to": self.now_ms})
            self._tables.readings[key] = old | {name: values[i] for name, values in said.items()}

    async def newest(self, series: Sequence[int]) -> dict[str, Array]:
        await self._call()
        rows = {s: r for (s, _), r in sorted(self._tables.readings.items()) if s in set(series)}
        return _columns(rows.values(), ("series", "start", "period_s", "received"))

    async def readings_between(self, series: Array, begin: Array, end: Array) -> dict[str, Array]:
        await self._call()
        ranges = list(zip(series.tolist(), begin.tolist(), end.tolist(), strict=True))
        rows = [
            row for s, low, high in ranges for (of, start), row in sorted(self._tables.readings.items())
            if of == s and low <= start < high
        ]  # fmt: skip
        return _columns(rows, tuple(reading_tables._LOADED))

    # -- windows and marks ------------------------------------------------------------------------------

    async def put_windows(
        self, closed: Closed, series: Array, part: Array, out_seq: Array, *, expect_new: bool
    ) -> tuple[Array, Array]:
        await self._call()
        changed, revs = [], []
        for i in range(len(series)):
            said = {name: _or_none(name, getattr(closed.aggregates, name)[i].item()) for name in _COMPARED[:-1]}
            said |= {"origin": int(closed.origin[i]), "gone": closed.gone}
            key = (int(series[i]), closed.width_s, int(closed.start[i]))
            known = self._tables.windows.get(key)
            if (known is None and closed.gone) or (known is not None and all(known[k] == v for k, v in said.items())):
                continue
            if known is not None:
                self._tables.windows_history.append(known | {"key": key, "known_to": self.now_ms})
            rev = 1 if known is None else known["rev"] + 1
            self._tables.windows[key] = said | {"rev": rev, "part": int(part[i]), "out_seq": int(out_seq[i])}
            changed.append(i)
            revs.append(rev)
        return np.array(changed, np.int64), np.array(revs, np.int64)

    async def newest_windows(self, series: Sequence[int], width_s: int) -> dict[str, Array]:
        await self._call()
        newest: dict[int, int] = {}
        for of, width, start in self._tables.windows:
            if of in set(series) and width == width_s:
                newest[of] = max(start, newest.get(of, start))
        return _columns([{"series": of, "start": start} for of, start in newest.items()], ("series", "start"))

    async def marks(self, parts: Sequence[int]) -> list[MarkRow]:
        await self._call()
        return [(*key, *times) for key, times in self._tables.dirty.items() if key[0] in parts]

    async def put_marks(self, rows: Sequence[MarkRow]) -> None:
        await self._call()
        for *key, marked, touched in rows:
            first = self._tables.dirty.get(tuple(key), (marked, touched))[0]
            self._tables.dirty[tuple(key)] = (first, touched)

    async def drop_marks(self, kind: int, part: Array, series: Array, width_s: Array, start: Array) -> None:
        await self._call()
        for p, s, w, t in zip(part.tolist(), series.tolist(), width_s.tolist(), start.tolist(), strict=True):
            self._tables.dirty.pop((p, int(kind), s, w, t), None)

    # -- verdicts: no sensor of the world has a place, and there are no detectors ---------------------------

    async def put_verdicts_due(self, rows: Sequence[Any]) -> None:
        await self._call()
        assert not rows

    async def verdicts_due(self, parts: Sequence[int], log_ms: int, limit: int) -> list[Any]:
        await self._call()
        return []

    # -- outbox -----------------------------------------------------------------------------------------

    async def put_outbox(self, records: Sequence[OutRecord]) -> None:
        await self._call()
        for record in records:
            assert (record.part, record.out_seq) not in self._tables.outbox, "the primary key"
            self._tables.outbox[record.part, record.out_seq] = record

    async def drop_outbox(self, sent: Mapping[int, int]) -> None:
        await self._call()
        for part, seq in list(self._tables.outbox):
            if seq <= sent.get(part, -1):
                del self._tables.outbox[part, seq]

    async def outbox_after(self, part: int, out_seq: int, limit: int) -> list[OutRecord]:
        await self._call()
        return [r for (p, seq), r in sorted(self._tables.outbox.items()) if p == part and seq > out_seq][:limit]

    async def outbox_size(self, parts: Sequence[int]) -> int:
        return sum(part in parts for part, _ in self._tables.outbox)


def _or_none(name: str, value: Any) -> Any:
    return None if value != value or (name == "n_expected" and value < 0) else value


def _columns(rows: Iterable[dict[str, Any]], names: tuple[str, ...]) -> dict[str, Array]:
    found = list(rows)
    kinds = {"value": float}
    return {name: np.array([row[name] for row in found], kinds.get(name, np.int64)) for name in names}
