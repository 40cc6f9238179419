"""Our services as real processes, for a test: unique names, killable, their logs at hand.

    stack.start("gateway", "clean")        stack.wait_ready("gateway", "clean")
    stack.start("clean-1")                 a second process of the role, its instance 1, without a metrics page
    stack.kill("clean")                    SIGKILL, or another signal; waits until it is gone
    stack.publish("traffic", "loop-1", {"t": ..., "speed": 61.0})
    stack.records("readings.clean")        what is in a Kafka topic now
    stack.query("SELECT count(*) FROM readings")
    stack.wait_until(lambda: ..., "all readings are stored")

All of it is synchronous, so that a test reads top to bottom.
"""

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import psycopg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import ConsumerRecord

from deploy.local import probes, stack, supervise
from deploy.local.tools import ROOT
from schemas.settings import Settings

COMMANDS = {
    "gateway": ("ingest_gateway",),
    "clean": ("stream_processors", "clean"),
    "windows": ("stream_processors", "windows"),
    "api": ("api",),
    "outlet": ("deploy.public_mqtt",),
}
PORT_BLOCKS = range(28_200, 28_700, 10)


@contextlib.contextmanager
def port_block() -> Iterator[int]:
    """The first of ten ports that are this process's alone, also among test runs side by side."""
    folder = ROOT / ".cityfeed" / "test-locks"
    folder.mkdir(parents=True, exist_ok=True)
    for first in PORT_BLOCKS:
        with (folder / f"ports-{first}").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield first
            return
    raise RuntimeError("all port blocks of the tests are taken: are test runs left over?")


def unique_settings(shared: Settings, name: str, first_port: int, folder: Path, **overrides: Any) -> Settings:
    """Settings that share the servers with other tests and nothing else."""
    values = {
        "state_dir": str(folder),
        "mqtt_client_id": f"{name}-gateway",
        "mqtt_topic_prefix": name,
        "kafka_topic_prefix": f"{name}.",
        "database_schema": name,
        "api_port": first_port,
        "api_metrics_port": first_port + 8,
        "gateway_metrics_port": first_port + 1,
        "clean_metrics_port": first_port + 2,
        "windows_metrics_port": first_port + 3,
    }
    return dataclasses.replace(shared, **(values | overrides))


