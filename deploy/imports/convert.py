"""Rows of text to readings. Pure: a chunk, a mapping and the time of receipt in; readings and refused rows out."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from deploy.imports.mapping import Mapping, Time, Values, offset_ms
from deploy.imports.source import Chunk, Refused
from schemas.quantities import QUANTITIES
from schemas.readings import EMPTY, MAX_PERIOD_S, MAX_SOURCE_REV, SENSOR_PATTERN, Origin, Readings, readings
from schemas.registry import Registry
from schemas.units import conversion

Array = npt.NDArray[Any]

REASONS = {
    "row_width": "the row has another number of fields than the header",
    "time": "the time is not of the format that the map says",
    "time_without_offset": "the time has no offset, and the map names no zone",
    "time_of_a_clock_change": "on the day on which clocks are set, this local time stands twice or not at all",
    "clock_future": "further ahead of now than CITYFEED_FUTURE_TOLERANCE_S",
    "clock_past": "before 1970",
    "archived": "the day's readings are in the archive alone; `cityfeed archive --bring-back` puts them back first",
    "sensor": "not an id that a sensor can have",
    "value": "not a number",
    "unit": "no conversion from this unit",
    "period": "not a number of seconds from 0 to a year",
    "rev": f"not a whole number from 1 to {MAX_SOURCE_REV}",
}
"""Why a row or a value of it is refused."""

_DAY_MS = 86_400_000
_MISSING_MS = np.iinfo(np.int64).min


@dataclass(frozen=True, slots=True)
class Converted:
    """What became of a chunk: readings in the order of the rows, what was refused, how many rows the map leaves out
    (`only`, and metrics it does not name), how many cells are empty. `rows`: the row of the chunk of each reading.
    """

    readings: Readings
    refused: list[Refused]
    left_out: int
    empty: int
    rows: Array


class Converter:
    """Converts the chunks of one file into readings of `dataset`; `now_ms` is an argument of each call. `archived` are
    the UTC days, from 1970-01-01, that the database does not have: windows could not be made of them.
    """

    def __init__(
        self, mapping: Mapping, dataset: str, registry: Registry, future_ms: int, archived: Iterable[int] = ()
    ) -> None:
        self._mapping = mapping
        self._dataset = dataset
        self._registry = registry
        self._future_ms = future_ms
        self._archived = np.array(sorted(archived), np.int64)

    def convert(self, chunk: Chunk, now_ms: int) -> Converted:
        """The readings of a chunk, with `received` now and origin import."""
        job = _Job(chunk, self._mapping)
        for column, allowed in self._mapping.only.items():
            job.leave_out(~np.isin(np.array(chunk.columns[column], object), allowed))
        sensors, sensor = self._sensors(job)
        stamp_ms = self._stamps(job)
        rev = self._rev(job)
        parts = [self._values(job, values, sensors, sensor, stamp_ms, rev) for values in self._mapping.values]
        table = np.concatenate(parts) if parts else np.zeros(0, _PART)
        table = table[np.argsort(table["row"], kind="stable")]
        wrong = {
            "clock_future": table["start"] > now_ms + self._future_ms,
            "clock_past": table["start"] < 0,
            "archived": np.isin(table["start"] // _DAY_MS, self._archived),
        }
        for reason, at in wrong.items():
            for row in table["row"][at].tolist():
                job.refuse(row, reason, f"it is {chunk.columns[self._mapping.time.columns[0]][row]!r}")
        table = table[~np.logical_or.reduce(list(wrong.values()))]
        made = self._readings(job, table, sensors, now_ms) if len(table) else EMPTY
        refused = sorted([*chunk.refused, *job.refused], key=lambda r: r.row)
        return Converted(made, refused, int(job.left_out.sum()), job.empty, table["row"].copy())

    def _readings(self, job: "_Job", table: Array, sensors: list[str], now_ms: int) -> Readings:
        return readings(
            [(self._dataset, name) for name in sensors],
            job.metrics,
            sensor=table["sensor"], metric=table["metric"], start=table["start"], period_s=table["period_s"],
            value=table["value"], rev=table["rev"], origin=Origin.IMPORT, received=now_ms,
        )  # fmt: skip

    def _sensors(self, job: "_Job") -> tuple[list[str], Array]:
        rule = self._mapping.sensor
        if rule.value:
            return [rule.value], np.zeros(len(job.chunk), np.int64)
        names: dict[str, int] = {}
        code = np.fromiter(
            (names.setdefault(rule.names.get(cell.strip(), cell.strip()), len(names)) for cell in
             job.chunk.columns[rule.column]), np.int64, len(job.chunk),
        )  # fmt: skip
        bad = [i for i, name in enumerate(names) if not SENSOR_PATTERN.fullmatch(name)]
        job.refuse_all(np.isin(code, bad), "sensor", lambda i: (
            f"{job.chunk.columns[rule.column][i]!r} is not of the form {SENSOR_PATTERN.pattern};"
            " sensor.names in the map can rename it"
        ))  # fmt: skip
        return list(names), code

    def _stamps(self, job: "_Job") -> Array:
        time = self._mapping.time
        cells = zip(*(job.chunk.columns[name] for name in time.columns), strict=True)
        text = pl.Series("time", [" ".join(row).strip() for row in cells], pl.String)
        stamp_ms, why = stamps(text, time)
        for reason in dict.fromkeys(why.tolist()):
            if reason:
                job.refuse_all(why == reason, reason, lambda i: f"{text[i]!r}: {REASONS[str(why[i])]}")
        return stamp_ms

    def _rev(self, job: "_Job") -> Array:
        if self._mapping.rev is None:
            return np.ones(len(job.chunk), np.int64)
        column = job.chunk.columns[self._mapping.rev.column]
        rev, is_number = numbers(column)
        bad = ~is_number | (rev < 1) | (rev != np.floor(rev)) | (rev > MAX_SOURCE_REV)
        job.refuse_all(bad, "rev", lambda i: f"{column[i]!r}: {REASONS['rev']}")
        return np.where(bad, 1, rev).astype(np.int64)

    def _period_s(
        self, job: "_Job", sensors: list[str], sensor: Array, metric_names: list[str], metric: Array
    ) -> Array:
        """The period of each row's reading: the file's, the map's, the registry's."""
        n = len(job.chunk)
        if self._mapping.period_s is not None:
            return np.full(n, self._mapping.period_s)
        of = np.array([
            [self._registry.rule(self._dataset, s, m).period_s for m in metric_names] for s in sensors
        ], np.int64).reshape(len(sensors), len(metric_names))  # fmt: skip
        registered = of[sensor, metric] if len(metric_names) else np.zeros(n, np.int64)
        if not self._mapping.period_column:
            return registered
        column = job.chunk.columns[self._mapping.period_column]
        period, is_number = numbers(column)
        bad = ~is_number | (period < 0) | (period > MAX_PERIOD_S) | (period != np.floor(period))
        job.refuse_all(bad, "period", lambda i: f"{column[i]!r}: {REASONS['period']}")
        return np.where(bad, 0, period).astype(np.int64)

    def _values(
        self, job: "_Job", values: Values, sensors: list[str], sensor: Array, stamp_ms: Array, rev: Array
    ) -> Array:
        cells = [cell.strip() for cell in job.chunk.columns[values.column]]
        names, metric = self._metrics(job, values)
        units = self._units(job, values, sensors, sensor, names, metric)
        is_empty = np.isin(np.array(cells, object), self._mapping.missing) & job.good
        value, is_number = numbers(cells, self._mapping.file.decimal)
        usable = job.good & (metric >= 0) & ~is_empty
        job.refuse_all(
            usable & ~is_number, "value", lambda i: f"{values.column}: {cells[i]!r}: {REASONS['value']}", False
        )
        usable &= is_number & (units >= 0)
        job.empty += int((is_empty & (metric >= 0)).sum())
        period_s = self._period_s(job, sensors, sensor, names, np.maximum(metric, 0))
        usable &= job.good
        start = stamp_ms - (period_s * 1000 if self._mapping.time.stamp == "end" else 0)
        part = np.zeros(int(usable.sum()), _PART)
        part["row"] = np.flatnonzero(usable)
        for name, column in (("sensor", sensor), ("metric", units), ("start", start), ("period_s", period_s),
                             ("value", value), ("rev", rev)):  # fmt: skip
            part[name] = column[usable]
        return part

    def _metrics(self, job: "_Job", values: Values) -> tuple[list[str], Array]:
        """Names, and for each row the index of its metric, -1 where the map names none."""
        n = len(job.chunk)
        if values.metric:
            return [values.metric], np.zeros(n, np.int64)
        names = list(dict.fromkeys(values.metrics.values()))
        of = {cell: names.index(metric) for cell, metric in values.metrics.items()}
        metric = np.fromiter((of.get(c.strip(), -1) for c in job.chunk.columns[values.metric_column]), np.int64, n)
        job.leave_out(metric < 0)
        return names, metric

    def _units(
        self, job: "_Job", values: Values, sensors: list[str], sensor: Array, names: list[str], metric: Array
    ) -> Array:
        """For each row the index in `job.metrics` of its (metric, unit), -1 where there is no conversion."""
        column = job.chunk.columns[values.unit_column] if values.unit_column else None
        known: dict[tuple[int, int, str], int] = {}
        codes = np.full(len(job.chunk), -1)
        for i in np.flatnonzero(job.good & (metric >= 0)).tolist():
            key = (int(sensor[i]), int(metric[i]), column[i].strip() if column else values.unit)
            if key not in known:
                registered = self._registry.rule(self._dataset, sensors[key[0]], names[key[1]]).unit
                unit = _spelled(names[key[1]], key[2] or registered)
                known[key] = -1 if unit is None else job.metric(names[key[1]], unit)
            codes[i] = known[key]
        job.refuse_all(
            (metric >= 0) & (codes < 0),
            "unit",
            lambda i: f"no conversion from {column[i] if column else values.unit!r} for {names[int(metric[i])]}",
            whole_row=False,
        )
        return codes


_PART = np.dtype([
    ("row", "i8"), ("sensor", "i8"), ("metric", "i8"), ("start", "i8"), ("period_s", "i8"), ("value", "f8"),
    ("rev", "i8"),
])  # fmt: skip


class _Job:
    """What is known so far of a chunk's rows: which are good, which the map leaves out, what was refused."""

    def __init__(self, chunk: Chunk, mapping: Mapping) -> None:
        self.chunk = chunk
        self.good = np.ones(len(chunk), bool)
        self.left_out = np.zeros(len(chunk), bool)
        self.refused: list[Refused] = []
        self.metrics: list[tuple[str, str]] = []
        self.empty = 0

    def metric(self, name: str, unit: str) -> int:
        """The index of (metric, unit) in the dictionary of the readings."""
        if (name, unit) not in self.metrics:
            self.metrics.append((name, unit))
        return self.metrics.index((name, unit))

    def leave_out(self, mask: Array) -> None:
        self.left_out |= mask & self.good
        self.good &= ~mask

    def refuse(self, i: int, reason: str, detail: str) -> None:
        self.refused.append(Refused(self.chunk.row[i], reason, detail, self.chunk.text(i)))

    def refuse_all(self, mask: Array, reason: str, detail: Callable[[int], str], whole_row: bool = True) -> None:
        """Refuse the good rows of a mask; `whole_row`: nothing more is made of them."""
        for i in np.flatnonzero(mask & self.good).tolist():
            self.refuse(i, reason, detail(i))
        if whole_row:
            self.good &= ~mask


