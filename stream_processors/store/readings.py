"""Readings, their history and their places."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from psycopg import errors, sql

from stream_processors import ordering
from stream_processors.store.database import ANALYZE_FROM, Database, timestamp

Array = npt.NDArray[Any]

READINGS = {
    "series": "int4", "start": "timestamptz", "period_s": "int4", "value": "float8", "flag": "int2", "tests": "int4",
    "rev": "int4", "source_rev": "int4", "origin": "int2", "received": "timestamptz", "part": "int2",
    "position": "int8",
}  # fmt: skip
_LOADED = {k: READINGS[k] for k in ("series", "start", "period_s", "value", "flag", "received", "origin")}
JUDGED = {
    k: READINGS[k]
    for k in ("series", "start", "period_s", "value", "flag", "tests", "rev", "source_rev", "origin", "received")
}
_KNOWN = {k: READINGS[k] for k in ("rev", "source_rev", "value", "flag", "tests")}


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of n readings: masks of those stored for the first time, of those that replaced an older row
    (corrections by the sensor, and among them the `amended`: amendments by our rules), and of those that conflict with
    a stored one of the same `source_rev`. The others were repeats, or `unsure`: amendments of a row that was amended
    before.
    """

    new: Array
    replaced: Array
    amended: Array
    conflict: Array
    unsure: Array


