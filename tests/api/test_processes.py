"""Several API processes: the port they share, and the one that watches over them."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from api import processes
from deploy.local import probes
from schemas.errors import SettingsError
from schemas.settings import Settings
from tests.api.test_main import free_port, start


def test_processes_share_the_port_and_nobody_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "PORT_TRIES", 2)
    settings = Settings(api_port=free_port())
    processes.check_port(settings)
    with processes.listen(settings, shared=True), processes.listen(settings, shared=True):
        with pytest.raises(SettingsError, match="CITYFEED_API_PORT"):
            processes.listen(settings)
        with pytest.raises(SettingsError, match="CITYFEED_API_PORT"):
            processes.check_port(settings)


def test_who_acknowledges_nothing_is_given_up() -> None:
    """Half-open connections: the kernel ends them, since a stream of events that is silent would never notice."""
    settings = Settings(api_port=free_port())
    with processes.listen(settings) as listening, socket.create_connection(("127.0.0.1", settings.api_port)):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == processes.UNHEARD_MS


SUPERVISE = """
import subprocess, sys
from api import processes
processes.RESTART_WAIT_S = 0.01
def start(number):
    child = subprocess.Popen([sys.executable, "-c", sys.argv[1]])
    print(number, child.pid, flush=True)
    return child.pid
processes.supervise(2, start)
print("over", flush=True)
"""


def test_what_ends_is_started_again_and_all_end_together() -> None:
    waits = "import signal; signal.signal(signal.SIGTERM, lambda *_: exit(0)); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", SUPERVISE, waits], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        first, second = (parent.stdout.readline().split() for _ in range(2))
        assert (first[0], second[0]) == ("0", "1")
        os.kill(int(second[1]), signal.SIGKILL)
        number, pid = parent.stdout.readline().split()
        assert number == "1" and pid != second[1]
        parent.send_signal(signal.SIGTERM)
        assert parent.stdout.readline() == "over\n"
        assert parent.wait(10) == 0


def test_it_listens_with_both_ends_in_good_order_and_says_once_what_is_wrong(tmp_path: Path) -> None:
    port, metrics = free_port(), free_port()
    more = {"CITYFEED_API_PROCESSES": "2", "CITYFEED_API_METRICS_PORT": str(metrics)}
    api = start(tmp_path, port, **more)
    try:
        assert api.stdout is not None
        assert [api.stdout.readline() for _ in range(2)] == [f"api ready on http://127.0.0.1:{port}\n"] * 2
        assert len(probes.family(api.pid)) == 3
        for number in range(2):
            address = probes.Address("127.0.0.1", metrics + number, "")
            assert probes.samples(probes.fetch(address, "/metrics")[1], "cityfeed_api_lag_ms") is not None
        api.send_signal(signal.SIGTERM)
        api.communicate(timeout=10)
        assert api.returncode == 0
    finally:
        api.kill()
        api.communicate()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = start(tmp_path, taken.getsockname()[1], **more)
        _, said = refused.communicate(timeout=30)
    assert refused.returncode == 1 and said.count("\n") == 1 and "CITYFEED_API_PORT" in said


def test_they_die_with_the_one_that_watches_over_them(tmp_path: Path) -> None:
    api = start(tmp_path, free_port(), CITYFEED_API_PROCESSES="2", CITYFEED_API_METRICS_PORT="0")
    try:
        assert api.stdout is not None
        for _ in range(2):
            api.stdout.readline()
        everyone = probes.family(api.pid)
        assert len(everyone) == 3
    finally:
        api.kill()
        api.communicate()  # the pipes close when the last of them has ended
    assert not any(Path(f"/proc/{pid}/exe").exists() for pid in everyone)
