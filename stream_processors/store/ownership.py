"""Who owns which partition, and how far each is stored."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import errors, sql

from stream_processors import metrics
from stream_processors.store.database import Database, Position

_LOCK_TIMEOUT_S = 2


@dataclass(frozen=True, slots=True)
class LogGap:
    """A row of `log_gaps`: records of a topic from `first_lost` up to `next_offset` are lost, or a new log began.
    `until_ms` is the log time of the first record after it, None where there is none yet.
    """

    topic: str
    part: int
    log_epoch: int
    first_lost: int
    next_offset: int
    reason: str
    until_ms: int | None = None


class OwnershipTables(Database):
    """Tables `positions` and `log_gaps`."""

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
            " WHERE part = ANY(%s) RETURNING part, next_offset, raw, tick, epoch, log_epoch, out_seq,"
            " published_seq, crc",
            [list(parts)],
        )
        return {row[0]: Position(*row[1:]) for row in await rows.fetchall()}

    async def _end(self, owners: Iterable[tuple[int, Any]]) -> None:
        for pid, started in owners:
            ended = await self._conn.execute(
                "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity WHERE pid = %s AND backend_start = %s",
                [pid, started],
            )
            metrics.WINDOWS_REFUSED.inc(len(await ended.fetchall()))

    async def put_positions(self, positions: Mapping[int, Position]) -> None:
        """Move the positions; inside a transaction, with the data that they stand for."""
        names = ("next_offset", "raw", "tick", "log_epoch", "out_seq", "published_seq", "crc")
        await self._conn.execute(
            "UPDATE positions p SET next_offset = u.next_offset, raw = u.raw, tick = u.tick, log_epoch = u.log_epoch,"
            " out_seq = u.out_seq, published_seq = u.published_seq, crc = u.crc"
            " FROM unnest(%s::smallint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::integer[], %s::bigint[],"
            f" %s::bigint[], %s::bigint[]) AS u (part, {', '.join(names)}) WHERE p.part = u.part",
            [list(positions), *([getattr(p, name) for p in positions.values()] for name in names)],
        )

    async def put_log_gaps(self, gaps: Sequence[LogGap]) -> None:
        """Keep what logs lost; in the transaction that goes on after it, before it moves the positions: lost is what
        was received since the last one stored.
        """
        for gap in gaps:
            await self._conn.execute(
                "INSERT INTO log_gaps (topic, part, log_epoch, first_lost, next_offset, reason, since, until)"
                " VALUES (%s, %s, %s, %s, %s, %s, (SELECT to_timestamp(tick / 1000.0) FROM positions WHERE part = %s"
                " AND tick > 0), to_timestamp(%s::bigint / 1000.0))",
                [
                    gap.topic, gap.part, gap.log_epoch, gap.first_lost, gap.next_offset, gap.reason, gap.part,
                    gap.until_ms,
                ],
            )  # fmt: skip
