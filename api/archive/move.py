"""Old days leave the database: when the archive has them whole, verified by SHA-256, and history reads them from there.

A day goes in one transaction, with all its datasets, while nobody writes or reads it: what is in the table then is
held once more against what the archive says that its files have. `bring_back` is the way back.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from datetime import date, timedelta

import psycopg

from api.archive.past import NEVER_MOVED_DAYS, Past
from api.archive.store import Day, Store
from api.queries import archive, moved, series
from api.queries.moved import MovedDay
from api.times import DAY_MS
from schemas.city import City
from schemas.datasets import Dataset
from schemas.errors import CityfeedError
from schemas.settings import Settings

log = logging.getLogger(__name__)

_EPOCH = date(1970, 1, 1)


def last_day(settings: Settings, datasets: Iterable[Dataset], now_ms: int) -> int:
    """Days before this one may go; 0: none. Days that live readings can still change stay, which is logged."""
    if not settings.database_keep_days:
        return 0
    open_ended = [dataset.id for dataset in datasets if not dataset.repair_horizon_s]
    if open_ended:
        log.warning(
            "CITYFEED_DATABASE_KEEP_DAYS: nothing is moved, for live readings of any age may come for %s; a"
            " repair_horizon_s in the dataset's file ends that", ", ".join(open_ended),
        )  # fmt: skip
        return 0
    horizon_s = max(dataset.repair_horizon_s for dataset in datasets)
    kept_days = max(settings.database_keep_days, NEVER_MOVED_DAYS + 1)
    return int(min(now_ms - kept_days * DAY_MS, now_ms - horizon_s * 1000 - DAY_MS) // DAY_MS)


async def move(
    connection: series.Connection, settings: Settings, city: City, store: Store, now_ms: int
) -> AsyncIterator[tuple[date, int]]:
    """Move what is old enough; (day, rows) of each day that went."""
    before = last_day(settings, list(city.datasets.values()), now_ms)
    if not before:
        return
    staying = await moved.staying(connection)
    for day, chunk in (await moved.chunks(connection, before)).items():
        if day in staying:
            continue
        try:
            if (rows := await _move(connection, city, store, day, chunk)) is not None:
                yield _EPOCH + timedelta(days=day), rows
        except psycopg.errors.LockNotAvailable:
            log.info("%s is being read or written; the next pass tries again", _EPOCH + timedelta(days=day))


async def _move(connection: series.Connection, city: City, store: Store, day: int, chunk: str) -> int | None:
    at = str(_EPOCH + timedelta(days=day))
    there = await moved.datasets(connection, day)
    known = {dataset: store.index(dataset).newest().get(at) for dataset in sorted(there)}
    for dataset, found in known.items():
        if (why := await asyncio.to_thread(_unfit, city, store, dataset, found)) is not None:
            log.warning("%s stays in the database: %s", at, why)
            return None
    async with moved.writing(connection):
        await moved.freeze(connection, chunk)
        if await moved.datasets(connection, day) != there:
            return None
        for dataset, found in known.items():
            assert found is not None and found.log is not None
            _, fingerprint = await archive.fingerprint(connection, dataset, day)
            if fingerprint != found.fingerprint:
                return None  # it has changed since; the archive makes a new revision first
            path, log_path = (f"{dataset}/{file.path}" for file in (found.files["parquet"], found.log))
            await moved.put(
                connection, dataset, MovedDay(day, found.revision, path, log_path, found.rows, found.periods)
            )
        await moved.drop(connection, day)
    return sum(found.rows for found in known.values() if found is not None)


def _unfit(city: City, store: Store, dataset: str, day: Day | None) -> str | None:
    """Why a dataset's day can't go, None where it can."""
    if dataset not in city.datasets:
        return f"there is no dataset {dataset!r} any more, so the archive has no days of it"
    if day is None:
        return f"the archive does not have it of {dataset} yet"
    if day.log is None:
        return f"its file of {dataset} was written by an older version"
    for file in (day.files["parquet"], day.log):
        path = f"{dataset}/{file.path}"
        try:
            found = store.sha256(path)
        except OSError as e:
            return f"{path} can't be read: {e}"
        if found != file.sha256:
            return f"{path} is not what was written: its SHA-256 is another one"
    return None


async def bring_back(connection: series.Connection, store: Store, dataset: str, day: int) -> int:
    """Put a dataset's day into the database again; how many rows came. Raises `CityfeedError` where it never left."""
    days = await moved.days(connection, dataset)
    if day not in days:
        raise CityfeedError(f"{dataset} {_EPOCH + timedelta(days=day)} is not in the archive alone")
    found = await series.chosen(connection, dataset, (), (), with_first=False)
    past = Past(dataset, store, days)
    async with moved.writing(connection):
        await moved.alone(connection)
        async with past.over(connection, [day], {key: (sensor, metric) for key, sensor, metric, _ in found}):
            return await moved.bring_back(connection, dataset, day)
