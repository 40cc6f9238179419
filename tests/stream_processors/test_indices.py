from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from schemas.indices.days import HOUR_MS
from schemas.indices.hourly import INDICES, OVERALL
from stream_processors.indices import GAP_H, SensorHours, make, reach_h

LA = ZoneInfo("America/Los_Angeles")
BEGIN = int(datetime.fromisoformat("2024-05-04T00:00:00-08:00").timestamp() * 1000)  # the table changes on 6 May
LEAD = 110  # hours before the first with data, as the processors load them
Stored = dict[tuple[str, str, int], tuple[object, ...]]


def hours(means: dict[str, list[float]], lead: int = LEAD) -> SensorHours:
    """Hours from BEGIN on, with room before and after, as the processors load it."""
    n = lead + max(map(len, means.values())) + 60
    columns = {metric: np.full(n, np.nan) for metric in means}
    for metric, values in means.items():
        columns[metric][lead : lead + len(values)] = values
    live = np.isfinite(list(columns.values())).any(axis=0)
    return SensorHours(BEGIN - lead * HOUR_MS, columns, {}, live)


def store(stored: Stored, name: str, of: SensorHours, changed: dict[str, list[int]]) -> None:
    """What the table does with rows: those wanted are put, others only take the place of one."""
    for made in make(name, of, changed, LA):
        rows = made.rows
        for i, start in enumerate(rows.start.tolist()):
            key = (name, made.metric, start)
            if made.wanted[i] or key in stored:
                stored[key] = (
                    int(rows.end[i]), repr(rows.scored.value[i]), int(rows.scored.category[i]), made.driver[i],
                    int(rows.averages.hours[i]), int(rows.averages.expected[i]), rows.table[i], bool(made.wanted[i]),
                )  # fmt: skip


def at(hour: int) -> int:
    return BEGIN + hour * HOUR_MS


def values(stored: Stored, name: str, metric: str) -> dict[int, str]:
    return {
        (start - BEGIN) // HOUR_MS: str(row[1]) for (n, m, start), row in stored.items() if (n, m) == (name, metric)
    }


