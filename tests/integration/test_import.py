"""`cityfeed import` on real servers: a file's readings are stored once, whatever broke off, and what is bad is told."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.local import stack as local_stack
from deploy.local.tools import ROOT
from tests.service_stack import ServiceStack

pytestmark = pytest.mark.timeout(240)

MAP = """\
period_s = 3600
[time]
column = "hour"
zone = "Asia/Ho_Chi_Minh"
stamp = "end"
[sensor]
column = "site"
[[values]]
column = "pm25"
metric = "pm25"
"""


def cityfeed(stack: ServiceStack, *words: str) -> "subprocess.Popen[str]":
    outside = {key: value for key, value in os.environ.items() if not key.startswith("CITYFEED_")}
    return subprocess.Popen(
        [sys.executable, "-c", "from deploy.cli import main; main()", *words],
        cwd=ROOT, env=outside | local_stack.environment(stack.settings),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def imported(stack: ServiceStack, *words: str) -> str:
    process = cityfeed(stack, "import", *words)
    said, _ = process.communicate(timeout=180)
    assert process.returncode == 0, said
    return said


def started(stack: ServiceStack) -> ServiceStack:
    stack.start("gateway", "clean", "windows")
    stack.wait_ready("gateway", "clean", "windows")
    return stack


def files(folder: Path, rows: list[str]) -> tuple[str, str]:
    (folder / "map.toml").write_text(MAP)
    (folder / "air.csv").write_text("site,hour,pm25\n" + "\n".join(rows) + "\n")
    return str(folder / "air.csv"), str(folder / "map.toml")


def test_a_file_is_stored_with_its_windows_and_what_is_bad_is_told(stack: ServiceStack, tmp_path: Path) -> None:
    started(stack)
    rows = [f"hanoi,2016-01-{day:02d} {hour:02d}:00,{day}.{hour}" for day in range(1, 11) for hour in range(24)]
    rows[5] = "hanoi,2016-01-01 05:00,n/a"
    rows[6] = "hanoi,2016-01-01 06:00,"
    rows[7] = "hanoi,2016-13-01 06:00,1"
    file, mapping = files(tmp_path, rows)

    said = imported(stack, file, "-d", "air-quality", "-m", mapping, "--wait")
    assert "237 readings are safe in Kafka" in said
    assert "1 empty cells" in said and "2 refused" in said
    (refused,) = (Path(stack.settings.state_dir) / "imports").glob("*.refused.csv")
    assert refused.read_text().splitlines() == [
        "row,reason,detail,text",
        "7,value,pm25: 'n/a': not a number,\"hanoi,2016-01-01 05:00,n/a\"",
        "9,time,'2016-13-01 06:00': the time is not of the format that the map says,\"hanoi,2016-13-01 06:00,1\"",
    ]

    assert stack.query("SELECT count(*), min(start)::text, max(origin), min(period_s) FROM readings") == [
        (237, "2015-12-31 16:00:00+00", 1, 3600)
    ]
    ((days, n),) = stack.query("SELECT count(*), sum(n)::int FROM windows WHERE width_s = 86400")
    assert (days, n) == (10, 221)  # the day of the newest reading is open until its sensor counts as silent

    assert "was imported already" in imported(stack, file, "-d", "air-quality", "-m", mapping)
    assert "237 readings" in imported(stack, file, "-d", "air-quality", "-m", mapping, "--restart", "--wait")
    assert stack.query("SELECT count(*), max(rev) FROM readings") == [(237, 1)]
    assert stack.query("SELECT max(rev) FROM windows") == [(1,)]


def test_an_import_that_was_killed_goes_on_where_it_was(stack: ServiceStack, tmp_path: Path) -> None:
    started(stack)
    # A day that goes up and down: what stands still for days would be flagged, and not counted.
    hours = [(f"2016-01-{day:02d} {hour:02d}:00", 10 + abs(12 - hour)) for day in range(1, 29) for hour in range(24)]
    rows = [f"site-{site},{hour},{value}" for hour, value in hours for site in range(200)]
    file, mapping = files(tmp_path, rows)
    words = ("import", file, "-d", "air-quality", "-m", mapping)

    first = cityfeed(stack, *words)
    folder = Path(stack.settings.state_dir) / "imports"
    deadline = time.monotonic() + 60
    while not list(folder.glob("*.json")):
        assert first.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    (journal,) = folder.glob("*.json")
    done = json.loads(journal.read_text())
    assert 0 < done["row"] < len(rows) and not done["finished"]

    said = imported(stack, *words[1:], "--wait")
    assert f"going on behind row {done['row']:,}" in said
    assert f"{len(rows):,} readings are safe in Kafka" in said
    assert stack.query("SELECT count(*), count(DISTINCT (series, start)), max(rev) FROM readings") == [
        (len(rows), len(rows), 1)
    ]
    in_closed_days = (28 * 24 - 16) * 200  # 16 hours of the newest UTC day, still open
    assert stack.query("SELECT sum(n)::int FROM windows WHERE width_s = 86400") == [(in_closed_days,)]


def test_what_can_not_be_is_one_line_with_the_remedy(stack: ServiceStack, tmp_path: Path) -> None:
    file, mapping = files(tmp_path, ["hanoi,2016-01-01 00:00,1"])
    for words, said in (
        ((file, "-d", "air", "-m", mapping), "cityfeed: --dataset air: there are"),
        ((file, "-d", "air-quality"), "has no column 'start'; it has 'site', 'hour', 'pm25'; --map says"),
        ((file, "-d", "air-quality", "-m", str(tmp_path / "none.toml")), "none.toml: No such file or directory"),
        ((file, "-d", "air-quality", "-m", mapping), "the stack makes it when it starts (`cityfeed up`)"),
    ):
        process = cityfeed(stack, "import", *words)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 1 and said in output and "Traceback" not in output, output
