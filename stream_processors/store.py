"""All the SQL that the processors run, except the migrations.

Everything that `windows` writes goes through `Store.transaction()`, under the fence: each partition has an owner
with an epoch, a new owner raises it and ends the backend of the one before, and a transaction of an older epoch
can't commit.
"""

import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg import errors, sql

from schemas import pgcopy
from schemas.errors import FencedError
from schemas.readings import Readings
from stream_processors.aggregates import Aggregates

Array = npt.NDArray[Any]
Key = tuple[str, str, str]

READINGS = {
    "series": "int4", "start": "timestamptz", "period_s": "int4", "value": "float8", "flag": "int2", "tests": "int4",
    "rev": "int4", "origin": "int2", "received": "timestamptz", "part": "int2", "position": "int8",
}  # fmt: skip
_LOADED = {k: READINGS[k] for k in ("series", "start", "period_s", "value", "flag", "received")}
_STATISTICS = ("mean", "min", "max", "std", "p50", "p95", "first", "last", "total", "m2", "weighted", "weight")
_COMPARED = ("n", "n_expected", "coverage", *_STATISTICS, "complete")
_LOCK_TIMEOUT_S = 2
_ANALYZE_FROM = 2_000  # staged rows from which the planner's guess of a temporary table costs more than ANALYZE


