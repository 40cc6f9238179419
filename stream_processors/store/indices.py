"""Index rows and their revisions, and the hours that they are made of."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from psycopg import sql

from stream_processors.store.database import ANALYZE_FROM, Database, timestamp

Array = npt.NDArray[Any]
IndexKey = tuple[str, str, str, str]  # (dataset, sensor, index, metric)

_KINDS = {
    "series": "int4", "start": "timestamptz", "until": "timestamptz", "value": "float8", "category": "int2",
    "driver": "int2", "source": "int2", "edition": "int2", "concentration": "float8", "supplement": "float8",
    "hours": "int2", "expected": "int2", "beyond": "bool", "origin": "int2", "rev": "int4",
    "published": "timestamptz", "part": "int2", "out_seq": "int8",
}  # fmt: skip
_NULLABLE = ("value", "concentration", "supplement")
_COMPARED = (
    "until", "value", "category", "driver", "source", "edition", "concentration", "supplement", "hours", "expected",
    "beyond", "origin",
)  # fmt: skip

# An hour is a stored window of three quarters' coverage, or a reading of an hour, which is a window itself. Whether a
# series has such readings its first or last one in the range says, so that minutes are not read to find none.
_PERIOD = (
    "(SELECT a.period_s FROM readings a WHERE a.series = g.series AND a.start >= g.low AND a.start < g.high"
    " AND {bounds} ORDER BY a.start {way} LIMIT 1)"
)
_HOURS = """
    SELECT h.series, h.start, h.value, h.origin FROM unnest({series}::integer[], {low}::timestamptz[],
        {high}::timestamptz[], {spans}::integer[]) AS g (series, low, high, span_s),
    LATERAL (
        SELECT w.series, w.start, w.mean AS value, w.origin FROM windows w
        WHERE w.series = g.series AND w.width_s = {width} AND w.start >= g.low AND w.start < g.high
          AND w.complete AND NOT w.gone AND w.mean IS NOT NULL AND {of_windows}
        UNION ALL
        SELECT r.series, r.start, r.value, r.origin FROM readings r
        WHERE {width} IN ({first}, {last}, g.span_s) AND r.series = g.series AND r.start >= g.low AND r.start < g.high
          AND (r.period_s = {width} OR r.period_s = 0 AND g.span_s = {width})
          AND r.flag IN (1, 2, 3) AND r.value <> 'NaN' AND {of_readings}
    ) h"""


class IndexTables(Database):
    """Tables `indices`, `indices_history` and `index_series`."""

    async def add_index_series(self, keys: Sequence[IndexKey]) -> dict[IndexKey, int]:
        """Numbers of these series, made where they are new."""
        columns = [list(column) for column in zip(*keys, strict=True)]
        chosen = "unnest(%s::text[], %s::text[], %s::text[], %s::text[])"
        await self._conn.execute(
            f"INSERT INTO index_series (dataset, sensor, index, metric) SELECT * FROM {chosen} ON CONFLICT DO NOTHING",
            columns,
        )
        rows = await self._conn.execute(
            "SELECT dataset, sensor, index, metric, id FROM index_series"
            f" WHERE (dataset, sensor, index, metric) IN (SELECT * FROM {chosen})",
            columns,
        )
        return {(d, s, i, m): number for d, s, i, m, number in await rows.fetchall()}

    async def means_between(
        self, width_s: int, series: Array, low: Array, high: Array, span_s: Array
    ) -> dict[str, Array]:
        """The means of `width_s` that count, of k ranges [low, high) (epoch ms) of series whose readings stand for
        `span_s`: columns series, start, value, origin.
        """
        kinds = {"series": "int4", "start": "timestamptz", "value": "float8", "origin": "int2"}
        if not len(series):
            return {name: np.zeros(0, np.int64) for name in kinds}

        def bounds(row: str) -> str:
            return f"{row}.start >= {timestamp(low.min())} AND {row}.start < {timestamp(high.max())}"

        def literal(values: list[Any]) -> str:
            return sql.Literal(values).as_string(self._conn)

        query = _HOURS.format(
            series=literal(series.tolist()), spans=literal(span_s.tolist()), width=width_s,
            low=f"ARRAY[{', '.join(map(timestamp, low.tolist()))}]",
            high=f"ARRAY[{', '.join(map(timestamp, high.tolist()))}]",
            of_windows=bounds("w"), of_readings=bounds("r"),
            first=_PERIOD.format(bounds=bounds("a"), way="ASC"), last=_PERIOD.format(bounds=bounds("a"), way="DESC"),
        )  # fmt: skip
        return await self.columns(query, kinds)

    async def put_indices(self, columns: Mapping[str, Array], wanted: Array) -> Array:
        """Store n index rows: columns of the table but `rev` and `published`; NaN is null. What is stored already and
        differs moves to the history and gets the next rev; what is equal stays. A row that is not `wanted` (n) is put
        only in place of one that is there. Gives the rev (n) of each row that was stored or changed, 0 for the others.
        """
        n = len(wanted)
        full = {**columns, "rev": np.ones(n, np.int64), "published": np.full(n, self.now_ms)}
        await self._conn.execute("TRUNCATE staged_indices")
        staged = {name: (kind, full[name]) for name, kind in _KINDS.items()} | {"wanted": ("bool", wanted)}
        await self.copy_in("staged_indices", staged)
        for name in _NULLABLE:
            await self._conn.execute(f"UPDATE staged_indices SET {name} = NULL WHERE {name} = 'NaN'")
        if n >= ANALYZE_FROM:
            await self._conn.execute("ANALYZE staged_indices")
        names = ", ".join(_KINDS)
        theirs = ", ".join(f"s.{name}" for name in _COMPARED)
        ours = ", ".join(f"i.{name}" for name in _COMPARED)
        await self._conn.execute(
            f"INSERT INTO indices_history ({names}, known_to) SELECT {', '.join(f'i.{name}' for name in _KINDS)},"
            f" s.published FROM indices i JOIN staged_indices s USING (series, start)"
            f" WHERE ({ours}) IS DISTINCT FROM ({theirs})"
        )
        changes = ", ".join(f"{name} = excluded.{name}" for name in (*_COMPARED, "published", "part", "out_seq"))
        stored = ", ".join(f"indices.{name}" for name in _COMPARED)
        excluded = ", ".join(f"excluded.{name}" for name in _COMPARED)
        revised = await self._conn.execute(
            f"INSERT INTO indices ({names}) SELECT {names} FROM staged_indices s WHERE s.wanted OR EXISTS (SELECT"
            " FROM indices i WHERE i.series = s.series AND i.start = s.start)"
            f" ON CONFLICT (series, start) DO UPDATE SET {changes}, rev = indices.rev + 1"
            f" WHERE ({stored}) IS DISTINCT FROM ({excluded}) RETURNING part, out_seq, rev"
        )
        revs = {(part, seq): rev for part, seq, rev in await revised.fetchall()}
        numbers = zip(columns["part"].tolist(), columns["out_seq"].tolist(), strict=True)
        return np.array([revs.get(number, 0) for number in numbers], np.int64)
