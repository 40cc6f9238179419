from schemas.indices.hourly import INDICES
from schemas.indices.stored import METRICS, name, number


def test_every_pollutant_has_a_number_that_stays() -> None:
    assert METRICS[:7] == ("pm25", "pm10", "o3", "co", "so2", "no2", "pm25-corr")
    assert {metric for index in INDICES.values() for metric in index.pollutants} <= set(METRICS)


def test_numbers_and_names_are_of_each_other() -> None:
    assert [name(number(metric)) for metric in METRICS] == list(METRICS)
    assert (number(None), name(-1), name(99)) == (-1, None, None)


def test_tables_are_named_by_a_year() -> None:
    """They are numbers in table `indices`."""
    assert all(table.isdigit() for index in INDICES.values() for table in index.tables)
