"""What the catalog measures in a real database: first readings, coverage of the last day, the days that changed."""

import contextlib
import dataclasses
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from api.catalog.facts import CatalogFacts
from api.live.latest import Latest
from api.queries.pool import Pool, make_pool
from api.times import as_datetime
from schemas.registry import fold
from schemas.settings import Settings
from stream_processors.migrations import migrate
from tests.integration.history import DAY_0_MS, DAY_MS, History, Reading

NOW_MS = DAY_0_MS + 3 * DAY_MS + 5 * 60_000
HOUR_MS = 3_600_000


@pytest.fixture
async def history(servers: Settings) -> AsyncIterator[tuple[History, Pool]]:
    schema = f"c{uuid.uuid4().hex[:12]}"
    url = str(servers.database_url)
    await migrate(url, schema)
    pool = make_pool(dataclasses.replace(servers, database_schema=schema))
    await pool.open()
    with psycopg.connect(url, autocommit=True, options=f"-c search_path={schema},public") as connection:
        try:
            yield History(connection), pool
        finally:
            await pool.close()
            with contextlib.suppress(psycopg.Error):
                connection.execute(f'DROP SCHEMA "{schema}" CASCADE'.encode())


def window(sensor: str, width_s: int, start: int, n: int, coverage: float | None, rev: int = 1) -> dict[str, Any]:
    return {
        "dataset": "traffic", "sensor": sensor, "metric": "speed", "width_s": width_s, "start": as_datetime(start),
        "n": n, "coverage": coverage, "complete": True, "rev": rev,
        "published": as_datetime(start + width_s * 1000 + rev),
    }  # fmt: skip


async def test_facts_are_those_of_the_stored_rows(history: tuple[History, Pool]) -> None:
    stored, pool = history
    stored.store([Reading("traffic", s, "speed", DAY_0_MS + i * 300_000) for s in ("a", "b") for i in range(3, 6)])
    hours = [NOW_MS // HOUR_MS * HOUR_MS - i * HOUR_MS for i in range(30)]
    # The hour that is open and the one before it (which may still close) do not count, nor what is older than a day.
    stored.publish([window("a", 3600, start, 12, 1.0) for start in hours[2:26]])
    stored.publish([window("b", 3600, start, 6, 0.5) for start in hours[2:26]])
    stored.publish([window("a", 3600, start, 1, 0.0) for start in (hours[0], hours[1], *hours[27:])])
    stored.publish([window("a", 86400, DAY_0_MS, 288, 1.0), window("b", 86400, DAY_0_MS, 144, 0.5)])
    stored.publish([window("a", 86400, DAY_0_MS + DAY_MS, 288, 1.0)])
    stored.publish([window("b", 86400, DAY_0_MS, 145, 0.5, rev=2)])

    catalog = CatalogFacts()
    found = await catalog.facts(pool, Latest(), fold({}, ()), ["air-quality", "traffic"], NOW_MS)
    assert (found["air-quality"].first_ms, found["air-quality"].coverage) == (None, None)
    traffic = found["traffic"]
    assert (traffic.first_ms, traffic.coverage, traffic.cadence_s) == (DAY_0_MS + 900_000, 0.75, 450.0)

    days = await catalog.days(pool, ["traffic"], NOW_MS)
    assert [(day.start_ms, day.readings, day.revised, day.rev) for day in days] == [
        (DAY_0_MS + DAY_MS, 288, 0, 1), (DAY_0_MS, 433, 1, 2),
    ]  # fmt: skip
    assert as_datetime(days[1].published_ms) == datetime(2026, 11, 16, tzinfo=UTC) + timedelta(milliseconds=2)


async def test_facts_are_kept_for_a_minute(history: tuple[History, Pool]) -> None:
    stored, pool = history
    catalog = CatalogFacts()

    async def first(now_ms: int) -> int | None:
        return (await catalog.facts(pool, Latest(), fold({}, ()), ["traffic"], now_ms))["traffic"].first_ms

    assert await first(NOW_MS) is None
    stored.store([Reading("traffic", "a", "speed", DAY_0_MS)])
    assert await first(NOW_MS + 59_000) is None
    assert await first(NOW_MS + 60_000) == DAY_0_MS
