"""Rows of traffic measures, without a database."""

import pytest

from api.measures import Asked, by_series, is_stale, row_without_numbers, rows_of, sections_of
from api.queries.traffic import Quarter
from api.rows import MeasureRow
from schemas.sections import Part, Section

QUARTER_MS = 900_000
T0 = 1_794_700_800_000
SECTION = Section("north", "North", "traffic", (Part("a", 2.0, 2), Part("b", 1.0, 2)), 90)
LEARNED = {"a": (100.0, 200), "b": (100.0, 200)}


def quarter(sensor: str, i: int, speed: float, volume: float | None = None) -> list[Quarter]:
    at = T0 + i * QUARTER_MS
    found = [Quarter(sensor, "speed", at, speed, speed * 3)]
    return found if volume is None else [*found, Quarter(sensor, "volume", at, volume / 3, volume)]


def rows(
    windows: list[Quarter], section: Section = SECTION, learned: dict[str, tuple[float, int]] = LEARNED, first: int = 0
) -> list[MeasureRow]:
    asked = Asked("traffic", T0 + first * QUARTER_MS, T0 + 100 * QUARTER_MS, QUARTER_MS)
    return list(rows_of(asked, section, by_series(windows), learned))


def test_a_section_is_measured_by_all_its_parts() -> None:
    (row,) = rows(quarter("a", 0, 100.0, 100) + quarter("b", 0, 50.0, 300))
    assert row.speed == 62.5
    assert (row.volume, row.distance_vkm, row.time_vh) == (400, 500, 8)
    assert (row.free_flow, row.free_flow_source, row.travel_time_index) == (100, "learned", 1.6)
    assert row.length_km == 3
    assert row.travel_time_s == pytest.approx(3 / 62.5 * 3600)
    assert row.delay_s == pytest.approx(3 / 62.5 * 3600 - 3 / 100 * 3600)
    assert row.density == pytest.approx(500 / 0.25 / 6 / 62.5 * 1.609344)
    assert (row.level_of_service, row.congested, row.sensors, row.sensors_expected) == ("A", True, 2, 2)


def test_without_volumes_there_is_no_density_and_no_level() -> None:
    (row,) = rows(quarter("a", 0, 100.0) + quarter("b", 0, 100.0))
    assert (row.speed, row.volume, row.density, row.level_of_service) == (100, None, None, None)
    assert (row.delay_s, row.congested) == (0, False)


def test_free_flow_is_the_limit_where_a_part_has_learned_too_little() -> None:
    (row,) = rows(quarter("a", 0, 60.0), learned={"a": (100.0, 200), "b": (100.0, 3)})
    assert row.free_flow == pytest.approx(3 / (2 / 100 + 1 / 90))
    assert row.free_flow_source == "limit"


def test_a_sensor_in_no_section_is_one_without_a_length() -> None:
    sections = sections_of("traffic", [SECTION], ["a", "b", "c"])
    assert [section.id for section in sections] == ["north", "c"]
    (row,) = rows(quarter("c", 0, 50.0, 30), sections[1], {"c": (100.0, 200)})
    assert (row.section, row.speed, row.travel_time_index) == ("c", 50, 2)
    assert (row.length_km, row.travel_time_s, row.delay_s, row.distance_vkm) == (None, None, None, None)
    (row,) = rows(quarter("c", 0, 50.0, 30), sections[1], {})
    assert (row.free_flow, row.travel_time_index, row.congested) == (None, None, None)


def test_congestion_remembers_what_was_before_the_range() -> None:
    """At 0.9 of free flow it stays what it was: congested from the quarter before."""
    windows = quarter("a", 0, 50.0) + quarter("a", 1, 90.0)
    assert [row.congested for row in rows(windows, first=1)] == [True]
    assert [row.congested for row in rows(quarter("a", 1, 90.0), first=1)] == [None]


def test_congestion_forgets_over_a_hole() -> None:
    windows = quarter("a", 0, 50.0) + quarter("a", 5, 90.0)
    assert [row.congested for row in rows(windows)] == [True, None]


def test_a_section_without_numbers_says_when_it_was_heard() -> None:
    asked = Asked("traffic", T0, T0 + QUARTER_MS, QUARTER_MS, T0 + 10 * QUARTER_MS)
    row = row_without_numbers(asked, SECTION, T0, True)
    assert (row.stale, row.age_s, row.speed, row.start) == (True, 9 * 900, None, "2026-11-15T00:00:00.000Z")
    never = row_without_numbers(asked, SECTION, None, True)
    assert (never.stale, never.age_s, never.start, never.sensors) == (True, None, None, 0)


def test_the_newest_row_has_an_age() -> None:
    asked = Asked("traffic", T0, T0 + QUARTER_MS, QUARTER_MS, T0 + 3 * QUARTER_MS)
    (row,) = rows_of(asked, SECTION, by_series(quarter("a", 0, 90.0)), LEARNED)
    assert (row.age_s, row.stale) == (2 * 900, False)


@pytest.mark.parametrize(
    ("heard_s_ago", "span_s", "stale"),
    [(0, 300, False), (900, 300, False), (901, 300, True), (901, 0, True), (7200, 3600, False), (7201, 3600, True)],
)
def test_a_section_is_stale_when_nothing_was_heard_of_it(heard_s_ago: int, span_s: int, stale: bool) -> None:
    assert is_stale(T0 - heard_s_ago * 1000, span_s, T0) is stale
    assert is_stale(None, span_s, T0)
