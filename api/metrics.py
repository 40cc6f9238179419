"""What Prometheus reads at /metrics of the REST side."""

import time
from typing import Any

from prometheus_client import Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUESTS = Counter("cityfeed_api_requests_total", "Requests answered.", ("route", "status"))
SECONDS = Histogram(
    "cityfeed_api_request_seconds", "From a request's arrival to its answer's end.", ("route",),
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10),
)  # fmt: skip
LAG_MS = Gauge("cityfeed_api_lag_ms", "How far latest values are behind the gateway's receipt.")


class Measured:
    """Middleware that counts and times requests by route, not by address: labels stay few."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 500

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, counted)
        finally:
            route: Any = scope.get("route")
            path = getattr(route, "path", "other")
            REQUESTS.labels(path, str(status)).inc()
            SECONDS.labels(path).observe(time.perf_counter() - begun)
