"""A stack of its own with load on it: servers to kill, services that are started again when they end, a checker."""

import contextlib
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg

from schemas.settings import Settings
from tests.chaos.live import Ear
from tests.chaos.load import DATASET, Load, Plan, write_city
from tests.checker import raw_log
from tests.checker.compare import Report
from tests.checker.stack import Logs, judge_stack, read_logs
from tests.integration.own_servers import OwnServers
from tests.service_stack import ServiceStack, unique_settings

SERVICES = ("gateway", "clean", "windows", "api")
DAY_MS = 86_400_000
RESTART_S = 1.0  # as supervisord does it
SETTLE_S = 180.0
PARTITIONS = 6  # so that three processes have two each: of four, Faust leaves the third one none


class World:
    """See the module's docstring; `say` is told what happens, a line at a time. `pace` shortens the pauses whose length
    the seed decides.
    """

    def __init__(
        self, servers: OwnServers, stack: ServiceStack, seed: int, rate_per_s: float, say: Callable[[str], None],
        pace: float = 1.0,
    ) -> None:  # fmt: skip
        self.servers, self.stack, self.say = servers, stack, say
        self._pace = pace
        self.dice = random.Random(seed)
        begin_ms = time.time_ns() // 1_000_000 // DAY_MS * DAY_MS - 4 * DAY_MS - 4 * 3_600_000  # midnight comes soon
        self.load = Load(stack.settings, Plan(seed, begin_ms, n_sensors=16).messages(), rate_per_s)
        self.ear = Ear(stack.settings.api_port)
        self.before: Logs = {}  # what was in logs that are no more
        self.ends: list[tuple[str, int]] = []  # services that ended by themselves, with their exit codes
        self._wanted: dict[str, float] = {}  # service -> not to be started before
        self._ending = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)

    # -- services ---------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start servers, services and load."""
        self.servers.start("mosquitto", "kafka", "postgres")
        self._keeper.start()
        self.want(*SERVICES)
        self.stack.wait_until(lambda: all(map(self._answers, SERVICES)), "the services are ready", 120)
        self.ear.start()
        self.load.start()

    def want(self, *names: str) -> None:
        """Start services, and start them again when they end."""
        self._wanted |= dict.fromkeys(names, 0.0)

    def unwant(self, name: str) -> None:
        """End a service in good order, for good."""
        del self._wanted[name]
        if self.stack.is_running(name):
            self.stack.stop(name, timeout_s=30)

    def kill(self, name: str) -> None:
        """SIGKILL; it is started again a second later."""
        self.until(lambda: self.stack.is_running(name), f"{name} runs", 30)
        self._wanted[name] = time.monotonic() + RESTART_S
        self.say(f"SIGKILL {name}")
        self.stack.kill(name)

    def pause(self, low_s: float, high_s: float | None = None) -> None:
        """Let the load go on for a while (of a length that the seed decides)."""
        time.sleep(low_s if high_s is None else self._pace * self.dice.uniform(low_s, high_s))
        if self.load.error:
            raise self.load.error

    def until(self, is_so: Callable[[], object], what: str, timeout_s: float = 60.0, every_s: float = 0.05) -> None:
        """Poll until it is so; the database may be away meanwhile."""
        deadline = time.monotonic() + timeout_s
        while True:
            with contextlib.suppress(psycopg.OperationalError):
                if is_so():
                    return
            assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
            time.sleep(every_s)

    def _answers(self, name: str) -> bool:
        return self.stack.is_running(name) and self.stack._answers(name)

    def _keep(self) -> None:
        while not self._ending.wait(0.1):
            for name, not_before_s in list(self._wanted.items()):
                if (code := self.stack.reap(name)) is not None:
                    self.ends.append((name, code))
                    self.say(f"{name} ended by itself ({code}), it is started again")
                    self._wanted[name] = time.monotonic() + RESTART_S
                elif not self.stack.is_running(name) and time.monotonic() >= not_before_s:
                    self.stack.start(name)

    # -- what is stored ---------------------------------------------------------------------------------

    def owners(self) -> set[int]:
        """The database backends that own partitions."""
        return {row[0] for row in self.stack.query("SELECT owner_pid FROM positions WHERE owner_pid IS NOT NULL")}

    def wait_for_flush(self, name: str) -> int:
        """Until a process of `windows` is in the middle of a transaction; its backend's pid."""
        found: list[tuple[Any, ...]] = []

        def is_flushing() -> bool:
            found[:] = connection.execute(
                "SELECT pid FROM pg_stat_activity JOIN positions ON pid = owner_pid WHERE client_port = ANY(%s)"
                " AND state <> 'idle' AND now() - xact_start > interval '5 milliseconds' LIMIT 1",
                [_ports(self.stack.pid(name))],
            ).fetchall()
            return bool(found)

        with self.stack.connect() as connection:
            self.until(is_flushing, f"{name} is in the middle of a flush", every_s=0.002)
        return int(found[0][0])

    def drain(self) -> None:
        """Stop the load, and wait until all that was sent is stored, its windows are made and published."""
        self.load.pause()
        sent = len({row[:3] for row in self.load.readings()})
        self.until(lambda: self.stack.query("SELECT count(*) FROM readings") == [(sent,)], f"{sent} readings", 120, 0.5)
        self._wait_until_quiet(time.monotonic() + SETTLE_S)

    def keep_logs(self) -> None:
        """Remember what is in the topics, for they are about to be no more."""
        self.before = read_logs(self.stack, self.before)

    def judge(self) -> Report:
        """End the load; the checker's report when there are no faults, or the last one after `SETTLE_S`."""
        self.load.end()
        self.ear.end()
        self.say(f"{len(self.load.sent):,} messages sent; waiting until all of it is stored")
        deadline = time.monotonic() + SETTLE_S
        while True:
            self._wait_until_quiet(deadline)
            report = judge_stack(self.stack, self.before)
            self._judge_the_first_hop(report)
            if report.is_good or time.monotonic() > deadline:
                return report
            time.sleep(1)

    def _wait_until_quiet(self, deadline: float) -> None:
        """Until nothing changes in the tables for longer than sensors take to count as silent."""
        state, since_s = None, time.monotonic()
        while time.monotonic() < deadline:
            with contextlib.suppress(psycopg.Error):
                now = self.stack.query(
                    "SELECT (SELECT count(*) FROM readings), (SELECT count(*) FROM windows),"
                    " (SELECT count(*) FROM dirty), (SELECT sum(out_seq) FROM positions)"
                )
                if now != state:
                    state, since_s = now, time.monotonic()
                if now[0][2] == 0 and time.monotonic() - since_s > 6:
                    return
            time.sleep(0.5)

    def _judge_the_first_hop(self, report: Report) -> None:
        """What the broker acknowledged is in the raw log."""
        raw = read_logs(self.stack, self.before)["readings.raw"]
        logged = {
            (r.sensor, r.metric, r.start, r.rev, r.value)
            for record in raw
            for r in raw_log.readings(record)
            if r.dataset == DATASET
        }
        for reading in self.load.readings() - logged:
            report.fault("lost", f"acknowledged by the broker, not in the raw log: {reading}")

    def close(self) -> None:
        """End the services."""
        self._ending.set()
        if self._keeper.is_alive():
            self._keeper.join()
        for name in (*self._wanted, *SERVICES):
            if self.stack.is_running(name):
                self.stack.kill(name)


def _ports(pid: int) -> list[int]:
    """The local ports of a process's connections."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            inodes.add(os.readlink(link))
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [int(words[1].rpartition(":")[2], 16) for words in lines if f"socket:[{words[9]}]" in inodes]


@contextlib.contextmanager
def world(
    shared: Settings, first_port: int, folder: Path, seed: int, rate_per_s: float, say: Callable[[str], None],
    pace: float = 1.0,
) -> Iterator[World]:  # fmt: skip
    """A running world; its servers and services are gone after the block."""
    write_city(folder / "city")
    with OwnServers(shared, first_port, folder / "servers", database=True) as servers:
        settings = unique_settings(
            servers.settings, "chaos", first_port, folder / "services",
            city_dir=str(folder / "city"), repair_quiet_s=1, repair_max_delay_s=3, kafka_partitions=PARTITIONS,
        )  # fmt: skip
        (folder / "services").mkdir()
        stack = ServiceStack(settings, folder / "services")
        made = World(servers, stack, seed, rate_per_s, say, pace)
        try:
            made.begin()
            yield made
        finally:
            made.close()
