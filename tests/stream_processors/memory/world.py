"""The real roles `clean` and `windows` on Kafka and tables in memory: they crash, sleep, wake up, change hands.

A step is a method; `settle` brings everything to its end, and `judge` is tests/checker's.
"""

import asyncio
import contextlib
import dataclasses
import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from schemas import wire
from schemas.datasets import parse_datasets
from schemas.errors import CityfeedError
from schemas.readings import readings
from schemas.registry import Registry
from schemas.settings import Settings
from schemas.wire import Record
from stream_processors import outbox, windows_role
from stream_processors.clean_role import CleanRole
from stream_processors.windows_role import WindowsRole
from tests.checker.compare import Report, judge
from tests.checker.found import Found, letters, log_records, published_windows
from tests.checker.rules import Rules
from tests.stream_processors.memory.kafka import MemoryKafka
from tests.stream_processors.memory.store import MemoryDatabase

PARTS = 2
STEP_MS = 20_000
T0 = 1_772_488_000_000  # 2026-03-02T21:46:40Z, so that midnight comes in two hours
METRICS = (("speed", "km/h"), ("volume", "{veh}"), ("pm25", "ug/m3"))
SENSORS = ("a", "d")  # one in each partition
assert {zlib.crc32(f"lab/{sensor}".encode()) % PARTS for sensor in SENSORS} == set(range(PARTS))

DATASET = """id = "lab"
title = "t"
description = "d"
licence = "CC0-1.0"
attribution = "a"
publisher = "p"
contact = "c@example.org"
category = "Test"
department = "Tests"
data_type = "measurements"
update_frequency = "PT20S"
lateness_s = 60
silence_s = 100
indices = []
privacy = { reviewed = "2026-01-01", reviewer = "tests", rule = "made up" }
[metrics]
speed = { unit = "km/h", period_s = 20, cadence_s = 20 }
volume = { unit = "{veh}", period_s = 20, cadence_s = 20 }
pm25 = { unit = "ug/m3", period_s = 20, cadence_s = 20 }
"""

SETTINGS = dataclasses.replace(
    Settings(), kafka_partitions=PARTS, repair_quiet_s=5, repair_max_delay_s=60, duplicate_horizon_s=30
)

ENDS = (CityfeedError, KafkaError, psycopg.Error)
"""What ends a process; anything else is a mistake, here or there."""

Sent = tuple[int, int, int, int, int]  # (sensor, metric, step, rev, value)


def write_rules(folder: Path) -> Rules:
    """The checker's rules of the dataset that everything here is of."""
    (folder / "datasets").mkdir()
    (folder / "datasets" / "lab.toml").write_text(DATASET)
    return Rules(folder)


class Process:
    """One process of a role: it has its tasks, its place in the log, and can be left asleep."""

    def __init__(self, kafka: MemoryKafka, role: Any, parts: Sequence[int]) -> None:
        self._kafka = kafka
        self.role = role
        self.parts = list(parts)
        self.next: dict[int, int] = {}
        self.tasks: list[asyncio.Task[Any]] = []

    def failed(self) -> bool:
        """Whether one of its tasks has ended: the process would."""
        return any(task.done() for task in self.tasks)

    async def end(self) -> None:
        """SIGKILL."""
        self._kafka.is_killing = True
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self._kafka.is_killing = False


