"""Progress of set-up: one line a step, with the seconds it took. Standard library only."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import CityfeedError


class SetupError(CityfeedError):
    """Set-up cannot go on. The message is one line: what is wrong and what to do about it."""


# What a failed command said -> what to do about it. First match counts.
REMEDIES = (
    ("No space left on device", "the disk is full: free some space (about 3 GB) and start again"),
    ("Could not get lock", "another apt or dpkg is running: wait until it has ended, then start again"),
    ("Permission denied", "run it as root"),
    ("are you root?", "run it as root"),
    ("Temporary failure resolving", "this machine is offline: set-up needs the network once"),
    ("Temporary failure in name resolution", "this machine is offline: set-up needs the network once"),
    ("Could not resolve", "this machine is offline: set-up needs the network once"),
    ("Name or service not known", "this machine is offline: set-up needs the network once"),
    ("Unknown host", "this machine is offline: set-up needs the network once"),
    ("Network is unreachable", "this machine is offline: set-up needs the network once"),
    ("Connection refused", "the package registry does not answer: look at the proxy settings"),
    ("Could not connect", "the package registry does not answer: look at the network or the proxy settings"),
    (
        "THESE PACKAGES DO NOT MATCH THE HASHES",
        "a download was altered on its way: try again, then look at the proxy",
    ),
)


def remedy(output: str) -> str | None:
    """The remedy for what a failed command printed, if it is a known one."""
    return next((advice for sign, advice in REMEDIES if sign in output), None)


class Steps:
    """Prints `[3/7] building TimescaleDB 2.19.3 ... 41 s` and keeps the output of commands in `log_dir`."""

    def __init__(self, total: int, log_dir: Path) -> None:
        self.total = total
        self.done = 0
        self.log_dir = log_dir
        log_dir.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """One step: its title at once, its seconds at the end (on a terminal they count up meanwhile)."""
        self.done += 1
        label = f"[{self.done}/{self.total}] {title} ..."
        print(label, end="", flush=True)
        started = time.monotonic()
        ended = threading.Event()
        counter = threading.Thread(target=_count_up, args=(label, started, ended), daemon=True)
        if sys.stdout.isatty():
            counter.start()
        try:
            yield
        except BaseException:
            print(" failed", flush=True)
            raise
        finally:
            ended.set()
            if counter.is_alive():
                counter.join()
        clear = "\r" + label if sys.stdout.isatty() else ""
        print(f"{clear} {time.monotonic() - started:.0f} s", flush=True)

    def run(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> str:
        """Run a command of a step and return what it printed; all of it goes to `<log_dir>/<name>.log` too.

        Raises `SetupError` with the remedy, or with the last line it printed and the log's name.
        """
        log = self.log_dir / f"{name}.log"
        try:
            done = subprocess.run(
                [str(word) for word in command], env=env, cwd=cwd, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
            )  # fmt: skip
        except FileNotFoundError:
            raise SetupError(f"{command[0]} is not on this machine: is this Debian?") from None
        with log.open("a", encoding="utf-8") as file:
            file.write(f"$ {' '.join(map(str, command))}\n{done.stdout}")
        if done.returncode != 0:
            last = next((line for line in reversed(done.stdout.splitlines()) if line.strip()), "no output")
            raise SetupError(remedy(done.stdout) or f"{name} failed: {last.strip()} (all of it: {log})")
        return done.stdout


def _count_up(label: str, started: float, ended: threading.Event) -> None:
    while not ended.wait(1.0):
        print(f"\r{label} {time.monotonic() - started:.0f} s", end="", flush=True)
