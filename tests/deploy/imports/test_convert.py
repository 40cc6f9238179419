"""Rows of text to readings: times and their zones, units, what is refused and why."""

from typing import Any

import pytest

from deploy.imports.convert import Converted, Converter
from deploy.imports.mapping import EXPORTED, Mapping, parse_mapping
from deploy.imports.source import Chunk
from schemas.datasets import parse_datasets, shipped_files
from schemas.readings import Origin
from schemas.registry import Registration, Registry, Series, fold

NOW_MS = 1_800_000_000_000
DATASETS = parse_datasets(shipped_files())


def registry(*registrations: Registration) -> Registry:
    return fold(DATASETS, registrations)


def convert(mapping: Mapping, known: Registry | None = None, **columns: list[str]) -> Converted:
    n = len(next(iter(columns.values())))
    chunk = Chunk(columns, list(range(2, n + 2)), n + 1, n)
    return Converter(mapping, "air-quality", known or registry(), 300_000).convert(chunk, NOW_MS)


def simple(time: str = "", rest: str = "") -> Mapping:
    return parse_mapping(
        f'[time]\ncolumn = "t"\n{time}\n[sensor]\nvalue = "s"\n[[values]]\ncolumn = "v"\nmetric = "pm25"\n{rest}',
        "map.toml",
    )


def starts(converted: Converted) -> list[int]:
    return converted.readings.start.tolist()


def refused(converted: Converted) -> list[tuple[int, str]]:
    return [(r.row, r.reason) for r in converted.refused]


def one_start(text: str, time: str = "") -> Any:
    converted = convert(simple(time), t=[text], v=["1"])
    return starts(converted)[0] if len(converted.readings) else refused(converted)[0][1]


@pytest.mark.parametrize(
    ("text", "time", "start_ms"),
    [
        ("2024-03-01T00:00:00Z", "", 1_709_251_200_000),
        ("2024-03-01 00:00:00.250z", "", 1_709_251_200_250),
        ("2024-03-01T01:00+01:00", "", 1_709_251_200_000),
        ("2024-03-01T01:00:00+0100", 'zone = "Asia/Tokyo"', 1_709_251_200_000),
        ("2024-03-01 09:00", 'zone = "Asia/Tokyo"', 1_709_251_200_000),
        ("2024-03-01", 'zone = "+00:00"', 1_709_251_200_000),
        ("2024-03-01 07:00:00", 'zone = "+07:00"', 1_709_251_200_000),
        ("1709251200", 'format = "epoch_s"', 1_709_251_200_000),
        ("1709251200.25", 'format = "epoch_s"', 1_709_251_200_250),
        ("1709251200250", 'format = "epoch_ms"', 1_709_251_200_250),
        ("03/01/2024 02:00 AM", 'format = "%m/%d/%Y %I:%M %p"\nzone = "Europe/Berlin"', 1_709_254_800_000),
        ("01.03.2024 02:00 +0100", 'format = "%d.%m.%Y %H:%M %z"', 1_709_254_800_000),
        # The clock is set back in Berlin on 2024-10-27 at 03:00: 02:30 stands twice.
        ("2024-10-27 02:30", 'zone = "Europe/Berlin"\nambiguous = "earliest"', 1_729_989_000_000),
        ("2024-10-27 02:30", 'zone = "Europe/Berlin"\nambiguous = "latest"', 1_729_992_600_000),
        ("2024-10-27 02:30", 'zone = "Europe/Berlin"', "time_of_a_clock_change"),
        ("2024-03-31 02:30", 'zone = "Europe/Berlin"\nambiguous = "earliest"', "time_of_a_clock_change"),
        ("2024-03-01 00:00", "", "time_without_offset"),
        ("2024-02-30T00:00:00Z", "", "time"),
        ("", 'zone = "UTC"', "time"),
        ("yesterday", 'zone = "UTC"', "time"),
        ("1e400", 'format = "epoch_s"', "time"),
        ("1969-12-31T23:59:59Z", "", "clock_past"),
        ("2027-01-15T08:06:00Z", "", "clock_future"),  # NOW_MS is 08:00
        ("2027-01-15T08:04:00Z", "", 1_800_000_240_000),
    ],
)  # fmt: skip
def test_times(text: str, time: str, start_ms: int | str) -> None:
    assert one_start(text, time) == start_ms


def test_a_stamp_at_the_end_is_the_end_of_the_period() -> None:
    converted = convert(simple('stamp = "end"'), t=["2024-03-01T01:00:00Z"], v=["1"])
    assert (starts(converted), converted.readings.period_s.tolist()) == (
        [1_709_254_740_000],
        [60],
    )  # the dataset's minute


