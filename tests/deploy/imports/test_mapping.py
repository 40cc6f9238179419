"""map.toml: what it takes, and every mistake at its line."""

import pytest

from deploy.imports.mapping import EXPORTED, MappingError, offset_ms, parse_mapping

GOOD = """\
period_s = 3600
[time]
column = ["Date", "Time"]
format = "%d/%m/%Y %H:%M"
zone = "Europe/Paris"
stamp = "end"
[sensor]
column = "Station"
names = { "Les Halles" = "les-halles" }
[[values]]
column = "Valeur"
metric_column = "Polluant"
metrics = { "PM2.5" = "pm25" }
unit = "µg/m³"
[only]
Etat = ["R"]
"""


def test_a_map_lists_the_columns_that_it_needs() -> None:
    mapping = parse_mapping(GOOD, "map.toml")
    assert mapping.columns() == ["Date", "Time", "Station", "Etat", "Valeur", "Polluant"]
    assert EXPORTED.columns() == ["start", "sensor", "rev", "value", "metric", "unit", "period_s"]


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ('zone = "Europe/Paris"', 'zone = "Europe/Pari"', "map.toml:5: time.zone 'Europe/Pari' is no IANA time zone"),
        ('format = "%d/%m/%Y %H:%M"', 'format = "d/m/y"', "map.toml:4: time.format 'd/m/y': it takes iso, epoch_s"),
        ('"pm25"', '"pm99"', "map.toml:10: there is no metric 'pm99'; there are pm1, pm25"),
        ('unit = "µg/m³"', 'unit = "mph"', "map.toml:10: no conversion from 'mph' for pm25"),
        ('column = "Station"', 'value = "x"\ncolumn = "Station"', "map.toml:7: sensor takes either value"),
        ('"les-halles"', '"les halles"', "map.toml:7: sensor 'les halles' is not of the form"),
        ("period_s = 3600", "period = 3600", "map.toml:1: period means nothing here; known are time, sensor"),
        ('stamp = "end"', 'stamp = "middle"', "map.toml:6: time.stamp: invalid enum value 'middle'"),
        ("[[values]]", '[file]\ndelimiter = ","\ndecimal = ","\n[[values]]', "file.decimal is the delimiter as well"),
        ('metrics = { "PM2.5" = "pm25" }', "", "values.metrics is missing"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line_and_what_would_be_right(right: str, wrong: str, said: str) -> None:
    with pytest.raises(MappingError) as e:
        parse_mapping(GOOD.replace(right, wrong), "map.toml")
    assert said in str(e.value)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(MappingError) as e:
        parse_mapping(GOOD.replace("Europe/Paris", "X").replace('"pm25"', '"pm99"'), "map.toml")
    assert len(str(e.value).splitlines()) == 3


def test_fixed_offsets() -> None:
    assert (offset_ms("+07:00"), offset_ms("-0330"), offset_ms("Europe/Paris")) == (25_200_000, -12_600_000, None)
