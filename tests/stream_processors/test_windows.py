"""Watermarks, lateness and ticks, drawn as timelines.

Each timeline is of one five-minute air sensor in a world where lateness is 60 s and silence 300 s: a character is a
minute, letters are readings in the order they are taken, `|` ends a 15-minute window.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.datasets import Dataset, Metric, Privacy
from schemas.registry import Registry
from stream_processors.series import Rows, SeriesTable
from stream_processors.windows import Closed, Marks, Windows, close_rows, concatenate

MINUTE = 60_000
PM = ("air", "a", "pm25")
SPEED, VOLUME = ("air", "a", "speed"), ("air", "a", "volume")


def dataset(period_s: int = 300, lateness_s: int = 60, silence_s: int = 300) -> Dataset:
    metric = Metric(period_s=period_s, cadence_s=period_s)
    return Dataset(
        "air", "", "", "", "", "", "", "", "", "", "", Privacy("", "", ""),
        {"pm25": metric, "speed": metric, "volume": metric}, lateness_s, silence_s,
    )  # fmt: skip


def new_windows(*keys: tuple[str, str, str], period_s: int = 300) -> Windows:
    table = SeriesTable(Registry({"air": dataset(period_s)}))
    keys = keys or (PM,)
    table.add({key: 100 + i for i, key in enumerate(keys)}, dict.fromkeys(keys, 0))
    return Windows(table)


def rows(
    windows: Windows, minutes: list[int], values: list[float] | None = None, slot: int = 0, period_s: int = 300
) -> Rows:
    n = len(minutes)
    start = np.array(minutes, np.int64) * MINUTE
    slots = np.full(n, slot, np.int64)
    period = np.full(n, period_s, np.int64)
    return Rows(
        slots, start, period, np.array(values or [1.0] * n), np.ones(n, np.uint8), start + period * 1000,
        windows.table.span_ms(slots, period), np.zeros(n, np.uint8),
    )  # fmt: skip


def starts(closed: list[Closed], width_s: int = 900) -> list[int]:
    return [s // MINUTE for c in closed if c.width_s == width_s for s in c.start.tolist()]


def marked(marks: list[Marks], width_s: int = 900) -> list[int]:
    return [s // MINUTE for m in marks if m.width_s == width_s for s in m.start.tolist()]


def test_a_window_closes_when_the_watermark_has_passed_its_end_by_the_lateness() -> None:
    """
    readings   a----b----c----|             watermark 15: not yet, 15 < 15 + 1
                              |d----        watermark 20: closed
    """
    windows = new_windows()
    assert windows.take(rows(windows, [0, 5, 10])) == []
    assert starts(windows.close({})[0]) == []
    windows.take(rows(windows, [15]))
    closed, _ = windows.close({})
    assert starts(closed) == [0]
    assert closed[0].aggregates.n.tolist() == [3]
    assert windows.close({}) == ([], [])  # once


def test_no_window_as_narrow_as_the_period_or_narrower() -> None:
    windows = new_windows()
    windows.take(rows(windows, list(range(0, 120, 5))))
    closed, _ = windows.close({})
    assert {c.width_s for c in closed} == {900}


def test_a_reading_within_the_lateness_is_taken_by_the_open_window() -> None:
    """
    readings   a---------c----|             b comes last, its window is open
                    b
    """
    windows = new_windows()
    windows.take(rows(windows, [0, 10]))
    windows.close({})
    assert windows.take(rows(windows, [5])) == []
    windows.take(rows(windows, [15]))
    assert windows.close({})[0][0].aggregates.n.tolist() == [3]


def test_a_reading_after_the_lateness_marks_its_closed_window() -> None:
    """
    readings   a---------c----|d----        closed with a, c
                    b                       late: marked, not taken into the next window
    """
    windows = new_windows()
    windows.take(rows(windows, [0, 10, 15]))
    windows.close({})
    marks = windows.take(rows(windows, [5]))
    assert marked(marks) == [0]
    assert all(mark.at_once for mark in marks if mark.width_s == 900)
    windows.take(rows(windows, [20, 25, 30]))
    assert windows.close({})[0][0].aggregates.n.tolist() == [3]


def test_late_for_the_quarter_but_not_for_the_hour() -> None:
    """The hour that is still open expects its readings from the store when it closes; only 15 minutes are marked."""
    windows = new_windows()
    windows.take(rows(windows, [0, 10, 15]))
    windows.close({})
    assert {mark.width_s for mark in windows.take(rows(windows, [5]))} == {900}


def test_hours_and_days_close_as_marks_to_be_made_from_stored_readings() -> None:
    windows = new_windows()
    windows.take(rows(windows, list(range(0, 1440, 5))))
    _, marks = windows.close({})
    assert (marked(marks, 3600), marked(marks, 86400)) == (list(range(0, 1380, 60)), [])
    windows.take(rows(windows, [1440]))
    _, marks = windows.close({})
    assert (marked(marks, 3600), marked(marks, 86400)) == ([1380], [0])
    assert all(mark.at_once for mark in marks)


def test_a_late_reading_for_a_closed_hour_waits_for_quiet() -> None:
    windows = new_windows()
    windows.take(rows(windows, [0, 5, 70]))
    windows.close({})
    marks = windows.take(rows(windows, [10]))
    assert [(m.width_s, m.at_once) for m in marks] == [(900, True), (3600, False)]


def test_ticks_close_the_windows_of_a_silent_sensor() -> None:
    """
    readings   a----b----                   then nothing; received at 5 and 10
    ticks                 .....t            tick 15: silent only since 5 minutes: not yet
                          ...........t      tick 21: silent, and the window ended 300 s before 20 + ...
    """
    windows = new_windows()
    windows.take(rows(windows, [0, 5]))
    assert starts(windows.close({0: 15 * MINUTE})[0]) == []
    assert starts(windows.close({0: 19 * MINUTE})[0]) == []
    assert starts(windows.close({0: 20 * MINUTE})[0]) == [0]


def test_ticks_do_not_close_the_windows_of_a_backfill_under_way() -> None:
    """Last week's readings that arrive now are heard now: the tick is of now, the sensor is not silent."""
    windows = new_windows()
    week = 7 * 1440 * MINUTE
    batch = rows(windows, [0, 5])
    windows.take(Rows(*(getattr(batch, n) if n != "received" else batch.start + week for n in Rows.__slots__)))
    assert starts(windows.close({0: week + 6 * MINUTE})[0]) == []


