"""The real servers of the integration tests: Mosquitto, Kafka, PostgreSQL/TimescaleDB, on ports of their own.

`CITYFEED_TEST_MQTT=host:port`, `CITYFEED_TEST_KAFKA=host:port` and `CITYFEED_TEST_DATABASE_URL=...` name
servers that are there already; what is not named is started, in .cityfeed/test. Test runs that go on
side by side share the servers: each holds a shared lock on a file, and a keeper process, which is the
parent of supervisord, waits for that lock alone. The kernel gives a lock back however a run ends, so the
servers never outlive the last run.

`python -m tests.servers` starts them and holds them until Ctrl-C.
"""

import contextlib
import dataclasses
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from deploy.local import kafka, prepare, probes, stack, supervise, timescaledb, tools
from deploy.local.stack import Layout, Part
from deploy.local.tools import ROOT, Tools
from schemas.settings import Secret, Settings, load

MQTT, KAFKA, DATABASE = "CITYFEED_TEST_MQTT", "CITYFEED_TEST_KAFKA", "CITYFEED_TEST_DATABASE_URL"
START_TIMEOUT_S = 90.0
KEEPERS: list["subprocess.Popen[bytes]"] = []  # they outlive us: not to be collected while we run


def settings() -> Settings:
    """The settings of a test run: default settings but for the servers and the state folder."""
    mqtt_host, _, mqtt_port = os.environ.get(MQTT, "127.0.0.1:28830").rpartition(":")
    return dataclasses.replace(
        Settings(),
        cache_dir=load(os.environ).cache_dir,
        state_dir=str(ROOT / ".cityfeed" / "test"),
        mqtt_host=mqtt_host,
        mqtt_port=int(mqtt_port),
        mqtt_outlet_port=0,  # tests of the public topics have a broker of their own
        kafka_bootstrap=os.environ.get(KAFKA, "127.0.0.1:29092"),
        database_url=Secret(os.environ.get(DATABASE, "postgresql://cityfeed@127.0.0.1:25432/cityfeed")),
        kafka_partitions=4,
    )


def header() -> str:
    """Which servers this run meets."""
    major = tools.postgres_major()
    own = {
        MQTT: "Mosquitto on {0.mqtt_port}",
        KAFKA: f"Kafka {kafka.version()} on {{0.kafka_bootstrap}}",
        DATABASE: f"PostgreSQL {major} with TimescaleDB {timescaledb.installed_version(major or 0)}",
    }
    return "; ".join(
        f"{name.removeprefix('CITYFEED_TEST_')} given" if name in os.environ else "own " + text.format(settings())
        for name, text in own.items()
    )


def _own_parts(chosen: Settings, found: Tools, where: Layout) -> list[Part]:
    given = {
        "mosquitto": MQTT in os.environ,
        "kafka": KAFKA in os.environ,
        "postgres": DATABASE in os.environ,
    }
    parts = stack.server_parts(chosen, found, where, prepare.postgres_user()) if not all(given.values()) else []
    return [part for part in parts if not given[part.name]]


@contextlib.contextmanager
def running() -> Iterator[Settings]:
    """Within the block the servers are up; the settings that reach them. Raises `CityfeedError`."""
    chosen = settings()
    found = tools.find((ROOT / chosen.cache_dir).resolve())
    where = prepare.layout(chosen)
    parts = _own_parts(chosen, found, where)
    if not parts:
        yield chosen
        return
    locks = where.state.with_name("test-locks")  # beside the state folder, which is emptied at each start
    locks.mkdir(parents=True, exist_ok=True)
    with (locks / "in-use").open("w") as in_use, (locks / "starting").open("w") as starting:
        fcntl.flock(in_use, fcntl.LOCK_SH)
        fcntl.flock(starting, fcntl.LOCK_EX)
        if supervise.supervisord_pid(where) is None:
            _start_keeper(locks)
        _wait(parts, found, where)
        fcntl.flock(starting, fcntl.LOCK_UN)
        yield chosen


def _start_keeper(locks: Path) -> None:
    command = [sys.executable, "-m", "tests.servers", "keep"]
    with (locks / "keeper.log").open("wb") as log:
        keeper = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    KEEPERS.append(keeper)


def _wait(parts: list[Part], found: Tools, where: Layout) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    waiting = list(parts)
    while waiting := [part for part in waiting if not probes.answers(part, found)]:
        if time.monotonic() > deadline:
            keeper = where.state.with_name("test-locks") / "keeper.log"
            said = [
                keeper.read_text(errors="replace"),
                *(line for p in waiting for line in supervise.tail(where, p.name)),
            ]
            raise stack.StackError(f"test servers did not start: {[p.name for p in waiting]}\n" + "\n".join(said))
        time.sleep(0.05)


def keep() -> None:
    """Start the servers on empty folders and end them when no test run holds the lock any more."""
    chosen = settings()
    found = tools.find((ROOT / chosen.cache_dir).resolve())
    where = prepare.layout(chosen)
    parts = _own_parts(chosen, found, where)
    listening = stack.addresses(chosen)
    if conflicts := probes.port_conflicts(address for part in parts for address in listening[part.name]):
        sys.exit("\n".join(conflicts))
    for folder in (where.state, where.postgres):
        shutil.rmtree(folder, ignore_errors=True)
    prepare.write(chosen, found, parts, where)
    process = supervise.start(chosen, found, where, detached=False)
    with (where.state.with_name("test-locks") / "in-use").open("w") as in_use:
        fcntl.flock(in_use, fcntl.LOCK_EX)
        supervise.stop(where)
    process.wait()
    if where.postgres.parent != where.state:
        shutil.rmtree(where.postgres, ignore_errors=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["keep"]:
        keep()
    else:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        with running() as reached, contextlib.suppress(KeyboardInterrupt):
            print(
                "\n".join(f"export {key}='{value}'" for key, value in stack.environment(reached).items()),
                flush=True,
            )
            print("test servers are up; Ctrl-C ends them", flush=True)
            signal.pause()
