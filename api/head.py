"""HEAD and OPTIONS for every address that has GET: the same answer without its body, and what may be asked."""

from starlette.responses import Response
from starlette.routing import Match, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEAD = "cityfeed.head"
"""In the scope of a HEAD: what is costly and has no body may be left out."""


class Head:
    """Middleware: a HEAD is answered by the GET, headers and length unchanged; an OPTIONS that is no preflight by 204
    with `Allow`.
    """

    def __init__(self, app: ASGIApp, router: Router) -> None:
        self._app, self._router = app, router

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            await self._app({**scope, "method": "GET", HEAD: True}, receive, _bodiless(send))
        elif scope["type"] == "http" and scope["method"] == "OPTIONS" and (allowed := self._allowed(scope)):
            names = {name for name, _ in scope["headers"]}
            if b"access-control-request-method" in names:
                await self._app(scope, receive, send)
            else:
                await Response(status_code=204, headers={"allow": allowed})(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _allowed(self, scope: Scope) -> str:
        methods: set[str] = set()
        for route in self._router.routes:
            matched, _ = route.matches({**scope, "method": "GET"})
            if matched != Match.NONE:
                methods |= getattr(route, "methods", None) or {"GET"}
        return ", ".join(sorted(methods | {"HEAD", "OPTIONS"})) if methods else ""


def _bodiless(send: Send) -> Send:
    async def bodiless(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return bodiless
