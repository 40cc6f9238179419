"""Windows and their revisions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from psycopg import errors, sql

from schemas import pgbinary
from stream_processors.store.database import ANALYZE_FROM, Database
from stream_processors.windows import Closed

Array = npt.NDArray[Any]

_STATISTICS = ("mean", "min", "max", "std", "p50", "p95", "first", "last", "total", "m2", "weighted", "weight")
_COMPARED = ("n", "n_expected", "coverage", *_STATISTICS, "complete", "gone", "origin")
_COLUMNS = ("series", "width_s", "start", *_COMPARED, "rev", "published", "part", "out_seq")


class WindowTables(Database):
    """Tables `windows` and `windows_history`."""

    async def put_windows(
        self, closed: Closed, series: Array, part: Array, out_seq: Array, *, expect_new: bool
    ) -> tuple[Array, Array]:
        """Store G windows of one width; `series`, `part`, `out_seq` are columns of length G.

        What is stored already and differs moves to the history and gets the next rev; what is equal stays, and so
        does what is gone and was never there. `expect_new`: try straight in first. Gives the indices of the windows
        that were stored or changed, and their revs.
        """
        n = len(series)
        values = closed.aggregates
        columns: dict[str, tuple[str, Array]] = {
            "series": ("int4", series),
            "width_s": ("int4", np.full(n, closed.width_s)),
            "start": ("timestamptz", closed.start),
            "n": ("int4", values.n),
            "n_expected": ("int4", values.n_expected),
            "coverage": ("float8", values.coverage),
            **{name: ("float8", getattr(values, name)) for name in _STATISTICS},
            "complete": ("bool", values.complete),
            "gone": ("bool", np.full(n, closed.gone)),
            "origin": ("int2", closed.origin),
            "rev": ("int4", np.ones(n, np.int64)),
            "part": ("int2", part),
            "out_seq": ("int8", out_seq),
            "published": ("timestamptz", np.full(n, self.now_ms)),
        }
        if expect_new:
            try:
                async with self._conn.transaction():
                    await self._copy_windows("windows", columns)
                return np.arange(n), np.ones(n, np.int64)
            except errors.UniqueViolation:
                pass
        await self._conn.execute("TRUNCATE staged_windows")
        await self._copy_windows("staged_windows", columns)
        if n >= ANALYZE_FROM:
            await self._conn.execute("ANALYZE staged_windows")
        revised = await self._revise()
        revs = [revised.get(number, 0) for number in zip(part.tolist(), out_seq.tolist(), strict=True)]
        at = np.flatnonzero(revs)
        return at, np.array(revs, np.int64)[at]

    async def _copy_windows(self, table: str, columns: dict[str, tuple[str, Array]]) -> None:
        no_span = columns["n_expected"][1] < 0
        no_value = columns["n"][1] == 0
        for (without_span, without_value), rows in pgbinary.by_nulls([no_span, no_value]):
            left_out = (("n_expected", "coverage") if without_span else ()) + (_STATISTICS if without_value else ())
            await self.copy_in(
                table, {k: (kind, column[rows]) for k, (kind, column) in columns.items() if k not in left_out}
            )

    async def _revise(self) -> dict[tuple[int, int], int]:
        """Put `staged_windows` into `windows`; gives the rev of what was stored or changed, by partition and `out_seq`,
        for each partition counts its own.
        """
        names = ", ".join(_COLUMNS)
        ours = ", ".join(f"w.{name}" for name in _COMPARED)
        theirs = ", ".join(f"s.{name}" for name in _COMPARED)
        await self._conn.execute(
            f"INSERT INTO windows_history ({names}, known_to) SELECT {', '.join(f'w.{name}' for name in _COLUMNS)},"
            " s.published FROM windows w JOIN staged_windows s USING (series, width_s, start)"
            f" WHERE ({ours}) IS DISTINCT FROM ({theirs})"
        )
        changes = ", ".join(f"{name} = excluded.{name}" for name in (*_COMPARED, "published", "out_seq"))
        excluded = ", ".join(f"excluded.{name}" for name in _COMPARED)
        stored = ", ".join(f"windows.{name}" for name in _COMPARED)
        revised = await self._conn.execute(
            f"INSERT INTO windows ({names}) SELECT {names} FROM staged_windows s WHERE NOT s.gone OR EXISTS (SELECT"
            " FROM windows w WHERE w.series = s.series AND w.width_s = s.width_s AND w.start = s.start)"
            f" ON CONFLICT (series, width_s, start) DO UPDATE SET {changes}, rev = windows.rev + 1"
            f" WHERE ({stored}) IS DISTINCT FROM ({excluded}) RETURNING part, out_seq, rev"
        )
        return {(part, seq): rev for part, seq, rev in await revised.fetchall()}

    async def newest_windows(self, series: Sequence[int], width_s: int) -> dict[str, Array]:
        """The newest window of each series: columns series, start (epoch ms)."""
        ids = sql.Literal(list(series)).as_string(self._conn)
        return await self.columns(
            f"SELECT s.id, w.start FROM unnest({ids}::integer[]) AS s (id), LATERAL (SELECT start FROM windows"
            f" WHERE series = s.id AND width_s = {width_s:d} ORDER BY start DESC LIMIT 1) w",
            {"series": "int4", "start": "timestamptz"},
        )

    async def window_starts(self, series: Array, width_s: int) -> dict[str, Array]:
        """Every window of a width that these series have, or have readings for: columns series, start (epoch ms)."""
        ids = sql.Literal(series.tolist()).as_string(self._conn)
        return await self.columns(
            f"SELECT series, time_bucket('{width_s:d} seconds', start) FROM readings"
            f" WHERE series = ANY({ids}::integer[]) GROUP BY 1, 2 UNION SELECT series, start FROM windows"
            f" WHERE series = ANY({ids}::integer[]) AND width_s = {width_s:d}",
            {"series": "int4", "start": "timestamptz"},
        )
