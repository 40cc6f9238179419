"""How a connection ended, as both feeds need to know it."""

from dataclasses import dataclass

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, NegotiationError

from cityfeed_client.errors import CityfeedClientError, NotALiveFeed, Stopped

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""A part of a snapshot has at most 500 rows, well under 1 MB; more is not of this protocol."""

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
