"""What `clean` makes of a raw record."""

import dataclasses
import itertools
import math

import msgspec
import numpy as np
import pytest

from schemas.datasets import parse_datasets, shipped_files
from schemas.flags import RULES_VERSION, Test
from schemas.readings import Origin, Readings, readings
from schemas.registry import Registration, Registry, Series
from schemas.wire import Record
from stream_processors.aggregates import aggregate
from stream_processors.clean import REASONS, Cleaned, Cleaner

NOW = 1_800_000_000_000


@pytest.fixture
def registry() -> Registry:
    return Registry(parse_datasets(shipped_files()))


def new_cleaner(registry: Registry, **changes: int) -> Cleaner:
    return Cleaner(registry, **({"prev_raw": -1, "future_ms": 300_000, "horizon_ms": 120_000} | changes))


def batch(
    *values: float, metric: str = "speed", unit: str = "mph", dataset: str = "traffic", **columns: object
) -> Readings:
    n = len(values)
    defaults = {"start": NOW - 600_000 + np.arange(n) * 1000, "received": NOW}
    return readings([(dataset, "a")], [(metric, unit)], sensor=[0] * n, value=values, **(defaults | columns))


def clean(cleaner: Cleaner, raw: Readings, offset: int = 0) -> Cleaned:
    return cleaner.clean([(offset, Record("raw", raw))])[0]


def test_one_clean_record_for_each_raw_one_chained_by_raw_offsets(registry: Registry) -> None:
    cleaner = new_cleaner(registry)
    records = [
        clean(cleaner, batch(60.0), 0).record,
        cleaner.clean([(1, Record("raw", tick=NOW))])[0].record,
        cleaner.clean([(2, Record("raw"))])[0].record,
        clean(cleaner, batch(60.0), 3).record,  # a repeat: nothing remains, the record does
    ]
    assert [(r.raw, r.prev_raw, r.rules) for r in records] == [(i, i - 1, RULES_VERSION) for i in range(4)]
    assert [len(r.readings) for r in records] == [1, 0, 0, 0]
    assert [r.tick for r in records] == [0, NOW, 0, 0]


def test_units_become_canonical_and_the_period_comes_from_the_registry(registry: Registry) -> None:
    out = clean(new_cleaner(registry), batch(60.0)).record.readings
    assert out.value[0] == pytest.approx(96.56064)
    assert (out.metrics, out.period_s.tolist(), out.flag.tolist()) == ((("speed", "km/h"),), [300], [1])


def test_a_payload_without_a_unit_has_the_registered_one(registry: Registry) -> None:
    registry.apply(Registration("traffic", "a", series={"speed": Series(unit="mph")}))
    out = clean(new_cleaner(registry), batch(60.0, unit="")).record.readings
    assert out.value[0] == pytest.approx(96.56064)


def test_two_source_units_of_one_metric_become_one_entry(registry: Registry) -> None:
    raw = readings(
        [("traffic", "a"), ("traffic", "b")], [("speed", "mph"), ("speed", "km/h")],
        sensor=[0, 1], metric=[0, 1], value=[60.0, 60.0], start=[NOW, NOW], received=NOW,
    )  # fmt: skip
    out = clean(new_cleaner(registry), raw).record.readings
    assert out.metrics == (("speed", "km/h"),)
    assert out.value.tolist() == pytest.approx([96.56064, 60.0])


@pytest.mark.parametrize(
    ("value", "flag", "tests"),
    [
        (50.0, 1, 0),
        (170.0, 3, Test.GROSS_RANGE_SUSPECT),
        (160.0, 1, 0),  # ends belong to the span
        (251.0, 4, Test.GROSS_RANGE_FAIL),
        (-1.0, 4, Test.GROSS_RANGE_FAIL),
        (-999.0, 9, Test.SENTINEL),
        (65535.0, 9, Test.SENTINEL),
    ],
)
def test_range_and_sentinels(registry: Registry, value: float, flag: int, tests: int) -> None:
    out = clean(new_cleaner(registry), batch(value, unit="km/h")).record.readings
    assert (out.flag[0], out.tests[0]) == (flag, tests)
    assert math.isnan(out.value[0]) == (flag == 9)


def test_a_sentinel_is_compared_in_the_sources_unit(registry: Registry) -> None:
    out = clean(new_cleaner(registry), batch(-999.0, unit="mph")).record.readings
    assert out.flag[0] == 9


