"""Millions of stored readings for benches: the sample city's real weeks, put one behind the other back in time."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg

from api.times import as_datetime
from deploy.local.tools import ROOT
from deploy.replay.sample import Week, read_weeks
from deploy.replay.shift import WEEK_MS
from schemas import registry
from schemas.city import read_city

CITY = ROOT / "deploy" / "sample_city"
NOW_MS = 1_795_392_000_000  # 2026-11-23T00:00:00Z: where the newest week ends
ROWS_PER_WEEK = 598_000  # about: 207 series of five minutes and 18 of a minute, less their gaps


def fill(connection: psycopg.Connection[Any], rows: int, end_ms: int = NOW_MS) -> int:
    """Store about so many readings before `end_ms`, and the sample city's registry; gives how many there are.

    `connection` is on a schema with all tables (search_path), in autocommit.
    """
    _register(connection)
    weeks = read_weeks(CITY)
    for week in weeks:
        _store_week(connection, week, end_ms)
    (stored,) = connection.execute("SELECT count(*) FROM readings").fetchone() or (0,)
    for back in range(1, max(1, round(rows / max(1, stored)))):
        connection.execute(
            "INSERT INTO readings (series, start, period_s, value, flag, tests, rev, origin, received, part, position)"
            " SELECT series, start - %(back)s * interval '7 days', period_s, value, flag, tests, rev, origin,"
            " received - %(back)s * interval '7 days', part, position FROM readings WHERE start >= %(since)s",
            {"back": back, "since": as_datetime(end_ms - WEEK_MS)},
        )
    connection.execute("VACUUM ANALYZE readings, sta_datastreams, sta_things, sta_places, series")
    (stored,) = connection.execute("SELECT count(*) FROM readings").fetchone() or (0,)
    return int(stored)


def _register(connection: psycopg.Connection[Any]) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO registrations VALUES (%s, %s, '-infinity', 'infinity', %s, %s, %s) ON CONFLICT DO NOTHING",
            [
                (r.dataset, r.sensor, r.site.lon, r.site.lat, registry.encode(r).decode())
                for r in read_city(CITY).registrations
            ],
        )


def _store_week(connection: psycopg.Connection[Any], week: Week, end_ms: int) -> None:
    names = [(week.dataset, sensor, metric) for sensor, metric in week.columns]
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO series (dataset, sensor, metric) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", names
        )
    ids = dict(
        ((d, s, m), i) for d, s, m, i in connection.execute("SELECT dataset, sensor, metric, id FROM series").fetchall()
    )
    with connection.cursor() as cursor, cursor.copy(
        "COPY readings (series, start, period_s, value, flag, tests, rev, origin, received, part, position) FROM STDIN"
    ) as copy:  # fmt: skip
        for row in _rows(week, [ids[name] for name in names], end_ms):
            copy.write_row(row)


def _rows(week: Week, ids: list[int], end_ms: int) -> Iterator[tuple[Any, ...]]:
    period_s = week.step_ms // 1000
    for step, values in enumerate(week.values):
        start = as_datetime(end_ms - WEEK_MS + step * week.step_ms)
        for i in np.flatnonzero(~np.isnan(values)):
            yield ids[i], start, period_s, float(values[i]), 1, 0, 1, 0, start, 0, 0
