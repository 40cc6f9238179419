"""The player against a real Mosquitto; gateway and API are pages that say what the test wants them to."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from deploy.replay.make_sample import write_gz
from deploy.replay.player import Player
from deploy.replay.sample import Week
from deploy.replay.shift import WEEK_MS
from schemas.settings import Settings, variable
from tests.deploy.replay.listener import Listener, listening

ORIGIN_MS = 1_330_588_800_000
MINUTES = np.arange(10_080.0)


def week(step_s: int = 60) -> Week:
    """Two sensors whose value is the number of the bin in the week."""
    return Week("traffic", ORIGIN_MS, step_s * 1000, (("a", "speed"), ("b", "speed"), ("b", "volume")),
                np.column_stack([MINUTES, MINUTES, MINUTES + 0.5]))  # fmt: skip


@dataclass
class Pages:
    """The gateway's metrics page and the API, on one port; `latest` is what the API shows."""

    port: int = 0
    connected: bool = True
    latest: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator["Pages"]:
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
        self.asked.append(path)
        text = f"# HELP x\ncityfeed_gateway_connected {float(self.connected)}\n"
        if path != "/metrics":
            text = json.dumps({"data": self.latest, "next": None, "meta": {}})
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n{text}".encode())
        with contextlib.suppress(OSError):
            await writer.drain()
            writer.close()
            await writer.wait_closed()


@pytest.fixture
async def pages() -> AsyncIterator[Pages]:
    async with Pages().served() as served:
        yield served


@pytest.fixture
def settings(servers: Settings, tmp_path: Path, pages: Pages) -> Settings:
    return replace(
        servers, state_dir=str(tmp_path / "state"), mqtt_topic_prefix=f"test-{uuid.uuid4().hex}", api_port=pages.port,
        gateway_metrics_port=pages.port,
    )  # fmt: skip


@contextlib.asynccontextmanager
async def playing(player: Player) -> AsyncIterator[Path]:
    """The player runs; its state folder."""
    task = asyncio.create_task(player.run())
    yield Path(player.settings.state_dir)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.wait_for(task, 30)


async def until(condition: Any, timeout_s: float = 15.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.02)


def rows_of(listener: Listener) -> list[tuple[str, int, float, bool]]:
    """(sensor, t, speed, is an import) of all rows so far."""
    return [
        (topic.rpartition("/")[2], row["t"], row["speed"], row.get("origin") == "import")
        for topic, payload in list(listener.messages)
        for row in _list(orjson.loads(payload))
    ]


def _list(parsed: Any) -> list[Any]:
    return parsed if isinstance(parsed, list) else [parsed]


def expected(played: Week, after_ms: int, until_ms: int) -> set[tuple[str, int, float]]:
    return {
        (played.sensors[due.sensor], ORIGIN_MS + k * played.step_ms, float(k % 10_080))
        for due in played.due(after_ms, until_ms)
        for k in range(due.first, due.last + 1)
    }