class ReadingTables(Database):
    """Tables `readings`, `readings_history` and `reading_places`."""

    async def put_readings(self, columns: Mapping[str, Array]) -> Stored:
        """Store n readings; straight in, and only where one is there already by way of a comparison.

        Readings come in the order of the log: columns of length n, those of `READINGS`, and lon and lat where some
        have places.
        """
        n = len(columns["series"])
        stored = Stored(*(np.zeros(n, bool) for _ in range(5)))
        # Amendments have their row already: they would take all others along the long way.
        is_amended = columns["rev"] > columns["source_rev"]
        again = np.flatnonzero(is_amended)
        # A series' rows together: into the same pages of table and key, where they are looked for together, too.
        fresh = ordering.order(columns["series"], ordering.keys(columns["series"], columns["start"]))
        fresh = fresh[~is_amended[fresh]] if len(again) else fresh
        try:
            async with self._conn.transaction():
                await self.copy_in("readings", {k: (kind, columns[k][fresh]) for k, kind in READINGS.items()})
            stored.new[fresh] = True
        except errors.UniqueViolation:
            again = np.arange(n)
        if len(again):
            await self._put_compared({name: columns[name][again] for name in READINGS}, stored, again)
        if "lon" in columns:
            await self._put_places(columns, stored.new | stored.replaced)
        return stored

    async def _put_compared(self, columns: dict[str, Any], stored: Stored, at: Array) -> None:
        """Compare with what is stored, one occurrence of a key at a time, for a batch may hold several. `at` says where
        in `stored` the rows belong.
        """
        for rows in _occurrences(columns["series"], columns["start"]):
            chosen = {name: column[rows] for name, column in columns.items()}
            known = await self._stage(chosen)
            exists = np.zeros(len(rows), bool)
            exists[known["i"]] = True
            replaces, amends, conflicts, unsure = _compare(chosen, known)
            if replaces.any():
                await self._to_history(np.flatnonzero(replaces))
            put = ~exists | replaces
            await self.copy_in("readings", {k: (kind, chosen[k][put]) for k, kind in READINGS.items()})
            of = at[rows]
            stored.new[of], stored.replaced[of], stored.amended[of] = ~exists, replaces, amends
            stored.conflict[of], stored.unsure[of] = conflicts, unsure

    async def _stage(self, columns: dict[str, Any]) -> dict[str, Array]:
        """Those of the rows whose key is stored: columns i (row), and of what is stored `_KNOWN`."""
        n = len(columns["series"])
        await self._conn.execute("TRUNCATE staged")
        await self.copy_in(
            "staged",
            {
                "i": ("int4", np.arange(n)),
                "series": ("int4", columns["series"]),
                "start": ("timestamptz", columns["start"]),
                "known_to": ("timestamptz", columns["received"]),
            },
        )
        if n >= ANALYZE_FROM:
            await self._conn.execute("ANALYZE staged")
        low, high = timestamp(columns["start"].min()), timestamp(columns["start"].max())
        return await self.columns(
            f"SELECT s.i, {', '.join(f'r.{name}' for name in _KNOWN)} FROM staged s JOIN readings r"
            f" ON r.series = s.series AND r.start = s.start WHERE r.start BETWEEN {low} AND {high}",
            {"i": "int4"} | _KNOWN,
        )

    async def _to_history(self, rows: Array) -> None:
        names = ", ".join(f"r.{name}" for name in READINGS)
        await self._conn.execute(
            f"INSERT INTO readings_history ({', '.join(READINGS)}, known_to) SELECT {names}, s.known_to"
            " FROM readings r JOIN staged s"
            " ON r.series = s.series AND r.start = s.start WHERE s.i = ANY(%s)",
            [rows.tolist()],
        )
        await self._conn.execute(
            "DELETE FROM readings r USING staged s WHERE r.series = s.series AND r.start = s.start AND s.i = ANY(%s)",
            [rows.tolist()],
        )

    async def _put_places(self, columns: Mapping[str, Array], put: Array) -> None:
        placed = np.isfinite(columns["lon"]) & np.isfinite(columns["lat"]) & put
        series, start, lon, lat = (columns[name][placed].tolist() for name in ("series", "start", "lon", "lat"))
        await self._conn.execute(
            "INSERT INTO reading_places SELECT series, to_timestamp(start / 1000.0), lon, lat"
            " FROM unnest(%s::integer[], %s::bigint[], %s::float8[], %s::float8[]) AS p (series, start, lon, lat)"
            " ON CONFLICT (series, start) DO UPDATE SET lon = excluded.lon, lat = excluded.lat",
            [series, start, lon, lat],
        )

    async def newest(self, series: Sequence[int]) -> dict[str, Array]:
        """The newest reading of each series: columns series, start, period_s, received (times epoch ms)."""
        ids = sql.Literal(list(series)).as_string(self._conn)
        return await self.columns(
            f"SELECT s.id, r.start, r.period_s, r.received FROM unnest({ids}::integer[]) AS s (id), LATERAL"
            " (SELECT start, period_s, received FROM readings WHERE series = s.id ORDER BY start DESC LIMIT 1) r",
            {"series": "int4", "start": "timestamptz", "period_s": "int4", "received": "timestamptz"},
        )

    async def readings_around(self, series: Array, begin: Array, end: Array, keep: Array) -> dict[str, Array]:
        """The stored readings of k ranges [begin, end) (epoch ms) of series, with the `keep` (k) + 1 before and after
        each: columns of `JUDGED`; what is in two neighbourhoods comes twice.
        """
        names = ", ".join(JUDGED)
        ranges = self.arrays((series, "integer"), (begin, "bigint"), (end, "bigint"), (keep, "integer"))
        low, high = "to_timestamp(w.low / 1000.0)", "to_timestamp(w.high / 1000.0)"
        return await self.columns(
            f"SELECT {', '.join(f'r.{name}' for name in JUDGED)} FROM unnest({ranges}) AS w (series, low, high, keep),"
            f" LATERAL ((SELECT {names} FROM readings WHERE series = w.series AND start < {low}"
            f" ORDER BY start DESC LIMIT w.keep + 1) UNION ALL (SELECT {names} FROM readings WHERE series = w.series"
            f" AND start >= {low} AND start < {high}) UNION ALL (SELECT {names} FROM readings WHERE series = w.series"
            f" AND start >= {high} ORDER BY start LIMIT w.keep + 1)) r",
            JUDGED,
        )

    async def put_judged(self, columns: dict[str, Array]) -> None:
        """Give stored readings new flags and tests, and the rev that goes with them; the old rows go to the history.
        Columns series, start, flag, tests, rev of length n.
        """
        await self._conn.execute(
            "CREATE TEMPORARY TABLE IF NOT EXISTS judged"
            " (series integer, start timestamptz, flag smallint, tests integer, rev integer)"
        )
        await self._conn.execute("TRUNCATE judged")
        await self.copy_in(
            "judged", {k: (READINGS[k], columns[k]) for k in ("series", "start", "flag", "tests", "rev")}
        )
        at = f"r.start BETWEEN {timestamp(columns['start'].min())} AND {timestamp(columns['start'].max())}"
        names = ", ".join(f"r.{name}" for name in READINGS)
        await self._conn.execute(
            f"INSERT INTO readings_history ({', '.join(READINGS)}, known_to) SELECT {names}, now()"
            f" FROM readings r JOIN judged j USING (series, start) WHERE {at}".encode()
        )
        await self._conn.execute(
            "UPDATE readings r SET flag = j.flag, tests = j.tests, rev = j.rev FROM judged j"
            f" WHERE r.series = j.series AND r.start = j.start AND {at}".encode()
        )

    async def readings_between(self, series: Array, begin: Array, end: Array) -> dict[str, Array]:
        """The stored readings of k ranges [begin, end) (epoch ms) of series: columns of `_LOADED`."""
        if not len(series):
            return {name: np.zeros(0, np.int64) for name in _LOADED}
        names = ", ".join(f"r.{name}" for name in _LOADED)
        ranges = self.arrays((series, "integer"), (begin, "bigint"), (end, "bigint"))
        return await self.columns(
            f"SELECT {names} FROM unnest({ranges}) AS w (series, low, high), LATERAL (SELECT * FROM readings"
            " WHERE series = w.series AND start >= to_timestamp(w.low / 1000.0)"
            " AND start < to_timestamp(w.high / 1000.0)"
            f" AND start >= {timestamp(begin.min())} AND start < {timestamp(end.max())}) r",
            _LOADED,
        )


