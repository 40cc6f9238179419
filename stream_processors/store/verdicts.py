"""Closed hours and days that are to be judged, and the readings that a verdict changes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.flags import COUNTED
from stream_processors.store.database import Database, timestamp
from stream_processors.store.readings import JUDGED

Array = npt.NDArray[Any]
Key = tuple[str, str, str]  # (dataset, sensor, metric)
DueRow = tuple[int, int, int, int, int]
"""(part, kind, series, start epoch ms, due): a row of the table without its number"""


class VerdictTable(Database):
    """Table `verdicts_due`, and what of `readings` verdicts need."""

    async def put_verdicts_due(self, rows: Sequence[DueRow]) -> None:
        """Ask for verdicts; in the transaction of what changed."""
        if rows:
            await self._conn.execute(
                "INSERT INTO verdicts_due (part, kind, series, start, due)"
                " SELECT part, kind, series, to_timestamp(start / 1000.0), due FROM unnest(%s::smallint[],"
                " %s::smallint[], %s::integer[], %s::bigint[], %s::bigint[]) AS v (part, kind, series, start, due)",
                [list(column) for column in zip(*rows, strict=True)],
            )

    async def verdicts_due(self, parts: Sequence[int], log_ms: int, limit: int) -> list[tuple[int, int, Key, int]]:
        """At most `limit` that are due at this log time: (number, kind, series, start epoch ms), oldest first."""
        rows = await self._conn.execute(
            "SELECT v.id, v.kind, s.dataset, s.sensor, s.metric, (extract(epoch FROM v.start) * 1000)::bigint"
            " FROM verdicts_due v JOIN series s ON s.id = v.series WHERE v.part = ANY(%s) AND v.due <= %s"
            " ORDER BY v.id LIMIT %s",
            [list(parts), log_ms, limit],
        )
        return [(number, kind, (d, s, m), start) for number, kind, d, s, m, start in await rows.fetchall()]

    async def drop_verdicts_due(self, numbers: Sequence[int]) -> None:
        """These were judged; in the transaction that stores the verdicts."""
        await self._conn.execute("DELETE FROM verdicts_due WHERE id = ANY(%s)", [list(numbers)])

    async def find_series(self, keys: Sequence[Key]) -> dict[Key, int]:
        """The database keys of those series that there are, of any partition."""
        rows = await self._conn.execute(
            "SELECT dataset, sensor, metric, id FROM series WHERE (dataset, sensor, metric) IN"
            " (SELECT * FROM unnest(%s::text[], %s::text[], %s::text[]))",
            [list(column) for column in zip(*keys, strict=True)] or [[], [], []],
        )
        return {(d, s, m): i for d, s, m, i in await rows.fetchall()}

    async def readings_unlike(
        self, series: Array, begin: Array, end: Array, tests: Array, mask: int
    ) -> dict[str, Array]:
        """The stored readings of k ranges [begin, end) (epoch ms) of series that don't have these `tests` (k) of those
        in `mask`, or that have some though averages leave them out: columns of `JUDGED`, and `wanted`, the bits.
        """
        names = ", ".join(f"r.{name}" for name in JUDGED)
        ranges = self.arrays((series, "integer"), (begin, "bigint"), (end, "bigint"), (tests, "integer"))
        counted = ", ".join(str(int(flag)) for flag in COUNTED)
        wanted = f"CASE WHEN r.flag IN ({counted}) THEN w.tests ELSE 0 END"
        return await self.columns(
            f"SELECT {names}, {wanted} FROM unnest({ranges}) AS w (series, low, high, tests), LATERAL"
            " (SELECT * FROM readings WHERE series = w.series AND start >= to_timestamp(w.low / 1000.0)"
            " AND start < to_timestamp(w.high / 1000.0)"
            f" AND start >= {timestamp(np.min(begin))} AND start < {timestamp(np.max(end))}) r"
            f" WHERE r.tests & {mask:d} <> {wanted}",
            JUDGED | {"wanted": "int4"},
        )