def test_a_tick_of_another_partition_closes_nothing() -> None:
    windows = new_windows()
    windows.take(rows(windows, [0, 5]))
    assert windows.close({3: 1000 * MINUTE})[0] == []


def test_the_watermark_is_per_sensor() -> None:
    windows = new_windows(PM, ("air", "b", "pm25"))
    windows.take(rows(windows, [0, 5, 10]))
    windows.take(rows(windows, [0, 100], slot=1))
    closed, _ = windows.close({})
    assert closed[0].slot.tolist() == [1]


def test_an_hourly_series_gets_days_only() -> None:
    windows = new_windows(period_s=3600)
    windows.take(rows(windows, list(range(0, 3000, 60)), period_s=3600))
    closed, marks = windows.close({})
    assert closed == []
    assert {m.width_s for m in marks} == {86400}


def test_a_payload_with_its_own_period_is_held_against_that_period() -> None:
    windows = new_windows()
    windows.take(rows(windows, list(range(20)), period_s=60))
    closed, _ = windows.close({})
    five = next(c for c in closed if c.width_s == 300)
    assert five.aggregates.n_expected.tolist() == [5] * len(five.start)
    assert {c.width_s for c in closed} == {300, 900}


def test_speed_is_weighted_by_volume_that_comes_separately() -> None:
    windows = new_windows(SPEED, VOLUME)
    windows.take(rows(windows, [0, 5, 10, 15], [30.0, 60.0, 90.0, 1.0], slot=0))
    windows.take(rows(windows, [0, 5], [10.0, 30.0], slot=1))
    closed, _ = windows.close({})
    by_slot = dict(zip(closed[0].slot.tolist(), closed[0].aggregates.mean.tolist(), strict=True))
    assert by_slot[0] == pytest.approx((30 * 10 + 60 * 30) / 40)
    assert by_slot[1] == 20.0


