"""The HTTP answer that carries an export: ends at once when the client goes, and when it takes nothing for too long.

Where the server can send trailers and the client keeps them or skips them, HTTP/1.1, the digest of what was sent
stands behind it.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Mapping

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from api.exports.exports import After, stream
from api.exports.rows import Source
from api.trailers import TRAILERS, repr_digest


class ExportAnswer(Response):
    """Bytes of an export that follow a row or a byte. A HEAD gets the headers and makes nothing."""

    def __init__(self, source: Source, after: After, media_type: str, headers: Mapping[str, str]) -> None:
        super().__init__(None, 200, dict(headers), media_type)
        del self.headers["content-length"]
        self._source, self._after = source, after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        writer = asyncio.ensure_future(self._write(send, TRAILERS in scope.get("extensions", {})))
        gone = asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait({writer, gone}, return_when=asyncio.FIRST_COMPLETED)
            if writer.done():
                writer.result()
        finally:
            for task in (writer, gone):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task

    async def _write(self, send: Send, trailers: bool) -> None:
        start: Message = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        if trailers:
            start.update(trailers=True, headers=[*self.raw_headers, (b"trailer", b"Repr-Digest")])
        stall_s, sent = self._source.here.settings.export_stall_s, hashlib.sha256()
        async with contextlib.aclosing(stream(self._source, self._after, sent)) as pieces:
            # Headers go out with the first piece: what fails before it is still answered as a problem.
            async for piece in pieces:
                if start:
                    await send(start)
                    start = {}
                async with asyncio.timeout(stall_s):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
        if start:
            await send(start)
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        if trailers:
            fields = [(b"repr-digest", repr_digest(sent.digest()).encode())]
            await send({"type": TRAILERS, "headers": fields, "more_trailers": False})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