@dataclass(slots=True)
class Position:
    """How far a partition is stored; see table `positions`. `raw` None: take any record as the next."""

    next_offset: int
    raw: int | None
    tick: int
    epoch: int
    log_epoch: int
    out_seq: int

    def at(self, offset: int) -> int:
        """The position of a record: one number that only grows."""
        return self.log_epoch << 44 | offset


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of n readings: masks of those stored for the first time, of those that replaced an older rev,
    and of those that conflict with a stored one of the same rev. The others were repeats.
    """

    new: Array
    replaced: Array
    conflict: Array


class Store:
    """One connection; not for use by two tasks at once."""

    def __init__(self, conn: psycopg.AsyncConnection[Any]) -> None:
        self._conn = conn

    @staticmethod
    async def connect(url: str, schema: str) -> "Store":
        """Connect; raises `psycopg.OperationalError` where the database can't be reached."""
        conn = await psycopg.AsyncConnection.connect(url, autocommit=True, connect_timeout=5)
        await conn.execute(sql.SQL("SET search_path TO {}, public").format(sql.Identifier(schema)))
        await conn.execute("SET timezone TO 'UTC'")
        await conn.execute(
            "CREATE TEMPORARY TABLE staged (i integer, series integer, start timestamptz, known_to timestamptz)"
        )
        await conn.execute("CREATE TEMPORARY TABLE staged_windows (LIKE windows)")
        return Store(conn)

    async def close(self) -> None:
        """End the connection."""
        await self._conn.close()

    @contextlib.asynccontextmanager
    async def transaction(self, positions: Mapping[int, Position]) -> AsyncIterator[None]:
        """A transaction under the fence of these partitions. Raises `FencedError` where one has another owner."""
        async with self._conn.transaction():
            rows = await self._conn.execute(
                "SELECT p.part FROM positions p JOIN unnest(%s::smallint[], %s::bigint[]) AS mine (part, epoch)"
                " ON p.part = mine.part AND p.epoch = mine.epoch FOR UPDATE OF p",
                [list(positions), [p.epoch for p in positions.values()]],
            )
            mine = {row[0] for row in await rows.fetchall()}
            if lost := sorted(set(positions) - mine):
                raise FencedError(f"another process owns partition(s) {lost} now")
            yield

    # -- ownership and positions ----------------------------------------------------------------------------

    async def acquire(self, parts: Sequence[int]) -> dict[int, Position]:
        """Become the owner of partitions: raise their epochs, end their old owners' backends.

        An owner that was stopped in mid-COPY holds its locks for ever, so when the lock is not had within
        2 seconds, its backend is ended first (measured: no timeout on its side helps).
        """
        await self._conn.execute(
            "INSERT INTO positions (part) SELECT unnest(%s::smallint[]) ON CONFLICT DO NOTHING", [list(parts)]
        )
        await self._conn.execute(sql.SQL("SET lock_timeout = {}").format(sql.Literal(f"{_LOCK_TIMEOUT_S}s")))
        try:
            old = await self._owners(parts)
            try:
                positions = await self._raise_epochs(parts)
            except errors.LockNotAvailable:
                await self._end(old)
                positions = await self._raise_epochs(parts)
            await self._end(old)
            return positions
        finally:
            await self._conn.execute("SET lock_timeout = 0")

    async def _owners(self, parts: Sequence[int]) -> list[tuple[int, Any]]:
        rows = await self._conn.execute(
            "SELECT DISTINCT owner_pid, owner_started FROM positions WHERE part = ANY(%s) AND owner_pid IS NOT NULL"
            " AND owner_pid <> pg_backend_pid()",
            [list(parts)],
        )
        return await rows.fetchall()

    async def _raise_epochs(self, parts: Sequence[int]) -> dict[int, Position]:
        rows = await self._conn.execute(
            "UPDATE positions SET epoch = epoch + 1, owner_pid = pg_backend_pid(), owner_started ="
            " (SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid())"
            " WHERE part = ANY(%s) RETURNING part, next_offset, raw, tick, epoch, log_epoch, out_seq",
            [list(parts)],
        )
        return {row[0]: Position(*row[1:]) for row in await rows.fetchall()}

    async def _end(self, owners: Iterable[tuple[int, Any]]) -> None:
        for pid, started in owners:
            await self._conn.execute(
                "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity WHERE pid = %s AND backend_start = %s",
                [pid, started],
            )

    async def put_positions(self, positions: Mapping[int, Position]) -> None:
        """Move the positions; inside a transaction, with the data that they stand for."""
        await self._conn.execute(
            "UPDATE positions p SET next_offset = u.next_offset, raw = u.raw, tick = u.tick, log_epoch = u.log_epoch,"
            " out_seq = u.out_seq FROM unnest(%s::smallint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::integer[],"
            " %s::bigint[]) AS u (part, next_offset, raw, tick, log_epoch, out_seq) WHERE p.part = u.part",
            [
                list(positions),
                *(
                    [getattr(p, name) for p in positions.values()]
                    for name in ("next_offset", "raw", "tick", "log_epoch", "out_seq")
                ),
            ],
        )

    # -- series and the registry ----------------------------------------------------------------------------

    async def series(self) -> dict[Key, int]:
        """All series with their keys."""
        rows = await self._conn.execute("SELECT dataset, sensor, metric, id FROM series")
        return {(d, s, m): i for d, s, m, i in await rows.fetchall()}

    async def add_series(self, keys: Sequence[Key]) -> dict[Key, int]:
        """Keys of these series, made where they are new."""
        columns = [list(column) for column in zip(*keys, strict=True)]
        await self._conn.execute(
            "INSERT INTO series (dataset, sensor, metric) SELECT * FROM unnest(%s::text[], %s::text[], %s::text[])"
            " ON CONFLICT DO NOTHING",
            columns,
        )
        rows = await self._conn.execute(
            "SELECT dataset, sensor, metric, id FROM series WHERE (dataset, sensor, metric) IN"
            " (SELECT * FROM unnest(%s::text[], %s::text[], %s::text[]))",
            columns,
        )
        return {(d, s, m): i for d, s, m, i in await rows.fetchall()}

    async def put_registrations(
        self, rows: Sequence[tuple[str, str, int | None, int | None, float | None, float | None, str]]
    ) -> None:
        """Upsert (dataset, sensor, valid_from ms, valid_to ms, lon, lat, body as JSON)."""
        if not rows:
            return
        await self._conn.execute(
            "INSERT INTO registrations (dataset, sensor, valid_from, valid_to, lon, lat, body)"
            " SELECT d, s, coalesce(to_timestamp(f / 1000.0), '-infinity'),"
            " coalesce(to_timestamp(t / 1000.0), 'infinity'), lon, lat, body::jsonb"
            " FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::float8[], %s::float8[], %s::text[])"
            " AS r (d, s, f, t, lon, lat, body) ON CONFLICT (dataset, sensor, valid_from)"
            " DO UPDATE SET valid_to = excluded.valid_to, lon = excluded.lon, lat = excluded.lat, body = excluded.body",
            [list(column) for column in zip(*rows, strict=True)],
        )

    # -- readings -------------------------------------------------------------------------------------------

    async def put_readings(self, batch: Readings, series: Array, part: Array, position: Array) -> Stored:
        """Store n readings; straight in, and only where one is there already by way of a comparison.

        Readings come in the order of the log; `series`, `part`, `position` are columns of length n.
        """
        columns: dict[str, Array] = {name: getattr(batch, name) for name in READINGS if hasattr(batch, name)}
        columns |= {"series": series, "part": part, "position": position}
        n = len(batch)
        everything = np.ones(n, bool)
        nothing = np.zeros(n, bool)
        try:
            async with self._conn.transaction():
                await self._copy_in("readings", {k: (kind, columns[k]) for k, kind in READINGS.items()})
            stored = Stored(everything, nothing, nothing)
        except errors.UniqueViolation:
            stored = await self._put_compared(columns)
        if batch.lon is not None and batch.lat is not None:
            placed = np.isfinite(batch.lon) & np.isfinite(batch.lat) & (stored.new | stored.replaced)
            await self._put_places(series[placed], batch.start[placed], batch.lon[placed], batch.lat[placed])
        return stored

    async def _put_compared(self, columns: dict[str, Any]) -> Stored:
        """Compare with what is stored, one occurrence of a key at a time, for a batch may hold several."""
        n = len(columns["series"])
        stored = Stored(np.zeros(n, bool), np.zeros(n, bool), np.zeros(n, bool))
        for rows in _occurrences(columns["series"], columns["start"]):
            chosen = {name: column[rows] for name, column in columns.items()}
            known = await self._stage(chosen)
            exists = np.zeros(len(rows), bool)
            exists[known["i"]] = True
            newer, same = np.zeros(len(rows), bool), np.zeros(len(rows), bool)
            newer[known["i"]] = chosen["rev"][known["i"]] > known["rev"]
            same[known["i"]] = (chosen["rev"][known["i"]] == known["rev"]) & ~_equal(
                chosen["value"][known["i"]], known["value"]
            )
            if newer.any():
                await self._to_history(np.flatnonzero(newer))
            put = ~exists | newer
            await self._copy_in("readings", {k: (kind, chosen[k][put]) for k, kind in READINGS.items()})
            stored.new[rows], stored.replaced[rows], stored.conflict[rows] = ~exists, newer, same
        return stored

    async def _stage(self, columns: dict[str, Any]) -> dict[str, Array]:
        """Those of the rows whose key is stored: columns i (row), rev and value stored."""
        n = len(columns["series"])
        await self._conn.execute("TRUNCATE staged")
        await self._copy_in(
            "staged",
            {
                "i": ("int4", np.arange(n)),
                "series": ("int4", columns["series"]),
                "start": ("timestamptz", columns["start"]),
                "known_to": ("timestamptz", columns["received"]),
            },
        )
        if n >= _ANALYZE_FROM:
            await self._conn.execute("ANALYZE staged")
        low, high = _timestamp(columns["start"].min()), _timestamp(columns["start"].max())
        return await self._copy_out(
            "SELECT s.i, r.rev, r.value FROM staged s JOIN readings r ON r.series = s.series AND r.start = s.start"
            f" WHERE r.start BETWEEN {low} AND {high}",
            {"i": "int4", "rev": "int4", "value": "float8"},
        )

    async def _to_history(self, rows: Array) -> None:
        names = ", ".join(f"r.{name}" for name in READINGS)
        await self._conn.execute(
            f"INSERT INTO readings_history SELECT {names}, s.known_to FROM readings r JOIN staged s"
            " ON r.series = s.series AND r.start = s.start WHERE s.i = ANY(%s)",
            [rows.tolist()],
        )
        await self._conn.execute(
            "DELETE FROM readings r USING staged s WHERE r.series = s.series AND r.start = s.start AND s.i = ANY(%s)",
            [rows.tolist()],
        )

    async def _put_places(self, series: Array, start: Array, lon: Array, lat: Array) -> None:
        await self._conn.execute(
            "INSERT INTO reading_places SELECT series, to_timestamp(start / 1000.0), lon, lat"
            " FROM unnest(%s::integer[], %s::bigint[], %s::float8[], %s::float8[]) AS p (series, start, lon, lat)"
            " ON CONFLICT (series, start) DO UPDATE SET lon = excluded.lon, lat = excluded.lat",
            [series.tolist(), start.tolist(), lon.tolist(), lat.tolist()],
        )

    async def newest(self, series: Sequence[int]) -> dict[str, Array]:
        """The newest reading of each series: columns series, start, period_s, received (times epoch ms)."""
        ids = sql.Literal(list(series)).as_string(self._conn)
        return await self._copy_out(
            f"SELECT s.id, r.start, r.period_s, r.received FROM unnest({ids}::integer[]) AS s (id), LATERAL"
            " (SELECT start, period_s, received FROM readings WHERE series = s.id ORDER BY start DESC LIMIT 1) r",
            {"series": "int4", "start": "timestamptz", "period_s": "int4", "received": "timestamptz"},
        )

    async def newest_windows(self, series: Sequence[int], width_s: int) -> dict[str, Array]:
        """The newest window of each series: columns series, start (epoch ms)."""
        ids = sql.Literal(list(series)).as_string(self._conn)
        return await self._copy_out(
            f"SELECT s.id, w.start FROM unnest({ids}::integer[]) AS s (id), LATERAL (SELECT start FROM windows"
            f" WHERE series = s.id AND width_s = {width_s:d} ORDER BY start DESC LIMIT 1) w",
            {"series": "int4", "start": "timestamptz"},
        )

    async def readings_between(self, series: Array, begin: Array, end: Array) -> dict[str, Array]:
        """The stored readings of k ranges [begin, end) (epoch ms) of series: columns of `_LOADED`."""
        if not len(series):
            return {name: np.zeros(0, np.int64) for name in _LOADED}
        names = ", ".join(f"r.{name}" for name in _LOADED)
        ranges = ", ".join(
            sql.Literal(column.tolist()).as_string(self._conn) + kind
            for column, kind in ((series, "::integer[]"), (begin, "::bigint[]"), (end, "::bigint[]"))
        )
        return await self._copy_out(
            f"SELECT {names} FROM unnest({ranges}) AS w (series, low, high), LATERAL (SELECT * FROM readings"
            " WHERE series = w.series AND start >= to_timestamp(w.low / 1000.0)"
            " AND start < to_timestamp(w.high / 1000.0)"
            f" AND start >= {_timestamp(begin.min())} AND start < {_timestamp(end.max())}) r",
            _LOADED,
        )

    # -- windows and marks ----------------------------------------------------------------------------------

    async def put_windows(
        self,
        width_s: int,
        series: Array,
        start: Array,
        part: Array,
        out_seq: Array,
        values: Aggregates,
        *,
        expect_new: bool,
    ) -> None:
        """Store G windows of one width. What is stored already and differs moves to the history and gets the next
        rev; what is equal stays. `expect_new`: try straight in first.
        """
        columns: dict[str, tuple[str, Array]] = {
            "series": ("int4", series),
            "width_s": ("int4", np.full(len(series), width_s)),
            "start": ("timestamptz", start),
            "n": ("int4", values.n),
            "n_expected": ("int4", values.n_expected),
            "coverage": ("float8", values.coverage),
            **{name: ("float8", getattr(values, name)) for name in _STATISTICS},
            "complete": ("bool", values.complete),
            "rev": ("int4", np.ones(len(series), np.int64)),
            "part": ("int2", part),
            "out_seq": ("int8", out_seq),
            "published": ("timestamptz", np.full(len(series), await self._transaction_ms())),
        }
        if expect_new:
            try:
                async with self._conn.transaction():
                    await self._copy_windows("windows", columns)
                return
            except errors.UniqueViolation:
                pass
        await self._conn.execute("TRUNCATE staged_windows")
        await self._copy_windows("staged_windows", columns)
        if len(series) >= _ANALYZE_FROM:
            await self._conn.execute("ANALYZE staged_windows")
        await self._revise()

    async def _copy_windows(self, table: str, columns: dict[str, tuple[str, Array]]) -> None:
        no_span = columns["n_expected"][1] < 0
        no_value = columns["n"][1] == 0
        for (without_span, without_value), rows in pgcopy.by_nulls([no_span, no_value]):
            left_out = (("n_expected", "coverage") if without_span else ()) + (_STATISTICS if without_value else ())
            await self._copy_in(
                table, {k: (kind, column[rows]) for k, (kind, column) in columns.items() if k not in left_out}
            )

    async def _revise(self) -> None:
        """Put `staged_windows` into `windows`."""
        ours = ", ".join(f"w.{name}" for name in _COMPARED)
        theirs = ", ".join(f"s.{name}" for name in _COMPARED)
        await self._conn.execute(
            "INSERT INTO windows_history SELECT w.*, s.published FROM windows w JOIN staged_windows s"
            f" USING (series, width_s, start) WHERE ({ours}) IS DISTINCT FROM ({theirs})"
        )
        changes = ", ".join(f"{name} = excluded.{name}" for name in (*_COMPARED, "published", "out_seq"))
        excluded = ", ".join(f"excluded.{name}" for name in _COMPARED)
        stored = ", ".join(f"windows.{name}" for name in _COMPARED)
        await self._conn.execute(
            "INSERT INTO windows SELECT * FROM staged_windows ON CONFLICT (series, width_s, start) DO UPDATE SET"
            f" {changes}, rev = windows.rev + 1 WHERE ({stored}) IS DISTINCT FROM ({excluded})"
        )

    async def drop_windows(self, width_s: int, series: Array, start: Array) -> None:
        """Windows that no stored reading belongs to any more move to the history."""
        if not len(series):
            return
        await self._conn.execute(
            "WITH gone AS (DELETE FROM windows w USING unnest(%s::integer[], %s::bigint[]) AS g (series, start)"
            " WHERE w.series = g.series AND w.width_s = %s AND w.start = to_timestamp(g.start / 1000.0) RETURNING w.*)"
            " INSERT INTO windows_history SELECT gone.*, now() FROM gone",
            [series.tolist(), start.tolist(), width_s],
        )

    async def marks(self, parts: Sequence[int]) -> list[tuple[int, int, int, int, int]]:
        """The dirty marks of partitions: (series, width_s, start epoch ms, marked, touched)."""
        rows = await self._conn.execute(
            "SELECT series, width_s, (extract(epoch FROM start) * 1000)::bigint, marked, touched FROM dirty"
            " WHERE part = ANY(%s)",
            [list(parts)],
        )
        return await rows.fetchall()

    async def put_marks(self, rows: Sequence[tuple[int, int, int, int, int, int]]) -> None:
        """Upsert (part, series, width_s, start epoch ms, marked, touched)."""
        if not rows:
            return
        await self._conn.execute(
            "INSERT INTO dirty SELECT part, series, width_s, to_timestamp(start / 1000.0), marked, touched"
            " FROM unnest(%s::smallint[], %s::integer[], %s::integer[], %s::bigint[], %s::bigint[], %s::bigint[])"
            " AS m (part, series, width_s, start, marked, touched)"
            " ON CONFLICT (part, series, width_s, start) DO UPDATE SET touched = excluded.touched",
            [list(column) for column in zip(*rows, strict=True)],
        )

    async def drop_marks(self, part: Array, series: Array, width_s: Array, start: Array) -> None:
        """Delete marks; in the transaction that stores their windows."""
        await self._conn.execute(
            "DELETE FROM dirty d USING unnest(%s::smallint[], %s::integer[], %s::integer[], %s::bigint[])"
            " AS m (part, series, width_s, start) WHERE d.part = m.part AND d.series = m.series"
            " AND d.width_s = m.width_s AND d.start = to_timestamp(m.start / 1000.0)",
            [part.tolist(), series.tolist(), width_s.tolist(), start.tolist()],
        )

    # -- COPY -----------------------------------------------------------------------------------------------

    async def _transaction_ms(self) -> int:
        rows = await self._conn.execute("SELECT (extract(epoch FROM now()) * 1000)::bigint")
        row = await rows.fetchone()
        return int(row[0]) if row else 0

    async def _copy_in(self, table: str, columns: dict[str, tuple[str, Array]]) -> None:
        if not len(next(iter(columns.values()))[1]):
            return
        statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
            sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
        )
        async with self._conn.cursor() as cursor, cursor.copy(statement) as copy:
            await copy.write(pgcopy.dump(columns))

    async def _copy_out(self, query: str, columns: dict[str, str]) -> dict[str, Array]:
        async with (
            self._conn.cursor() as cursor,
            cursor.copy(f"COPY ({query}) TO STDOUT (FORMAT binary)".encode()) as copy,
        ):
            return pgcopy.load(b"".join([bytes(block) async for block in copy]), columns)


def _occurrences(series: Array, start: Array) -> list[Array]:
    """Row numbers split so that no part has a key twice: first occurrences, second ones, ..."""
    order = np.lexsort((np.arange(len(series)), start, series))
    first = np.ones(len(order), bool)
    first[1:] = (series[order][1:] != series[order][:-1]) | (start[order][1:] != start[order][:-1])
    begin = np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))
    number = np.arange(len(order)) - begin
    return [np.sort(order[number == k]) for k in range(int(number.max(initial=-1)) + 1)]


def _equal(a: Array, b: Array) -> Array:
    equal: Array = (a == b) | (np.isnan(a) & np.isnan(b))
    return equal


def _timestamp(epoch_ms: Any) -> str:
    return f"to_timestamp({int(epoch_ms) / 1000.0!r})"
