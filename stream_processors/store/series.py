"""Series and registrations."""

from collections.abc import Sequence

from stream_processors.store.database import Database

Key = tuple[str, str, str]  # (dataset, sensor, metric)


class SeriesTables(Database):
    """Tables `series` and `registrations`."""

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

    async def newest_registrations(self, sensors: Sequence[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
        """Of each of these sensors (dataset, sensor) that has one the newest registration, as JSON."""
        rows = await self._conn.execute(
            "SELECT DISTINCT ON (dataset, sensor) dataset, sensor, body::text FROM registrations"
            " WHERE (dataset, sensor) IN (SELECT * FROM unnest(%s::text[], %s::text[]))"
            " ORDER BY dataset, sensor, valid_from DESC",
            [[dataset for dataset, _ in sensors], [sensor for _, sensor in sensors]],
        )
        return {(dataset, sensor): body.encode() for dataset, sensor, body in await rows.fetchall()}
