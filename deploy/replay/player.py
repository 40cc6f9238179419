"""The sample city: `python -m deploy.replay.player`, the part `city` of the local stack.

It waits for the gateway (whose session at the broker must exist, or what is published first would be lost), plays
the past week as backfill through the whole chain, says so in `<state_dir>/city-ready`, and plays on and on at the
real rate. What it has reached is in `<state_dir>/city.json`, written only when the broker has acknowledged all
before it; a later start goes on from there (at most a week back). A week is 6,400 messages, 25 MB: far under the
broker's queue, so no slow part behind the broker can make it lose any.
"""

import asyncio
import contextlib
import json
import logging
import os
import re
import signal
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any

from deploy.replay.feed import batches
from deploy.replay.publisher import Broker, Publisher
from deploy.replay.sample import Week, read_weeks
from deploy.replay.shift import WEEK_MS
from schemas.errors import CityfeedError
from schemas.settings import Settings, load

log = logging.getLogger("cityfeed.city")

POLL_S = 0.2
SAVE_S = 10.0
LONGEST_SLEEP_S = 1.0  # then the clock is asked again: it may have been set, or the machine asleep
READY_TIMEOUT_S = 300.0
SHOWN_SHARE = 0.95
"""So many of the sensors must show their newest reading: some may be refused by quality rules, and a partition that
lags has more than the rest of them."""


@dataclass
class Player:
    """Plays `weeks`; `clock` gives epoch ms UTC."""

    settings: Settings
    weeks: list[Week]
    clock: Callable[[], int]
    reached_ms: int = 0

    def __post_init__(self) -> None:
        self._folder = Path(self.settings.state_dir)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._saved_at = time.monotonic()
        for name in ("city-ready", "city-progress"):
            (self._folder / name).unlink(missing_ok=True)

    async def run(self) -> None:
        """Wait, backfill, play on; ends only when cancelled."""
        if not self.weeks:
            self._write("city-ready", "this city has no recorded week to play\n")
            await asyncio.Event().wait()
        await self._gateway()
        async with Publisher(Broker.of(self.settings), patience_s=60.0) as publisher:
            try:
                await self._backfill(publisher)
                await asyncio.gather(self._say_ready(), self._play(publisher))
            finally:
                with contextlib.suppress(TimeoutError, CityfeedError):
                    await publisher.flush(0.3)
                    self._save()

    async def _gateway(self) -> None:
        """Return when the gateway has its session at the broker, or, where it shows no metrics, the API is ready."""
        port = self.settings.gateway_metrics_port
        log.info("waiting for the gateway")
        while not (port and await _connected(f"http://127.0.0.1:{port}/metrics")):
            if not port and await _text(f"{self._api}/ready") is not None:
                return
            await asyncio.sleep(POLL_S)

    async def _backfill(self, publisher: Publisher) -> None:
        now_ms = self.clock()
        self.reached_ms = max(self._load(), now_ms - WEEK_MS)
        first_ms, done = self.reached_ms, 0
        for reached_ms, made in batches(self.weeks, self.settings.mqtt_topic_prefix, first_ms, now_ms):
            await publisher.publish(made.messages)
            done += made.readings
            await publisher.flush()
            self.reached_ms = reached_ms
            self._save()
            share = (reached_ms - first_ms) / (now_ms - first_ms)
            self._write("city-progress", json.dumps({"done": done, "total": round(done / share)}))
        log.info("backfill of %d readings is with the broker", done)

    async def _play(self, publisher: Publisher) -> None:
        """At the real rate, for ever."""
        while True:
            wait_ms = min(week.next_ms(self.reached_ms) for week in self.weeks) - self.clock()
            await asyncio.sleep(min(max(wait_ms, 1) / 1000, LONGEST_SLEEP_S))
            now_ms = self.clock()
            for reached_ms, made in batches(self.weeks, self.settings.mqtt_topic_prefix, self.reached_ms, now_ms):
                await publisher.publish(made.messages)
                self.reached_ms = reached_ms
            if time.monotonic() - self._saved_at > SAVE_S:
                await publisher.flush()
                self._save()

    async def _say_ready(self) -> None:
        """Write `city-ready` when the API shows what the backfill ended with.

        Raises `CityfeedError` when it does not in 300 s: the process ends, so that whoever waits for it sees that.
        """
        wanted = [(week.dataset, week.newest_ms(self.reached_ms)) for week in self.weeks]
        deadline = time.monotonic() + READY_TIMEOUT_S
        for dataset, newest in wanted:
            while (shown := await self._shown(dataset, newest)) < SHOWN_SHARE * len(newest):
                if time.monotonic() > deadline:
                    raise CityfeedError(
                        f"{dataset}: the API shows {shown} of {len(newest)} newest readings after"
                        f" {READY_TIMEOUT_S:.0f} s; `cityfeed status` and `cityfeed logs windows` tell more"
                    )
                await asyncio.sleep(POLL_S)
        names = ", ".join(f"{len(week.sensors)} sensors of {week.dataset}" for week in self.weeks)
        self._write("city-ready", f"{names}, played as if it were now\n")
        log.info("ready: %s", names)

    async def _shown(self, dataset: str, wanted: dict[str, int]) -> int:
        """How many of these sensors' newest readings, or newer ones, the API shows."""
        text = await _text(f"{self._api}/v1/{dataset}/latest?limit=10000")
        try:
            rows: list[dict[str, Any]] = json.loads(text or "{}").get("data", [])
            starts = [(row["sensor"], datetime.fromisoformat(row["start"]).timestamp() * 1000) for row in rows]
        except (ValueError, KeyError, TypeError, AttributeError):
            return 0
        return len({sensor for sensor, start in starts if sensor in wanted and start >= wanted[sensor]})

    @property
    def _api(self) -> str:
        return f"http://{self.settings.api_host}:{self.settings.api_port}"

    def _load(self) -> int:
        try:
            return int(json.loads((self._folder / "city.json").read_text())["reached_ms"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    def _save(self) -> None:
        """To be called when everything up to `reached_ms` is acknowledged."""
        self._write("city.json", json.dumps({"reached_ms": self.reached_ms}))
        self._saved_at = time.monotonic()

    def _write(self, name: str, text: str) -> None:
        path = self._folder / name
        path.with_suffix(".new").write_text(text)
        path.with_suffix(".new").replace(path)


# The standard library's: a process that asks a few times at its start need not carry httpx's 8 MB for ever.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


async def _text(url: str) -> str | None:
    """The body of a 200, else None."""
    return await asyncio.to_thread(_read, url)


def _read(url: str) -> str | None:
    try:
        with _direct.open(url, timeout=5.0) as answer:
            return answer.read().decode() if answer.status == 200 else None
    except (OSError, HTTPException, UnicodeDecodeError):
        return None


async def _connected(url: str) -> bool:
    """The gateway's page is there, which is so once it has subscribed, and does not say that it is cut off."""
    text = await _text(url)
    return text is not None and re.search(r"^cityfeed_gateway_connected 0", text, re.MULTILINE) is None


async def _until_told(player: Player) -> None:
    loop = asyncio.get_running_loop()
    playing = asyncio.create_task(player.run())
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, playing.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await playing


def main() -> int:
    """Play the city of the settings until SIGTERM; 1 with a line for a person where that can't be."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    try:
        settings = load(os.environ)
        weeks = read_weeks(Path(settings.city_dir))
        if not weeks:
            log.info("%s has no data/weeks.toml: nothing to play", settings.city_dir)
        asyncio.run(_until_told(Player(settings, weeks, lambda: time.time_ns() // 1_000_000)))
    except CityfeedError as e:
        print(f"cityfeed: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
