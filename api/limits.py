"""How many requests an address may make: 429, and `RateLimit` and `RateLimit-Policy` of the IETF's draft.

Counted in windows of fixed length, all begun anew together: one number an address, forgotten at the window's end.
"""

from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import render
from schemas.errors import RequestError

MAX_ADDRESSES = 100_000
"""Addresses counted in a window; where there are more, those that come later are not limited."""
UNLIMITED = ("/health", "/ready", "/metrics")


class Limited:
    """Middleware: `requests` in `window_s` seconds for each address; 0 requests is no limit."""

    def __init__(self, app: ASGIApp, requests: int, window_s: int, now_ms: Callable[[], int]) -> None:
        self._app, self._requests, self._window_s, self._now_ms = app, requests, window_s, now_ms
        self._window, self._counts = 0, dict[str, int]()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._requests or scope["path"] in UNLIMITED:
            await self._app(scope, receive, send)
            return
        left, reset_s = self._take(scope["client"][0] if scope.get("client") else "")
        headers = {
            "ratelimit-policy": f'"default";q={self._requests};w={self._window_s}',
            "ratelimit": f'"default";r={max(0, left)};t={reset_s}',
        }
        if left < 0:
            refused = RequestError(
                429, "too-many-requests", "Too many requests",
                f"{self._requests} requests in {self._window_s} s are allowed from an address.",
                remedy=f"Wait {reset_s} s; /v1/{{dataset}}/export gives all rows at once.",
            )  # fmt: skip
            await render(refused, headers | {"retry-after": str(reset_s)})(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                made = MutableHeaders(raw=message["headers"])
                for name, value in headers.items():
                    made[name] = value
            await send(message)

        await self._app(scope, receive, with_headers)

    def _take(self, address: str) -> tuple[int, int]:
        """(requests left after this one, seconds to the next window)."""
        now_s = self._now_ms() // 1000
        if (window := now_s // self._window_s) != self._window:
            self._window = window
            self._counts.clear()
        if address not in self._counts and len(self._counts) >= MAX_ADDRESSES:
            return self._requests, self._window_s - now_s % self._window_s
        count = self._counts[address] = self._counts.get(address, 0) + 1
        return self._requests - count, self._window_s - now_s % self._window_s
