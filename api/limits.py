"""How many requests an address or a key may make: 429, and `RateLimit` and `RateLimit-Policy` of the IETF's draft.

Counted in windows of fixed length, all begun anew together: one number an address or key, forgotten at the window's
end. Keys are those of the live feed (`api.live.keys`): a key opens nothing, it only counts for itself.
"""

from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.live.keys import Keys, Refusal
from api.live.messages import Close
from api.problems import render
from schemas.errors import RequestError

MAX_ADDRESSES = 100_000
"""Addresses counted in a window; where there are more, those that come later are not limited."""
UNLIMITED = ("/health", "/ready", "/metrics")


class Limited:
    """Middleware: `requests` in `window_s` seconds for each address, 0 is no limit; for a key as many as it says."""

    def __init__(
        self, app: ASGIApp, requests: int, window_s: int, now_ms: Callable[[], int], keys: Keys | None = None
    ) -> None:
        self._app, self._requests, self._window_s, self._now_ms = app, requests, window_s, now_ms
        self._keys = keys or Keys({})
        self._window, self._counts = 0, dict[str, int]()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in UNLIMITED:
            await self._app(scope, receive, send)
            return
        token = token_of(Headers(scope=scope))
        grant = None if token is None else self._keys.find(token, self._now_ms())
        if isinstance(grant, Refusal):
            await _refuse_token(grant)(scope, receive, send)
        elif grant is not None:
            of_key = f"with the key {grant.name}"
            await self._counted(scope, receive, send, f"key {grant.name}", "key", grant.key.requests, of_key)
        elif self._requests:
            address = scope["client"][0] if scope.get("client") else ""
            await self._counted(scope, receive, send, address, "default", self._requests, "from an address")
        else:
            await self._app(scope, receive, send)

    async def _counted(
        self, scope: Scope, receive: Receive, send: Send, who: str, policy: str, most: int, whose: str
    ) -> None:
        left, reset_s = self._take(who, most)
        headers = {
            "ratelimit-policy": f'"{policy}";q={most};w={self._window_s}',
            "ratelimit": f'"{policy}";r={max(0, left)};t={reset_s}',
        }
        if left < 0:
            refused = RequestError(
                429, "too-many-requests", "Too many requests",
                f"{most} requests in {self._window_s} s are allowed {whose}.",
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

    def _take(self, who: str, most: int) -> tuple[int, int]:
        """(requests left after this one, seconds to the next window)."""
        now_s = self._now_ms() // 1000
        if (window := now_s // self._window_s) != self._window:
            self._window = window
            self._counts.clear()
        if who not in self._counts and len(self._counts) >= MAX_ADDRESSES:
            return most, self._window_s - now_s % self._window_s
        count = self._counts[who] = self._counts.get(who, 0) + 1
        return most - count, self._window_s - now_s % self._window_s


def token_of(headers: Headers) -> str | None:
    """The token of a request: `Authorization: Bearer TOKEN` or `X-API-Key: TOKEN`; None: anonymous."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key")


def _refuse_token(refusal: Refusal) -> Response:
    """401 for what is no key, 403 for one that is not good any more."""
    unknown = refusal.code == Close.UNAUTHORIZED
    detail = "There is no such key." if unknown else f"{refusal.reason[:1].upper()}{refusal.reason[1:]}."
    refused = RequestError(
        401 if unknown else 403, "unknown-key" if unknown else "key-not-valid", "Unknown key" if unknown else
        "Key not valid", detail, remedy="Leave Authorization and X-API-Key away: the data are open, without a key.",
    )  # fmt: skip
    return render(refused, {"www-authenticate": 'Bearer error="invalid_token"'} if unknown else {})
