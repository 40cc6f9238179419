"""How a connection begins and ends, as both feeds need to know it: what is asked of `websockets`, what its errors mean,
and when the next try is due.
"""

from dataclasses import dataclass
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, NegotiationError
from websockets.typing import Subprotocol

from cityfeed_client import messages, reconnect
from cityfeed_client.errors import CityfeedClientError, NotALiveFeed, Stopped
from cityfeed_client.events import State
from cityfeed_client.session import Session

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""A part of a snapshot has at most 500 rows, well under 1 MB; more is not of this protocol."""

CONNECT: dict[str, Any] = {
    "subprotocols": [Subprotocol(messages.SUBPROTOCOL)], "proxy": None, "max_size": MAX_MESSAGE_BYTES,
    "close_timeout": 2,
}  # fmt: skip
"""For `connect`. Compression is offered, as it is unless one says no: the server's frames become a tenth."""

CONNECTION_LOST = 1006
_BUSY = 4100
_PASSING_STATUS = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Ending:
    """`code` is a close code, None where no connection came about."""

    code: int | None
    reason: str

    def refusal(self, url: str) -> CityfeedClientError:
        """The error that ends the feed."""
        if self.code is None:
            return CityfeedClientError(f"{url}: {self.reason or 'no connection'}")
        return Stopped(self.code, self.reason)


def how_it_ended(error: Exception, url: str) -> Ending:
    """From what `websockets` raised. Raises `NotALiveFeed` where trying again cannot help."""
    if isinstance(error, ConnectionClosed):
        if error.rcvd is None:
            return Ending(CONNECTION_LOST, "connection lost")
        return Ending(error.rcvd.code, error.rcvd.reason)
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        if status in _PASSING_STATUS:
            return Ending(_BUSY if status in (429, 503) else None, f"the server answers {status}")
        raise NotALiveFeed(f"{url} is no live feed of cityfeed: it answers {status}") from None
    if isinstance(error, NegotiationError):
        raise NotALiveFeed(f"{url} is no live feed of cityfeed: {error}") from None
    if isinstance(error, InvalidHandshake):
        return Ending(None, str(error))
    return Ending(None, str(error) or "no answer")


class Tries:
    """Counts those in vain, and says when the next one is due."""

    def __init__(self, session: Session, wait: reconnect.Wait, url: str) -> None:
        self._session = session
        self._wait = wait
        self._url = url
        self._failures = 0

    def after(self, ended: Ending) -> State:
        """The connection is over: how long to wait. Raises `Stopped` or `CityfeedClientError` where it is no use."""
        session = self._session
        self._failures = 0 if session.healthy else self._failures
        wait_s = self._wait(ended.code, self._failures, session.going_away_ms)
        if wait_s is None:
            raise ended.refusal(self._url)
        self._failures += 1
        session.healthy, session.going_away_ms = False, None
        return State(state="waiting", detail=ended.reason, wait_s=wait_s, code=ended.code)
