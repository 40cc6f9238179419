"""`python -m api.archive`: writes closed days now and again; `once` makes one pass."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from schemas import settings
from schemas.errors import CityfeedError
from schemas.settings import Settings

if TYPE_CHECKING:
    from api.archive.job import Wanted


def main() -> None:
    """Passes until SIGTERM or Ctrl-C, each in a process of its own, so that this one stays small."""
    try:
        chosen = settings.load(os.environ)
        logging.basicConfig(level=chosen.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        if sys.argv[1:] == ["once"]:
            _pass(chosen)
            return
    except CityfeedError as e:
        sys.exit(f"archive: {e}")
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    print(f"archive ready: a pass every {chosen.archive_every_s} s", flush=True)
    while not ended.is_set():
        with subprocess.Popen([sys.executable, "-m", "api.archive", "once"]) as running:
            while running.poll() is None and not ended.wait(0.2):
                pass
            if running.poll() is None:
                running.terminate()
        ended.wait(chosen.archive_every_s)


def _pass(chosen: Settings) -> None:
    import psycopg

    try:
        for line in asyncio.run(once(chosen)):
            logging.info("%s", line)
    except (psycopg.OperationalError, psycopg.errors.UndefinedTable, OSError) as e:
        sys.exit(f"archive: {str(e).splitlines()[0]}; the next pass tries again")


async def once(chosen: Settings, wanted: "Wanted | None" = None, now_ms: int | None = None) -> list[str]:
    """One pass; a line for each day that was written."""
    # Imported in the passes alone: what waits between them stays small.
    from api.archive.job import Job
    from api.archive.job import Wanted as Everything
    from api.archive.move import move
    from api.archive.store import Store
    from api.queries import archive
    from api.queries.pool import connect
    from api.state import wall_clock_ms
    from schemas.city import read_city

    city = read_city(Path(chosen.city_dir))
    lines: list[str] = []
    async with connect(chosen, "cityfeed archive") as connection:
        if not await archive.only_one(connection):
            return ["nothing was done: another archive job, such as that of the running stack, is at it"]
        store, now_ms = Store(chosen), wall_clock_ms() if now_ms is None else now_ms
        job = Job(chosen, city, store, connection)
        async for written in job.run(wanted or Everything(), now_ms):
            if written.revision:
                lines.append(f"{written.dataset} {written.day} revision {written.revision}: {written.rows} rows")
        if wanted is None:
            async for day, rows in move(connection, chosen, city, store, now_ms):
                lines.append(f"{day}: {rows} rows are in the archive alone now")
    return lines
