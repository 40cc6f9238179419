"""What is measured of a dataset, beside what its file declares. Kept for a minute; the database may be away."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
import psycopg

from api.live.latest import Latest, LatestRow
from api.places import public_place
from api.quality import SUSPECT_WORTH
from api.queries import catalog as queries
from api.queries.catalog import Coverage, Day
from api.queries.pool import Pool
from schemas.flags import Flag
from schemas.registry import FOREVER_MS, Registry

KEPT_MS = 60_000
DAY_MS = 86_400_000
CHANGES_DAYS = 31
CHANGES_MOST = 500
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Facts:
    """Measured of a dataset now; times epoch ms UTC, None where nothing is known (yet).

    `newest_ms` is the end of the newest reading, `modified_ms` when something was received last. Lateness is from the
    end of a reading to its receipt, in seconds, over the newest reading of each series. `validity` is the share of
    these that passed their checks; a suspect one counts half, none where a newer one failed. `coverage` is the share of
    the last 24 closed hours that readings cover, `cadence_s` the median time between them. `bbox` is west, south,
    east, north around the sensors' public places.
    """

    sensors: int = 0
    series: int = 0
    first_ms: int | None = None
    newest_ms: int | None = None
    modified_ms: int | None = None
    lateness_p50_s: float | None = None
    lateness_p99_s: float | None = None
    coverage: float | None = None
    cadence_s: float | None = None
    bbox: tuple[float, float, float, float] | None = None
    validity: float | None = None


BBOX_STEPS = 1000  # to a degree: about 100 m


def _around(degrees: Sequence[float], most: float) -> tuple[float, float]:
    """The smallest range in whole steps that holds all of these, and is one, also where they are all the same: a box
    that is written with few digits is not to leave a sensor out, nor to be no polygon.
    """
    low = math.floor(round(min(degrees) * BBOX_STEPS, 6))
    high = math.ceil(round(max(degrees) * BBOX_STEPS, 6))
    if low == high:
        low, high = low - 1, high + 1
    return max(-most, low / BBOX_STEPS), min(most, high / BBOX_STEPS)


def measure(rows: list[LatestRow], registry: Registry, dataset: str, now_ms: int) -> Facts:
    """What memory tells: latest values and the registry."""
    registered = set(registry.sensors(dataset))
    sensors = registered | {row.sensor for row in rows}
    places = [
        place
        for sensor in registered
        for _, to_ms, registration in registry.validities(dataset, sensor)
        if to_ms == FOREVER_MS or to_ms > now_ms
        if (place := public_place(registration)) is not None
    ]
    bbox = None
    if places:
        lon, lat = zip(*places, strict=True)
        (west, east), (south, north) = _around(lon, 180.0), _around(lat, 90.0)
        bbox = (west, south, east, north)
    if not rows:
        return Facts(len(sensors), bbox=bbox)
    ends = np.array([row.start + row.period_s * 1000 for row in rows])
    received = np.array([row.received for row in rows])
    live = np.array([row.origin == 0 for row in rows])  # an import's receipt says nothing of how late its sensor was
    p50, p99 = np.percentile((received - ends)[live] / 1000, (50, 99)).tolist() if live.any() else (None, None)
    worth = [0.0 if row.newer_failed else SUSPECT_WORTH if row.flag == Flag.SUSPECT else 1.0 for row in rows]
    validity = float(np.mean(worth))
    return Facts(
        len(sensors), len(rows), None, int(ends.max()), int(received.max()), p50, p99, bbox=bbox, validity=validity
    )


@dataclass
class CatalogFacts:
    """The facts of all datasets and the days that changed, each asked of the database once a minute at most."""

    _until_ms: int = 0
    _first: dict[str, int] = field(default_factory=dict)
    _coverage: dict[str, Coverage] = field(default_factory=dict)
    _days: list[Day] = field(default_factory=list)

    async def facts(
        self, pool: Pool, latest: Latest, registry: Registry, datasets: list[str], now_ms: int
    ) -> dict[str, Facts]:
        """The facts of each dataset."""
        await self._refresh(pool, datasets, now_ms)
        return {dataset: self._of(dataset, latest, registry, now_ms) for dataset in datasets}

    async def days(self, pool: Pool, datasets: list[str], now_ms: int) -> list[Day]:
        """The days of the last month that are closed, the one stored last first."""
        await self._refresh(pool, datasets, now_ms)
        return self._days

    def _of(self, dataset: str, latest: Latest, registry: Registry, now_ms: int) -> Facts:
        known = measure(latest.rows(dataset), registry, dataset, now_ms)
        hours = self._coverage.get(dataset, Coverage(0, None, None))
        return Facts(**(vars(known) | {
            "first_ms": self._first.get(dataset), "coverage": hours.coverage, "cadence_s": hours.cadence_s,
        }))  # fmt: skip

    async def _refresh(self, pool: Pool, datasets: list[str], now_ms: int) -> None:
        if now_ms < self._until_ms:
            return
        self._until_ms = now_ms + KEPT_MS
        hour = _EPOCH + timedelta(milliseconds=now_ms // 3_600_000 * 3_600_000)
        try:
            async with pool.connection() as connection:
                self._first = await queries.first_readings(connection, datasets)
                self._coverage = await queries.coverage(
                    connection, datasets, hour - timedelta(hours=25), hour - timedelta(hours=1)
                )
                since = hour - timedelta(days=CHANGES_DAYS)
                self._days = await queries.changed_days(connection, datasets, since, CHANGES_MOST)
        except psycopg.Error:
            self._until_ms = now_ms + 5_000  # what was known stays; the catalog goes on without the database
