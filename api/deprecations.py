"""What is going away: `DEPRECATIONS` says which addresses, since when, until when and what to use instead.

Announced with `Deprecation` (RFC 9745), `Sunset` (RFC 8594) and a `Link` to the successor, long before anything ends.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


@dataclass(frozen=True)
class Deprecation:
    """An address that is going away: `since` and `until` with an offset; `until` None: not decided."""

    since: datetime
    until: datetime | None
    successor: str


DEPRECATIONS: dict[str, Deprecation] = {}
"""By the path of the route, such as `/v1/{dataset}/readings`. Nothing is going away at the moment."""


class Announced:
    """Middleware that says so in every answer of such an address."""

    def __init__(self, app: ASGIApp, deprecations: Mapping[str, Deprecation] = DEPRECATIONS) -> None:
        self._app, self._deprecations = app, deprecations

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._deprecations:
            await self._app(scope, receive, send)
            return

        async def announced(message: Message) -> None:
            route: Any = scope.get("route")
            found = self._deprecations.get(getattr(route, "path", ""))
            if message["type"] == "http.response.start" and found is not None:
                headers = MutableHeaders(raw=message["headers"])
                headers["deprecation"] = f"@{int(found.since.timestamp())}"
                if found.until is not None:
                    headers["sunset"] = format_datetime(found.until, usegmt=True)
                headers.append("link", f'<{found.successor}>; rel="successor-version"')
            await send(message)

        await self._app(scope, receive, announced)