def test_a_metric_without_parameters_is_not_evaluated(registry: Registry) -> None:
    out = clean(new_cleaner(registry), batch(5.0, metric="battery", unit="%")).record.readings
    assert out.flag[0] == 2


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (batch(1.0, start=NOW + 300_001, origin=Origin.IMPORT), "clock_future"),
        (batch(1.0, start=NOW + 300_001), "clock_future"),
        (batch(1.0, start=946_684_799_999), "clock_past"),
        (batch(1.0, start=-5, origin=Origin.IMPORT), "clock_past"),
        (batch(1.0, unit="furlong"), "unit_unknown"),
        (batch(1.0, metric="smell", unit=""), "metric_unknown"),
        (batch(1.0, dataset="nowhere"), "dataset_unknown"),
    ],
)
def test_what_can_not_be_taken_is_rejected_with_its_row(registry: Registry, raw: Readings, reason: str) -> None:
    cleaned = clean(new_cleaner(registry), raw)
    assert len(cleaned.record.readings) == 0
    assert [r.reason for r in cleaned.rejects] == [reason]
    assert cleaned.rejects[0].row["value"] == 1.0
    assert reason in REASONS


def test_five_minutes_ahead_is_taken(registry: Registry) -> None:
    assert len(clean(new_cleaner(registry), batch(1.0, start=NOW + 300_000)).record.readings) == 1


def test_beyond_the_repair_horizon_only_history_is_taken() -> None:
    """
    repair_horizon_s 3600      |------ an hour ------| received
    live                       x o
    import                     o o
    """
    datasets = parse_datasets(shipped_files())
    datasets["traffic"] = msgspec.structs.replace(datasets["traffic"], repair_horizon_s=3600)
    cleaner = new_cleaner(Registry(datasets))
    edge = NOW - 3_600_000
    live = clean(cleaner, batch(1.0, 2.0, start=[edge - 1, edge], received=NOW))
    assert (live.record.readings.start.tolist(), [r.reason for r in live.rejects]) == ([edge], ["beyond_repair"])
    history = batch(1.0, 2.0, start=[edge - 2, edge - 3], received=NOW, origin=Origin.IMPORT)
    assert len(clean(cleaner, history, 1).record.readings) == 2


def test_imports_skip_the_clock_tests(registry: Registry) -> None:
    raw = batch(1.0, 2.0, start=[0, 1], origin=Origin.IMPORT)
    assert len(clean(new_cleaner(registry), raw).record.readings) == 2


def test_one_bad_reading_does_not_cost_the_batch(registry: Registry) -> None:
    cleaned = clean(new_cleaner(registry), batch(1.0, 2.0, 3.0, start=[NOW, NOW + 10**9, NOW - 1000]))
    assert cleaned.record.readings.value.tolist() == pytest.approx([1 * 1.609344, 3 * 1.609344])
    assert len(cleaned.rejects) == 1


def test_repeats_are_dropped_in_a_batch_and_across_batches(registry: Registry) -> None:
    cleaner = new_cleaner(registry)
    first = clean(cleaner, batch(1.0, 1.0, 2.0, start=[NOW, NOW, NOW - 1000]))
    again = clean(cleaner, batch(1.0, 3.0, start=[NOW, NOW - 2000]), 1)
    assert (len(first.record.readings), first.repeats) == (2, 1)
    assert (again.record.readings.value.tolist(), again.repeats) == (pytest.approx([3 * 1.609344]), 1)


def test_a_higher_rev_is_no_repeat_and_a_lower_one_is(registry: Registry) -> None:
    cleaner = new_cleaner(registry)
    revs = [
        len(clean(cleaner, batch(v, start=NOW, rev=r), i).record.readings)
        for i, (v, r) in enumerate([(1.0, 2), (2.0, 3), (1.0, 1)])
    ]
    assert revs == [1, 1, 0]


def test_the_same_rev_with_another_value_is_a_conflict(registry: Registry) -> None:
    cleaner = new_cleaner(registry)
    clean(cleaner, batch(1.0, start=NOW))
    cleaned = clean(cleaner, batch(7.0, start=NOW), 1)
    assert ([r.reason for r in cleaned.rejects], cleaned.repeats, len(cleaned.record.readings)) == (["conflict"], 0, 0)
    assert cleaned.rejects[0].row["value"] == 7.0


def test_a_repeated_sentinel_is_a_repeat_not_a_conflict(registry: Registry) -> None:
    cleaner = new_cleaner(registry)
    clean(cleaner, batch(-999.0, start=NOW))
    assert clean(cleaner, batch(-999.0, start=NOW), 1).repeats == 1


def test_memory_is_bounded_by_the_horizon(registry: Registry) -> None:
    cleaner = new_cleaner(registry, horizon_ms=60_000)
    clean(cleaner, batch(1.0, start=NOW))
    for i in range(1, 4):
        clean(cleaner, batch(1.0, start=NOW + i, received=NOW + i * 61_000), i)
    assert len(clean(cleaner, batch(1.0, start=NOW, received=NOW + 200_000), 9).record.readings) == 1
    assert len(cleaner._recent) <= 3


