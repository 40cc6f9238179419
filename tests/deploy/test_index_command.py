"""`cityfeed index`: a researcher's file in, the same file with an index out."""

import csv
import gzip
import io
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.cli import build
from schemas.errors import CityfeedError
from tests.schemas.indices.official import ORIGINALS, needs_originals

DAILY = """\
"Date","Source","Daily Max 8-hour Ozone Concentration","UNITS","DAILY_AQI_VALUE"
"01/01/2023","AQS","0.029","ppm","27"
"01/02/2023","AQS","0.071","ppm","101"
"01/03/2023","AQS","","ppm",""
"""
HOURLY = "time,pm25\n" + "".join(f"2024-07-10T{hour:02}:00-08:00,{10 + hour}\n" for hour in range(24))


def cityfeed(*words: str) -> str:
    """What the command prints; raises the error that `main` would make one line of."""
    done = CliRunner().invoke(build(["index"]), list(words))
    if done.exception:
        raise done.exception
    return done.stdout


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture
def daily(tmp_path: Path) -> Path:
    path = tmp_path / "ad_viz_plotval_data.csv"
    path.write_text(DAILY)
    return path


def test_a_daily_file_gets_its_index(daily: Path) -> None:
    done = cityfeed("index", str(daily))
    rows = read(done)
    assert [row["index_value"] for row in rows] == ["27", "101", ""]
    assert [row["index_category"] for row in rows] == ["Good", "Unhealthy for Sensitive Groups", "no data"]
    assert {row["index_table"] for row in rows} == {"2015"}
    assert rows[0]["Source"] == "AQS"


def test_a_packed_file_is_read_and_an_empty_one_is_named(daily: Path) -> None:
    packed = daily.with_suffix(".csv.gz")
    packed.write_bytes(gzip.compress(daily.read_bytes()))
    assert cityfeed("index", str(packed)) == cityfeed("index", str(daily))
    packed.write_bytes(packed.read_bytes()[:-10])
    with pytest.raises(CityfeedError, match="gz: Compressed file ended"):
        cityfeed("index", str(packed))
    daily.write_text("")
    with pytest.raises(CityfeedError, match="is empty: there is no header"):
        cityfeed("index", str(daily))


@needs_originals
def test_epas_file_is_reproduced_from_the_command_line(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    source = ORIGINALS / "epa-daily-aqi" / "pm25_va_dl2025.csv"
    done = cityfeed("index", str(source), "--table", "2024", "-o", str(out))
    assert done == f"7703 rows written to {out}\n"
    rows = read(out.read_text())
    assert [row["index_value"] for row in rows] == [row["Daily AQI Value"] for row in rows]


@needs_originals
def test_hanois_nowcast_from_the_command_line() -> None:
    source = ORIGINALS / "hanoi-nowcast" / "Hanoi_PM2.5_2018_YTD.csv"
    done = cityfeed(
        "index", str(source), "--index", "nowcast", "--hours", "--metric", "pm25", "--column", "Raw Conc.",
        "--time", "Date (LT)", "--zone", "Asia/Bangkok", "--table", "2012",
    )  # fmt: skip
    rows = read(done)
    assert len(rows) == 8760
    assert rows[5000]["index_table"] == "2012"
    assert int(rows[5000]["index_value"]) > 0


def test_hours_become_official_days(tmp_path: Path) -> None:
    path = tmp_path / "hours.csv"
    path.write_text(HOURLY)
    done = cityfeed("index", str(path), "--hours", "--metric", "pm25", "--zone", "America/Los_Angeles")
    (row,) = read(done)
    assert (row["start"], row["end"]) == ("2024-07-10T08:00:00Z", "2024-07-11T08:00:00Z")
    assert (row["concentration"], row["hours"], row["hours_expected"]) == ("21.5", "24", "24")
    assert (row["index_value"], row["index_table"]) == ("74", "2024")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--index", "caqi"], "there is no index 'caqi'"),
        (["--table", "2013"], "us-aqi has no table '2013'; it has 1999, 2008"),
        (["--index", "nowcast"], "give --hours"),
        (["--column", "x"], "has no column 'x'; it has Date, Source"),
        (["--unit", "pints"], "no conversion from 'pints' for o3"),
        (["--zone", "Mars"], "'Mars' is not an IANA zone"),
        (["--index", "eaqi", "--metric", "co", "--unit", "ppm"], "eaqi has no co; it has pm25"),
    ],
)
def test_mistakes_name_their_remedy(daily: Path, words: list[str], said: str) -> None:
    with pytest.raises(CityfeedError, match=re.escape(said)):
        cityfeed("index", str(daily), *words)


def test_a_value_that_is_no_number_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("pm25\n7\nseven\n")
    with pytest.raises(CityfeedError, match=":3: pm25 is 'seven', which is no number"):
        cityfeed("index", str(path), "--metric", "pm25")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("0001-01-01T00:00Z,5", ":2: '0001-01-01T00:00Z' is not between 1900 and 2200"),
        ("2024-01-01T00:00Z,5\n9999-12-31T23:00Z,5", ":3: '9999-12-31T23:00Z' is not between 1900 and 2200"),
        ("2024-01-01T00:00Z,1e308", ":2: pm25 is '1e308'; --missing names a value that means none"),
    ],
)
def test_what_can_not_be_is_told_with_its_line(tmp_path: Path, rows: str, said: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(f"time,pm25\n{rows}\n")
    for index in ("nowcast", "eaqi", "us-aqi", "who"):
        with pytest.raises(CityfeedError, match=re.escape(said)):
            cityfeed("index", str(path), "--index", index, "--hours", "--zone", "Pacific/Kiritimati")


def test_infinities_and_the_missing_value_are_no_data(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("time,pm25\n2024-01-01T00:00Z,inf\n2024-01-01T01:00Z,1e20\n2024-01-01T02:00Z,8\n")
    rows = read(cityfeed("index", str(path), "--index", "eaqi", "--hours", "--missing", "1e20"))
    assert [(row["concentration"], row["hours"], row["index_category"]) for row in rows] == [
        ("", "0", "no data"), ("", "0", "no data"), ("8.0", "1", "Fair"),
    ]  # fmt: skip


def test_the_one_column_that_is_named_after_a_pollutant_is_meant(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("time,temperature,PM2.5\n2024-01-01T00:00Z,20,8\n")
    (row,) = read(cityfeed("index", str(path), "--index", "eaqi"))
    assert row["index_category"] == "Fair"
    path.write_text("time,no2,PM2.5\n2024-01-01T00:00Z,20,8\n")
    with pytest.raises(CityfeedError, match="which column has the concentration"):
        cityfeed("index", str(path), "--index", "eaqi")