@pytest.mark.parametrize("name", ["nowcast", "eaqi", "daqi", "us-aqi", "who"])
@settings(max_examples=8, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(data=st.data())
def test_the_order_in_which_hours_come_changes_nothing(name: str, data: st.DataObject) -> None:
    """Hour by hour, late, corrected, taken away: in the end the rows are those of the stored hours."""
    n = data.draw(st.integers(1, 60))
    hour = st.one_of(st.floats(0, 300).map(lambda x: round(x, 1)), st.just(np.nan))
    final = {metric: data.draw(st.lists(hour, min_size=n, max_size=n)) for metric in ("pm25", "co", "no2")}
    if name != "nowcast":  # ozone's NowCast takes two weeks: see the test of its reach
        final["o3"] = data.draw(st.lists(hour, min_size=n, max_size=n))
    order = data.draw(st.permutations([(m, i) for m in final for i in range(n) if np.isfinite(final[m][i])]))
    stored: Stored = {}
    now = {metric: [float("nan")] * n for metric in final}
    for count, (metric, i) in enumerate(order):
        if count % 5 == 4:  # a wrong value first, corrected later
            now[metric][i] = 999.0
            store(stored, name, hours(now), {metric: [at(i)]})
        now[metric][i] = final[metric][i]
        store(stored, name, hours(now), {metric: [at(i)]})
    at_once: Stored = {}
    if order:
        store(at_once, name, hours(final), {m: [at(i) for i in range(n) if np.isfinite(final[m][i])] for m in final})
    assert stored == at_once


def test_a_late_hour_changes_twelve_nowcasts() -> None:
    means = [10.0] * 30
    means[5] = np.nan
    before: Stored = {}
    store(before, "nowcast", hours({"pm25": means}), {"pm25": [at(i) for i in range(30)]})
    means[5] = 200.0
    after = dict(before)
    store(after, "nowcast", hours({"pm25": means}), {"pm25": [at(5)]})
    changed = [key[2] for key, row in after.items() if key[1] == "pm25" and row != before[key]]
    assert changed == [at(hour) for hour in range(5, 17)]


def test_a_missing_hour_has_a_row_once_a_newer_one_came() -> None:
    stored: Stored = {}
    store(stored, "nowcast", hours({"pm25": [10.0, 10.0]}), {"pm25": [at(0), at(1)]})
    assert sorted(values(stored, "nowcast", "pm25")) == [0, 1]
    store(stored, "nowcast", hours({"pm25": [10.0, 10.0, np.nan, np.nan, np.nan, 10.0]}), {"pm25": [at(5)]})
    found = values(stored, "nowcast", "pm25")
    assert sorted(found) == [0, 1, 2, 3, 4, 5]
    assert "nan" in found[3]  # fewer than two of the latest three
    assert "nan" not in found[2]


@pytest.mark.parametrize(("missing", "rows"), [(GAP_H, GAP_H + 2), (GAP_H + 1, 2)])
def test_a_silence_of_a_day_has_no_rows(missing: int, rows: int) -> None:
    stored: Stored = {}
    means = [10.0] + [np.nan] * missing + [10.0]
    store(stored, "eaqi", hours({"pm25": means[:1]}), {"pm25": [at(0)]})
    store(stored, "eaqi", hours({"pm25": means}), {"pm25": [at(missing + 1)]})
    assert len(values(stored, "eaqi", "pm25")) == rows


def test_the_overall_row_has_the_worst_pollutant_and_names_it() -> None:
    made = {m.metric: m for m in make("eaqi", hours({"pm25": [3.0], "no2": [100.0]}), {"pm25": [at(0)]}, LA)}
    assert made[OVERALL].rows.scored.value.tolist() == [6.0]
    assert made[OVERALL].driver == ["no2"]
    assert np.isnan(made[OVERALL].rows.averages.concentration).all()


def test_a_day_in_progress_has_a_row_when_three_quarters_are_there() -> None:
    stored: Stored = {}
    for n in (17, 18):
        store(stored, "us-aqi", hours({"pm25": [10.0] * n}), {"pm25": [at(n - 1)]})
        assert len(values(stored, "us-aqi", "pm25")) == (n == 18)


def test_a_day_that_is_over_says_that_it_had_too_little() -> None:
    stored: Stored = {}
    means = [10.0] * 7 + [np.nan] * 20 + [10.0]
    store(stored, "us-aqi", hours({"pm25": means}), {"pm25": [at(27)]})
    ((_, row),) = [(k, r) for k, r in stored.items() if k[1] == "pm25"]
    assert row[1:6] == ("np.float64(nan)", -1, None, 7, 24)


def test_imported_hours_make_imported_rows() -> None:
    of = hours({"pm25": [10.0] * 3})
    of.live[:] = False
    assert all((m.origin == 1).all() for m in make("eaqi", of, {"pm25": [at(2)]}, LA))
    of.live[LEAD + 2] = True
    assert [m.origin.tolist()[-1] for m in make("eaqi", of, {"pm25": [at(2)]}, LA)] == [0, 0]


@pytest.mark.parametrize("name", INDICES)
def test_no_row_needs_more_than_what_is_loaded(name: str) -> None:
    """The processors load `reach_h` around a changed hour: more hours would change nothing."""
    rng = np.random.default_rng(4)
    n, middle = 900, 450
    means = {metric: np.round(rng.gamma(2, 20, n), 1) for metric in INDICES[name].pollutants}
    everything = SensorHours(BEGIN, means, {"so2": means.get("so2", np.full(n, 1.0))}, np.ones(n, bool))
    for metric in means:
        before = max(reach_h(m)[0] for m in means)
        low, high = middle - before, middle + reach_h(metric)[1] + 1
        cut = SensorHours(
            BEGIN + low * HOUR_MS, {m: c[low:high] for m, c in means.items()},
            {m: c[low:high] for m, c in everything.quarters.items()}, everything.live[low:high],
        )  # fmt: skip
        start = BEGIN + middle * HOUR_MS
        whole, part = ({}, {})  # type: Stored, Stored
        for stored, of in ((whole, everything), (part, cut)):
            store(stored, name, of, {metric: [start]})
        assert part == whole
        assert part