async def test_first_a_week_then_on_and_on_each_reading_once(settings: Settings, pages: Pages) -> None:
    """Simulated time: the clock stands while the backfill runs, then jumps by a minute and a half, and again."""
    now_ms = ORIGIN_MS + 700 * WEEK_MS + 12_345_678
    played = week()
    player = Player(settings, [played], lambda: now_ms)
    with listening(settings.mqtt_host, settings.mqtt_port, f"{settings.mqtt_topic_prefix}/#") as listener:
        async with playing(player) as state:
            await until(lambda: player.reached_ms == now_ms)
            await until(lambda: len(rows_of(listener)) >= 2 * 10_080)
            assert json.loads((state / "city-progress").read_text()) == {"done": 3 * 10_080, "total": 3 * 10_080}
            assert len(listener.messages) < 2 * 10_080 / 50
            assert not (state / "city-ready").exists()
            wanted = expected(played, now_ms - WEEK_MS, now_ms)
            assert {row[:3] for row in rows_of(listener)} == wanted
            assert {row[1] < now_ms - 3_600_000 for row in rows_of(listener) if row[3]} == {True}
            assert all(row[1] >= now_ms - 3_600_000 for row in rows_of(listener) if not row[3])

            newest = {sensor: max(t for s, t, _ in wanted if s == sensor) for sensor in ("a", "b")}
            starts = {sensor: datetime.fromtimestamp(t / 1000, UTC) for sensor, t in newest.items()}
            pages.latest = [{"sensor": s, "start": t.isoformat()} for s, t in starts.items() if s == "a"]
            await asyncio.sleep(0.5)
            assert not (state / "city-ready").exists()
            pages.latest = [{"sensor": s, "start": t.isoformat()} for s, t in starts.items()]
            await until((state / "city-ready").exists)
            assert (state / "city-ready").read_text().count("\n") == 1

            now_ms += 90_000
            await until(lambda: player.reached_ms == now_ms)
        began_ms, now_ms = now_ms, now_ms + 600_000
        again = Player(settings, [played], lambda: now_ms)
        assert not (state / "city-ready").exists()
        async with playing(again):
            await until(lambda: again.reached_ms == now_ms)
            all_rows = expected(played, began_ms - 90_000 - WEEK_MS, now_ms)
            await until(lambda: len(rows_of(listener)) >= len(all_rows))
        rows = [row[:3] for row in rows_of(listener)]
        assert len(rows) == len(set(rows)) and set(rows) == all_rows


async def test_nothing_is_published_before_the_gateway_has_its_session(settings: Settings, pages: Pages) -> None:
    pages.connected = False
    with listening(settings.mqtt_host, settings.mqtt_port, f"{settings.mqtt_topic_prefix}/#") as listener:
        async with playing(Player(settings, [week()], lambda: ORIGIN_MS + 3 * WEEK_MS)):
            await until(lambda: pages.asked.count("/metrics") >= 3)
            assert listener.messages == []
            pages.connected = True
            await until(lambda: listener.messages)


async def test_without_a_metrics_port_the_api_says_when(settings: Settings, pages: Pages) -> None:
    settings = replace(settings, gateway_metrics_port=0)
    player = Player(settings, [week()], lambda: ORIGIN_MS + 3 * WEEK_MS)
    async with playing(player):
        await until(lambda: player.reached_ms)
    assert pages.asked[0] == "/ready"


async def test_a_city_without_recorded_weeks_is_ready_at_once(settings: Settings) -> None:
    async with playing(Player(settings, [], lambda: 0)) as state:
        await until((state / "city-ready").exists)


async def test_it_ends_soon_when_told(settings: Settings, pages: Pages, tmp_path: Path) -> None:
    """The real process: it goes on where it was told to end, from its own state file."""
    city = tmp_path / "city"
    (city / "data").mkdir(parents=True)
    (city / "data" / "weeks.toml").write_text(
        '[[week]]\nfile = "w.csv.gz"\ndataset = "traffic"\norigin = 2012-03-01T00:00:00-08:00\nstep_s = 60\n'
    )
    write_gz(city / "data" / "w.csv.gz", "a/speed\n" + "".join(f"{i}\n" for i in range(10_080)))
    names = ("mqtt_host", "mqtt_port", "mqtt_topic_prefix", "state_dir", "api_port")
    changed = {name: getattr(settings, name) for name in names}
    changed |= {"gateway_metrics_port": pages.port, "city_dir": city}
    environment = os.environ | {variable(name): str(value) for name, value in changed.items()}
    state = Path(settings.state_dir)
    reached: list[int] = []
    for _ in range(2):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "deploy.replay.player", env=environment, stderr=asyncio.subprocess.PIPE
        )
        await until(lambda: (state / "city-progress").exists())
        process.send_signal(signal.SIGTERM)
        told_s = time.monotonic()
        _, said = await process.communicate()
        assert time.monotonic() - told_s < 5, said.decode()
        assert process.returncode == 0, said.decode()
        (state / "city-progress").unlink()  # the second process has to write it itself
        reached.append(json.loads((state / "city.json").read_text())["reached_ms"])
    assert time.time() * 1000 - WEEK_MS < reached[0] < reached[1] <= time.time() * 1000
