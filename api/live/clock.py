"""The live feed's timers: they read the clock and call what takes the time as an argument."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from api.live import metrics
from api.live.hub import Hub
from api.live.messages import TICKS_MS
from schemas.settings import Settings

STALL_CHECK_S = 0.5


class Source(Protocol):
    """Where the readings come from."""

    @property
    def lag_ms(self) -> int:
        """How late they are."""

    def check_silence(self) -> None:
        """Tell clients when none come."""


class Clock:
    """Ticks of mode `latest`, heartbeats, and the watch over stalled clients and a silent source."""

    def __init__(self, settings: Settings, hub: Hub, source: Source) -> None:
        self._heartbeat_s = float(settings.live_heartbeat_s)
        self._shares = min(15, settings.live_heartbeat_s)
        self._beats = 0
        self._hub = hub
        self._source = source

    def start(self) -> list[asyncio.Task[None]]:
        """The running timers; cancel them to stop."""
        ticks = [_every(ms / 1000, lambda ms=ms: self._hub.tick(ms)) for ms in TICKS_MS]  # type: ignore[misc]
        others = (
            _every(self._heartbeat_s / self._shares, self._beat),
            _every(STALL_CHECK_S, self._drop_stalled),
            _every(1.0, self._source.check_silence),
        )
        return [asyncio.create_task(timer) for timer in (*ticks, *others)]

    def _beat(self) -> None:
        """To a share of the connections at a time: a heartbeat to all of them would hold everything up."""
        share = self._beats % self._shares, self._shares
        self._beats += 1
        self._hub.heartbeat(time.time_ns() // 1_000_000, self._source.lag_ms, share)

    def _drop_stalled(self) -> None:
        if dropped := self._hub.drop_stalled(time.monotonic()):
            metrics.STALLED.inc(dropped)


async def _every(interval_s: float, act: Callable[[], object]) -> None:
    due_s = time.monotonic()
    while True:
        due_s = max(due_s + interval_s, time.monotonic())
        await asyncio.sleep(due_s - time.monotonic())
        act()
