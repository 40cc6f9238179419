"""A registration that changes a series' period makes its windows anew, on a real database."""

from typing import Any

from schemas.registry import Registration, Series
from schemas.settings import Settings
from stream_processors.registering import register
from stream_processors.remake import remake
from tests.integration.test_outbox import SENSOR, Process, settings

__all__ = ["settings"]  # the fixture


def registered(period_s: int, cadence_s: int) -> Registration:
    return Registration(*SENSOR, series={"speed": Series(period_s=period_s, cadence_s=cadence_s)})


async def windows(process: Process) -> dict[tuple[int, int], tuple[Any, ...]]:
    """(width, start ms) -> n, expected, coverage; those that are gone are left out."""
    rows = await process.store._conn.execute(
        "SELECT width_s, (extract(epoch FROM start) * 1000)::bigint, n, n_expected, coverage FROM windows"
        " WHERE NOT gone"
    )
    return {row[:2]: row[2:] for row in await rows.fetchall()}


async def put(process: Process, registration: Registration) -> None:
    process.owner.registry.apply(registration)
    process.owner.table.refresh()
    await register(process.owner, process.store, [registration])
    while process.owner.dirty.due(0, 1):
        await remake(process.owner, process.store)


async def test_windows_follow_the_cadence_that_is_registered(settings: Settings) -> None:
    """
    readings     instants each minute
    registered   each minute, then each five minutes: five times too many came, and no window of five minutes is made
    """
    process = await Process(settings).start()
    await put(process, registered(0, 60))
    await process.came(*range(0, 60), period_s=0)
    first = await windows(process)
    assert {width for width, _ in first} == {300, 900}
    assert {row[1] for (width, _), row in first.items() if width == 900} == {15}
    await put(process, registered(0, 300))
    second = await windows(process)
    assert {width for width, _ in second} >= {900} and 300 not in {width for width, _ in second}
    assert {row[1] for (width, _), row in second.items() if width == 900} == {3}
    await put(process, registered(0, 60))
    third = await windows(process)
    assert {key: row for key, row in third.items() if key in first} == first
    await process.store.close()


async def test_open_windows_follow_too(settings: Settings) -> None:
    process = await Process(settings).start()
    await put(process, registered(0, 60))
    await process.came(0, 1, 2, period_s=0)
    await put(process, registered(0, 300))
    await process.came(3, 40, period_s=0)
    assert (await windows(process))[900, process.start_ms] == (4, 3, (3 * 60 + 300) / 900)
    await process.store.close()


async def test_a_crash_before_the_marks_are_drained_loses_none(settings: Settings) -> None:
    dead = await Process(settings).start()
    await put(dead, registered(0, 60))
    await dead.came(*range(0, 60), period_s=0)
    dead.owner.registry.apply(registered(0, 300))
    dead.owner.table.refresh()
    await register(dead.owner, dead.store, [registered(0, 300)])
    await dead.store.close()
    process = Process(settings)
    process.owner.registry.apply(registered(0, 300))
    await process.start()
    while process.owner.dirty.due(0, 1):
        await remake(process.owner, process.store)
    assert {row[1] for (width, _), row in (await windows(process)).items() if width == 900} == {3}
    await process.store.close()


async def test_what_is_said_again_marks_nothing(settings: Settings) -> None:
    process = await Process(settings).start()
    await put(process, registered(0, 60))
    await process.came(*range(0, 60), period_s=0)
    await register(process.owner, process.store, [registered(0, 60)])
    assert len(process.owner.dirty) == 0
    await process.store.close()
