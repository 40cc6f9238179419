"""The stream's pure logic on one core: clean and windows, from bytes to bytes, without servers."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas import wire
from schemas.datasets import parse_datasets, shipped_files
from schemas.readings import Readings, readings
from schemas.registry import Registry
from schemas.wire import Record
from stream_processors.clean import Cleaner
from stream_processors.clean_role import READINGS_TOGETHER
from stream_processors.series import Rows, SeriesTable, join
from stream_processors.windows import Windows
from tests.bench.figure import Figure

SENSORS = 1_000
PARTITIONS = 8
PER_RECORD = 500
TOGETHER = READINGS_TOGETHER // PER_RECORD  # as the role cleans a backlog
FLUSH_READINGS = 50_000
SECONDS_OF_DATA = 2_400
START_MS = 1_800_000_000_000 // 86_400_000 * 86_400_000


def measure() -> Iterator[Figure]:
    """1,000 sensors at 1 Hz in 8 partitions, records of 500 readings: decode, clean, encode; decode, windows."""
    registry = Registry(parse_datasets(shipped_files()))
    raw = [raw_records(part, SECONDS_OF_DATA) for part in range(PARTITIONS)]
    n = sum(len(records) for records in raw) * PER_RECORD
    began = time.process_time()
    clean = [_clean(registry, records) for records in raw]
    cleaned_s = time.process_time() - began
    log = [record for together in zip(*clean, strict=True) for record in together]
    began = time.process_time()
    closed = _windows(registry, log)
    windows_s = time.process_time() - began
    rate = n / (cleaned_s + windows_s)
    yield Figure(
        "clean and window logic alone, one core, records of 500", rate, "readings/s",
        target="at least 1,000,000", met=rate >= 1_000_000,
        note=f"ns a reading: clean {cleaned_s / n * 1e9:.0f}, windows {windows_s / n * 1e9:.0f}; {closed} windows",
    )  # fmt: skip


def raw_records(part: int, seconds: int, start_ms: int = START_MS) -> list[bytes]:
    """Raw records of a partition whose 125 sensors send an instant each second; four seconds in each."""
    each = SENSORS // PARTITIONS
    names = [("traffic", f"s{part}-{i}") for i in range(each)]
    dice = np.random.default_rng(part)
    seconds_each = PER_RECORD // each
    base = np.tile(dice.uniform(40, 90, each), seconds_each)  # steady, with a little noise: no spikes, as sensors are
    sensor, offset_ms = np.tile(np.arange(each), seconds_each), np.repeat(np.arange(seconds_each), each) * 1000
    return [
        wire.encode(Record("raw", readings(
            names, [("speed", "km/h")], sensor=sensor, value=base + dice.uniform(-1, 1, PER_RECORD),
            start=start_ms + second * 1000 + offset_ms, received=start_ms + (second + seconds_each) * 1000, period_s=1,
        )))
        for second in range(0, seconds, seconds_each)
    ]  # fmt: skip


def _clean(registry: Registry, raw: list[bytes]) -> list[bytes]:
    cleaner = Cleaner(registry, prev_raw=-1, future_ms=300_000, horizon_ms=900_000)
    clean: list[bytes] = []
    for at in range(0, len(raw), TOGETHER):
        records = [(at + i, wire.decode(data)) for i, data in enumerate(raw[at : at + TOGETHER])]
        clean += [wire.encode(one.record) for one in cleaner.clean(records)]
    return clean


def _slots(table: SeriesTable, batch: Readings) -> npt.NDArray[Any]:
    """As flush.py finds them."""
    slot = table.slots(batch)
    if (slot < 0).any():
        new = table.unknown(batch, slot)
        table.add({key: len(table) + i for i, key in enumerate(new)}, dict.fromkeys(new, 0))
        slot = table.slots(batch)
    return slot


def _windows(registry: Registry, clean: list[bytes]) -> int:
    table = SeriesTable(registry)
    windows = Windows(table)
    closed = 0
    each = FLUSH_READINGS // PER_RECORD
    for at in range(0, len(clean), each):
        batches = [wire.decode(data).readings for data in clean[at : at + each]]
        slot = np.concatenate([_slots(table, batch) for batch in batches])
        c = join(batches)
        span_ms = table.span_ms(slot, c["period_s"])
        windows.take(Rows(slot, c["start"], c["period_s"], c["value"], c["flag"], c["received"], span_ms, c["origin"]))
        closed += sum(len(one.slot) for one in windows.close({})[0])
    return closed
