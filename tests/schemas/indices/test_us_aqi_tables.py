from collections.abc import Iterator
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise

import numpy as np
import pytest

from schemas.indices import us_aqi
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


# --- the rules' own words ------------------------------------------------------------------------------------------

# Table 2 of 40 CFR part 58, appendix G, line by line in EPA's units (ppm but for PM and the newer NO2 and SO2, ppb), as
# it was printed in 74 FR 30469 (July 2008, with the ozone of that year). 2015 and 2024 are written down again from our
# summary of EPA's rules, not from their page.
# An empty place: no value defines that row.
OF_2008 = """
AQI      o3-8h         o3-1h         pm25-24h      pm10-24h  co-8h      so2-24h       no2-1h
0-50     0.000-0.059   .             0.0-15.4      0-54      0.0-4.4    0.000-0.034   .
51-100   0.060-0.075   .             15.5-40.4     55-154    4.5-9.4    0.035-0.144   .
101-150  0.076-0.095   0.125-0.164   40.5-65.4     155-254   9.5-12.4   0.145-0.224   .
151-200  0.096-0.115   0.165-0.204   65.5-150.4    255-354   12.5-15.4  0.225-0.304   .
201-300  0.116-0.374   0.205-0.404   150.5-250.4   355-424   15.5-30.4  0.305-0.604   0.65-1.24
301-400  .             0.405-0.504   250.5-350.4   425-504   30.5-40.4  0.605-0.804   1.25-1.64
401-500  .             0.505-0.604   350.5-500.4   505-604   40.5-50.4  0.805-1.004   1.65-2.04
"""
OF_2015 = """
AQI      o3-8h         o3-1h         pm25-24h      pm10-24h  co-8h      so2-1h    so2-24h   no2-1h
0-50     0.000-0.054   .             0.0-12.0      0-54      0.0-4.4    0-35      .         0-53
51-100   0.055-0.070   .             12.1-35.4     55-154    4.5-9.4    36-75     .         54-100
101-150  0.071-0.085   0.125-0.164   35.5-55.4     155-254   9.5-12.4   76-185    .         101-360
151-200  0.086-0.105   0.165-0.204   55.5-150.4    255-354   12.5-15.4  186-304   .         361-649
201-300  0.106-0.200   0.205-0.404   150.5-250.4   355-424   15.5-30.4  .         305-604   650-1249
301-400  .             0.405-0.504   250.5-350.4   425-504   30.5-40.4  .         605-804   1250-1649
401-500  .             0.505-0.604   350.5-500.4   505-604   40.5-50.4  .         805-1004  1650-2049
"""
OF_2024 = """
AQI      o3-8h         o3-1h         pm25-24h      pm10-24h  co-8h      so2-1h    so2-24h   no2-1h
0-50     0.000-0.054   .             0.0-9.0       0-54      0.0-4.4    0-35      .         0-53
51-100   0.055-0.070   .             9.1-35.4      55-154    4.5-9.4    36-75     .         54-100
101-150  0.071-0.085   0.125-0.164   35.5-55.4     155-254   9.5-12.4   76-185    .         101-360
151-200  0.086-0.105   0.165-0.204   55.5-125.4    255-354   12.5-15.4  186-304   .         361-649
201-300  0.106-0.200   0.205-0.404   125.5-225.4   355-424   15.5-30.4  .         305-604   650-1249
301-500  .             0.405-0.604   225.5-325.4   425-604   30.5-50.4  .         605-1004  1250-2049
"""
IN_PPM = {"2008": ("o3", "so2", "no2"), "2015": ("o3",), "2024": ("o3",)}


def printed_rows() -> Iterator[tuple[str, str, int, str, str]]:
    """(table, metric, hours, range of concentrations, range of the index)."""
    for table, text in (("2008", OF_2008), ("2015", OF_2015), ("2024", OF_2024)):
        head, *lines = text.strip().splitlines()
        for line in lines:
            index, *cells = line.split()
            for column, cell in zip(head.split()[1:], cells, strict=True):
                metric, hours = column.split("-")
                if cell != ".":
                    yield table, metric, int(hours[:-1]), cell, index


@pytest.mark.parametrize(("table", "metric", "hours", "cell", "index"), list(printed_rows()))
def test_each_printed_row_begins_and_ends_as_printed(
    table: str, metric: str, hours: int, cell: str, index: str
) -> None:
    digits = len(cell.split("-")[0].partition(".")[2])
    scale = 1000 if metric in IN_PPM[table] else 1  # ours is ppb
    low, high = (float(Decimal(end) * scale) for end in cell.split("-"))
    step = float(Decimal(1).scaleb(-digits) * scale)
    of_low, of_high = map(int, index.split("-"))

    def value(concentration: float) -> float:
        return float(us_aqi.score(metric, np.array([concentration]), table, hours).value[0])

    # In binary 0.0705 * 1000 is above, 35.45 below what is written: neither may change what is truncated.
    for at in (low, np.nextafter(low, 0), np.nextafter(low, np.inf), low + step / 2, low + 0.999 * step):
        assert value(at) == of_low, at
    for at in (high, np.nextafter(high, 0), np.nextafter(high, np.inf), high + step / 2, high + 0.999 * step):
        assert value(at) == of_high, at
    if low > 0:
        below = value(low - step)
        assert np.isnan(below) or below == of_low - 1, "a step below is the end of the row before"
    after = us_aqi.score(metric, np.array([high + step]), table, hours)
    assert after.value[0] == of_high + 1 or (after.beyond[0] and after.value[0] >= of_high)


@pytest.mark.parametrize(("table", "metric", "hours", "cell", "index"), list(printed_rows()))
def test_every_step_of_a_printed_row_by_decimal_arithmetic(
    table: str, metric: str, hours: int, cell: str, index: str
) -> None:
    step = Decimal(1).scaleb(-len(cell.split("-")[0].partition(".")[2]))
    scale = 1000 if metric in IN_PPM[table] else 1  # ours is ppb
    low, high = map(Decimal, cell.split("-"))
    of_low, of_high = map(int, index.split("-"))
    concentrations, expected = [], []
    for i in range(int((high - low) / step) + 1):
        exact = (of_high - of_low) * (i * step) / (high - low) + of_low
        for part in ("0", "0.5", "0.99"):  # of a step: cut off, whatever it is
            concentrations.append(float(low + (i + Decimal(part)) * step) * scale)
            expected.append(int(exact.quantize(Decimal(1), ROUND_HALF_UP)))
    value = us_aqi.score(metric, np.array(concentrations), table, hours).value
    wrong = np.flatnonzero(value != expected)
    assert [(concentrations[i], value[i], expected[i]) for i in wrong.tolist()] == []
