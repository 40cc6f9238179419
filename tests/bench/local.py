"""`cityfeed up` as a person runs it: time to `ready`, and memory when idle."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from deploy.local import probes
from deploy.local.tools import ROOT
from tests.bench.figure import Figure, pss_kb
from tests.service_stack import port_block

IDLE_S = 20


def measure() -> Iterator[Figure]:
    """First start (empty state, everything built), warm start, memory."""
    with port_block() as port, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o755)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("CITYFEED_")} | {
            "CITYFEED_STATE_DIR": f"{folder}/run",
            "CITYFEED_MQTT_PORT": str(port),
            "CITYFEED_KAFKA_BOOTSTRAP": f"127.0.0.1:{port + 1}",
            "CITYFEED_DATABASE_URL": f"postgresql://cityfeed@127.0.0.1:{port + 3}/cityfeed",
            "CITYFEED_API_PORT": str(port + 4),
            "CITYFEED_GATEWAY_METRICS_PORT": str(port + 5),
            "CITYFEED_CLEAN_METRICS_PORT": str(port + 6),
            "CITYFEED_WINDOWS_METRICS_PORT": str(port + 7),
        }
        first_s, process = _up(environment, Path(folder) / "first.log")
        _end(process)
        warm_s, process = _up(environment, Path(folder) / "warm.log")
        time.sleep(IDLE_S)
        family = probes.family(process.pid)
        python = [pid for pid in family if "python" in os.readlink(f"/proc/{pid}/exe")]
        whole_mb = sum(map(pss_kb, family)) / 1000
        python_mb = sum(map(pss_kb, python)) / 1000
        ended_s = _end(process)
    yield Figure("`cityfeed up` to ready, empty state, with a week of backfill", first_s, "s", note="set-up was done")
    yield Figure("`cityfeed up` to ready, warm", warm_s, "s", target="under 20 s", met=warm_s < 20)
    yield Figure("Ctrl-C to nothing left", ended_s, "s", target="under 10 s", met=ended_s < 10)
    note = "proportional set size: shared pages are counted once"
    yield Figure("memory, whole stack idle", whole_mb, "MB", target="under 1,200", met=whole_mb < 1200, note=note)
    yield Figure(
        "of which our Python", python_mb, "MB", target="under 400", met=python_mb < 400, note=f"{len(python)} processes"
    )


def _up(environment: dict[str, str], log: Path) -> tuple[float, "subprocess.Popen[bytes]"]:
    began = time.monotonic()
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", "from deploy.cli import main; main()", "up"], cwd=ROOT, env=environment,
            stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True,
        )  # fmt: skip
    while not any(line.startswith("ready") for line in log.read_text(errors="replace").splitlines()):
        if process.poll() is not None or time.monotonic() - began > 300:
            raise RuntimeError(log.read_text(errors="replace"))
        time.sleep(0.05)
    return time.monotonic() - began, process


def _end(process: "subprocess.Popen[bytes]") -> float:
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.wait(60)
    return time.monotonic() - began
