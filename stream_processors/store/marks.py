"""Dirty marks."""

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from stream_processors.store.database import Database

Array = npt.NDArray[Any]
MarkRow = tuple[int, int, int, int, int, int, int]
"""(part, kind, series, width_s, start epoch ms, marked, touched)"""


class MarkTable(Database):
    """Table `dirty`."""

    async def marks(self, parts: Sequence[int]) -> list[MarkRow]:
        """The dirty marks of partitions."""
        rows = await self._conn.execute(
            "SELECT part, kind, series, width_s, (extract(epoch FROM start) * 1000)::bigint, marked, touched"
            " FROM dirty WHERE part = ANY(%s)",
            [list(parts)],
        )
        return await rows.fetchall()

    async def put_marks(self, rows: Sequence[MarkRow]) -> None:
        """Upsert marks; in the transaction of what made them."""
        if not rows:
            return
        await self._conn.execute(
            "INSERT INTO dirty (part, kind, series, width_s, start, marked, touched)"
            " SELECT part, kind, series, width_s, to_timestamp(start / 1000.0), marked, touched"
            " FROM unnest(%s::smallint[], %s::smallint[], %s::integer[], %s::integer[], %s::bigint[], %s::bigint[],"
            " %s::bigint[]) AS m (part, kind, series, width_s, start, marked, touched)"
            " ON CONFLICT (part, kind, series, width_s, start) DO UPDATE SET touched = excluded.touched",
            [list(column) for column in zip(*rows, strict=True)],
        )

    async def drop_marks(self, kind: int, part: Array, series: Array, width_s: Array, start: Array) -> None:
        """Delete marks of a kind; in the transaction that stores what they stood for."""
        await self._conn.execute(
            "DELETE FROM dirty d USING unnest(%s::smallint[], %s::integer[], %s::integer[], %s::bigint[])"
            " AS m (part, series, width_s, start) WHERE d.part = m.part AND d.kind = %s AND d.series = m.series"
            " AND d.width_s = m.width_s AND d.start = to_timestamp(m.start / 1000.0)",
            [part.tolist(), series.tolist(), width_s.tolist(), start.tolist(), kind],
        )