def test_a_new_process_remembers_what_the_old_one_cleaned(registry: Registry) -> None:
    old = clean(new_cleaner(registry), batch(1.0, start=NOW), 41).record
    cleaner = new_cleaner(registry)
    cleaner.remember(old)
    assert cleaner.prev_raw == 41
    again = clean(cleaner, batch(1.0, start=NOW), 42)
    assert (again.repeats, again.record.prev_raw) == (1, 41)


def test_a_changed_registry_is_used_from_the_next_record_on(registry: Registry) -> None:
    cleaner = new_cleaner(registry)
    clean(cleaner, batch(60.0, unit="", start=NOW))
    registry.apply(Registration("traffic", "a", series={"speed": Series(unit="mph", period_s=60)}))
    cleaner.forget_rules()
    out = clean(cleaner, batch(60.0, unit="", start=NOW + 1), 1).record.readings
    assert (out.value[0], out.period_s[0]) == (pytest.approx(96.56064), 60)
    assert clean(cleaner, batch(60.0, unit="", start=NOW + 1), 2).repeats == 1  # still known


def minutes(*values: float, first: int = 0) -> Readings:
    """PM2.5, a reading a minute."""
    start = NOW - 7_200_000 + (first + np.arange(len(values))) * 60_000
    return batch(*values, metric="pm25", unit="ug/m3", dataset="air-quality", start=start)


def test_a_spike_is_amended_in_the_next_record(registry: Registry) -> None:
    """
    record   0        1    2
    value    10  11   400  11
    """
    cleaner = new_cleaner(registry)
    first, spike, after = (
        clean(cleaner, raw, i).record.readings
        for i, raw in enumerate((minutes(10.0, 11.0), minutes(400.0, first=2), minutes(11.0, first=3)))
    )
    assert (first.flag.tolist(), spike.flag.tolist(), spike.tests.tolist()) == ([1, 1], [1], [0])
    assert (first.source_rev, spike.source_rev) == (None, None)
    assert (after.value.tolist(), after.rev.tolist()) == ([11.0, 400.0], [1, 2])
    assert after.source_rev is not None and after.source_rev.tolist() == [1, 1]
    assert after.start[1] == spike.start[0]
    assert (after.flag.tolist(), after.tests[1]) == ([1, 4], Test.SPIKE_FAIL)
    assert after.sensor.tolist() == [0, 0] and after.metrics == (("pm25", "ug/m3"),)


def test_a_spike_within_a_record_needs_no_amendment(registry: Registry) -> None:
    out = clean(new_cleaner(registry), minutes(10.0, 200.0, 11.0, 12.0)).record.readings
    assert (out.flag.tolist(), out.source_rev) == ([1, 3, 1, 1], None)


def test_a_spike_within_records_cleaned_together_needs_no_amendment(registry: Registry) -> None:
    raw = [minutes(10.0, 11.0), minutes(400.0, first=2), minutes(11.0, first=3)]
    records = [
        one.record.readings for one in new_cleaner(registry).clean([(i, Record("raw", b)) for i, b in enumerate(raw)])
    ]
    assert [record.flag.tolist() for record in records] == [[1, 1], [4], [1]]
    assert [record.source_rev for record in records] == [None] * 3


def rough_log() -> list[Record]:
    """Raw records of two sensors with spikes, sentinels, flat lines, repeats, conflicts, clocks ahead, and ticks."""
    dice = np.random.default_rng(7)
    records: list[Record] = []
    for at in range(0, 240, 3):
        start = NOW - 7_200_000 + (at + np.arange(3).repeat(4)) * 20_000
        value = np.where(
            dice.random(12) < 0.1, dice.choice([400.0, -999.0, np.nan, 12.0], 12), dice.integers(10, 13, 12)
        )
        start[dice.random(12) < 0.03] = NOW + 3_600_000
        sensors = [("air-quality", "a"), ("air-quality", "b")]
        records.append(Record("raw", readings(
            sensors, [("pm25", "ug/m3"), ("temperature", "[degF]")], sensor=np.arange(12) // 2 % 2,
            metric=np.arange(12) % 2, value=value, start=start, received=NOW, period_s=20,
        )))  # fmt: skip
        if dice.random() < 0.3:  # again, with the same values or with others
            old = records[int(dice.integers(len(records)))].readings
            if len(old):
                records.append(Record("raw", dataclasses.replace(old, value=old.value + (dice.random() < 0.3))))
        if dice.random() < 0.2:
            records.append(Record("raw", tick=NOW + at))
    return records


