"""One connection: COPY to and from columns, and transactions under the fence.

Everything that `windows` writes goes through `transaction`: each partition has an owner with an epoch, a new owner
raises it and ends the backend of the one before, and a transaction of an older epoch can't commit.
"""

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy.typing as npt
import psycopg
from psycopg import sql

from schemas import pgbinary
from schemas.errors import FencedError
from stream_processors.log_check import join

Array = npt.NDArray[Any]

ANALYZE_FROM = 2_000  # staged rows from which the planner's guess of a temporary table costs more than ANALYZE


@dataclass(slots=True)
class Position:
    """How far a partition is stored; see table `positions`. `raw` None: take any record as the next; `crc` None: the
    record before `next_offset` is not known.
    """

    next_offset: int
    raw: int | None
    tick: int
    epoch: int
    log_epoch: int
    out_seq: int
    published_seq: int
    crc: int | None = None

    def at(self, offset: int) -> int:
        """The position of a record: one number that only grows."""
        return join(self.log_epoch, offset)

    def follow(self, other: "Position") -> None:
        """Go where another position is in the log; numbers of published rows stay."""
        self.next_offset, self.raw, self.tick, self.crc = other.next_offset, other.raw, other.tick, other.crc

    def copy(self) -> "Position":
        """Another one like this."""
        return replace(self)


class Database:
    """One connection; not for use by two tasks at once. Its schema is the first of the search path."""

    def __init__(self, conn: psycopg.AsyncConnection[Any]) -> None:
        self._conn = conn
        self.now_ms = 0  # of the transaction under way: epoch ms, as PostgreSQL's now()

    async def close(self) -> None:
        """End the connection."""
        await self._conn.close()

    @contextlib.asynccontextmanager
    async def transaction(self, positions: Mapping[int, Position]) -> AsyncIterator[None]:
        """A transaction under the fence of these partitions. Raises `FencedError` where one has another owner."""
        async with self._conn.transaction():
            found = await self._conn.execute(
                "SELECT p.part, (extract(epoch FROM now()) * 1000)::bigint FROM positions p"
                " JOIN unnest(%s::smallint[], %s::bigint[]) AS mine (part, epoch)"
                " ON p.part = mine.part AND p.epoch = mine.epoch FOR UPDATE OF p",
                [list(positions), [p.epoch for p in positions.values()]],
            )
            rows = await found.fetchall()
            if lost := sorted(set(positions) - {part for part, _ in rows}):
                raise FencedError(f"another process owns partition(s) {lost} now")
            self.now_ms = int(rows[0][1]) if rows else 0
            yield

    async def copy_in(self, table: str, columns: dict[str, tuple[str, Array]]) -> None:
        """COPY columns {name: (kind, values)} of one length into a table."""
        if not len(next(iter(columns.values()))[1]):
            return
        statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
            sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
        )
        async with self._conn.cursor() as cursor, cursor.copy(statement) as copy:
            await copy.write(pgbinary.dump(columns))

    async def columns(self, query: str, kinds: Mapping[str, str]) -> dict[str, Array]:
        """The rows of a query, which gives no nulls, as columns {name: kind}."""
        aggregates = ", ".join(f"array_agg({name})" for name in kinds)
        async with self._conn.cursor(binary=True) as cursor:
            statement = f"SELECT {aggregates} FROM ({query}) AS q ({', '.join(kinds)})"
            await cursor.execute(statement.encode(), prepare=False)  # long, and never the same again
            result = cursor.pgresult
            assert result is not None
            return {name: pgbinary.load(result.get_value(0, i), kind) for i, (name, kind) in enumerate(kinds.items())}

    def arrays(self, *columns: tuple[Array, str]) -> str:
        """Columns of (values, type) as SQL for `unnest`."""
        literals = (sql.Literal(values.tolist()).as_string(self._conn) + f"::{kind}[]" for values, kind in columns)
        return ", ".join(literals)


def timestamp(epoch_ms: Any) -> str:
    """A moment as SQL."""
    return f"to_timestamp({int(epoch_ms) / 1000.0!r})"