def test_volume_that_stands_for_longer_than_a_window_does_not_weigh_in_it() -> None:
    """
    speed     5 min   a b c d ...
    volume    60 min  v             window of 15 min: v is no reading of it; of a day: v weighs a, which begins with it

    The stream and a repair say the same, and one day they hold v with what it weighs.
    """
    windows = new_windows(SPEED, VOLUME)
    speed, volume = rows(windows, [0, 5, 10, 15], [30.0, 60.0, 90.0, 1.0]), rows(windows, [0], [7.0], 1, period_s=3600)
    windows.take(concatenate([speed, volume]))
    (closed,) = [c for c in windows.close({})[0] if c.width_s == 900]
    again = close_rows(speed.take(np.arange(3)), 900, speed.take(speed.span_ms < 900_000), windows.table)
    for quarter in (closed, again):
        assert (quarter.slot[0], quarter.aggregates.mean[0], quarter.aggregates.weight[0]) == (0, 60.0, 0.0)
        assert 1 not in quarter.slot
    day = close_rows(speed, 86_400, concatenate([speed, volume]), windows.table)
    assert (day.aggregates.weight.tolist(), day.aggregates.weighted.tolist()) == ([7.0], [210.0])


def test_late_volume_marks_the_speed_window_too() -> None:
    windows = new_windows(SPEED, VOLUME)
    windows.take(rows(windows, [0, 5, 10, 15], slot=0))
    windows.close({})
    mark = next(m for m in windows.take(rows(windows, [5], slot=1)) if m.width_s == 900)
    assert sorted(mark.slot.tolist()) == [0, 1]


def test_a_replaced_reading_of_an_open_window_counts_once_with_its_new_value() -> None:
    windows = new_windows()
    windows.take(rows(windows, [0, 5], [10.0, 20.0]))
    newer = rows(windows, [5], [40.0])
    windows.take(newer, newer)
    windows.take(rows(windows, [15], [0.0]))
    closed, _ = windows.close({})
    assert (closed[0].aggregates.n[0], closed[0].aggregates.mean[0]) == (2, 25.0)


def test_restored_state_goes_on_where_the_stored_rows_end() -> None:
    """What was stored before a crash: readings to minute 20, the window [0, 15)."""
    windows = new_windows()
    slot = np.array([0])
    windows.restore(slot, np.array([20 * MINUTE]), np.array([25 * MINUTE]), np.array([25 * MINUTE]))
    windows.restore_closed(slot, 900, np.array([15 * MINUTE]))
    windows.finish_restore()
    windows.remember(rows(windows, [0, 5, 10, 15, 20]))
    assert marked(windows.take(rows(windows, [5]))) == [0]  # late, as before the crash
    windows.take(rows(windows, [25, 30]))
    closed, _ = windows.close({})
    assert starts(closed) == [15]
    assert closed[0].aggregates.n.tolist() == [3]


@pytest.mark.parametrize("lateness_days", [2, 20])
def test_windows_that_waited_for_a_longer_lateness_close_after_a_restart_with_a_shorter_one(lateness_days: int) -> None:
    """
    stored     readings of every five minutes to day 21; the window of day 0 is the newest that was closed
    lateness   was so many days, is a minute now: what lies between is open, and closes at once
    """
    day, last = 24 * 60, 21 * 24 * 60
    windows = new_windows()
    slot, of = np.array([0]), list(range((21 - lateness_days) * day, last, 5))
    windows.restore(slot, np.array([(last - 5) * MINUTE]), np.array([last * MINUTE]), np.array([last * MINUTE]))
    windows.restore_closed(slot, 900, np.array([of[0] * MINUTE]))
    windows.finish_restore()
    assert windows.open_since().tolist() == [of[0] * MINUTE]
    windows.remember(rows(windows, of))
    assert starts(windows.close({})[0]) == list(range(of[0], last - 15, 15))