def numbers(cells: list[str], decimal: str = ".") -> tuple[Array, Array]:
    """(values (n,), mask of what is a finite number)."""
    column = pl.Series("value", cells, pl.String).str.strip_chars()
    if decimal != ".":
        column = column.str.replace(decimal, ".", literal=True)
    value = column.cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()
    return value, np.isfinite(value)


def stamps(text: pl.Series, time: Time) -> tuple[Array, Array]:
    """(epoch ms UTC (n,), reason (n,) of `REASONS` or "") of texts that stamp rows."""
    if time.format in ("epoch_s", "epoch_ms"):
        value, is_number = numbers(text.to_list())
        ms = np.where(is_number, np.rint(value * (1000 if time.format == "epoch_s" else 1)), 0)
        is_number &= np.abs(ms) < 1 << 53
        return np.where(is_number, ms, 0).astype(np.int64), np.where(is_number, "", "time").astype(object)
    if time.format == "iso":
        return _iso(text, time)
    if "%z" in time.format or "%:z" in time.format:
        return _result(_ms(text.str.to_datetime(time.format, time_unit="ms", time_zone="UTC", strict=False)), "time")
    return _local(text.str.to_datetime(time.format, time_unit="ms", strict=False), time)


def _iso(text: pl.Series, time: Time) -> tuple[Array, Array]:
    """RFC 3339, with or without an offset; a space for the T, and seconds that are left out, are fine."""
    has_offset = text.str.contains(r"([Zz]|[+-]\d{2}:?\d{2})$").to_numpy() & text.str.contains(":").to_numpy()
    full = (
        text.str.replace(r"^(\d{4}-\d{2}-\d{2})[ t]", "${1}T").str.replace(r"[Zz]$", "+00:00")
        .str.replace(r"([+-]\d{2})(\d{2})$", "${1}:${2}").str.replace(r"(T\d{2}:\d{2})($|[+-])", "${1}:00${2}")
        .str.replace(r"^(\d{4}-\d{2}-\d{2})$", "${1}T00:00:00")
    )  # fmt: skip
    aware = full.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%:z", time_unit="ms", time_zone="UTC", strict=False)
    naive = full.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="ms", strict=False)
    with_offset, without = _result(_ms(aware), "time"), _local(naive, time)
    return np.where(has_offset, with_offset[0], without[0]), np.where(has_offset, with_offset[1], without[1])


