from datetime import date
from itertools import pairwise

import numpy as np
import pytest

from schemas.indices.us_aqi_tables import BREAKPOINTS, TABLES, breakpoints, table_of


@pytest.mark.parametrize("key", BREAKPOINTS)
def test_rows_follow_each_other_without_gap_or_overlap(key: tuple[str, int]) -> None:
    for rows in BREAKPOINTS[key].values():
        assert (rows.low[1:] == rows.high[:-1] + 1).all()
        assert (rows.low < rows.high).all()
        assert (rows.index_low[1:] == rows.index_high[:-1] + 1).all()


def test_tables_are_in_the_order_of_their_days() -> None:
    assert all(a < b for a, b in pairwise(TABLES.values()))


@pytest.mark.parametrize(
    ("day", "table"),
    [
        (date(1990, 1, 1), "1999"), (date(2008, 5, 26), "1999"), (date(2008, 5, 27), "2008"),
        (date(2013, 3, 17), "2010"), (date(2013, 3, 18), "2012"), (date(2024, 5, 5), "2015"),
        (date(2024, 5, 6), "2024"), (date(2030, 1, 1), "2024"),
    ],
)  # fmt: skip
def test_a_day_has_the_table_in_force(day: date, table: str) -> None:
    assert table_of(day) == table


def test_a_table_that_does_not_name_a_pollutant_keeps_its_rows() -> None:
    assert breakpoints("pm25", 24, "2015") is BREAKPOINTS["pm25", 24]["2012"]
    assert breakpoints("pm10", 24, "2015") is BREAKPOINTS["pm10", 24]["1999"]
    assert breakpoints("so2", 1, "2008") is None
    with pytest.raises(KeyError):
        breakpoints("pm25", 24, "2013")


def test_the_rule_of_2024_joins_the_two_uppermost_rows() -> None:
    for key, of_table in BREAKPOINTS.items():
        if "2024" in of_table and of_table["2024"].index_high[-1] == 500 and key != ("pm25", 24):
            before = list(of_table.values())[-2]
            assert of_table["2024"].low.tolist() == before.low[:-1].tolist()
            assert np.array_equal(of_table["2024"].high, [*before.high[:-2], before.high[-1]])