def test_a_series_that_is_new_comes_late_for_what_its_sensor_has_closed() -> None:
    """Volume was there first and its window closed: speed's readings of then are made again with their weights."""
    windows = new_windows(VOLUME)
    windows.take(rows(windows, [0, 5, 10, 15]))
    windows.close({})
    windows.table.add({SPEED: 101}, {SPEED: 0})
    marks = windows.take(rows(windows, [0, 5], slot=1))
    assert [(m.slot.tolist(), m.start.tolist()) for m in marks if m.width_s == 900] == [([1], [0])]
    assert windows.close({})[0] == []


def test_a_rev_that_changes_the_period_marks_the_windows_it_leaves() -> None:
    windows = new_windows(period_s=60)
    windows.take(rows(windows, list(range(0, 20)), period_s=60))
    windows.close({})
    wider = rows(windows, [3], period_s=1800)
    assert marked(windows.take(wider, wider), 900) == [0]


def test_a_clock_that_was_ahead_does_not_silence_sensors_for_ever() -> None:
    """A tick and a receipt years ahead close what is open; later ones count again from where they are."""
    windows = new_windows()
    windows.take(rows(windows, [0, 5]))
    years = 10**7 * MINUTE
    assert starts(windows.close({0: years})[0]) == [0]
    windows.take(rows(windows, [20, 25]))
    assert starts(windows.close({0: 30 * MINUTE})[0]) == []
    assert starts(windows.close({0: 50 * MINUTE})[0]) == [15]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_order_and_cut_ends_with_the_windows_of_the_readings(data: st.DataObject) -> None:
    """However readings are shuffled and cut into batches: closed rows, made again where marked, equal the truth."""
    minutes = data.draw(st.lists(st.integers(0, 150), min_size=1, max_size=60, unique=True))
    windows = new_windows(period_s=60)
    stored: list[int] = []
    made: dict[tuple[int, int], tuple[int, float]] = {}

    def store(closed: list[Closed], marks: list[Marks]) -> None:
        for c in closed:
            for start, n, mean in zip(
                c.start.tolist(), c.aggregates.n.tolist(), c.aggregates.mean.tolist(), strict=True
            ):
                made[c.width_s, start] = (n, mean)
        for m in marks:
            for start in m.start.tolist():
                inside = [x for x in stored if start <= x * MINUTE < start + m.width_s * 1000]
                batch = rows(windows, inside, [float(x) for x in inside], period_s=60)
                again = close_rows(batch, m.width_s, batch, windows.table)
                made[m.width_s, start] = (int(again.aggregates.n[0]), float(again.aggregates.mean[0]))

    while minutes:
        size = data.draw(st.integers(1, len(minutes)))
        chosen, minutes = minutes[:size], minutes[size:]
        stored += chosen
        marks = windows.take(rows(windows, chosen, [float(x) for x in chosen], period_s=60))
        store([], marks)
        store(*windows.close({}))
    stored += [2000]
    windows.take(rows(windows, [2000], period_s=60))
    store(*windows.close({}))
    for width in (300, 900, 3600):
        truth: dict[int, list[int]] = {}
        for x in stored[:-1]:
            truth.setdefault(x * MINUTE // (width * 1000) * width * 1000, []).append(x)
        found = {start: value for (w, start), value in made.items() if w == width}
        assert {s: (len(v), pytest.approx(sum(v) / len(v))) for s, v in truth.items()} == found


def test_out_of_order_is_what_is_not_newer_than_all_before_it() -> None:
    """
    stored   10 15
    comes    20 20 5 30 25     and of another series 5 6
    """
    windows = new_windows(SPEED, VOLUME)
    windows.take(rows(windows, [10, 15]))
    came = [rows(windows, [20, 20, 5, 30, 25]), rows(windows, [5, 6], slot=1), rows(windows, [16])]
    assert windows.out_of_order(concatenate(came)).tolist() == [
        False, True, True, False, True, False, False, True,
    ]  # fmt: skip
    assert windows.out_of_order(rows(windows, [15])).tolist() == [True]
    assert windows.out_of_order(rows(windows, [0], slot=1)).tolist() == [False]
