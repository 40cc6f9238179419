from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.indices import us_aqi
from schemas.indices.us_aqi_tables import BREAKPOINTS, TABLES, breakpoints
from tests.schemas.indices.official import needs_originals, read

CATEGORY_OF = [(50, 0), (100, 1), (150, 2), (200, 3), (300, 4), (10_000, 5)]


def index(metric: str, concentration: float, table: str, hours: int | None = None) -> float:
    return float(us_aqi.score(metric, np.array([concentration]), table, hours).value[0])


# The table by which EPA made each file's index: that of the day on which it was downloaded.
@needs_originals
@pytest.mark.parametrize(
    ("file", "metric", "column", "aqi", "factor", "table", "rows"),
    [
        ("pm25_va_dl2025", "pm25", "Daily Mean PM2.5 Concentration", "Daily AQI Value", 1, "2024", 7703),
        ("pm25_ca2018_dl2019", "pm25", "Daily Mean PM2.5 Concentration", "DAILY_AQI_VALUE", 1, "2015", 3863),
        ("o3_ny2023_dl2023", "o3", "Daily Max 8-hour Ozone Concentration", "DAILY_AQI_VALUE", 1000, "2015", 7707),
        ("no2_ny2018_dl2020", "no2", "Daily Max 1-hour NO2 Concentration", "DAILY_AQI_VALUE", 1, "2015", 2394),
    ],
)
def test_every_row_of_epas_daily_files(
    file: str, metric: str, column: str, aqi: str, factor: float, table: str, rows: int
) -> None:
    found = read("epa-daily-aqi", f"{file}.csv")
    concentration = np.array([float(row[column]) for row in found]) * factor
    official = np.array([float(row[aqi]) for row in found])
    scored = us_aqi.score(metric, concentration, table)
    assert len(found) == rows
    assert np.flatnonzero(scored.value != official).tolist() == []
    assert scored.category.tolist() == [next(c for high, c in CATEGORY_OF if value <= high) for value in official]


@needs_originals
def test_a_file_does_not_agree_with_another_years_table() -> None:
    """So that the test above can fail: a third of the days of 2023 changed their index in May 2024."""
    found = read("epa-daily-aqi", "pm25_va_dl2025.csv")
    concentration = np.array([float(row["Daily Mean PM2.5 Concentration"]) for row in found])
    official = np.array([float(row["Daily AQI Value"]) for row in found])
    assert (us_aqi.score("pm25", concentration, "2015").value != official).mean() > 0.3


@pytest.mark.parametrize(
    ("metric", "hours", "concentration", "table", "expected"),
    [
        ("pm25", 24, -2.1, "2024", 0),  # sensors drift below zero in clean air
        ("pm25", 24, 0.0, "2024", 0),
        ("pm25", 24, 9.0, "2024", 50),
        ("pm25", 24, 9.05, "2024", 50),
        ("pm25", 24, 9.1, "2024", 51),
        ("pm25", 24, 35.45, "2024", 100),  # truncated to 35.4, not rounded
        ("pm25", 24, 35.39999999999999, "2024", 100),  # 35.4 as a sum leaves it
        ("pm25", 24, 35.5, "2024", 101),
        ("pm25", 24, 12.0, "2012", 50),
        ("pm25", 24, 12.1, "2012", 51),
        ("pm25", 24, 15.4, "1999", 50),
        ("pm25", 24, 40.5, "1999", 101),
        ("pm25", 24, 325.4, "2024", 500),
        ("pm25", 24, 500.4, "2012", 500),
        ("pm10", 24, 154.9, "2024", 100),
        ("pm10", 24, 504, "1999", 400),
        ("pm10", 24, 604, "1999", 500),
        ("pm10", 24, 604, "2024", 500),
        ("o3", 8, 70.9, "2015", 100),
        ("o3", 8, 75.0, "2008", 100),
        ("o3", 8, 84.0, "1999", 100),
        ("o3", 8, 28.999999999999996, "2015", 27),  # 0.029 ppm * 1000
        ("o3", 1, 125, "2024", 101),
        ("o3", 1, 604, "2015", 500),
        ("co", 8, 4.49, "2024", 50),
        ("co", 8, 9.4, "1999", 100),
        ("co", 8, 50.4, "2024", 500),
        ("so2", 1, 75, "2010", 100),
        ("so2", 24, 305, "2024", 201),
        ("so2", 24, 144, "1999", 100),
        ("no2", 1, 100.9, "2010", 100),
        ("no2", 1, 2049, "2024", 500),
        ("no2", 1, 650, "1999", 201),
    ],
)
def test_ends_of_rows(metric: str, hours: int, concentration: float, table: str, expected: int) -> None:
    assert index(metric, concentration, table, hours) == expected


