"""`python -m ingest_gateway`: the environment, the clock and signals; the rest is given them."""

import asyncio
import logging
import os
import signal
import sys
import time
from pathlib import Path

import uvloop

from ingest_gateway.gateway import Gateway
from schemas.city import City, read_city
from schemas.errors import CityfeedError
from schemas.settings import Settings, load

log = logging.getLogger("ingest_gateway")


def _clock_ms() -> int:
    return time.time_ns() // 1_000_000


def _set_up_log(level: str) -> None:
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s gateway: %(message)s", stream=sys.stderr)
    if logging.getLogger().getEffectiveLevel() > logging.DEBUG:
        # aiokafka says several things a second while Kafka is away; the publisher says it once.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        logging.getLogger("asyncio").setLevel(logging.ERROR)


async def _run(settings: Settings, city: City) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await Gateway(settings, city, _clock_ms).run(stop)


def main() -> int:
    """Run until SIGTERM or SIGINT; the exit code: 0, 1 after a failure, 2 for settings or files that can't be used."""
    try:
        settings = load(os.environ)
        _set_up_log(settings.log_level)
        city = read_city(Path(settings.city_dir))
    except (CityfeedError, ValueError) as e:
        print(f"gateway: {e}", file=sys.stderr)
        return 2
    try:
        uvloop.run(_run(settings, city))
    except CityfeedError as e:
        log.error("%s", e)
        return 1
    log.info("gateway ended")
    return 0
