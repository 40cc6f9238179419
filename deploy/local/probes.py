"""What the command line asks of the machine: who holds a port, does a part answer, how much memory."""

import contextlib
import errno
import http.client
import json
import os
import re
import socket
import subprocess
from collections.abc import Iterable
from pathlib import Path

from deploy.local.stack import Address, Part
from deploy.local.tools import Tools

PROBE_TIMEOUT_S = 1.0


def why_not(address: Address) -> OSError | None:
    """What keeps a server from listening there; None: nothing."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
            probe.listen(1)
        except OSError as e:
            return e
    return None


def holder(port: int) -> str:
    """`pid 123 (python -m http.server)` of whoever listens on the port; "" if this user may not see it."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                words = line.split()
                if words[3] == "0A" and int(words[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{words[9]}]")
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(os.readlink(link) in inodes for link in (folder / "fd").iterdir()):
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                return f"pid {folder.name} ({command[:60]})"
    return ""


def port_conflicts(addresses: Iterable[Address]) -> list[str]:
    """One line for each address where nothing of ours can listen: why, who holds it, and what to set."""
    lines = []
    for address in addresses:
        if (error := why_not(address)) is None:
            continue
        if error.errno == errno.EADDRINUSE:
            by = f" by {who}" if (who := holder(address.port)) else ""
            lines.append(f"port {address.port} is in use{by}: end that program, or set {address.setting}")
        else:
            why = error.strerror or error
            lines.append(f"nothing can listen at {address}: {why}; set {address.setting}, or the host beside it")
    return lines


def listens(address: Address) -> bool:
    try:
        with socket.create_connection((address.host, address.port), timeout=PROBE_TIMEOUT_S):
            return True
    except OSError:
        return False


def fetch(address: Address, path: str, timeout_s: float = PROBE_TIMEOUT_S) -> tuple[int, str]:
    """GET a page of this machine: status and text; (0, why not) when nothing answers."""
    connection = http.client.HTTPConnection(address.host, address.port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error)
    finally:
        connection.close()


def tail_is_ready(address: Address) -> bool:
    """Does the API there know all that was in Kafka when it started? It may do without the database."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return bool(json.loads(fetch(address, "/ready")[1])["parts"]["tail"]["ready"])
    return False


def answers(part: Part, tools: Tools) -> bool:
    """Is the part ready to do its work, as far as it tells from outside?"""
    if part.name == "postgres" and part.address is not None:
        asked = [
            str(tools.postgres_bin / "pg_isready"),
            "-q",
            "-h",
            part.address.host,
            "-p",
            str(part.address.port),
        ]
        return subprocess.run(asked, stdin=subprocess.DEVNULL, check=False).returncode == 0
    if part.name == "api" and part.address is not None:
        return fetch(part.address, "/ready")[0] == 200
    if part.metrics is not None:
        return fetch(part.metrics, "/metrics")[0] == 200
    return part.address is None or listens(part.address)


def processes() -> dict[int, int]:
    """Every process and its parent."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            found[int(folder.name)] = int((folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    return found


def family(pid: int) -> list[int]:
    """The process and everything it started."""
    parents = processes()
    found = [pid]
    for member in found:
        found += [child for child, parent in parents.items() if parent == member]
    return found


def memory_bytes(pid: int) -> int:
    """Resident memory of a process and its children; pages they share are counted once (PSS)."""
    return sum(map(own_memory_bytes, family(pid)))


def own_memory_bytes(pid: int) -> int:
    """Resident memory of one process, its share of shared pages; 0 if it is gone or not to be seen."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0
    return sum(int(kb) * 1024 for kb in re.findall(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE))


def samples(text: str, name: str) -> float | None:
    """The sum over all labels of a metric on a Prometheus page; None if it is not on it."""
    found = re.findall(rf"^{re.escape(name)}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE)
    return sum(map(float, found)) if found else None