def _occurrences(series: Array, start: Array) -> list[Array]:
    """Row numbers split so that no part has a key twice: first occurrences, second ones, ..."""
    order = np.lexsort((np.arange(len(series)), start, series))
    first = np.ones(len(order), bool)
    first[1:] = (series[order][1:] != series[order][:-1]) | (start[order][1:] != start[order][:-1])
    begin = np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))
    number = np.arange(len(order)) - begin
    return [np.sort(order[number == k]) for k in range(int(number.max(initial=-1)) + 1)]


def _compare(came: dict[str, Any], known: dict[str, Array]) -> tuple[Array, Array, Array, Array]:
    """(replaces, amends, conflicts, unsure): masks (n) of rows that came, against those stored of the same key
    (`known["i"]` says of which). What replaces gets its `rev`: above the stored one.

    A higher `source_rev` is the sensor's correction. The same one with a `rev` above it and other flags is an
    amendment by our rules; where the row has such a `rev` already (as by a verdict on its closed hour or day) nobody
    knows which is right (unsure: it is to be judged again). With another value it is a conflict; else a repeat, as a
    lower one is.
    """
    i = known["i"]
    replaces, amends, conflicts, unsure = (np.zeros(len(came["rev"]), bool) for _ in range(4))
    rev, source_rev = came["rev"][i], came["source_rev"][i]
    same = source_rev == known["source_rev"]
    equal = _equal(came["value"][i], known["value"])
    judged = (came["flag"][i] != known["flag"]) | (came["tests"][i] != known["tests"])
    amendment = same & equal & judged & (rev > source_rev)
    amends[i] = amendment & (rev > known["rev"])
    unsure[i] = amendment & (rev <= known["rev"])
    replaces[i] = (source_rev > known["source_rev"]) | amends[i]
    conflicts[i] = same & ~equal
    came["rev"] = came["rev"].copy()
    came["rev"][i] = np.where(replaces[i], np.maximum(rev, known["rev"] + 1), rev)
    return replaces, amends, conflicts, unsure


def _equal(a: Array, b: Array) -> Array:
    equal: Array = (a == b) | (np.isnan(a) & np.isnan(b))
    return equal
