"""Windows made again: so many readings in a transaction as is stated, however many windows are due."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream_processors import remake
from stream_processors.owner import Work
from tests.stream_processors.memory.world import METRICS, SENSORS, STEP_MS, World, write_rules

STEPS = 500  # not quite three hours, which end at the clock
MOST_READINGS = 100
HOUR = 3_600_000 // STEP_MS


async def test_a_days_repair_is_made_in_transactions_of_a_bounded_size(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """All readings come backwards, so that all of a day's windows are due at once."""
    loaded: list[tuple[Work, list[tuple[int, int]]]] = []  # by transaction: (width, readings) of each load
    original = remake._remake

    async def counted(work: Work, width_s: int, *windows: Any) -> int:
        if not loaded or loaded[-1][0] is not work:
            loaded.append((work, []))
        loaded[-1][1].append((width_s, await original(work, width_s, *windows)))
        return loaded[-1][1][-1][1]

    rules = write_rules(tmp_path)
    world = World()
    with world.in_place_of_servers():
        monkeypatch.setattr(remake, "MOST_READINGS", MOST_READINGS)
        monkeypatch.setattr(remake, "_remake", counted)
        await world.start("clean", [[0, 1]])
        await world.start("windows", [[0, 1]])
        for first in reversed(range(0, STEPS, 50)):
            steps = reversed(range(first, first + 50))
            world.send(
                [(s, m, step, 1, step % 10) for step in steps for s in range(len(SENSORS)) for m in range(len(METRICS))]
            )
        await world.work("clean", 10_000)
        await world.settle()
        while world.database.tables.dirty:
            world.tick(100)  # what waits for quiet is due
            for role in ("clean", "windows"):
                await world.work(role, 10_000)
        await world.end()
    report = world.judge(rules)
    assert report.is_good, report.text()
    of_a_load = [n for _, loads in loaded for width_s, n in loads if width_s <= 3600]
    # What weighs a window is loaded with it; and the window that passes the limit is loaded whole.
    assert max(of_a_load) <= 2 * (MOST_READINGS + HOUR)
    assert sum(of_a_load) > 20 * MOST_READINGS, "there was more to load than in a few transactions"
    for _, loads in loaded:
        before_last = np.cumsum([n for _, n in loads])[:-1]
        assert (before_last < MOST_READINGS).all(), "a transaction that has its readings loads no more"
