"""What comes close together leaves together, the more of it the longer a flush takes; nothing is forgotten."""

import asyncio
import time
from collections.abc import Callable

from api.live.gather import LEAST_S, MOST_S, REST, Gather, rest_s


def test_how_long_it_gathers() -> None:
    assert rest_s(0.0) == LEAST_S
    assert rest_s(0.004) == 0.004 * REST
    assert rest_s(10.0) == MOST_S


async def test_the_first_one_leaves_at_once_and_the_next_ones_together() -> None:
    flushed: list[int] = []
    rows: list[int] = []

    def flush() -> None:
        flushed.append(len(rows))
        rows.clear()

    gather = Gather(flush, _no_failure)
    for n in range(100):
        rows.append(n)
        gather.soon()
    assert flushed == [1]
    await _until(lambda: len(flushed) == 2)
    assert flushed == [1, 99]


async def test_a_flush_that_takes_long_is_rarer() -> None:
    """A fifth of the time: in half a second at most eighteen of 5 ms each; a slow machine makes fewer."""
    times: list[float] = []

    def flush() -> None:
        times.append(time.thread_time())
        while time.thread_time() < times[-1] + 0.005:
            pass

    gather = Gather(flush, _no_failure)
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        gather.soon()
        await asyncio.sleep(0.001)
    assert 2 <= len(times) <= 21
    gather.stop()


async def test_what_comes_while_it_writes_is_flushed_too() -> None:
    """The socket writes come after the flush, in the same turn of the event loop; so may new rows."""
    flushed: list[int] = []
    gather = Gather(lambda: flushed.append(1), _no_failure)
    asyncio.get_running_loop().call_soon(gather.soon)
    asyncio.get_running_loop().call_soon(gather.soon)  # right behind the flush, before it is known what it took
    await _until(lambda: len(flushed) == 2)


async def test_an_exception_that_nobody_expected_is_told() -> None:
    failures: list[BaseException] = []

    def flush() -> None:
        raise KeyError("a mistake of ours")

    gather = Gather(flush, failures.append)
    gather.soon()
    await _until(lambda: failures)
    assert [type(error) for error in failures] == [KeyError]
    gather.stop()


def _no_failure(error: Exception) -> None:
    raise AssertionError("nothing was to fail") from error


async def _until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not is_so():
            await asyncio.sleep(0.002)
