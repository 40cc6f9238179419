"""Making and taking at the same time: what makes the next pieces does not wait until the client has taken the last."""

import asyncio
from collections.abc import AsyncGenerator
from typing import TypeVar

T = TypeVar("T")


async def ahead(items: AsyncGenerator[T], most: int) -> AsyncGenerator[T]:
    """The same items, of which up to `most` wait to be taken. An error comes where it came among them; whoever closes
    this ends the making, and when that has returned nothing is made any more.
    """
    room, made = asyncio.Semaphore(most), asyncio.Queue[tuple[T] | Exception | None]()

    async def make() -> None:
        try:
            async for item in items:
                await room.acquire()
                made.put_nowait((item,))
            made.put_nowait(None)
        except Exception as e:
            made.put_nowait(e)

    making = asyncio.ensure_future(make())
    try:
        while (found := await made.get()) is not None:
            if isinstance(found, Exception):
                raise found
            room.release()
            yield found[0]
    finally:
        making.cancel()
        await asyncio.wait((making,))
        await items.aclose()
