"""A file gets the flags that the stream gives in the end."""

import math
import random

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deploy.qc.judged import judge
from schemas.datasets import parse_datasets, shipped_files
from schemas.readings import Origin, Readings, readings
from schemas.registry import Registry
from schemas.wire import Record
from stream_processors.clean import Cleaner

START = 1_700_000_000_000
MINUTE = 60_000


def week_of_two() -> Readings:
    """Two sensors with two metrics each, in one order of time, with faults."""
    dice = np.random.default_rng(5)
    n = 400
    value = np.where(np.arange(n) % 2 == 0, 20 + dice.normal(0, 1, n), 12 + dice.normal(0, 0.5, n))
    value[[41, 100, 243]] = [500, -999, 60]
    value[150:300:2] = 20.0
    value = np.where(np.arange(n) % 2 == 0, value, value * 1.8 + 32)
    return readings(
        [("air-quality", "a"), ("air-quality", "b")], [("pm25", "ug/m3"), ("temperature", "[degF]")],
        sensor=np.arange(n) // 2 % 2, metric=np.arange(n) % 2, value=value,
        start=START + np.arange(n) // 4 * MINUTE, received=START + np.arange(n) // 4 * MINUTE + MINUTE,
        origin=Origin.IMPORT, period_s=60,
    )  # fmt: skip


def test_a_file_is_judged_as_the_stream_is() -> None:
    registry = Registry(parse_datasets(shipped_files()))
    batch = week_of_two()
    cleaner = Cleaner(registry, prev_raw=-1, future_ms=0, horizon_ms=900_000)
    stream: dict[tuple[int, int, int], tuple[int, int]] = {}
    for offset, begin in enumerate(range(0, len(batch), 10)):
        ten = batch.take(np.arange(begin, min(begin + 10, len(batch))))
        (out,) = cleaner.clean([(offset, Record("raw", ten))])
        kept = out.record.readings
        for key in zip(kept.sensor, kept.metric, kept.start, kept.flag, kept.tests, strict=True):
            stream[int(key[0]), int(key[1]), int(key[2])] = (int(key[3]), int(key[4]))
    flags = judge(batch, registry)
    file = {
        (int(s), int(m), int(t)): (int(f), int(tests))
        for s, m, t, f, tests in zip(batch.sensor, batch.metric, batch.start, flags.flag, flags.tests, strict=True)
    }
    assert file == stream
    assert set(flags.flag.tolist()) == {1, 3, 4, 9}


def test_values_are_canonical_and_nothing_where_there_is_none() -> None:
    flags = judge(week_of_two(), Registry(parse_datasets(shipped_files())))
    assert np.isnan(flags.value[100]) and abs(flags.value[1] - 12) < 3


FIRST_MS, LAST_MS = -62_135_596_800_000, 253_402_300_799_000  # the years 1 and 9999
ODD = (math.nan, math.inf, -math.inf, 0.0, -0.0, 5e-324, 1e308, -1e308, 9.9e99, -999.0, 65535.0, 20.0)
_values = st.sampled_from(ODD) | st.floats()
_starts = st.integers(START, START + 600_000) | st.sampled_from([FIRST_MS, LAST_MS, 0]) | st.integers(FIRST_MS, LAST_MS)


@settings(deadline=None)
@given(st.lists(st.tuples(_values, _starts), max_size=30, unique_by=lambda row: row[1]), st.randoms())
@example([], None)
@example([(20.0, LAST_MS)], None)
def test_any_rows_in_any_order_have_flags(rows: list[tuple[float, int]], dice: random.Random | None) -> None:
    """The same flags in whatever order they come, and no value where there is none."""
    registry = Registry(parse_datasets(shipped_files()))
    for metric, unit in (("pm25", "ug/m3"), ("temperature", "[degF]")):
        found = []
        for _ in range(2):
            value, start = np.array(rows, object).reshape(-1, 2).T
            batch = readings(
                [("air-quality", "a")], [(metric, unit)], sensor=np.zeros(len(rows), int),
                metric=np.zeros(len(rows), int), value=value.astype(float), start=start.astype(np.int64),
                received=start.astype(np.int64), origin=Origin.IMPORT, period_s=60,
            )  # fmt: skip
            flags = judge(batch, registry)
            assert set(flags.flag.tolist()) <= {1, 2, 3, 4, 9}
            assert (np.isnan(flags.value) == (flags.flag == 9)).all()
            assert not np.isinf(flags.value).any()
            found.append({int(at): (int(f), int(t)) for at, f, t in zip(start, flags.flag, flags.tests, strict=True)})
            if dice is not None:
                dice.shuffle(rows)
        assert found[0] == found[1]
