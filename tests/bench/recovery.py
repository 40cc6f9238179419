"""How long residents and the database wait for fresh data after one process was killed."""

import itertools
import threading
import time
from collections.abc import Iterator

import httpx

from tests.bench.figure import Figure, wait
from tests.service_stack import ServiceStack

RESTART_S = 1.0  # as supervisord does it
TARGET_S = 15.0
EVERY_S = 0.05


def measure(stack: ServiceStack) -> Iterator[Figure]:
    """SIGKILL of each process under a small load, started again a second later; fresh is what was sent after the kill,
    stored and served as the latest value.
    """
    ending = threading.Event()
    sensor = threading.Thread(target=_send, args=(stack, ending))
    sensor.start()
    try:
        wait(lambda: _is_fresh(stack, 0), 60, "the first reading")
        for name in ("gateway", "clean", "windows", "api"):
            killed_at_ms = time.time() * 1000
            began = time.monotonic()
            stack.kill(name)
            time.sleep(RESTART_S)
            stack.start(name)
            wait(lambda killed_at_ms=killed_at_ms: _is_fresh(stack, killed_at_ms), 120, f"fresh data after {name}")
            took_s = time.monotonic() - began
            yield Figure(
                f"fresh data again after SIGKILL of {name}", took_s, "s", target=f"under {TARGET_S:g} s",
                met=took_s < TARGET_S, note="stored, and served as the latest value; restarted after 1 s",
            )  # fmt: skip
            time.sleep(3)
    finally:
        ending.set()
        sensor.join()


def _send(stack: ServiceStack, ending: threading.Event) -> None:
    """Each reading is of a sensor of its own, so that no rule finds fault with its neighbours."""
    for n in itertools.count():
        if ending.wait(EVERY_S):
            return
        stack.publish("traffic", f"recovery-{n}", {"t": int(time.time() * 1000), "speed": 50.0})


def _is_fresh(stack: ServiceStack, since_ms: float) -> bool:
    """Whether a reading that was sent since then is stored, and the newest stored one is served."""
    stored = stack.has_table("readings") and stack.query(
        "SELECT sensor FROM readings JOIN series ON id = series WHERE sensor LIKE 'recovery-%%'"
        " AND start > to_timestamp(%s) ORDER BY start DESC LIMIT 1",
        [since_ms / 1000],
    )
    if not stored:
        return False
    try:
        url = f"http://127.0.0.1:{stack.settings.api_port}/v1/traffic/latest?sensor={stored[0][0]}"
        answer = httpx.get(url, timeout=2)
        return answer.status_code == 200 and bool(answer.json()["data"])
    except (httpx.HTTPError, ValueError):
        return False
