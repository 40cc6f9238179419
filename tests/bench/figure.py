"""A measured figure, and how processes are measured."""

import os
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

CLOCK_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Figure:
    """One row of the table. `target` is a sentence, `met` whether it holds (None: nothing was asked)."""

    name: str
    ours: float
    unit: str
    reference: float | None = None
    reference_name: str = ""
    target: str = ""
    met: bool | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Ours over the reference."""
        return self.ours / self.reference if self.reference else None

    def as_dict(self) -> dict[str, Any]:
        """For results.json."""
        return asdict(self) | {"ratio": self.ratio}


def cpu_s(pid: int) -> float:
    """CPU time of a process with all its threads so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS_PER_S


def pss_kb(pid: int) -> int:
    """Proportional resident memory of a process: what it shares is divided among those that share it."""
    try:
        found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) if found else 0


def counters(port: int) -> dict[str, float]:
    """A service's Prometheus counters and gauges by name; those with labels are summed."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    found: dict[str, float] = {}
    for name, value in re.findall(r"^([a-z_]+)(?:\{[^}]*\})? ([0-9.e+-]+)$", text, re.MULTILINE):
        found[name] = found.get(name, 0.0) + float(value)
    return found


def pids(word: str) -> list[int]:
    """Processes whose command line has the word."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word in path.read_bytes().replace(b"\0", b" ").decode(errors="replace"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def pin(pid: int, cpus: set[int]) -> None:
    """Give a process, all its threads, these processors."""
    for task in Path(f"/proc/{pid}/task").glob("[0-9]*"):
        os.sched_setaffinity(int(task.name), cpus)


@contextmanager
def pinned(word: str, cpus: set[int]) -> Iterator[None]:
    """Within the block the processes of this word have these processors only."""
    everything = os.sched_getaffinity(0)
    chosen = pids(word)
    for pid in chosen:
        pin(pid, cpus)
    try:
        yield
    finally:
        for pid in chosen:
            if Path(f"/proc/{pid}").exists():
                pin(pid, everything)


def wait(is_so: Callable[[], bool], timeout_s: float, what: str, every_s: float = 0.02) -> None:
    """Poll until it is so."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_s:g} s: {what}")
        time.sleep(every_s)
