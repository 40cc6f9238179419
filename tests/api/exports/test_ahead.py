"""Items made ahead: all of them, in order, so many and no more, and nothing goes on after the end."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from api.exports.ahead import ahead

MOST = 3


class Source:
    """Numbers up to `n`, then an error where there is one; says how many it made and whether it was closed."""

    def __init__(self, n: int, error: Exception | None = None) -> None:
        self.n, self.error, self.made, self.closed = n, error, 0, False

    async def items(self) -> AsyncGenerator[int]:
        try:
            for i in range(self.n):
                self.made += 1
                yield i
            if self.error is not None:
                raise self.error
        finally:
            self.closed = True


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(50):
        await asyncio.sleep(0)


@pytest.mark.parametrize("n", [0, 1, MOST, 100])
async def test_all_come_in_order(n: int) -> None:
    source = Source(n)
    assert [i async for i in ahead(source.items(), MOST)] == list(range(n))
    assert source.closed


async def test_so_many_are_made_ahead_and_no_more() -> None:
    source = Source(100)
    async with aclosing(ahead(source.items(), MOST)) as taken:
        for i in range(5):
            assert await anext(taken) == i
            await settle()
            assert source.made == i + 1 + MOST + 1  # those that wait, and one in its maker's hands


async def test_an_error_comes_after_what_was_made_before_it() -> None:
    source, got = Source(2, ValueError("broken")), []
    with pytest.raises(ValueError, match="broken"):
        async for i in ahead(source.items(), MOST):
            got.append(i)
    assert got == [0, 1]


async def test_who_closes_ends_the_making() -> None:
    source = Source(100)
    taken = ahead(source.items(), MOST)
    assert await anext(taken) == 0
    await settle()
    await taken.aclose()
    made = source.made
    assert source.closed
    await settle()
    assert source.made == made


async def test_who_is_cancelled_while_it_waits_ends_the_making() -> None:
    closed = asyncio.Event()

    async def never() -> AsyncGenerator[int]:
        try:
            yield 0
            await asyncio.Event().wait()
        finally:
            closed.set()

    async def take() -> None:
        async with aclosing(ahead(never(), MOST)) as taken:
            async for _ in taken:
                pass

    task = asyncio.ensure_future(take())
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed.is_set()
