"""Batches put behind each other, and taken apart again."""

import numpy as np
import pytest

from schemas.readings import COLUMNS, Readings, readings
from stream_processors.stack import stack, unstack


def batch(sensors: str, *values: float, **columns: object) -> Readings:
    names = [("traffic", sensor) for sensor in sensors]
    sensor = np.arange(len(values)) % len(names)
    metrics = [("speed", unit) for unit in sensors]
    return readings(names, metrics, sensor=sensor, metric=sensor, value=values, start=1, received=2, **columns)


ONE, TWO, PLACED = batch("ab", 1.0, 2.0, 3.0), batch("bc", 4.0, 5.0), batch("a", 6.0, lon=[7.0], lat=[8.0])


def test_a_stack_says_what_its_batches_said() -> None:
    stacked = stack([ONE, TWO, PLACED])
    assert [stacked.row(i)["value"] for i in range(6)] == [1, 2, 3, 4, 5, 6]
    assert "".join(stacked.row(i)["sensor"] for i in range(6)) == "ababca"[:3] + "bca"
    assert "".join(stacked.row(i)["unit"] for i in range(6)) == "ababca"[:3] + "bca"
    assert stacked.lon is not None and np.isnan(stacked.lon[:5]).all() and stacked.lon[5] == 7


@pytest.mark.parametrize("batches", [[ONE], [ONE, TWO], [TWO, PLACED, ONE], [ONE, ONE, PLACED]])
def test_each_gets_its_own_back(batches: list[Readings]) -> None:
    of = np.repeat(np.arange(len(batches)), [len(one) for one in batches])
    for before, after in zip(batches, unstack(stack(batches), of, batches), strict=True):
        assert (after.sensors, after.metrics, after.source_rev) == (before.sensors, before.metrics, None)
        for name, dtype in COLUMNS.items():
            column = getattr(after, name)
            assert column.dtype == dtype
            np.testing.assert_array_equal(column, getattr(before, name), name)
        assert (after.lon is None) == (before.lon is None)


def test_rows_behind_all_go_to_the_end_of_their_batch() -> None:
    """Amendments are appended to a stack; a batch of which nothing remains stays, empty."""
    stacked = stack([ONE, TWO, PLACED])
    rows = stacked.take(np.array([0, 2, 5, 1]))
    rows = Readings(**{name: getattr(rows, name) for name in ("sensors", "metrics", "lon", "lat", *COLUMNS)},
                    source_rev=np.array([1, 1, 1, 0], "<i4"))  # fmt: skip
    one, two, three = unstack(rows, np.array([0, 0, 2, 0]), [ONE, TWO, PLACED])
    assert (one.value.tolist(), two.value.tolist(), three.value.tolist()) == ([1, 3, 2], [], [6])
    assert one.source_rev is not None and one.source_rev.tolist() == [1, 1, 0]
    assert two.source_rev is None and three.source_rev is None
    assert one.lon is None and three.lon is not None and three.lon.tolist() == [7.0]
