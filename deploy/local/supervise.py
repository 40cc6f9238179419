"""Starts, asks and ends the supervisord of a stack. supervisord runs and restarts the parts."""

import contextlib
import ctypes
import http
import http.client
import os
import signal
import socket
import subprocess
import time
import xmlrpc.client
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from deploy.local import probes, stack
from deploy.local.stack import SERVERS, STOP_WAIT_S, Layout, StackError
from deploy.local.tools import ROOT, Tools
from schemas.settings import Settings

PR_SET_PDEATHSIG = 1
START_TIMEOUT_S = 10.0
KILL_TIMEOUT_S = 1.0
UNREACHABLE = (OSError, http.client.HTTPException, xmlrpc.client.Error)


@dataclass(frozen=True)
class State:
    """What supervisord says of a part. `state` is RUNNING, STARTING, BACKOFF, FATAL, STOPPED, EXITED ..."""

    name: str
    state: str
    pid: int
    since_s: int  # Unix time of the last start
    said: str  # supervisord's last word on it, such as "Exited too quickly"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=STOP_WAIT_S * 3)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(self._path)
        except OSError:
            self.close()
            raise


def call(where: Layout, method: str, *arguments: str | bool) -> Any:
    """One call of supervisord's XML-RPC interface. Raises one of `UNREACHABLE`; a Fault where it refuses."""
    connection = _UnixConnection(str(where.supervisor_socket))
    try:
        body = xmlrpc.client.dumps(arguments, f"supervisor.{method}")
        connection.request("POST", "/RPC2", body, {"Content-Type": "text/xml"})
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != http.HTTPStatus.OK:
            raise http.client.HTTPException(f"supervisord answered {answer.status}")
        return xmlrpc.client.loads(text)[0][0]
    finally:
        connection.close()


def supervisord_pid(where: Layout) -> int | None:
    """The pid of the stack's supervisord; None if none runs."""
    try:
        return int(call(where, "getPID"))
    except UNREACHABLE:
        return None


def states(where: Layout) -> list[State]:
    """Every part's state; [] when no supervisord runs."""
    try:
        infos = call(where, "getAllProcessInfo")
    except UNREACHABLE:
        return []
    return [State(i["name"], i["statename"], i["pid"], i["start"], i["spawnerr"] or i["description"]) for i in infos]


def end_with_parent(signal_number: signal.Signals) -> None:
    """For a new process, before its program starts: have the kernel send it a signal when its parent dies."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal_number)


def start(settings: Settings, tools: Tools, where: Layout, *, detached: bool) -> "subprocess.Popen[bytes]":
    """Start supervisord on a prepared stack and wait until it listens.

    Unless detached, it ends (and ends all parts) when this process dies, however that happens. It has a
    session of its own: Ctrl-C reaches only who started it. Raises `StackError`.
    """
    command = [str(tools.python), "-m", "supervisor.supervisord", "-n", "-c", str(where.supervisor_conf)]
    outside = {key: value for key, value in os.environ.items() if not key.startswith("CITYFEED_")}
    with where.log("supervisord-start").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=outside | stack.environment(settings), start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            preexec_fn=None if detached else lambda: end_with_parent(signal.SIGTERM),
        )  # fmt: skip
    deadline = time.monotonic() + START_TIMEOUT_S
    while supervisord_pid(where) != process.pid:
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            said = where.log("supervisord-start").read_text(encoding="utf-8", errors="replace").strip()
            raise StackError(f"supervisord did not start: {said[-300:] or 'it said nothing'}")
        time.sleep(0.02)
    return process


def stop(where: Layout) -> bool:
    """End the stack: services first, so that they can drain into the servers, then the servers.

    What does not end in `STOP_WAIT_S` is killed; supervisord itself too, if it hangs. False if nothing ran.
    """
    pid = supervisord_pid(where) or _unresponsive_pid(where)
    if pid is None:
        return False
    members = probes.family(pid)
    with contextlib.suppress(*UNREACHABLE):
        running = [state.name for state in states(where)]
        _stop_parts(where, [name for name in running if name not in SERVERS])
        _stop_parts(where, [name for name in running if name in SERVERS])
        call(where, "shutdown")
    _await_end([pid], KILL_TIMEOUT_S)
    for member in [m for m in members if _alive(m)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(member, signal.SIGKILL)
    _await_end(members, KILL_TIMEOUT_S)
    return True


def _stop_parts(where: Layout, names: list[str]) -> None:
    """Signal all of them at once and wait for all; supervisord kills what does not end."""
    for name in names:
        with contextlib.suppress(xmlrpc.client.Fault):  # it was not running
            call(where, "stopProcess", name, False)
    deadline = time.monotonic() + STOP_WAIT_S + KILL_TIMEOUT_S
    waiting = set(names)
    while time.monotonic() < deadline:
        if not any(s.name in waiting and s.state in ("RUNNING", "STARTING", "STOPPING") for s in states(where)):
            return
        time.sleep(0.05)


def _unresponsive_pid(where: Layout) -> int | None:
    """A supervisord that no longer answers, by its pid file."""
    try:
        pid = int((where.state / "supervisord.pid").read_text(encoding="ascii"))
        command = open(f"/proc/{pid}/cmdline", "rb").read()  # noqa: SIM115
    except (OSError, ValueError):
        return None
    return pid if str(where.supervisor_conf).encode() in command else None


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _await_end(pids: Iterable[int], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while any(map(_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)


def tail(where: Layout, part: str, lines: int = 5) -> list[str]:
    """The last lines of a part's log."""
    try:
        with where.log(part).open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - 16_384))
            return file.read().decode("utf-8", errors="replace").splitlines()[-lines:]
    except OSError:
        return []
