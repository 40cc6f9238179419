"""Servers of one test alone, to stop, kill and start as it likes (the shared ones have other guests)."""

import contextlib
import dataclasses
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType

from deploy.local import configs, prepare, probes, stack, supervise, tools
from deploy.local.stack import Layout, Part
from schemas.settings import Secret, Settings


class OwnServers:
    """A Mosquitto on `first_port + 5` and a Kafka on `+ 6` (controller `+ 7`), within the block they run; with
    `database` also a PostgreSQL on `+ 8`, otherwise the shared one is in `settings`; with `public` also Mosquitto's
    public listeners on `+ 8` (MQTT) and `+ 9` (websocket), and the outlet's on `+ 4`.
    """

    def __init__(
        self, shared: Settings, first_port: int, folder: Path, *, database: bool = False, public: bool = False
    ) -> None:
        self.settings = dataclasses.replace(
            shared,
            state_dir=str(folder),
            mqtt_port=first_port + 5,
            kafka_bootstrap=f"127.0.0.1:{first_port + 6}",
        )
        if public:
            assert not database, "they have a port in common"
            self.settings = dataclasses.replace(
                self.settings,
                mqtt_outlet_port=first_port + 4,
                mqtt_public_port=first_port + 8,
                mqtt_public_websocket_port=first_port + 9,
            )
        if database:
            url = f"postgresql://cityfeed@127.0.0.1:{first_port + 8}/cityfeed"
            self.settings = dataclasses.replace(self.settings, database_url=Secret(url))
        self._tools = tools.find((tools.ROOT / shared.cache_dir).resolve())
        self._where = prepare.layout(self.settings) if database else Layout(folder, folder / "postgres")
        parts = stack.server_parts(self.settings, self._tools, self._where, prepare.postgres_user())
        self._parts = {part.name: part for part in parts if database or part.name != "postgres"}
        if database:
            prepare.write(self.settings, self._tools, parts, self._where)
        else:
            self._write(parts)
        self._folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def _write(self, parts: list[Part]) -> None:
        where = self._where
        for path in (where.mosquitto, where.kafka, where.postgres):
            path.mkdir(parents=True)
        for path, text in configs.files(self.settings, parts, self._tools, where, as_root=True, max_files=4096).items():
            path.write_text(text, encoding="utf-8")
        prepare._format_kafka(self._tools, where)

    def start(self, *names: str) -> None:
        """Start servers and wait until they answer."""
        for name in names:
            user = self._parts[name].user
            with (self._folder / f"{name}.log").open("ab") as log:
                self._processes[name] = subprocess.Popen(
                    self._parts[name].command, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    user=user, group=prepare._group() if user else None, extra_groups=[] if user else None,
                    preexec_fn=lambda: supervise.end_with_parent(signal.SIGKILL),
                )  # fmt: skip
        deadline = time.monotonic() + 60
        while waiting := [name for name in names if not probes.answers(self._parts[name], self._tools)]:
            for name in waiting:
                log_text = (self._folder / f"{name}.log").read_text(errors="replace")[-2000:]
                assert self._processes[name].poll() is None, f"{name} ended\n{log_text}"
                assert time.monotonic() < deadline, f"{name} does not answer\n{log_text}"
            time.sleep(0.1)

    def stop(self, name: str, signal_number: signal.Signals | None = None) -> None:
        """End a server in good order, or by another signal, and wait until it is gone; its data stays.

        SIGKILL goes to all its processes at once, as when the machine dies.
        """
        process = self._processes.pop(name)
        everyone = probes.family(process.pid)
        if signal_number is None:
            signal_number = signal.Signals[f"SIG{self._parts[name].stop_signal}"]
        for pid in everyone if signal_number is signal.SIGKILL else [process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal_number)
        process.wait(30)
        while any(map(_is_alive, everyone)):
            time.sleep(0.02)

    def forget_kafka(self) -> None:
        """A stopped Kafka loses all it has: its volume is made anew."""
        assert "kafka" not in self._processes, "stop it first"
        shutil.rmtree(self._where.kafka / "data")
        prepare._format_kafka(self._tools, self._where)

    def __enter__(self) -> "OwnServers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for name in list(self._processes):
            self.stop(name, signal.SIGKILL)
        if self._where.postgres.parent != self._where.state:
            shutil.rmtree(self._where.postgres, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return False