def _local(naive: pl.Series, time: Time) -> tuple[Array, Array]:
    """Local times in the map's zone."""
    ms, reason = _result(_ms(naive), "time")
    read = reason == ""
    if not time.zone:
        return ms, np.where(read, "time_without_offset", reason)
    if (offset := offset_ms(time.zone)) is not None:
        return np.where(read, ms - offset, ms), reason
    which = "null" if time.ambiguous == "refuse" else time.ambiguous
    placed = naive.dt.replace_time_zone(time.zone, ambiguous=which, non_existent="null")
    ms, reason_placed = _result(_ms(placed), "time_of_a_clock_change")
    return ms, np.where(read, reason_placed, reason)


def _result(ms: Array, reason: str) -> tuple[Array, Array]:
    missing = ms == _MISSING_MS
    return np.where(missing, 0, ms), np.where(missing, reason, "").astype(object)


def _ms(times: pl.Series) -> Array:
    ms: Array = times.dt.epoch("ms").fill_null(_MISSING_MS).to_numpy()
    return ms


def _spelled(metric: str, unit: str) -> str | None:
    """The unit as `schemas.units` has it, whatever its letters' case; None where there is no conversion."""
    quantity = QUANTITIES[metric]
    for spelling in dict.fromkeys(
        (unit, unit.lower(), quantity.unit if unit.lower() == quantity.unit.lower() else unit)
    ):
        if conversion(metric, spelling) is not None:
            return spelling
    return None
