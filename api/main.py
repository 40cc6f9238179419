"""`python -m api`: the only place that reads the environment."""

import gc
import logging
import os
import signal
import socket
import sys
from functools import partial
from importlib.abc import MetaPathFinder

import uvicorn
from prometheus_client import start_http_server

from api import processes
from api.app import make_app
from api.live.events import end_streams
from api.live.hub import Hub
from api.live.serve import UVICORN_OPTIONS, WS
from api.metrics import LAG_MS
from api.trailers import HTTP
from schemas import settings
from schemas.errors import CityfeedError
from schemas.settings import Settings

GRACE_S = 3


class NoPandas(MetaPathFinder):
    """pyarrow imports pandas where it is installed: 43 MB that nothing here needs."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        """Nothing, as ever; of pandas that it is not there."""
        if fullname == "pandas":
            raise ModuleNotFoundError("the API does without pandas", name=fullname)


class Server(uvicorn.Server):
    """uvicorn that says when it listens."""

    hub: Hub

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening, then print the one line."""
        await super().startup(sockets)
        gc.collect()
        gc.freeze()  # what is there by now stays: to look through it again and again would cost requests milliseconds
        if self.started:
            print(f"api ready on http://{self.config.host}:{self.config.port}", flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Streams of events have no end of their own: they are told to come back, as websockets are."""
        end_streams(self.hub)
        await super().shutdown(sockets)


def main() -> None:
    """Serve until SIGTERM or Ctrl-C. One line and exit code 1 for settings or a city folder that can't be used.

    With several processes this one only watches over them: `python -m api process 0` is the first.
    """
    # uvicorn ends in good order, then raises the signal again for whoever asked before it: that is us.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        chosen = settings.load(os.environ)
        sys.meta_path.insert(0, NoPandas())
        logging.basicConfig(level=chosen.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        # aiokafka says many times a second that Kafka is away; the tail says it once.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        if sys.argv[1:2] == ["process"]:
            processes.end_with_parent()
            serve(chosen, int(sys.argv[2]))
        elif chosen.api_processes == 1:
            serve(chosen)
        else:
            make_app(chosen)  # what can't be used is told once, and not by each
            processes.check_port(chosen)
            processes.supervise(chosen.api_processes, partial(processes.spawn, os.environ))
    except CityfeedError as e:
        sys.exit(f"api: {e}")


def serve(chosen: Settings, number: int | None = None) -> None:
    """Be the API; `number` says which of several processes. Raises `CityfeedError`."""
    app = make_app(chosen)
    listening = processes.listen(chosen, shared=number is not None)
    if number is not None and chosen.api_metrics_port:
        LAG_MS.set_function(lambda: app.state.tail.lag_ms)
        start_http_server(chosen.api_metrics_port + number, chosen.metrics_host)
    config = uvicorn.Config(
        app,
        host=chosen.api_host,
        port=chosen.api_port,
        loop="uvloop",
        http=HTTP,
        ws=WS,
        log_config=None,
        log_level=chosen.log_level.lower(),
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
        **UVICORN_OPTIONS,
    )
    server = Server(config)
    server.hub = app.state.cityfeed.hub
    failures: list[BaseException] = []

    def failed(error: BaseException) -> None:
        failures.append(error)
        server.should_exit = True

    app.state.tail.failed = failed
    server.run([listening])
    if failures:
        sys.exit(f"api: the live feed failed ({type(failures[0]).__name__}: {failures[0]}); its log says where")
