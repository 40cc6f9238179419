"""Several API processes on one port (`CITYFEED_API_PROCESSES`).

Each has a listening socket of its own on the port (SO_REUSEPORT), so that the kernel spreads connections evenly; a
socket shared by all gives most of them to whoever asked last. Each reads Kafka for itself, so any of them answers
anything, and a cursor of one is good on every other. This process only starts them, starts again what ended, and ends
them; it serves nothing.
"""

import contextlib
import ctypes
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping

from schemas.errors import SettingsError
from schemas.settings import Settings

log = logging.getLogger(__name__)

BACKLOG = 2048
UNHEARD_MS = 35_000
"""A connection whose other end acknowledges nothing for so long is over: a phone in a tunnel, a host without power.
Websockets are pinged and know it by then too; server-sent events have no other way to tell.
"""
RESTART_WAIT_S = 1.0
PORT_TRIES = 20  # a killed parent's processes take a moment to go
PORT_RETRY_S = 0.1
_PR_SET_PDEATHSIG = 1


def listen(chosen: Settings, *, shared: bool = False) -> socket.socket:
    """A socket that listens on the API's port; `shared` with the other processes of this API.

    Raises `SettingsError` where the address can't be had.
    """
    family = socket.AF_INET6 if ":" in chosen.api_host else socket.AF_INET
    address = chosen.api_host, chosen.api_port
    try:
        listening = socket.create_server(address, family=family, backlog=BACKLOG, reuse_port=shared)
    except OSError as e:
        raise SettingsError(
            f"can't listen on {chosen.api_host}:{chosen.api_port} ({e.strerror}); stop what listens there, or choose "
            "another with CITYFEED_API_PORT and CITYFEED_API_HOST"
        ) from e
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; what is accepted inherits it
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNHEARD_MS)
    return listening


def check_port(chosen: Settings) -> None:
    """That the port is nobody else's: processes that share it would not notice. Raises `SettingsError`."""
    for tries_left in reversed(range(PORT_TRIES)):
        try:
            listen(chosen).close()
            return
        except SettingsError:
            if not tries_left:
                raise
            time.sleep(PORT_RETRY_S)


def spawn(environment: Mapping[str, str], number: int) -> int:
    """Start process `number` with this environment; its pid."""
    words = [sys.executable, "-m", "api", "process", str(number)]
    return os.posix_spawn(sys.executable, words, environment)


def end_with_parent() -> None:
    """Have the kernel end this process when its parent dies, however that happens."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def supervise(n: int, start: Callable[[int], int]) -> None:
    """Keep `n` processes running until SIGTERM or Ctrl-C; then end them in good order and return.

    `start` starts process number 0 to n - 1 and gives its pid.
    """
    running: dict[int, int] = {}
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True
        for pid in running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, stop)
    for number in range(n):
        running[start(number)] = number
    while running:
        pid, status = os.wait()
        if (which := running.pop(pid, None)) is None or stopping:
            continue
        ended = os.waitstatus_to_exitcode(status)
        log.error("API process %d (pid %d) ended with %d; it is started again", which, pid, ended)
        time.sleep(RESTART_WAIT_S)
        if not stopping:
            running[start(which)] = which
            if stopping:  # the signal came in between
                stop()