def outcome(cleaned: list[Cleaned]) -> tuple[dict[tuple[object, ...], tuple[object, ...]], list[str], int]:
    """What of each reading was said last, what was refused, how many repeats there were."""
    last: dict[tuple[object, ...], tuple[object, ...]] = {}
    for one in cleaned:
        batch = one.record.readings
        source_rev = batch.source_revs()
        for i in range(len(batch)):
            row = batch.row(i)
            key = row["sensor"], row["metric"], row["start"], int(source_rev[i])
            last[key] = row["unit"], repr(row["value"]), int(batch.flag[i]), int(batch.tests[i])
    return last, sorted(reject.detail for one in cleaned for reject in one.rejects), sum(one.repeats for one in cleaned)


@pytest.mark.parametrize("seed", range(8))
def test_how_many_are_cleaned_together_changes_nothing(registry: Registry, seed: int) -> None:
    log, dice = list(enumerate(rough_log())), np.random.default_rng(seed)
    alone, together = new_cleaner(registry, horizon_ms=10**12), new_cleaner(registry, horizon_ms=10**12)
    expected = [one for record in log for one in alone.clean([record])]
    cuts = np.sort(dice.integers(0, len(log), 12)).tolist()
    found = [one for begin, end in itertools.pairwise([0, *cuts, len(log)]) for one in together.clean(log[begin:end])]
    assert [(one.record.raw, one.record.prev_raw, one.record.tick) for one in found] == [
        (one.record.raw, one.record.prev_raw, one.record.tick) for one in expected
    ]
    ours, theirs = outcome(found), outcome(expected)
    assert ours[1:] == theirs[1:] and len(ours[1]) > 5 and ours[2] > 5
    assert ours[0] == theirs[0]
    assert {said[2] for said in ours[0].values()} == {1, 3, 4, 9}


def test_a_process_that_remembers_amends_what_its_predecessor_cleaned(registry: Registry) -> None:
    old = new_cleaner(registry)
    records = [clean(old, minutes(v, first=i), i).record for i, v in enumerate((10.0, 11.0, 400.0, 12.0, 500.0))]
    cleaner = new_cleaner(registry)
    for record in records:
        cleaner.remember(record)
    out = clean(cleaner, minutes(12.0, first=5), 5).record.readings
    assert (out.value.tolist(), out.flag.tolist(), out.rev.tolist()) == ([12.0, 500.0], [1, 4], [1, 2])


def test_an_amendment_is_no_repeat_of_what_comes_again(registry: Registry) -> None:
    cleaner = new_cleaner(registry)
    for i, v in enumerate((10.0, 400.0, 11.0)):
        clean(cleaner, minutes(v, first=i), i)
    assert clean(cleaner, minutes(400.0, first=1), 3).repeats == 1


def test_a_snapshot_goes_on_as_if_nothing_had_happened(registry: Registry) -> None:
    """The next process met its series in another order."""
    old, log = new_cleaner(registry), [batch(50.0, unit="km/h"), *(minutes(20.0, first=i) for i in range(60))]
    for i, raw in enumerate(log):
        clean(old, raw, i)
    cleaner = new_cleaner(registry)
    assert cleaner.restore(old.snapshot())
    clean(cleaner, batch(50.0, metric="volume", unit=""), 60)
    for i, values in enumerate([(20.0,), (20.0, 400.0), (20.0,)]):
        raw = minutes(*values, first=60 + 2 * i)
        ours, theirs = (clean(c, raw, 61 + i).record.readings for c in (cleaner, old))
        for name in ("start", "value", "rev", "flag", "tests", "received", "period_s", "origin"):
            assert getattr(ours, name).tolist() == getattr(theirs, name).tolist(), name
    assert (ours.value.tolist(), ours.flag.tolist()) == ([20.0, 400.0], [1, 4])
    assert len(old.snapshot()) < 10_000


def test_a_snapshot_of_other_rules_is_left_alone(registry: Registry) -> None:
    snapshot = new_cleaner(registry).snapshot().replace(RULES_VERSION.encode(), b"qc-0")
    assert not new_cleaner(registry).restore(snapshot)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e308, -1e200])
def test_nan_and_infinities_never_reach_an_aggregate(registry: Registry, value: float) -> None:
    """Nor what is finite, but its squares are not."""
    out = clean(new_cleaner(registry), batch(50.0, value, 60.0, unit="mph")).record.readings
    assert (out.flag[1], out.tests[1]) == (9, Test.NOT_A_NUMBER)
    made = aggregate(
        np.zeros(3, np.int64), np.array([NOW]), 3_600_000, out.start, np.full(3, 1000), out.value, out.flag,
        np.full(3, np.nan),
    )  # fmt: skip
    assert made.n.tolist() == [2]
    for name in ("mean", "min", "max", "std", "p50", "p95", "first", "last", "total", "m2"):
        assert np.isfinite(getattr(made, name)).all(), name
    assert made.mean[0] == pytest.approx(55 * 1.609344)
