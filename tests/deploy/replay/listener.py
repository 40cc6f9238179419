"""A subscriber that counts what a broker delivers, for the tests of this folder."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion


class Listener:
    """(topic, payload) of all that came, in order."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self._more = threading.Condition()

    def take(self, message: paho.MQTTMessage) -> None:
        with self._more:
            self.messages.append((message.topic, bytes(message.payload)))
            self._more.notify_all()

    def wait(self, n: int, timeout_s: float = 20.0) -> list[tuple[str, bytes]]:
        """All messages so far, when there are at least n different ones. Raises `TimeoutError`."""
        deadline = time.monotonic() + timeout_s
        with self._more:
            while len(self.messages) < n or len(set(self.messages)) < n:
                if not self._more.wait(deadline - time.monotonic()):
                    raise TimeoutError(f"{len(self.messages)} of {n} messages")
            return list(self.messages)


@contextmanager
def listening(host: str, port: int, topic: str) -> Iterator[Listener]:
    """Subscribed with QoS 1 within the block."""
    listener = Listener()
    subscribed = threading.Event()
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_connect = lambda c, *_: c.subscribe(topic, qos=1)
    client.on_subscribe = lambda *_: subscribed.set()
    client.on_message = lambda _c, _u, message: listener.take(message)
    client.connect(host, port)
    client.loop_start()
    assert subscribed.wait(10)
    try:
        yield listener
    finally:
        client.disconnect()
        client.loop_stop()
