"""Set-up's decisions: where packages come from, which TimescaleDB, what to tell a person when it fails."""

import os
import subprocess
import sys
import uuid
from pathlib import Path

import msgspec
import pytest

from deploy.local import debian, kafka, node, prepare, python_env, timescaledb
from deploy.local.debian import SourceEntry
from deploy.local.progress import SetupError, Steps, remedy
from deploy.local.tools import ROOT

DEB822 = """\
Types: deb
# a comment
URIs: http://archive.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/archive.gpg

Types: deb
URIs: http://archive.example/security
Suites: bookworm-security
Components: main
"""
ONE_LINE = """\
# deb http://old.example/debian bookworm main
deb [arch=amd64 signed-by=/k.gpg] http://archive.example/debian bookworm main non-free
"""


@pytest.mark.parametrize(
    ("texts", "entry"),
    [
        ([DEB822], SourceEntry("http://archive.example/debian", "/usr/share/keyrings/archive.gpg")),
        (["", ONE_LINE], SourceEntry("http://archive.example/debian", "/k.gpg")),
        (["deb http://archive.example/x bookworm main\n"], SourceEntry("http://archive.example/x", "")),
        ([DEB822.replace("Suites: bookworm ", "Enabled: no\nSuites: bookworm ")], None),
        (["deb http://tools.example/ bookworm stable\n"], None),
    ],
)
def test_source_entry_is_the_machines_own(texts: list[str], entry: SourceEntry | None) -> None:
    assert debian.source_entry(texts, "bookworm") == entry


def test_source_line_for_a_newer_suite_keeps_archive_and_key() -> None:
    assert SourceEntry("http://a/d", "/k.gpg").line("trixie") == "deb-src [signed-by=/k.gpg] http://a/d trixie main\n"
    assert SourceEntry("http://a/d", "").line("trixie") == "deb-src http://a/d trixie main\n"


@pytest.mark.parametrize(
    ("names", "plan"),
    [
        (["postgresql-15", "postgresql-15-postgis-3", "postgresql-client-15"], timescaledb.Plan(15, "")),
        (["postgresql-17", "postgresql-17-timescaledb"], timescaledb.Plan(17, "postgresql-17-timescaledb")),
        (["postgresql-client-15"], None),
    ],
)
def test_package_is_taken_where_there_is_one(names: list[str], plan: timescaledb.Plan | None) -> None:
    assert timescaledb.plan(names) == plan


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("E: Temporary failure resolving 'a'", "offline"),
        ("write error: No space left on device", "disk is full"),
        ("E: Could not open lock file - are you root?", "run it as root"),
        ("E: Could not get lock /var/lib/dpkg/lock", "another apt"),
    ],
)
def test_failures_name_their_remedy(said: str, advice: str) -> None:
    assert advice in (remedy(said) or "")


def test_failed_command_tells_its_last_line_and_its_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    steps = Steps(1, tmp_path)
    with pytest.raises(SetupError, match=r"demo failed: it broke \(all of it: .*demo.log\)"), steps.step("trying"):
        steps.run("demo", ["sh", "-c", "echo it broke; exit 3"])
    assert capfd.readouterr().out == "[1/1] trying ... failed\n"


def test_missing_program_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="no-such-program is not on this machine"):
        Steps(1, tmp_path).run("demo", ["no-such-program"])


def test_every_jar_is_pinned_with_kafka_itself() -> None:
    pinned = kafka.PINS.read_text().splitlines()
    assert any(f"kafka_2.13-{kafka.version()}.jar" in line for line in pinned)
    assert all(len(line.split()[0]) == 64 for line in pinned)


@pytest.mark.parametrize("lock", [python_env.LOCK, python_env.DEV_LOCK])
def test_lock_pins_by_hash_and_names_no_host(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text and "--index-url" not in text and "--find-links" not in text
    blocks = [block for block in text.split("\n") if block and not block.startswith((" ", "#"))]
    assert blocks and all("==" in block for block in blocks)
    assert text.count("--hash=sha256:") >= len(blocks)


def test_what_runs_is_a_part_of_what_the_tools_have() -> None:
    """Both locks pin the same versions, and no tool is among what runs."""
    running, with_tools = (
        {line.split("==")[0]: line for line in lock.read_text().split("\n") if "==" in line and line[0] not in " #"}
        for lock in (python_env.LOCK, python_env.DEV_LOCK)
    )
    assert running.items() <= with_tools.items()
    assert {"pytest", "ruff", "mypy"} <= with_tools.keys() - running.keys()


def test_an_environment_with_the_tools_will_do_for_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(python_env, "venv_dir", lambda: tmp_path)
    assert not python_env.is_current()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    for lock, current in ((python_env.LOCK, (True, False)), (python_env.DEV_LOCK, (True, True))):
        python_env.stamp_file().write_text(python_env.wanted_stamp(lock), encoding="utf-8")
        assert (python_env.is_current(), python_env.is_current(with_tools=True)) == current
    python_env.stamp_file().write_text("of another lock", encoding="utf-8")
    assert not python_env.is_current()


def test_set_up_needs_only_the_standard_library() -> None:
    modules = "deploy.local.bootstrap, deploy.local.doctor"
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {modules}; print('ok')"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "ok\n", done.stderr


def test_second_set_up_takes_no_time_and_says_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "deploy.local.bootstrap"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=5,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_wrong_setting_is_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "deploy.local.bootstrap"], cwd=ROOT, capture_output=True, text=True, check=False,
        env=os.environ | {"CITYFEED_API_PORT": "many"},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "cityfeed: CITYFEED_API_PORT='many': it takes a whole number (port)\n"


def test_nodes_packages_are_pinned_by_hash_and_their_lock_names_no_host() -> None:
    text = node.LOCK.read_text()
    assert "://" not in text
    packages = msgspec.json.decode(text)["packages"]
    assert len(packages) > 10
    assert all(package.get("integrity", "").startswith("sha512-") for name, package in packages.items() if name)
    wanted = msgspec.json.decode((node.FILES / "package.json").read_bytes())["devDependencies"]
    assert {name: packages[f"node_modules/{name}"]["version"] for name in wanted} == wanted


def test_a_cluster_id_is_no_option_to_kafkas_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    """One in 64 ids begins with a hyphen, and set-up failed for it."""
    drawn = iter([uuid.UUID(bytes=b"\xfb" * 16), uuid.UUID(bytes=b"\x10" * 16)])
    monkeypatch.setattr(prepare.uuid, "uuid4", lambda: next(drawn))
    assert prepare.new_cluster_id() == "EBAQEBAQEBAQEBAQEBAQEA"
