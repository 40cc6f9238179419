"""The command line of the local stack, as a person meets it. (`up` itself: tests/integration.)"""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from deploy import cli
from deploy.cli.here import Here
from deploy.cli.status import duration
from deploy.cli.up import Start, sole_starter
from deploy.local import doctor, prepare, probes, settings
from deploy.local.stack import Address, StackError
from deploy.local.tools import ROOT


def cityfeed(
    *words: str, cwd: Path = ROOT, stdout: int | IO[str] = subprocess.PIPE, **environment: str
) -> "subprocess.CompletedProcess[str]":
    outside = {key: value for key, value in os.environ.items() if not key.startswith("CITYFEED_")}
    outside["PYTHONPATH"] = str(ROOT)
    return subprocess.run(
        [sys.executable, "-c", "from deploy.cli import main; main()", *words],
        cwd=cwd, env=outside | environment, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=30, check=False,
    )  # fmt: skip


@pytest.fixture
def listener() -> socket.socket:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        yield taken


def test_port_in_use_names_port_holder_and_setting(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    (line,) = probes.port_conflicts([Address("127.0.0.1", port, "CITYFEED_API_PORT")])
    assert line.startswith(f"port {port} is in use by pid {os.getpid()} (")
    assert line.endswith("end that program, or set CITYFEED_API_PORT")


@pytest.mark.parametrize("host", ["a b", "192.0.2.1"])
def test_an_address_that_is_not_of_this_machine_is_told_as_such(host: str) -> None:
    (line,) = probes.port_conflicts([Address(host, 8000, "CITYFEED_API_PORT")])
    assert line.startswith(f"nothing can listen at {host}:8000: "), line
    assert "in use" not in line and line.endswith("set CITYFEED_API_PORT, or the host beside it")


def test_free_port_is_no_conflict(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    listener.close()
    assert probes.port_conflicts([Address("127.0.0.1", port, "CITYFEED_API_PORT")]) == []


def test_up_refuses_a_taken_port_and_starts_nothing(listener: socket.socket, tmp_path: Path) -> None:
    port = listener.getsockname()[1]
    done = cityfeed("up", CITYFEED_API_PORT=str(port), CITYFEED_STATE_DIR=str(tmp_path / "run"))
    assert done.returncode == 1
    assert f"cityfeed: port {port} is in use by pid {os.getpid()}" in done.stderr
    assert "CITYFEED_API_PORT" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_folders_are_the_projects_wherever_a_command_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.csv").write_text("time,pm25\n2026-11-01T00:00:00Z,5\n2026-11-01T00:01:00Z,6\n")
    done = cityfeed("qc", "mine.csv", "-d", "air-quality", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1] == "2026-11-01T00:00:00Z,5,1,"
    monkeypatch.chdir(tmp_path)
    found = settings.load({"CITYFEED_ARCHIVE_URL": "kept", "CITYFEED_STATE_DIR": "/elsewhere"})
    assert (found.archive_url, found.state_dir) == (str(ROOT / "kept"), "/elsewhere")
    assert settings.load({"CITYFEED_ARCHIVE_URL": "s3://kept"}).archive_url == "s3://kept"
    assert prepare.layout(settings.load({})).state == (ROOT / ".cityfeed/run").resolve()


@pytest.mark.parametrize("words", [(), ("-d", "traffic", "--day", "2026-11-20", "--bring-back")])
def test_archive_says_in_a_line_what_does_not_answer(tmp_path: Path, words: tuple[str, ...]) -> None:
    nobody = "postgresql://nobody@127.0.0.1:9/none"
    done = cityfeed("archive", *words, CITYFEED_DATABASE_URL=nobody, CITYFEED_STATE_DIR=str(tmp_path))
    assert done.returncode == 1 and done.stderr.startswith("cityfeed: archive: ") and "Traceback" not in done.stderr


def test_two_starts_at_once_are_one_and_a_line(tmp_path: Path) -> None:
    with sole_starter(tmp_path / "run"), pytest.raises(StackError, match="another `cityfeed up`"):
        sole_starter(tmp_path / "run")
    sole_starter(tmp_path / "run").close()


def test_a_state_folder_that_cannot_be_is_named_with_its_setting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StackError, match="CITYFEED_STATE_DIR"):
        sole_starter(tmp_path / "file" / "run")


def test_a_start_ends_when_its_supervisord_does() -> None:
    with pytest.raises(StackError, match="ended with -9 before all was ready"):
        Start(Here.find(), 0.0, lambda: -9).run()


def test_status_says_when_nothing_runs(tmp_path: Path) -> None:
    done = cityfeed("status", CITYFEED_STATE_DIR=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "cityfeed is not running; `cityfeed up` starts it\n")


def test_down_is_not_an_error_when_nothing_runs(tmp_path: Path) -> None:
    done = cityfeed("down", CITYFEED_STATE_DIR=str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "cityfeed was not running\n")


def test_clean_removes_no_folder_that_is_not_a_stacks(tmp_path: Path) -> None:
    (tmp_path / "letters").write_text("keep me")
    done = cityfeed("clean", CITYFEED_STATE_DIR=str(tmp_path))
    assert done.returncode == 1 and "does not look like a state folder" in done.stderr
    assert (tmp_path / "letters").exists()


def test_logs_lists_the_parts_there_are() -> None:
    done = cityfeed("logs", "kafak")
    assert done.returncode == 1
    assert done.stderr.startswith("cityfeed: there is no part 'kafak'; there are mosquitto, kafka, postgres")


def test_mistyped_setting_is_one_line() -> None:
    done = cityfeed("status", CITYFEED_API_PROT="1")
    assert done.returncode == 1
    assert done.stderr.startswith("cityfeed: CITYFEED_API_PROT is not a setting")
    assert len(done.stderr.splitlines()) == 1


def test_a_command_imports_only_what_it_needs() -> None:
    code = "import sys; from deploy.cli import build; build(['status']); print(sorted(sys.modules))"
    modules = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not re.search(r"'(numpy|faust|aiokafka|psycopg|paho|fastapi)'", modules)


def test_every_command_is_in_its_file() -> None:
    assert cli.build(list(cli.COMMANDS)).registered_commands


@pytest.mark.parametrize("name", sorted(set(cli.COMMANDS) - set(cli.GROUPS)))
def test_help_has_every_word_that_is_written(name: str) -> None:
    (command,) = cli.build([name]).registered_commands
    written = (command.callback.__doc__ or "").replace("\b", "").split()
    shown = cityfeed(name, "--help", COLUMNS="300").stdout.split()
    assert written and [word for word in written if word not in shown] == []


@pytest.mark.parametrize("words", [["--help"], ["dead-letters", "--help"], ["doctor"], ["status"]])
def test_an_output_that_is_full_is_one_line(words: list[str], tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        done = cityfeed(*words, stdout=full, CITYFEED_STATE_DIR=str(tmp_path))
    assert (done.returncode, done.stderr) == (1, "cityfeed: the output: No space left on device\n")


@pytest.mark.parametrize("window", ["0", "60001"])
def test_simulate_refuses_a_window_that_mqtt_cannot_have(window: str) -> None:
    done = cityfeed("simulate", "--window", window, "--duration", "1")
    assert done.returncode == 2 and "--window" in done.stderr and "Traceback" not in done.stderr


def test_doctor_finds_nothing_missing_where_tests_run(capsys: pytest.CaptureFixture[str]) -> None:
    checks = {check.what: check for check in [*doctor.machine(), *doctor.programs(doctor.load(os.environ))]}
    assert {name for name, check in checks.items() if not check.ok} == set()
    assert {"Mosquitto", "Kafka", "PostgreSQL", "TimescaleDB", "virtual environment"} <= set(checks)


def test_doctor_names_setting_of_a_taken_port(listener: socket.socket, capsys: pytest.CaptureFixture[str]) -> None:
    port = str(listener.getsockname()[1])
    state = {"CITYFEED_STATE_DIR": "/nonexistent/cityfeed"}
    assert not doctor.run({"CITYFEED_API_PORT": port, **state})
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("MISSING  port " + port)]
    assert "CITYFEED_API_PORT" in line


def test_doctor_tells_of_a_missing_city_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert not doctor.run({"CITYFEED_CITY_DIR": "/nonexistent", "CITYFEED_STATE_DIR": "/nonexistent/cityfeed"})
    assert "set CITYFEED_CITY_DIR" in capsys.readouterr().out


def test_make_help_lists_every_target() -> None:
    text = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):", text, re.MULTILINE))
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"make (\w+) ", listed)) == targets
    assert {"run", "up", "down", "clean", "test", "lint", "bench", "lock", "doctor", "help"} <= targets


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3_599, "59 min"), (11_100, "3 h 05"), (1_036_800, "12 d")],
)
def test_durations_read_well(seconds: int, text: str) -> None:
    assert duration(seconds) == text


def test_samples_adds_up_all_labels() -> None:
    page = '# HELP x\nlag{partition="0"} 3.0\nlag{partition="1"} 4.0\nlagging 9\n'
    assert probes.samples(page, "lag") == 7.0
    assert probes.samples(page, "nothing") is None
