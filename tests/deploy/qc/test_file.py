"""`cityfeed qc` as a person runs it."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest


def qc(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", "from deploy.cli import main; main()", "qc", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)


@pytest.fixture
def minutes(tmp_path: Path) -> Path:
    """A sensor's file: a spike, a sentinel, an empty cell, a cell that is no number, a row without a field."""
    values = ["5.1", "5.3", "400", "5.2", "-999", "", "high", "5.0"]
    rows = [f"2024-01-31 10:{i:02d},{value},21.{i}\n" for i, value in enumerate(values)]
    path = tmp_path / "balcony.csv"
    path.write_text("time,pm25,temperature\n" + "".join(rows) + "2024-01-31 10:08,1\n")
    return path


def test_rows_come_out_as_they_were_with_flags_and_tests(minutes: Path) -> None:
    done = qc(str(minutes), "--zone", "UTC")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert [row["time"] for row in rows] == [f"2024-01-31 10:{i:02d}" for i in range(8)]
    assert [row["pm25_flag"] for row in rows] == ["1", "1", "4", "1", "9", "9", "9", "1"]
    assert [row["pm25_tests"] for row in rows] == ["", "", "spike-fail", "", "sentinel", "", "", ""]
    assert {row["temperature_flag"] for row in rows} == {"1"}
    assert "spike-fail 1" in done.stderr and "sentinel 1" in done.stderr
    assert "value: pm25: 'high'" in done.stderr and "row_width" in done.stderr


def test_into_a_file_by_a_map(minutes: Path, tmp_path: Path) -> None:
    (tmp_path / "map.toml").write_text(
        '[time]\ncolumn = "time"\nzone = "+01:00"\n[sensor]\nvalue = "b"\n'
        '[[values]]\ncolumn = "pm25"\nmetric = "pm25"\n'
    )
    done = qc(str(minutes), "-m", str(tmp_path / "map.toml"), "-o", str(tmp_path / "out.csv"))
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    assert [row["flag"] for row in rows] == ["1", "1", "4", "1", "9", "9", "9", "1"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "--zone gives it, such as Europe/Paris"),
        (["--zone", "UTC", "-d", "nowhere"], "--dataset nowhere: there are air-quality, traffic"),
        (["--zone", "Mars"], "Mars"),
        (["--metric", "smell"], "--metric smell: there are pm1"),
    ],
)
def test_what_is_missing_is_asked_for(minutes: Path, words: list[str], says: str) -> None:
    done = qc(str(minutes), *words)
    assert done.returncode == 1 and says in done.stderr and "Traceback" not in done.stderr


def test_help_teaches() -> None:
    assert "cityfeed qc loops.csv -d traffic" in qc("--help").stdout


def test_two_columns_of_one_name_are_not_mixed_up(tmp_path: Path) -> None:
    (tmp_path / "twice.csv").write_text("time,pm25,pm25\n2024-01-31T10:00Z,5,6\n")
    done = qc(str(tmp_path / "twice.csv"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "two columns are called 'pm25'; rename one" in done.stderr


def test_a_column_that_is_not_called_value_is_not_taken_for_it(tmp_path: Path) -> None:
    (tmp_path / "kmh.csv").write_text("time,sensor,kmh\n2024-01-31T10:00Z,a,50\n")
    done = qc(str(tmp_path / "kmh.csv"), "--metric", "speed")
    assert done.returncode == 1 and "no column is called value" in done.stderr


def test_a_file_may_be_written_over_itself(minutes: Path) -> None:
    before = minutes.read_text().splitlines()
    assert qc(str(minutes), "--zone", "UTC", "-o", str(minutes)).returncode == 0
    after = minutes.read_text().splitlines()
    assert [line.startswith(old) for line, old in zip(after, before[:-1], strict=True)] == [True] * 9
    assert sorted(file.name for file in minutes.parent.iterdir()) == [minutes.name]


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from deploy.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
main()
"""


def test_a_disk_that_is_full_leaves_what_was_there(minutes: Path) -> None:
    """Files may have 100 bytes here, and the flagged one has more."""
    before = minutes.read_text()
    command = [sys.executable, "-c", LIMITED, "qc", str(minutes), "--zone", "UTC", "-o", str(minutes)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 1 and str(minutes) in done.stderr and "Traceback" not in done.stderr
    assert minutes.read_text() == before
    assert sorted(file.name for file in minutes.parent.iterdir()) == [minutes.name]
