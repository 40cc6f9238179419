"""`cityfeed up` as a person runs it: to `ready` with the sample city, and ended with Ctrl-C."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.local import probes
from deploy.local.tools import ROOT
from tests.service_stack import port_block

READY_TIMEOUT_S = 100
END_WITHIN_S = 10.0


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A stack of its own: neither the person's (`make run`) nor the other tests'."""
    state = tmp_path_factory.mktemp("stack")
    state.chmod(0o755)
    with port_block() as port:
        outside = {key: value for key, value in os.environ.items() if not key.startswith("CITYFEED_")}
        chosen = outside | {
            "CITYFEED_STATE_DIR": str(state / "run"),
            "CITYFEED_MQTT_PORT": str(port),
            "CITYFEED_KAFKA_BOOTSTRAP": f"127.0.0.1:{port + 1}",  # its controller takes the next one
            "CITYFEED_DATABASE_URL": f"postgresql://cityfeed@127.0.0.1:{port + 3}/cityfeed",
            "CITYFEED_API_PORT": str(port + 4),
            "CITYFEED_GATEWAY_METRICS_PORT": str(port + 5),
            "CITYFEED_CLEAN_METRICS_PORT": str(port + 6),
            "CITYFEED_WINDOWS_METRICS_PORT": str(port + 7),
            "CITYFEED_MQTT_PUBLIC_PORT": str(port + 8),
            "CITYFEED_MQTT_PUBLIC_WEBSOCKET_PORT": "0",
            "CITYFEED_MQTT_OUTLET_PORT": str(port + 9),
        }
        yield chosen
        cityfeed(chosen, "clean")


class Up:
    """`cityfeed up` in the foreground; what it printed is in a file."""

    def __init__(self, environment: dict[str, str], output: Path) -> None:
        self.environment = environment
        self.output = output
        with output.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-c", "from deploy.cli import main; main()", "up"],
                cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True,
            )  # fmt: skip

    def text(self) -> str:
        return self.output.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, pattern: str, timeout_s: float = READY_TIMEOUT_S) -> None:
        deadline = time.monotonic() + timeout_s
        while not re.search(pattern, self.text(), re.MULTILINE):
            assert self.process.poll() is None, self.text()
            assert time.monotonic() < deadline, self.text()
            time.sleep(0.1)

    def end(self, signal_number: signal.Signals) -> tuple[float, list[int]]:
        """Send a signal; how long it took to end, and which of its processes are left."""
        family = probes.family(self.process.pid)
        began = time.monotonic()
        self.process.send_signal(signal_number)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:  # the tests that follow want its ports
            for pid in (self.process.pid, *family):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            raise
        took_s = time.monotonic() - began
        deadline = time.monotonic() + 10
        while (left := [pid for pid in family if Path(f"/proc/{pid}").exists()]) and time.monotonic() < deadline:
            time.sleep(0.05)
        return took_s, left


def cityfeed(environment: dict[str, str], *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", "from deploy.cli import main; main()", *words],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def get(environment: dict[str, str], path: str) -> Any:
    url = f"http://127.0.0.1:{environment['CITYFEED_API_PORT']}{path}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


@pytest.mark.timeout(240)
def test_up_reaches_ready_shows_the_city_and_ends_with_ctrl_c(environment: dict[str, str], tmp_path: Path) -> None:
    up = Up(environment, tmp_path / "up.txt")
    try:
        up.wait_for("^ready ")
        assert len(re.findall("^ready", up.text(), re.MULTILINE)) == 1
        latest = get(environment, "/v1/traffic/latest?limit=1000")
        assert len(latest["data"]) >= 200

        words = ["mosquitto_sub", "-p", environment["CITYFEED_MQTT_PUBLIC_PORT"], "-t", "cityfeed/public/#"]
        public = subprocess.run([*words, "-C", "1", "-W", "30"], capture_output=True, text=True, check=True)
        assert json.loads(public.stdout)["flag"] in (1, 2, 3)

        second = cityfeed(environment, "up")
        assert second.returncode == 1 and "is running already" in second.stderr
        refused = cityfeed(environment, "clean")
        assert refused.returncode == 1 and "cityfeed down" in refused.stderr

        told = json.loads(cityfeed(environment, "status", "--json").stdout)
        assert {part["name"] for part in told["parts"] if not part["up"]} == set()
        assert told["memory"]["total_bytes"] < 1.2e9 and told["memory"]["python_bytes"] < 450e6

        (gateway,) = [part for part in told["parts"] if part["name"] == "gateway"]
        os.kill(gateway["pid"], signal.SIGKILL)
        up.wait_for("^gateway ended and was started again", 20)
    finally:
        took_s, left = up.end(signal.SIGINT)
    assert took_s < END_WITHIN_S and left == []
    assert "cityfeed has ended" in up.text()

    again = cityfeed(environment, "clean")
    assert again.returncode == 0 and not Path(environment["CITYFEED_STATE_DIR"]).exists()


def test_a_part_that_hangs_is_ended_too(environment: dict[str, str], tmp_path: Path) -> None:
    """Mosquitto does not react to SIGTERM while it is stopped; up is ended before it was ready."""
    up = Up(environment, tmp_path / "up.txt")
    try:
        up.wait_for("^  Mosquitto ", 60)
        (hung,) = [pid for pid in probes.family(up.process.pid) if is_program(pid, "mosquitto")]
        os.kill(hung, signal.SIGSTOP)
    finally:
        took_s, left = up.end(signal.SIGTERM)
    assert took_s < END_WITHIN_S and left == []


def test_nothing_is_left_when_up_itself_is_killed(environment: dict[str, str], tmp_path: Path) -> None:
    up = Up(environment, tmp_path / "up.txt")
    up.wait_for("^  Mosquitto ", 60)
    family = probes.family(up.process.pid)
    assert len(family) > 5
    up.process.kill()
    up.process.wait()
    deadline = time.monotonic() + 20
    while left := [pid for pid in family if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def is_program(pid: int, name: str) -> bool:
    return Path(f"/proc/{pid}/comm").read_text().strip() == name
