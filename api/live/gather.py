"""When mode `all` leaves: at once where there is time for it, and together where there is not.

A flush costs a write for each client, whatever is in it. So what comes close together leaves together, and the more
clients there are, the longer it is gathered: flushing takes at most a fifth of a processor, and no row waits longer
than `MOST_S` for company. The processor's time counts, not the clock's: where others keep this process waiting, waiting
even longer helps nobody.
"""

import asyncio
import time
from collections.abc import Callable

LEAST_S = 0.005
"""Between two flushes, however little they cost."""
MOST_S = 0.025
"""Between two flushes, however much they cost."""
REST = 4.0
"""After a flush this many times as long as it took of the processor's time."""


class Gather:
    """Calls `flush` soon after `soon`; `failed` with what it raises, for in a timer nobody would hear of it."""

    def __init__(self, flush: Callable[[], None], failed: Callable[[Exception], None]) -> None:
        self._flush = flush
        self._failed = failed
        self._not_before_s = 0.0
        self._began_cpu_s = 0.0
        self._waiting = False
        self._writing = False
        self._timer: asyncio.Handle | None = None

    def soon(self) -> None:
        """There is something to flush: now, or when the time for it has come."""
        if self._waiting:
            return
        self._waiting = True
        if not self._writing:
            self._plan()

    def stop(self) -> None:
        """Flush no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _plan(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() >= self._not_before_s:
            self._now()
        else:
            self._timer = loop.call_at(self._not_before_s, self._now)

    def _now(self) -> None:
        self._began_cpu_s, self._waiting, self._writing = time.thread_time(), False, True
        try:
            self._flush()
        except Exception as e:
            self._failed(e)
        # The event loop writes to the sockets when this callback is over: only the next one knows what it took.
        self._timer = asyncio.get_running_loop().call_soon(self._written)

    def _written(self) -> None:
        self._writing = False
        took_s = time.thread_time() - self._began_cpu_s
        self._not_before_s = asyncio.get_running_loop().time() + rest_s(took_s)
        if self._waiting:
            self._plan()


def rest_s(took_s: float) -> float:
    """How long to gather after a flush that took so long."""
    return min(MOST_S, max(LEAST_S, REST * took_s))