class World:
    """Two partitions, processes of both roles, and a clock that only the steps move."""

    def __init__(self) -> None:
        self.kafka = MemoryKafka()
        self.database = MemoryDatabase()
        self.now_ms = self.latest_ms = T0 + 3 * 3_600_000  # what sensors send lies behind it, but for clock jumps
        self.registry = Registry(parse_datasets({"datasets/lab.toml": DATASET}))
        self.clean: list[Process] = []
        self.windows: list[Process] = []
        self.asleep: dict[str, list[Process]] = {"clean": [], "windows": []}
        self._all: list[Process] = []
        self._sent: list[Sent] = []
        self._next_step = 0

    @contextlib.contextmanager
    def in_place_of_servers(self) -> Iterator[None]:
        """Within the block the roles meet this Kafka and these tables."""
        with pytest.MonkeyPatch.context() as patch:
            for name, module in list(sys.modules.items()):
                if name.startswith("stream_processors."):
                    for of, made in (("Producer", self.kafka.producer), ("Consumer", self.kafka.consumer)):
                        if hasattr(module, f"AIOKafka{of}"):
                            patch.setattr(module, f"AIOKafka{of}", made)
            patch.setattr(windows_role.Store, "connect", self.database.connect)
            patch.setattr(windows_role, "migrate", _nothing)
            patch.setattr(outbox, "_RETRY_S", 0.0)
            patch.setattr(windows_role, "_RETRY_S", 0.0)
            yield

    # -- what sensors and the gateway do ----------------------------------------------------------------

    def send(self, rows: Sequence[Sent]) -> None:
        """The gateway writes readings, a record for each partition."""
        for number, sensor in enumerate(SENSORS):
            of_sensor = [row for row in rows if row[0] == number]
            if of_sensor:
                _, metric, step, rev, value = (list(column) for column in zip(*of_sensor, strict=True))
                batch = readings(
                    [("lab", sensor)], METRICS, sensor=[0] * len(metric), metric=metric, rev=rev, period_s=20,
                    value=[float(v) for v in value], start=[T0 + s * STEP_MS for s in step], received=self.now_ms,
                )  # fmt: skip
                self._append(sensor, wire.encode(Record("raw", batch)))
        self._sent += rows

    def march(self, number: int, value: int) -> None:
        """All sensors send what comes next, so many readings of each metric."""
        following = range(self._next_step, self._next_step + number)
        self._next_step += number
        self.send(
            [(s, m, step, 1, (value + step * (m + 2)) % 10) for step in following for s in (0, 1) for m in (0, 1, 2)]
        )

    def correct(self, back: int, rev: int, value: int) -> None:
        """A reading that was sent a while ago is sent with another value."""
        if self._sent:
            sensor, metric, step, *_ = self._sent[-1 - back % len(self._sent)]
            self.send([(sensor, metric, step, rev, value)])

    def _append(self, sensor: str, value: bytes) -> None:
        self.kafka.append("readings.raw", zlib.crc32(f"lab/{sensor}".encode()) % PARTS, value)

    def send_again(self, number: int) -> None:
        """The gateway writes a record a second time."""
        raw = self.kafka.all("readings.raw")
        if raw:
            record = raw[number % len(raw)]
            self.kafka.append("readings.raw", record.partition, record.value)

    def poison(self) -> None:
        """A record that is none."""
        self._append(SENSORS[0], b"\xc1")

    def tick(self, seconds: int) -> None:
        """The clock goes on, or jumps, and the gateway says so."""
        self.now_ms += seconds * 1000
        self.latest_ms = max(self.latest_ms, self.now_ms)
        self.kafka.now_ms = self.now_ms
        for sensor in SENSORS:
            self._append(sensor, wire.encode(Record("raw", tick=self.now_ms)))

    # -- processes --------------------------------------------------------------------------------------

    async def start(self, role: str, groups: Sequence[Sequence[int]]) -> None:
        """Processes with these partitions take over; what ran before is as if Kafka had forgotten it."""
        running = []
        for parts in groups:
            process = self._process(role, parts)
            topic = "readings.raw" if role == "clean" else "readings.clean"
            ends = {part: (0, len(self.kafka.logs[TopicPartition(topic, part)])) for part in parts}
            process.next = await process.role.assign(ends)
            running.append(process)
        setattr(self, role, running)

    def _process(self, role: str, parts: Sequence[int]) -> Process:
        if role == "clean":
            process = Process(self.kafka, CleanRole(SETTINGS, self.registry, lambda: self.now_ms), parts)
            process.tasks = [asyncio.ensure_future(process.role.run())]
        else:
            process = Process(self.kafka, WindowsRole(SETTINGS, self.registry), parts)
            process.tasks = [asyncio.ensure_future(process.role._outbox.run())]
        self._all.append(process)
        return process

    async def rebalance(self, role: str, shape: int) -> None:
        """All processes give their partitions up in good order, and others take them."""
        for process in getattr(self, role):
            if role == "clean" and (producer := process.role._producer):
                producer.release(len(producer.waiting))  # Kafka is there, or this is a crash
            with contextlib.suppress(*ENDS):
                await process.role.revoke()
            await process.end()
        await self.start(role, [[0, 1]] if shape else [[0], [1]])

    async def crash(self, role: str, kept: int, *, sleeps: bool = False) -> None:
        """SIGKILL, or SIGSTOP: then the old ones may wake up later. Of what they had sent, so much has arrived."""
        for process in getattr(self, role):
            if role == "clean" and (producer := process.role._producer):
                producer.release(kept)
            if sleeps:
                self.asleep[role].append(process)
            else:
                await process.end()
        await self.start(role, [[0, 1]])

    async def wake(self, role: str, number: int) -> None:
        """A process that slept goes on where it was, with what it still gets, until it ends."""
        for process in list(self.asleep[role]):
            if role == "clean" and (producer := process.role._producer):
                producer.release(number)
            if not await self._step(role, process, number) and process in self.asleep[role]:
                self.asleep[role].remove(process)
                await process.end()

    async def work(self, role: str, number: int) -> None:
        """Every process takes at most so many records of each partition, and finishes them."""
        for process in list(getattr(self, role)):
            if not await self._step(role, process, number) and process in getattr(self, role):
                await process.end()
                await self.start(role, [p.parts for p in getattr(self, role)])
                return

    async def _step(self, role: str, process: Process, number: int) -> bool:
        """False where the process has ended."""
        topic = "readings.raw" if role == "clean" else "readings.clean"
        try:
            for part in process.parts:
                log = self.kafka.logs[TopicPartition(topic, part)]
                first = process.next.get(part, 0)
                for record in log[first : first + number]:
                    process.next[part] = record.offset + 1
                    await process.role.take(part, record.offset, record.value)
            if role == "windows":
                await process.role._work()
        except ENDS:
            return False
        for _ in range(8):
            await asyncio.sleep(0)
        return not process.failed()

    def trouble(self, calls: int, what: str) -> None:
        """After so many calls of the database something happens: see `MemoryDatabase`."""
        self.database.calls_left, self.database.at_zero = calls, None
        if what == "commit":
            self.database.calls_left, self.database.loses_commit = None, True
        elif what == "takeover":
            self.database.at_zero = self._take_over

    async def _take_over(self) -> None:
        for process in self.windows:
            self.asleep["windows"].append(process)
        await self.start("windows", [[0, 1]])

    # -- the end ----------------------------------------------------------------------------------------

    async def settle(self) -> None:
        """No more trouble: everything is cleaned, stored, closed, repaired and published."""
        self.database.calls_left, self.database.loses_commit = None, False
        self.kafka.refusals = 0
        self.kafka.hold()
        for role in ("clean", "windows"):
            await self.wake(role, 2)
            self.asleep[role].clear()
        await self.crash("clean", 1)
        await self.crash("windows", 0)
        self.now_ms = self.latest_ms
        for seconds in (200, 200_000, 200, 200):  # days end, too
            self.tick(seconds)
            for role in ("clean", "windows", "windows"):
                await self.work(role, 10_000)

    async def end(self) -> None:
        """No process is left."""
        for process in self._all:
            await process.end()

    def judge(self, rules: Rules) -> Report:
        """What the checker says."""
        database = self.database
        found = Found(
            database.readings(), database.readings_history(), database.windows(), database.windows_history(),
            len(database.tables.dirty),
        )  # fmt: skip
        found.clean = log_records(self.kafka.all("readings.clean"))
        found.published = list(published_windows(log_records(self.kafka.all("windows"))))
        found.letters = list(letters(log_records(self.kafka.all("dead-letters"))))
        return judge(log_records(self.kafka.all("readings.raw")), found, rules)


async def _nothing(*_: Any) -> None:
    pass
