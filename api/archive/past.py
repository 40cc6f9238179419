"""History that is in the archive alone: its rows stand in for the database's while a statement runs."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from api.archive.store import Store
from api.problems import RETRY_AFTER_S
from api.queries import moved, series
from api.queries.moved import MovedDay
from api.times import DAY_MS
from schemas import pgbinary
from schemas.errors import RequestError
from schemas.readings import Origin

log = logging.getLogger(__name__)

Array = npt.NDArray[Any]

NEVER_MOVED_DAYS = 2
"""Days that ended less than this ago are always in the database: who asks of them alone pays nothing."""
_ORIGINS = {origin.name.lower(): int(origin) for origin in Origin}
_READ = ("sensor", "metric", "start", "period_s", "value", "flag", "tests", "rev", "origin", "received")
_LOG = ("part", "position", "source_rev")


@dataclass(frozen=True)
class Past:
    """The days of a dataset that are in the archive alone, and where its files are."""

    dataset: str
    store: Store
    days: Mapping[int, MovedDay]

    def among(self, days: Iterable[int]) -> list[int]:
        """Those of the days that are in the archive alone."""
        return [day for day in days if day in self.days]

    def spans(self, days: Sequence[int], width_s: int | None) -> Iterator[tuple[Sequence[int], bool]]:
        """The days in their order, each piece of one kind: days of the database, or one of the archive (True).

        With `width_s`, of windows: a day of the archive whose readings are of other periods makes none of them.
        """
        kept: list[int] = []
        for day in days:
            if day in self.days and (width_s is None or width_s in self.days[day].periods):
                if kept:
                    yield kept, False
                    kept = []
                yield [day], True
            else:
                kept.append(day)
        if kept:
            yield kept, False

    @contextlib.asynccontextmanager
    async def over(
        self, connection: series.Connection, days: Iterable[int], chosen: Mapping[int, tuple[str, str]]
    ) -> AsyncIterator[None]:
        """Within the block, a transaction, table `readings` is the days' rows of the series {key: (sensor, metric)},
        whether they are in the archive or not. Raises `RequestError` 503 where the archive can't be read.
        """
        numbers = list(days)
        async with moved.over(connection, self._pieces(self.among(numbers), chosen), list(chosen), numbers):
            yield

    async def _pieces(self, days: Sequence[int], chosen: Mapping[int, tuple[str, str]]) -> AsyncIterator[bytes]:
        for day in days:
            pieces = read(self.store, self.days[day], chosen)
            while (piece := await asyncio.to_thread(_next, pieces)) is not None:
                if piece:
                    yield piece


def _next(pieces: Iterator[bytes]) -> bytes | None:
    try:
        return next(pieces, None)
    except (OSError, ValueError) as e:
        raise unavailable(e) from e


def unavailable(error: Exception) -> RequestError:
    """The refusal where the archive's place can't be read; why goes to the log, for it names what is ours."""
    log.warning("the archive can't be read: %s: %s", type(error).__name__, error)
    return RequestError(
        503, "archive-unavailable", "The archive is not available", "A file of the archive can't be read just now.",
        remedy=f"Ask again in {RETRY_AFTER_S} s; younger history is in the database.",
    )  # fmt: skip


def read(store: Store, day: MovedDay, chosen: Mapping[int, tuple[str, str]]) -> Iterator[bytes]:
    """A day's rows of these series as binary COPY, a row group at a time; row groups without them are passed over.

    Raises `OSError` where the store does, `ValueError` (Arrow's errors are some) for files that are not what they were.
    """
    import pyarrow.parquet as pq

    with store.open(day.path) as file, store.open(day.log_path) as log_file:
        rows, log = pq.ParquetFile(file), pq.ParquetFile(log_file)
        if rows.metadata.num_rows != day.rows or log.metadata.num_rows != day.rows:
            raise ValueError(f"{day.path} has {rows.metadata.num_rows} rows, {day.rows} were moved")
        sensors = {sensor for sensor, _ in chosen.values()}
        for i in range(rows.num_row_groups):
            if _has_any(rows.metadata.row_group(i), sensors):
                yield _copy(rows.read_row_group(i, list(_READ)), log.read_row_group(i, list(_LOG)), chosen)


def _has_any(group: Any, sensors: Collection[str]) -> bool:
    """Whether a row group may have rows of these sensors, by its statistics."""
    for i in range(group.num_columns):
        column = group.column(i)
        if column.path_in_schema == "sensor" and column.is_stats_set and column.statistics.has_min_max:
            return any(column.statistics.min <= sensor <= column.statistics.max for sensor in sensors)
    return True


def _copy(rows: Any, log: Any, chosen: Mapping[int, tuple[str, str]]) -> bytes:
    keys = {names: key for key, names in chosen.items()}
    sensor, sensors = _coded(rows["sensor"])
    metric, metrics = _coded(rows["metric"])
    key_of = np.array([[keys.get((s, m), -1) for m in metrics] for s in sensors], np.int64).reshape(-1, len(metrics))
    series_of = key_of[sensor, metric] if len(sensor) else np.zeros(0, np.int64)
    at = np.flatnonzero(series_of >= 0)
    if not len(at):
        return b""
    origin, origins = _coded(rows["origin"])
    values: dict[str, Array] = {
        "series": series_of,
        "value": rows["value"].to_numpy(),  # null is NaN
        "origin": np.array([_ORIGINS[name] for name in origins])[origin],
        **{name: rows[name].to_numpy().astype("M8[ms]").astype(np.int64) for name in ("start", "received")},
        **{name: rows[name].to_numpy() for name in ("period_s", "flag", "tests", "rev")},
        **{name: log[name].to_numpy() for name in _LOG},
    }
    return pgbinary.dump({name: (kind, values[name][at]) for name, kind in moved.COLUMNS.items()})


def _coded(column: Any) -> tuple[Array, list[str]]:
    """(codes, labels) of a column of texts."""
    coded = column.combine_chunks().dictionary_encode()
    return coded.indices.to_numpy(), coded.dictionary.to_pylist()


@contextlib.asynccontextmanager
async def of(
    connection: series.Connection, store: Store, dataset: str, from_ms: int, now_ms: int
) -> AsyncIterator[Past | None]:
    """What of a dataset's history since `from_ms` is in the archive alone, and stays so; None: nothing."""
    if from_ms >= now_ms - NEVER_MOVED_DAYS * DAY_MS:
        yield None
        return
    async with moved.held(connection):
        days = await moved.days(connection, dataset)
        yield Past(dataset, store, days) if days else None
