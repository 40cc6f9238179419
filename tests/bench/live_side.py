"""The two servers of the live bench, each a process of its own: `python -m tests.bench.live_side ours|websockets PORT`.

Both read commands from stdin, a JSON object a line, and answer each with one on stdout. Publishing is in this process,
without Kafka: what is measured is the way from a reading to the clients' sockets. Neither side pings, for the clients
only count bytes.

    {"do": "run", "seconds": s, "rate": readings/s or 0 for as fast as they go, "sensors": n}   {"sent": n, "cpu_s": ..}
    {"do": "memory"}                                                                            {"rss_kb": ...}
"""

import asyncio
import contextlib
import gc
import json
import os
import resource
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import uvloop

FRAME = 64  # readings published at a time when as fast as they go


class Ours:
    """The hub behind a real uvicorn; one reading a frame in mode `all`."""

    def __init__(self, port: int) -> None:
        from api.live import groups
        from schemas.settings import Settings
        from tests.api.live.feeding import Feed

        groups.FRAME_ROWS = 1
        self.port = port
        self.settings = Settings(live_connections_per_address=0, live_queue_frames=4096)
        self.feed = Feed(live_connections_per_address=0, live_queue_frames=4096)
        self.minute = 0

    async def start(self) -> None:
        import uvicorn
        from fastapi import FastAPI

        from api.live.clock import Clock
        from api.live.keys import Keys
        from api.live.routes import router
        from api.live.serve import UVICORN_OPTIONS, WS

        app = FastAPI()
        app.include_router(router)
        app.state.cityfeed = SimpleNamespace(
            settings=self.settings,
            hub=self.feed.hub,
            registry=self.feed.registry,
            play=None,
            keys=Keys({}),
            now_ms=lambda: 0,
        )
        config = uvicorn.Config(app, host="127.0.0.1", port=self.port, ws=WS, log_config=None, lifespan="off",
                                backlog=4096, **UVICORN_OPTIONS | {"ws_ping_interval": None})  # fmt: skip
        self.server = uvicorn.Server(config)
        self.tasks = [asyncio.create_task(self.server._serve()), *Clock(self.settings, self.feed.hub, self).start()]
        while not self.server.started:
            await asyncio.sleep(0.01)

    lag_ms = 0

    def check_silence(self) -> None:
        """Nobody listens to Kafka here."""

    def publish(self, sensors: list[str], own_flush: bool) -> None:
        from tests.api.live.feeding import batch

        self.minute += 1
        now_ms = time.time_ns() // 1_000_000
        made = batch(*((s, self.minute, 50.5) for s in sensors), received=now_ms)
        self.feed.publish(made, flush=own_flush)

    def flush(self) -> None:
        self.feed.hub.flush()

    def blocked(self) -> bool:
        return sum(not member.link.writable for member in self.feed.hub.members) * 2 > len(self.feed.hub.members)


class Reference:
    """`websockets.broadcast` of a message of the same length, once a reading."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.connections: set[Any] = set()
        self.length = 0
        self.text = ""

    async def start(self) -> None:
        import websockets

        async def handler(socket: Any) -> None:
            self.connections.add(socket)
            with contextlib.suppress(websockets.ConnectionClosed):
                async for _ in socket:
                    pass
            self.connections.discard(socket)

        self.server = await websockets.serve(
            handler, "127.0.0.1", self.port, compression=None, ping_interval=None, backlog=4096, max_queue=None
        )

    def publish(self, sensors: list[str], own_flush: bool) -> None:
        import websockets

        from api.live.messages import rfc3339

        stamp = f'"received":"{rfc3339(time.time_ns() // 1_000_000)}"'
        for _ in sensors:
            websockets.broadcast(self.connections, ("{" + stamp + "}").ljust(self.length))

    def flush(self) -> None:
        """Nothing waits."""

    def blocked(self) -> bool:
        sizes = [s.transport.get_write_buffer_size() > 65_536 for s in self.connections]
        return sum(sizes) * 2 > len(sizes)


async def run(side: Any, seconds: float, rate: float, sensors: int, at_once: int) -> dict[str, Any]:
    """Publish for so long."""
    names = [f"s{n:05}" for n in range(sensors)]
    began, cpu, sent = time.monotonic(), time.process_time(), 0
    while (now := time.monotonic()) < began + seconds:
        if rate:
            due = int((now - began) * rate) - sent
            while due > 0:
                n = min(due, at_once)
                side.publish([names[(sent + i) % sensors] for i in range(n)], False)
                sent, due = sent + n, due - n
            side.flush()
            await asyncio.sleep(max(0.0, 0.005 - (time.monotonic() - now)))
        else:
            for _ in range(FRAME):
                side.publish([names[sent % sensors]], False)
                sent += 1
            side.flush()
            await asyncio.sleep(0)
            while side.blocked() and time.monotonic() < began + seconds:
                await asyncio.sleep(0.001)
    return {"sent": sent, "cpu_s": time.process_time() - cpu, "seconds": time.monotonic() - began}


def rss_kb() -> int:
    """Resident memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 1024


async def main() -> None:
    """Serve and obey until stdin ends."""
    name, port, length = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    side = Ours(port) if name == "ours" else Reference(port)
    if isinstance(side, Reference):
        side.length = length
    os.sched_setaffinity(0, {0})
    await side.start()
    print(json.dumps({"ready": True}), flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        asked = json.loads(line)
        if asked["do"] == "run":
            answer = await run(side, asked["seconds"], asked["rate"], asked["sensors"], asked.get("at_once", 1))
        else:
            gc.collect()
            answer = {"rss_kb": rss_kb()}
        print(json.dumps(answer), flush=True)
    os._exit(0)


if __name__ == "__main__":
    uvloop.run(main())
