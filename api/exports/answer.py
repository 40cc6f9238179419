"""The HTTP answer that carries an export: ends at once when the client goes, and when it takes nothing for too long."""

import asyncio
import contextlib
from collections.abc import Mapping

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from api.exports.exports import stream
from api.exports.rows import Source


class ExportAnswer(Response):
    """Bytes of an export that follow a row. A HEAD gets the headers and makes nothing."""

    def __init__(self, source: Source, after_row: int, media_type: str, headers: Mapping[str, str]) -> None:
        super().__init__(None, 200, dict(headers), media_type)
        del self.headers["content-length"]
        self._source, self._after_row = source, after_row

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        writer = asyncio.ensure_future(self._write(send))
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

    async def _write(self, send: Send) -> None:
        start: Message = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        stall_s = self._source.here.settings.export_stall_s
        async with contextlib.aclosing(stream(self._source, self._after_row)) as pieces:
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


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
