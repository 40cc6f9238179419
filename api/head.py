"""HEAD for every address that has GET: the same answer without its body."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEAD = "cityfeed.head"
"""In the scope of a HEAD: what is costly and has no body may be left out."""


class Head:
    """Middleware: a HEAD is answered by the GET, headers and length unchanged."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def bodiless(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self._app({**scope, "method": "GET", HEAD: True}, receive, bodiless)
