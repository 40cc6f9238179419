"""Rows to records."""

import math

import numpy as np
import pytest

from ingest_gateway import batches
from ingest_gateway.batches import PartitionBatch, readings_of
from ingest_gateway.decoders import Row
from schemas import wire
from schemas.readings import COLUMNS
from schemas.registry import Registration, Registry, Series

A, B = ("air-quality", "a"), ("air-quality", "b")


def test_columns_in_the_order_of_receipt() -> None:
    batch = PartitionBatch(Registry({}))
    batch.add(A, [Row("pm25", "", 1000, -1, 1.5), Row("no2", "ug/m3", 1000, 60, 2.5)], 11)
    batch.add(B, [Row("pm25", "", 2000, -1, 3.5, 2, 1)], 12)
    batch.add(A, [Row("pm25", "", 3000, -1, 4.5)], 13)
    (value,) = batch.take()
    record = wire.decode(value)
    readings = record.readings
    assert (record.kind, record.tick, len(readings)) == ("raw", 0, 4)
    assert readings.sensors == (A, B)
    assert readings.metrics == (("pm25", ""), ("no2", "ug/m3"))
    assert readings.sensor.tolist() == [0, 0, 1, 0]
    assert readings.metric.tolist() == [0, 1, 0, 0]
    assert readings.start.tolist() == [1000, 1000, 2000, 3000]
    assert readings.period_s.tolist() == [0, 60, 0, 0]
    assert readings.value.tolist() == [1.5, 2.5, 3.5, 4.5]
    assert readings.rev.tolist() == [1, 1, 2, 1]
    assert readings.origin.tolist() == [0, 0, 1, 0]
    assert readings.received.tolist() == [11, 11, 12, 13]
    assert set(readings.flag.tolist()) == {2}
    assert set(readings.tests.tolist()) == {0}
    assert readings.lon is None
    assert batch.take() == []


def test_columns_have_the_types_of_the_wire() -> None:
    readings = readings_of([Row("pm25", "", 1000, -1, 1.5)], [A], [11], Registry({}))
    assert {name: getattr(readings, name).dtype for name in COLUMNS} == COLUMNS


def test_places_only_where_there_is_one() -> None:
    rows = [Row("pm25", "", 1, -1, 1.0, lon=-118.5, lat=34.25), Row("pm25", "", 2, -1, 1.0)]
    readings = readings_of(rows, [A, A], [1, 1], Registry({}))
    assert readings.lon is not None
    assert readings.lat is not None
    assert (readings.lon[0], readings.lat[0]) == (-118.5, 34.25)
    assert math.isnan(readings.lon[1])
    (value,) = (wire.encode(wire.Record("raw", readings)),)
    again = wire.decode(value).readings
    assert again.lon is not None
    np.testing.assert_array_equal(again.lon, readings.lon)


def test_a_record_has_a_largest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MAX_RECORD_READINGS", 100)
    batch = PartitionBatch(Registry({}))
    batch.add(A, [Row("pm25", "", i, -1, float(i)) for i in range(250)], 11)
    records = [wire.decode(value).readings for value in batch.take()]
    assert [len(readings) for readings in records] == [100, 100, 50]
    assert np.concatenate([readings.start for readings in records]).tolist() == list(range(250))


def test_the_largest_record_fits_its_topic() -> None:
    """Values that compress not at all, each of another sensor with the longest names."""
    n = batches.MAX_RECORD_READINGS
    noise = np.random.default_rng(1).standard_normal(n)
    rows = [
        Row(f"m{i % 50}", "u" * 32, i, i % 60, float(noise[i]), i + 1, i % 2, float(noise[i]), 1.0) for i in range(n)
    ]
    sensors = [("d" * 63, f"{i:064d}") for i in range(n)]
    assert (
        len(wire.encode(wire.Record("raw", readings_of(rows, sensors, list(range(n)), Registry({})))))
        < 4 * 1024 * 1024 - 4096
    )


def test_a_row_without_unit_or_period_has_the_registered_ones_of_its_moment() -> None:
    """The record says what it means: a registration that comes later changes nothing that was received before."""
    registry = Registry({})
    registry.apply(Registration(*A, series={"pm25": Series(unit="mg/m3", period_s=60)}))
    batch = PartitionBatch(registry)
    batch.add(A, [Row("pm25", "", 1000, -1, 1.5), Row("pm25", "ug/m3", 2000, 10, 2.5)], 11)
    (before,) = batch.take()
    registry.apply(Registration(*A, series={"pm25": Series(unit="ug/m3", period_s=300)}))
    batch.add(A, [Row("pm25", "", 3000, -1, 1.5)], 12)
    (after,) = batch.take()
    first, second = wire.decode(before).readings, wire.decode(after).readings
    assert [first.metrics[i][1] for i in first.metric] == ["mg/m3", "ug/m3"]
    assert first.period_s.tolist() == [60, 10]
    assert (second.metrics, second.period_s.tolist()) == ((("pm25", "ug/m3"),), [300])
