"""Corrected hours, which our rules make of measured ones, and by which rule they were made."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from stream_processors.store.database import Database, timestamp
from stream_processors.store.readings import READINGS

Array = npt.NDArray[Any]

HOUR_S = 3600


class CorrectionTables(Database):
    """Table `corrections`, and derived rows of `readings`."""

    async def put_derived(self, columns: Mapping[str, Array], wanted: Array) -> Array:
        """Store n rows of readings that were derived: columns of `READINGS` but `rev` and `source_rev`, keys distinct.

        What is stored already and differs in value or flag moves to the history and gets the next rev. A row that is
        not `wanted` (n) is put only in place of one that is there. Gives the rev (n) of what was stored or changed, 0
        for the others.
        """
        n = len(wanted)
        series, start = columns["series"].tolist(), columns["start"].tolist()
        low, high = timestamp(min(start)), timestamp(max(start))
        found = await self._conn.execute(
            "SELECT k.i, r.rev, r.value, r.flag FROM unnest(%s::integer[], %s::integer[], %s::bigint[])"
            " AS k (i, series, start) JOIN readings r"
            " ON r.series = k.series AND r.start = to_timestamp(k.start / 1000.0)"
            f" WHERE r.start BETWEEN {low} AND {high}",
            [list(range(n)), series, start],
        )
        rev, stays = np.where(wanted, 1, 0), np.zeros(n, bool)
        replaced = []
        for i, stored_rev, value, flag in await found.fetchall():
            same = (value == columns["value"][i]) or (value != value and columns["value"][i] != columns["value"][i])
            stays[i] = same and flag == columns["flag"][i]
            rev[i] = stored_rev + 1
            replaced += [] if stays[i] else [i]
        rev[stays] = 0
        if replaced:
            names = ", ".join(READINGS)
            keys = [[series[i] for i in replaced], [start[i] for i in replaced]]
            await self._conn.execute(
                "WITH old AS (DELETE FROM readings r USING unnest(%s::integer[], %s::bigint[]) AS k (series, start)"
                " WHERE r.series = k.series AND r.start = to_timestamp(k.start / 1000.0)"
                f" AND r.start BETWEEN {low} AND {high} RETURNING r.*)"
                f" INSERT INTO readings_history ({names}, known_to) SELECT {names}, now() FROM old",
                keys,
            )
        put = rev > 0
        full = {**columns, "rev": rev, "source_rev": np.ones(n, np.int64)}
        await self.copy_in("readings", {name: (kind, full[name][put]) for name, kind in READINGS.items()})
        return rev

    async def corrections(self, parts: Sequence[int]) -> dict[tuple[int, str, str], str]:
        """By which rule the corrected hours of partitions were made: (part, dataset, metric) -> rule."""
        rows = await self._conn.execute(
            "SELECT part, dataset, metric, rule FROM corrections WHERE part = ANY(%s)", [list(parts)]
        )
        return {(part, dataset, metric): rule for part, dataset, metric, rule in await rows.fetchall()}

    async def begin_correction(self, part: int, dataset: str, metric: str, rule: str, series: Sequence[int]) -> None:
        """From now on by this rule: every stored hour of the measured `series` is marked to be made again."""
        for table, of in (
            ("windows", f"width_s = {HOUR_S} AND NOT gone"),
            ("readings", f"period_s = {HOUR_S}"),
        ):
            await self._conn.execute(
                "INSERT INTO dirty (part, kind, series, width_s, start, marked, touched)"
                f" SELECT %s, 2, series, {HOUR_S}, start, 0, 0 FROM {table} WHERE series = ANY(%s) AND {of}"
                " ON CONFLICT DO NOTHING",
                [part, list(series)],
            )
        await self._conn.execute(
            "INSERT INTO corrections (part, dataset, metric, rule) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT (part, dataset, metric) DO UPDATE SET rule = excluded.rule, since = now()",
            [part, dataset, metric, rule],
        )
