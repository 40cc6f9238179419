"""`python -m api`: the only place that reads the environment."""

import logging
import os
import signal
import socket
import sys

import uvicorn

from api.app import make_app
from api.live.serve import UVICORN_OPTIONS, WS
from schemas import settings
from schemas.errors import CityfeedError, SettingsError
from schemas.settings import Settings

GRACE_S = 3
BACKLOG = 2048


class Server(uvicorn.Server):
    """uvicorn that says when it listens."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening, then print the one line."""
        await super().startup(sockets)
        if self.started:
            print(f"api ready on http://{self.config.host}:{self.config.port}", flush=True)


def listen(chosen: Settings) -> socket.socket:
    """The socket that the API listens on. Raises `SettingsError` where the address can't be had."""
    family = socket.AF_INET6 if ":" in chosen.api_host else socket.AF_INET
    try:
        return socket.create_server((chosen.api_host, chosen.api_port), family=family, backlog=BACKLOG)
    except OSError as e:
        raise SettingsError(
            f"can't listen on {chosen.api_host}:{chosen.api_port} ({e.strerror}); stop what listens there, or choose "
            "another with CITYFEED_API_PORT and CITYFEED_API_HOST"
        ) from e


def main() -> None:
    """Serve until SIGTERM or Ctrl-C. One line and exit code 1 for settings or a city folder that can't be used."""
    # uvicorn ends in good order, then raises the signal again for whoever asked before it: that is us.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        chosen = settings.load(os.environ)
        logging.basicConfig(level=chosen.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        # aiokafka says many times a second that Kafka is away; the tail says it once.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        app = make_app(chosen)
        listening = listen(chosen)
    except CityfeedError as e:
        sys.exit(f"api: {e}")
    config = uvicorn.Config(
        app,
        host=chosen.api_host,
        port=chosen.api_port,
        loop="uvloop",
        http="httptools",
        ws=WS,
        log_config=None,
        log_level=chosen.log_level.lower(),
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
        **UVICORN_OPTIONS,
    )
    server = Server(config)
    failures: list[BaseException] = []

    def failed(error: BaseException) -> None:
        failures.append(error)
        server.should_exit = True

    app.state.tail.failed = failed
    server.run([listening])
    if failures:
        sys.exit(f"api: the live feed failed ({type(failures[0]).__name__}: {failures[0]}); its log says where")