class ServiceStack:
    """Gateway, processors and API of one test. Everything is ended and removed by `close`."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    # -- processes --------------------------------------------------------------------------------------

    def start(self, *names: str) -> None:
        """Start services (see COMMANDS). Each ends with this process, however it ends."""
        for name in names:
            assert name not in self._processes, f"{name} runs already"
            outside = {key: value for key, value in os.environ.items() if not key.startswith("CITYFEED_")}
            with self._log_path(name).open("ab") as log:
                self._processes[name] = subprocess.Popen(
                    [sys.executable, "-m", *COMMANDS[name.partition("-")[0]]], cwd=ROOT,
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    env=outside | stack.environment(self._settings_of(name)) | {"PYTHONUNBUFFERED": "1"},
                    preexec_fn=lambda: supervise.end_with_parent(signal.SIGKILL),
                )  # fmt: skip

    def _settings_of(self, name: str) -> Settings:
        role, _, instance = name.partition("-")
        if not instance:
            return self.settings
        return dataclasses.replace(self.settings, processor_instance=instance, **{f"{role}_metrics_port": 0})

    def reap(self, name: str) -> int | None:
        """Forget a service that has ended by itself; its exit code, None where it runs or was not started."""
        process = self._processes.get(name)
        if process is None or process.poll() is None:
            return None
        del self._processes[name]
        return process.returncode

    def kill(self, name: str, signal_number: signal.Signals = signal.SIGKILL, timeout_s: float = 20.0) -> int:
        """Send a signal and wait until the service is gone; its exit code (-9 after SIGKILL)."""
        process = self._processes.pop(name)
        process.send_signal(signal_number)
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(
                f"{name} did not end within {timeout_s} s of {signal_number.name}\n{self.log(name)}"
            ) from None

    def stop(self, name: str, timeout_s: float = 20.0) -> int:
        """SIGTERM: the service drains; its exit code."""
        return self.kill(name, signal.SIGTERM, timeout_s)

    def signal(self, name: str, signal_number: signal.Signals) -> None:
        """Only send it: SIGSTOP, SIGCONT."""
        self._processes[name].send_signal(signal_number)

    def pid(self, name: str) -> int:
        return self._processes[name].pid

    def is_running(self, name: str) -> bool:
        return name in self._processes and self._processes[name].poll() is None

    def wait_ready(self, *names: str, timeout_s: float = 40.0) -> None:
        """Until the services show their metrics (the API: /ready answers 200); fails at once if one ends."""
        for name in names or tuple(self._processes):
            self.wait_until(lambda name=name: self._answers(name), f"{name} is ready", timeout_s)

    def _answers(self, name: str) -> bool:
        if name == "api":
            return probes.fetch(stack.api_address(self.settings), "/ready")[0] == 200
        address = stack.metrics_address(self.settings, name)
        return address is not None and probes.fetch(address, "/metrics")[0] == 200

    def wait_until(
        self, is_so: Callable[[], object], what: str, timeout_s: float = 40.0, every_s: float = 0.05
    ) -> None:
        """Poll until it is so. Fails after the timeout, or when a service that was started has ended."""
        deadline = time.monotonic() + timeout_s
        while not is_so():
            for name, process in self._processes.items():
                assert process.poll() is None, f"{name} ended with {process.returncode}\n{self.log(name)}"
            assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
            time.sleep(every_s)

    def log(self, name: str) -> str:
        path = self._log_path(name)
        return path.read_text(encoding="utf-8", errors="replace")[-8000:] if path.exists() else ""

    def logs(self) -> dict[str, str]:
        return {path.stem: self.log(path.stem) for path in sorted(self.folder.glob("*.log"))}

    def _log_path(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    # -- MQTT, Kafka, database --------------------------------------------------------------------------

    def mqtt_topic(self, dataset: str, sensor: str) -> str:
        return f"{self.settings.mqtt_topic_prefix}/v1/{dataset}/{sensor}"

    def publish(self, dataset: str, sensor: str, payload: Any, qos: int = 1) -> None:
        """Publish one message (bytes as they are, anything else as JSON); returns when the broker has it."""
        self.publish_all([(self.mqtt_topic(dataset, sensor), payload)], qos)

    def publish_all(self, messages: Iterable[tuple[str, Any]], qos: int = 1, timeout_s: float = 60.0) -> None:
        """Publish (topic, payload) pairs in order; returns when the broker has acknowledged the last."""
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        client.max_inflight_messages_set(1000)
        client.connect(self.settings.mqtt_host, self.settings.mqtt_port)
        client.loop_start()
        try:
            sent = [
                client.publish(topic, payload if isinstance(payload, bytes) else json.dumps(payload), qos)
                for topic, payload in messages
            ]
            for message in sent:
                message.wait_for_publish(timeout_s)
                assert message.is_published(), f"the broker did not acknowledge within {timeout_s} s"
        finally:
            client.disconnect()
            client.loop_stop()

    def records(self, topic: str) -> list[ConsumerRecord]:
        """All records that are in a topic now (name without the test's prefix), partition by partition."""
        return _in_own_loop(lambda: _read_topic(self.settings, self.settings.kafka_topic_prefix + topic))

    def connect(self) -> "psycopg.Connection[Any]":
        """A connection (autocommit) whose search path is the test's schema."""
        options = f"-c search_path={self.settings.database_schema},public"
        return psycopg.connect(str(self.settings.database_url), autocommit=True, options=options)

    def query(self, sql: str, parameters: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a statement."""
        with self.connect() as connection:
            return connection.execute(sql.encode(), tuple(parameters)).fetchall()

    def has_table(self, table: str) -> bool:
        return self.query("SELECT to_regclass(%s)", [f"{self.settings.database_schema}.{table}"]) != [(None,)]

    def close(self) -> None:
        """End the services, remove the test's topics and tables."""
        for name in list(self._processes):
            if self._processes[name].poll() is None:
                self.kill(name)
        with self.connect() as connection:
            connection.execute(f'DROP SCHEMA IF EXISTS "{self.settings.database_schema}" CASCADE'.encode())
        _in_own_loop(lambda: _delete_topics(self.settings))


def _in_own_loop(make: Callable[[], Any]) -> Any:
    """Run a coroutine to its end from a test that may have an event loop of its own."""
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(make())).result()


async def _read_topic(settings: Settings, topic: str) -> list[ConsumerRecord]:
    numbers = await _partition_numbers(settings, topic)
    if not numbers:
        return []
    partitions = [TopicPartition(topic, number) for number in numbers]
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka_bootstrap, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        found: list[ConsumerRecord] = []
        while any([await consumer.position(partition) < ends[partition] for partition in partitions]):
            for batch in (await consumer.getmany(timeout_ms=100)).values():
                found += batch
        return sorted(found, key=lambda record: (record.partition, record.offset))
    finally:
        await consumer.stop()


async def _partition_numbers(settings: Settings, topic: str) -> list[int]:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
    await admin.start()
    try:
        (described,) = await admin.describe_topics([topic])
        return sorted(part["partition"] for part in described["partitions"])
    finally:
        await admin.close()


async def _delete_topics(settings: Settings) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
    await admin.start()
    try:
        own = [name for name in await admin.list_topics() if name.startswith(settings.kafka_topic_prefix)]
        if own:
            await admin.delete_topics(own)
    finally:
        await admin.close()
