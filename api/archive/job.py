"""Writes the days that are closed, and a new revision of those that late or revised data changed."""

import gzip
import hashlib
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import msgspec
import numpy as np

from api import columns, history
from api.archive.store import Day, File, Store, path_of
from api.formats import FORMATS
from api.paging import Positions, Start
from api.params import Asked
from api.queries import archive, copies, moved, pages, series
from api.rows import ReadingRow
from api.streams import LogStream, Sheet
from api.times import DAY_MS, rfc3339
from schemas.city import City
from schemas.datasets import Dataset
from schemas.settings import Settings
from schemas.units import canonical_unit

log = logging.getLogger(__name__)

SENSORS_PER_STATEMENT = 500
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class Wanted:
    """Which days: those of these datasets (none: all) in [first, end), numbered from 1970-01-01; closed ones only."""

    datasets: tuple[str, ...] = ()
    first_day: int = 0
    end_day: int = 1 << 20


@dataclass(frozen=True)
class Written:
    """What became of a day: `revision` that was written, 0 where nothing had changed."""

    dataset: str
    day: date
    revision: int
    rows: int


class Job:
    """A pass over all datasets on one connection."""

    def __init__(self, settings: Settings, city: City, store: Store, connection: pages.Connection) -> None:
        self._settings, self._city, self._store, self._connection = settings, city, store, connection

    async def run(self, wanted: Wanted, now_ms: int) -> AsyncIterator[Written]:
        """Write what is missing or has changed, oldest first. A day is closed `archive_after_h` after its end."""
        closed = (now_ms - self._settings.archive_after_h * 3_600_000) // DAY_MS
        end = min(wanted.end_day, closed)
        if end <= wanted.first_day:
            return
        changes = await archive.changes(self._connection, max(0, wanted.first_day), min(end, 2_900_000))
        for dataset in self._city.datasets.values():
            if wanted.datasets and dataset.id not in wanted.datasets:
                continue
            index = self._store.index(dataset.id)
            gone = await moved.days(self._connection, dataset.id)
            for day, count in sorted(changes.items()):
                if not wanted.first_day <= day < end or day in gone:
                    continue
                known = index.newest().get(str(_EPOCH + timedelta(days=day)))
                if known is not None and known.changes == count:
                    continue
                made = await self._day(dataset, day, count, known, now_ms)
                if made is None:
                    continue
                index = index.with_day(made)
                self._store.put_index(index)
                fresh = known is None or made.revision != known.revision
                yield Written(dataset.id, _EPOCH + timedelta(days=day), made.revision if fresh else 0, made.rows)

    async def _day(self, dataset: Dataset, day: int, changes: int, known: Day | None, now_ms: int) -> Day | None:
        rows, fingerprint = await archive.fingerprint(self._connection, dataset.id, day)
        if known is None and not rows:
            return None
        if known is not None and known.fingerprint == fingerprint:
            return msgspec.structs.replace(known, changes=changes)
        if known is not None and rows < known.rows:
            log.warning(
                "%s %s: the archive has %d rows and the database %d: left as it is", dataset.id, known.day, known.rows,
                rows,
            )  # fmt: skip
            return None
        revision = 1 if known is None else known.revision + 1
        return await self._write(dataset, day, revision, fingerprint, changes, now_ms)

    async def _write(
        self, dataset: Dataset, day: int, revision: int, fingerprint: str, changes: int, now_ms: int
    ) -> Day:
        at = _EPOCH + timedelta(days=day)
        query = history.query("readings", dataset, Asked(), now_ms)
        notes = {
            "cityfeed.dataset": dataset.id, "cityfeed.day": str(at), "cityfeed.revision": str(revision),
            "cityfeed.made": rfc3339(now_ms), "cityfeed.licence": dataset.licence,
            "cityfeed.attribution": dataset.attribution,
        }  # fmt: skip
        sheet = Sheet(ReadingRow, query.columns, None, notes)  # type: ignore[arg-type]
        rows, periods = 0, set[int]()
        with (
            self._file(dataset, at, revision, "parquet") as parquet,
            self._file(dataset, at, revision, "csv") as csv,
            self._file(dataset, at, revision, "log") as log_file,
        ):
            where = LogStream()
            log_file.write(where.begin())
            streams = [(FORMATS[name].stream(sheet), file) for name, file in (("parquet", parquet), ("csv", csv))]
            for stream, file in streams:
                file.write(stream.begin())
            async for batch in self._batches(dataset, day):
                rows += len(batch)
                periods.update(np.unique(batch.rows["period_s"]).tolist())
                for stream, file in streams:
                    file.write(stream.rows(batch))
                log_file.write(where.put(batch.rows))
            for stream, file in streams:
                file.write(stream.end())
            log_file.write(where.end())
        files = {"parquet": parquet.made(), "csv": csv.made()}
        return Day(str(at), revision, rows, now_ms, files, fingerprint, changes, log_file.made(), sorted(periods))

    @contextmanager
    def _file(self, dataset: Dataset, day: date, revision: int, kind: str) -> Iterator["_Hashed"]:
        path = path_of(day, revision, kind)
        with self._store.writing(f"{dataset.id}/{path}") as raw:
            hashed = _Hashed(path, raw)
            if kind != "csv":
                yield hashed
                return
            # No name and no time in the header: the same rows are the same bytes.
            with gzip.GzipFile("", "wb", 6, hashed, mtime=0) as packed:
                yield _Packed(hashed, packed)  # type: ignore[misc]

    async def _batches(self, dataset: Dataset, day: int) -> AsyncIterator[columns.Batch]:
        """The day's rows by sensor, metric and start."""
        found = await series.chosen(self._connection, dataset.id, (), (), with_first=False)
        registry = await series.stored_registry(self._connection, dataset)
        names = {
            key: (sensor, metric, canonical_unit(metric) or registry.rule(dataset.id, sensor, metric).unit or None)
            for key, sensor, metric, _ in found
        }
        rank = np.zeros(max(names, default=0) + 1, np.int64)
        for i, key in enumerate(sorted(names, key=lambda key: names[key][:2])):
            rank[key] = i
        sensors = sorted({sensor for sensor, _, _ in names.values()})
        start = Start(day * DAY_MS, (day + 1) * DAY_MS)
        everything = Positions(dict.fromkeys(range(1024), 2**62), {})
        for i in range(0, len(sensors), SENSORS_PER_STATEMENT):
            chosen = pages.Filter(dataset.id, sensors=tuple(sensors[i : i + SENSORS_PER_STATEMENT]))
            parameters = pages.parameters_of(chosen, start, everything) | pages.bounds_of([day])
            statement = pages.statement(archive.ROWS, chosen, *pages.binary(archive.ROWS))
            bounds = parameters | {"limit": None, "offset": 0}
            parts = [
                pages.decode_rows(body, archive.ROWS)
                async for body in copies.binary(self._connection, statement, bounds)
            ]
            if parts:
                rows = np.concatenate(parts)
                rows = rows[np.argsort(rank[rows["series"]], kind="stable")]
                yield columns.Batch(dataset.id, rows, names)


class _Hashed:
    """A file that knows what was written to it."""

    def __init__(self, path: str, file: Any) -> None:
        self._path, self._file = path, file
        self._digest, self._bytes = hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self._file.write(data)
        self._digest.update(data)
        self._bytes += len(data)
        return len(data)

    def flush(self) -> None:
        self._file.flush()

    def made(self) -> File:
        return File(self._path, self._bytes, self._digest.hexdigest())


class _Packed:
    """The same, through gzip."""

    def __init__(self, hashed: _Hashed, packed: gzip.GzipFile) -> None:
        self._hashed, self._packed = hashed, packed

    def write(self, data: bytes) -> int:
        return self._packed.write(data)

    def made(self) -> File:
        return self._hashed.made()