@pytest.mark.parametrize(
    ("metric", "before", "after", "county"),
    [
        ("pm25", 550, 1000, "Lane, Oregon"),
        ("pm10", 576, 584, "Riverside, California"),
        ("pm10", 543, 548, "Kings, California"),
        ("pm10", 1928, 2088, "Mono, California"),
    ],
)
def test_beyond_the_table_as_epas_airdata_has_it(metric: str, before: int, after: int, county: str) -> None:
    """The highest index of 2020 in EPA's annual_aqi_by_county_2020.csv (public domain), downloaded before and after
    May 2024: a concentration that gives the one by the table of then gives the other by that of now.
    """
    step = 0.1 if metric == "pm25" else 1
    candidates = np.arange(0, 40_000) * step
    by_old, by_new = (us_aqi.score(metric, candidates, table) for table in ("2015", "2024"))
    assert after in by_new.value[by_old.value == before], county
    assert by_new.beyond[by_new.value == after].all()


def test_pm10_before_2024_goes_on_as_concentration_less_104() -> None:
    scored = us_aqi.score("pm10", np.array([604.0, 605.0, 20_750.0]), "2015")
    assert scored.value.tolist() == [500, 501, 20_646]
    assert scored.beyond.tolist() == [False, True, True]


def test_no_data_stays_no_data() -> None:
    scored = us_aqi.score("pm25", np.array([np.nan, np.inf, -np.inf, 5.0]), "2024")
    assert np.isnan(scored.value).tolist() == [True, True, True, False]
    assert scored.category.tolist() == [-1, -1, -1, 0]
    assert len(us_aqi.score("pm25", np.zeros(0), "2024").value) == 0


def test_an_hour_of_ozone_below_125_ppb_has_no_index_of_its_own() -> None:
    assert np.isnan(index("o3", 124.9, "2024", 1))


def test_ozone_is_the_higher_of_eight_hours_and_one() -> None:
    scored = us_aqi.score_o3(np.array([70.0, 70.0, np.nan]), np.array([100.0, 210.0, 130.0]), "2024")
    assert scored.value.tolist() == [100, 203, 107]


def test_so2_from_305_ppb_goes_by_the_day() -> None:
    """EPA-454/B-24-002: the hour up to 304 ppb; the day's mean from 305; an hour of 305 in a lower day is 200."""
    hour = np.array([304.0, 305.0, 900.0, 900.0, 304.0, np.nan, np.inf])
    day = np.array([np.nan, np.nan, 304.9, 305.0, 20.0, 605.0, np.nan])
    scored = us_aqi.score_so2(hour, day, "2024")
    assert scored.value[:6].tolist() == [200, 200, 200, 201, 200, 301]
    assert np.isnan(scored.value[6])


def test_so2_before_2010_goes_by_the_day_alone() -> None:
    scored = us_aqi.score_so2(np.array([900.0]), np.array([34.0]), "2008")
    assert scored.value.tolist() == [50]


def test_no2_before_2010_has_no_index_below_201() -> None:
    assert np.isnan(index("no2", 100, "2008"))


@given(
    st.sampled_from([key for key in BREAKPOINTS if key != ("so2", 24)]),
    st.sampled_from(sorted(TABLES)),
    st.lists(st.floats(-50, 3000), min_size=2, max_size=20),
)
def test_more_pollution_is_never_a_lower_index(key: tuple[str, int], table: str, values: list[float]) -> None:
    scored = us_aqi.score(key[0], np.sort(values), table, key[1])
    there = scored.value[np.isfinite(scored.value)]
    assert (np.diff(there) >= 0).all()
    assert (there >= 0).all()
    assert (there == np.trunc(there)).all()


@given(st.sampled_from(list(BREAKPOINTS)), st.sampled_from(sorted(TABLES)), st.data())
def test_a_row_of_the_table_stays_within_its_index(key: tuple[str, int], table: str, data: st.DataObject) -> None:
    rows = breakpoints(*key, table)
    if rows is None:
        return
    row = data.draw(st.integers(0, len(rows.low) - 1))
    steps = data.draw(st.integers(int(rows.low[row]), int(rows.high[row])))
    value = index(key[0], steps * rows.step, table, key[1])
    assert rows.index_low[row] <= value <= rows.index_high[row]


@given(st.floats(0, 1000))
def test_the_pm25_index_is_what_its_definition_says(concentration: float) -> None:
    """By decimal arithmetic on the printed table, of one value at a time."""
    from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal

    table = [(0, 9.0, 0, 50), (9.1, 35.4, 51, 100), (35.5, 55.4, 101, 150), (55.5, 125.4, 151, 200),
             (125.5, 225.4, 201, 300), (225.5, 325.4, 301, 500)]  # fmt: skip
    c = Decimal(repr(round(concentration, 7))).quantize(Decimal("0.1"), ROUND_DOWN)
    low, high, i_low, i_high = next(
        (row for row in map(lambda r: [Decimal(str(x)) for x in r], table) if c <= row[1]),
        [Decimal(str(x)) for x in table[-1]],
    )
    expected = ((i_high - i_low) * (c - low) / (high - low) + i_low).quantize(Decimal(1), ROUND_HALF_UP)
    assert index("pm25", round(concentration, 7), "2024") == int(expected)


def test_categories_have_the_indexs_bounds() -> None:
    values = np.array([0, 50, 51, 100, 101, 150, 151, 200, 201, 300, 301, 5000, np.nan])
    assert us_aqi.categories(values).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, -1]
    assert all(a.name != b.name for a, b in pairwise(us_aqi.CATEGORIES))
