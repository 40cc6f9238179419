"""The process: its one line, its end, and what it says when it can't start."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from api.main import NoPandas
from deploy.local.stack import environment
from deploy.local.tools import ROOT
from tests.api.city import make_settings


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def start(folder: Path, port: int, **more: str) -> "subprocess.Popen[str]":
    own = {k: v for k, v in os.environ.items() if not k.startswith("CITYFEED_")}
    settings = make_settings(folder, api_port=port)
    return subprocess.Popen(
        [sys.executable, "-m", "api"],
        cwd=ROOT,
        env=own | environment(settings) | more,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_starts_without_servers_and_ends_in_good_order(tmp_path: Path, number: signal.Signals) -> None:
    port = free_port()
    process = start(tmp_path, port)
    try:
        assert process.stdout
        assert process.stdout.readline() == f"api ready on http://127.0.0.1:{port}\n"
        process.send_signal(number)
        process.communicate(timeout=8)
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()


def refusal(folder: Path, port: int, **more: str) -> str:
    process = start(folder, port, **more)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 1
    return said


def test_a_port_in_use_is_one_line_with_a_remedy(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = refusal(tmp_path, taken.getsockname()[1])
    assert said.count("\n") == 1
    assert "CITYFEED_API_PORT" in said


def test_a_bad_setting_is_one_line(tmp_path: Path) -> None:
    said = refusal(tmp_path, free_port(), CITYFEED_PAGE_LIMIT_MAX="many")
    assert said == "api: CITYFEED_PAGE_LIMIT_MAX='many': it takes a whole number (rows)\n"


def test_a_city_folder_with_mistakes_names_them(tmp_path: Path) -> None:
    said = refusal(tmp_path, free_port(), CITYFEED_CITY_DIR=str(tmp_path / "nowhere"))
    assert "city.toml is missing" in said


def test_pyarrow_is_told_that_there_is_no_pandas() -> None:
    finder = NoPandas()
    assert finder.find_spec("pandas_like", None) is None  # type: ignore[func-returns-value]
    with pytest.raises(ImportError, match="pandas"):
        finder.find_spec("pandas", None)
