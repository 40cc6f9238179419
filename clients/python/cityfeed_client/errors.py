"""What a client raises.

    CityfeedClientError
    ├── Stopped               the server closed with 40xx: trying again with the same words cannot help
    ├── NotALiveFeed          the address answers, but not as a live feed
    ├── SubscriptionRefused   the server answers a subscription with an error
    └── HistoryError          a page of history could not be had

Lost connections are not errors: the feed makes them again, and says so by `State` events.
"""


class CityfeedClientError(Exception):
    """Everything that this package raises on purpose."""


class Stopped(CityfeedClientError):
    """Closed with a code from 4000 to 4099."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the server refuses this client: {code} {reason}".rstrip())
        self.code = code
        self.reason = reason


class NotALiveFeed(CityfeedClientError):
    """No websocket, or not this protocol, at the address."""


class SubscriptionRefused(CityfeedClientError):
    """The server's `error` for a subscription; `code` is the protocol's, such as `bad_filter`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code


class HistoryError(CityfeedClientError):
    """The server's answer was no page; `status` is its HTTP status, 0 where nothing answered."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
