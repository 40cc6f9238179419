"""Columns told by their names."""

import gzip
from pathlib import Path

import pytest

from deploy.imports.mapping import EXPORTED, FileForm, Sensor, Time, Values
from deploy.qc.guess import guess
from schemas.errors import CityfeedError


def write(folder: Path, text: str, name: str = "roof 3.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_names_units_and_lines_before_the_header(tmp_path: Path) -> None:
    text = "Serial ID: 7\nData Export\n\nTime,NO2 (ppb),PM2.5 (µg/m³),TEMP (°C),Inlet\n8/1/2019 7:11,,5.4,24.8,Sample\n"
    found = guess(write(tmp_path, text), "-05:00")
    assert found.time == Time("Time", "%m/%d/%Y %H:%M", "-05:00")
    assert found.sensor == Sensor(value="roof-3")
    assert found.file == FileForm(skip_lines=3)
    assert found.values == (
        Values("NO2 (ppb)", metric="no2", unit="ppb"),
        Values("PM2.5 (µg/m³)", metric="pm25", unit="µg/m³"),
        Values("TEMP (°C)", metric="temperature", unit="°C"),
    )


def test_a_european_file_with_a_column_of_stations(tmp_path: Path) -> None:
    found = guess(write(tmp_path, "Datum;date;Station;pm10\nx;01.02.2024 13:00;A;12,5\n"), "Europe/Berlin")
    assert (found.time.column, found.time.format) == ("date", "%d.%m.%Y %H:%M")
    assert (found.sensor.column, found.file.delimiter, found.file.decimal) == ("Station", ";", ",")


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("2024-01-31T10:00:00Z", "iso"),
        ("2024-01-31 10:00", "iso"),
        ("1706695200", "epoch_s"),
        ("1706695200000", "epoch_ms"),
    ],
)
def test_how_the_time_is_written(tmp_path: Path, text: str, form: str) -> None:
    assert guess(write(tmp_path, f"time,speed\n{text},50\n")).time.format == form


def test_a_column_called_value_is_of_the_metric_that_is_said(tmp_path: Path) -> None:
    path = write(tmp_path, "timestamp,value\n2015-09-08 11:39:00,73\n")
    assert guess(path, metric="speed").values == (Values("value", metric="speed"),)
    with pytest.raises(CityfeedError, match=r"no column is named as a metric.*--metric or --map says it"):
        guess(path)


def test_our_own_export_is_known(tmp_path: Path) -> None:
    assert guess(write(tmp_path, ",".join(EXPORTED.columns()) + "\n")) is EXPORTED


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b\n1,2\n", "no header with a time"),
        ("time,pm25\nyesterday,5\n", "how is the time 'yesterday' in 'time' written"),
    ],
)
def test_what_can_not_be_told_is_asked_for(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(CityfeedError, match=says):
        guess(write(tmp_path, text))


def test_a_compressed_file(tmp_path: Path) -> None:
    path = tmp_path / "loops.csv.gz"
    path.write_bytes(gzip.compress(b"time,sensor,speed\n2024-01-31T10:00:00Z,a,50\n"))
    assert guess(path).sensor.column == "sensor"