def test_what_the_registry_knows_of_the_sensor_is_written_into_the_reading() -> None:
    known = registry(Registration("air-quality", "s", series={"pm25": Series(unit="mg/m3", period_s=3600)}))
    converted = convert(simple('stamp = "end"'), known, t=["2024-03-01T01:00:00Z"], v=["1"])
    assert (starts(converted), converted.readings.period_s.tolist()) == ([1_709_251_200_000], [3600])
    assert converted.readings.metrics == (("pm25", "mg/m3"),)


def test_readings_are_imports_received_now_in_the_order_of_the_rows() -> None:
    converted = convert(simple(), t=["2024-03-01T00:01:00Z", "2024-03-01T00:00:00Z"], v=["2", " 1.5 "])
    made = converted.readings
    assert made.value.tolist() == [2.0, 1.5]
    assert (set(made.origin.tolist()), set(made.received.tolist())) == ({Origin.IMPORT}, {NOW_MS})
    assert (made.sensors, made.rev.tolist()) == ((("air-quality", "s"),), [1, 1])


def test_values_that_are_none() -> None:
    t = ["2024-03-01T00:00:00Z"] * 6
    converted = convert(simple(), t=t, v=["", "nan", "inf", "1,5", "5 ug", "-999"])
    assert (converted.empty, converted.readings.value.tolist()) == (1, [-999.0])  # a sentinel is for the quality rules
    assert refused(converted) == [(3, "value"), (4, "value"), (5, "value"), (6, "value")]
    assert "'1,5': not a number" in converted.refused[2].detail and converted.refused[2].text == f"{t[0]},1,5"


def test_a_comma_as_decimal_point() -> None:
    mapping = simple(rest='[file]\ndelimiter = ";"\ndecimal = ","')
    assert convert(mapping, t=["2024-03-01T00:00:00Z"], v=["1,5"]).readings.value.tolist() == [1.5]


LONG = """\
[time]
column = "t"
[sensor]
column = "site"
names = { "Burdens Creek" = "burdens-creek" }
[[values]]
column = "v"
metric_column = "param"
metrics = { "PM2.5" = "pm25", "OZONE" = "o3" }
unit_column = "unit"
[only]
qc = ["0"]
"""


def test_a_long_table_names_sensor_metric_and_unit_in_each_row() -> None:
    converted = convert(
        parse_mapping(LONG, "map.toml"),
        t=["2024-03-01T00:00:00Z"] * 6,
        site=["Burdens Creek", "b", "b", "über", "b", "b"],
        v=["3", "4", "5", "6", "7", "8"],
        param=["OZONE", "PM2.5", "NO2", "OZONE", "OZONE", "OZONE"],
        unit=["PPB", "UG/M3", "PPB", "PPB", "mph", "PPM"],
        qc=["0", "0", "0", "0", "0", "1"],
    )
    made = converted.readings
    assert [made.sensors[s][1] for s in made.sensor.tolist()] == ["burdens-creek", "b"]
    assert [made.metrics[m] for m in made.metric.tolist()] == [("o3", "ppb"), ("pm25", "ug/m3")]
    assert made.value.tolist() == [3.0, 4.0]
    assert converted.left_out == 2
    assert refused(converted) == [(5, "sensor"), (6, "unit")]


def test_a_wide_row_gives_several_readings() -> None:
    mapping = parse_mapping(
        '[time]\ncolumn = "t"\n[sensor]\nvalue = "s"\n'
        '[[values]]\ncolumn = "a"\nmetric = "pm25"\n[[values]]\ncolumn = "b"\nmetric = "temperature"\nunit = "F"\n', "m"
    )  # fmt: skip
    made = convert(mapping, t=["2024-03-01T00:00:00Z"] * 2, a=["1", ""], b=["50", "x"]).readings
    assert [(made.metrics[m], v) for m, v in zip(made.metric.tolist(), made.value.tolist(), strict=True)] == [
        (("pm25", "ug/m3"), 1.0), (("temperature", "F"), 50.0),
    ]  # fmt: skip


def test_our_own_export_is_read_without_a_map() -> None:
    converted = convert(
        EXPORTED, start=["2024-03-01T00:00:00.000Z"] * 5, sensor=["s"] * 5, metric=["pm25"] * 5, unit=["ug/m3"] * 5,
        period_s=["60", "60", "-1", "60", "60"], value=["1.0", "2.0", "3.0", "", "4.0"],
        rev=["2", "0", "1", "1", str(2**30 + 1)],
    )  # fmt: skip
    assert (converted.readings.rev.tolist(), converted.readings.period_s.tolist()) == ([2], [60])
    assert (sorted(refused(converted)), converted.empty) == ([(3, "rev"), (4, "period"), (6, "rev")], 1)
