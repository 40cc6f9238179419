"""A server's address in the forms that people have it in."""

from urllib.parse import urlsplit

from cityfeed_client.errors import CityfeedClientError

LIVE_PATH = "/v1/live"
_WEB = {"http": "http", "https": "https", "ws": "http", "wss": "https"}


def base_url(url: str) -> str:
    """`http(s)://host[:port][/path]` from such an address, or from a websocket's. Raises `CityfeedClientError`."""
    parts = urlsplit(url)
    if parts.scheme not in _WEB or not parts.hostname:
        raise CityfeedClientError(f"{url!r} is no address of a server: it takes http://host:port or ws://host:port")
    if parts.query or parts.fragment or parts.username:
        raise CityfeedClientError("a server's address has no query, fragment or user; a token is an argument")
    return f"{_WEB[parts.scheme]}://{parts.netloc}{parts.path.rstrip('/').removesuffix(LIVE_PATH)}"


def live_url(url: str) -> str:
    """The live feed's address of that server. Raises `CityfeedClientError`."""
    return "ws" + base_url(url).removeprefix("http") + LIVE_PATH
