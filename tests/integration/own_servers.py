"""Mosquitto and Kafka of one test alone, to stop and start as it likes (the shared ones have other guests)."""

import dataclasses
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType

from deploy.local import configs, prepare, probes, stack, supervise, tools
from deploy.local.stack import Layout
from schemas.settings import Settings


class OwnServers:
    """A Mosquitto on `first_port + 5` and a Kafka on `+ 6` (controller `+ 7`), within the block they run."""

    def __init__(self, shared: Settings, first_port: int, folder: Path) -> None:
        self.settings = dataclasses.replace(
            shared,
            state_dir=str(folder),
            mqtt_port=first_port + 5,
            kafka_bootstrap=f"127.0.0.1:{first_port + 6}",
        )
        self._tools = tools.find((tools.ROOT / shared.cache_dir).resolve())
        where = Layout(folder, folder / "postgres")
        parts = stack.server_parts(self.settings, self._tools, where, prepare.postgres_user())
        self._parts = {part.name: part for part in parts if part.name != "postgres"}
        for path in (where.mosquitto, where.kafka, where.postgres):
            path.mkdir(parents=True)
        for path, text in configs.files(self.settings, parts, self._tools, where, as_root=True, max_files=4096).items():
            path.write_text(text, encoding="utf-8")
        prepare._format_kafka(self._tools, where)
        self._folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *names: str) -> None:
        """Start servers and wait until they answer."""
        for name in names:
            with (self._folder / f"{name}.log").open("ab") as log:
                self._processes[name] = subprocess.Popen(
                    self._parts[name].command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    preexec_fn=lambda: supervise.end_with_parent(signal.SIGKILL),
                )
        deadline = time.monotonic() + 60
        while waiting := [name for name in names if not probes.answers(self._parts[name], self._tools)]:
            for name in waiting:
                log_text = (self._folder / f"{name}.log").read_text(errors="replace")[-2000:]
                assert self._processes[name].poll() is None, f"{name} ended\n{log_text}"
                assert time.monotonic() < deadline, f"{name} does not answer\n{log_text}"
            time.sleep(0.1)

    def stop(self, name: str, signal_number: signal.Signals = signal.SIGTERM) -> None:
        """End a server and wait until it is gone; its data stays."""
        process = self._processes.pop(name)
        process.send_signal(signal_number)
        process.wait(30)

    def __enter__(self) -> "OwnServers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for name in list(self._processes):
            self.stop(name, signal.SIGKILL)
