"""A resident's websocket: what was heard, and when."""

import json
import threading
import time

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.chaos.load import DATASET


class Ear(threading.Thread):
    """Hears every live reading of the load; comes back when the connection ends."""

    def __init__(self, api_port: int) -> None:
        super().__init__(name="ear", daemon=True)
        self._url = f"ws://127.0.0.1:{api_port}/v1/live"
        self._ending = threading.Event()
        self.heard: list[tuple[float, int]] = []  # (time.monotonic(), readings)

    def between(self, begin_s: float, end_s: float) -> int:
        """How many readings were heard between two moments of time.monotonic()."""
        return sum(n for at_s, n in list(self.heard) if begin_s <= at_s < end_s)

    def end(self) -> None:
        """Hang up."""
        self._ending.set()
        self.join(10)

    def run(self) -> None:
        while not self._ending.is_set():
            try:
                self._listen()
            except (OSError, WebSocketException, TimeoutError):
                time.sleep(0.5)

    def _listen(self) -> None:
        with connect(self._url, subprotocols=[Subprotocol("cityfeed.v1.json")], max_size=None) as socket:
            socket.send(json.dumps({"type": "hello", "client": "chaos"}))
            wanted = {"id": 1, "topic": "readings", "mode": "all", "filter": {"dataset": [DATASET]}}
            socket.send(json.dumps({"type": "subscribe", **wanted}))
            while not self._ending.is_set():
                try:
                    message = json.loads(socket.recv(timeout=0.5))
                except TimeoutError:
                    continue
                if message["type"] == "data":
                    self.heard.append((time.monotonic(), len(message["d"])))
