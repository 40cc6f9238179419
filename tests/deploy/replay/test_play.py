"""Files played: when, with which times, how often."""

import asyncio
import time
import uuid
from itertools import pairwise
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.replay.play import Plan, last_end_ms, next_shift, play
from deploy.replay.publisher import Broker, Publisher
from deploy.replay.readers import READERS
from deploy.replay.shift import WEEK_MS
from schemas.readings import Readings, readings
from schemas.settings import Settings
from tests.deploy.replay.listener import listening

START_MS = 1_330_588_800_000


def one_sensor(n: int, step_ms: int = 300_000) -> Readings:
    starts = [START_MS + i * step_ms for i in range(n)]
    return readings([("traffic", "a")], [("speed", "mph")], received=0, sensor=[0] * n, start=starts, period_s=300,
                    value=[float(i) for i in range(n)])  # fmt: skip


@given(st.integers(1, 5_000), st.lists(st.integers(0, 5 * WEEK_MS), min_size=1, max_size=6))
def test_each_pass_is_whole_weeks_on_and_neither_ahead_of_time_nor_over_another(n: int, later: list[int]) -> None:
    batches = [one_sensor(n)]
    last_ms = last_end_ms(batches)
    now_ms = last_ms + 700 * WEEK_MS
    shift_ms: int | None = None
    played: list[tuple[int, int]] = []
    for pause_ms in later:
        now_ms += pause_ms
        shift_ms, wait_ms = next_shift(batches, now_ms, shift_ms)
        now_ms += wait_ms
        assert shift_ms % WEEK_MS == 0
        assert last_ms + shift_ms <= now_ms
        played.append((START_MS + shift_ms, last_ms + shift_ms))
    assert all(end <= begin for (_, end), (begin, _) in pairwise(played))


async def test_speed_keeps_the_spacing(servers: Settings) -> None:
    """Four readings five minutes apart at 3,000 times the speed: a tenth of a second between them."""
    prefix = f"test-{uuid.uuid4().hex}"
    times: list[float] = []
    told: list[int] = []

    def tell(n: int) -> None:
        told.append(n)
        times.append(time.monotonic())

    with listening(servers.mqtt_host, servers.mqtt_port, f"{prefix}/#") as listener:
        async with Publisher(Broker.of(servers)) as publisher:
            plan = Plan(prefix, speed=3_000)
            began = time.monotonic()
            await play(publisher, [one_sensor(4)], plan, WEEK_MS, START_MS + 10 * WEEK_MS, tell)
        messages = listener.wait(4)
    assert sum(told) == 4
    # Since it began: the first may be late, and the others are then where they belong.
    assert 0.25 < times[-1] - began < 60
    same = {"origin": "import", "period_s": 300, "units": {"speed": "mph"}}
    assert [orjson.loads(payload) for _, payload in messages] == [
        same | {"t": START_MS + WEEK_MS + i * 300_000, "speed": float(i)} for i in range(4)
    ]


async def test_at_full_speed_everything_goes_in_arrays(servers: Settings, tmp_path: Path) -> None:
    prefix = f"test-{uuid.uuid4().hex}"
    (tmp_path / "los_speed.csv").write_text("a,b,c\n" + "60,61,62.5\n" * 500)
    batches = list(READERS["metr-la"].read(tmp_path))
    told: list[int] = []
    with listening(servers.mqtt_host, servers.mqtt_port, f"{prefix}/#") as listener:
        async with Publisher(Broker.of(servers)) as publisher:
            await asyncio.wait_for(play(publisher, batches, Plan(prefix), 0, START_MS, told.append), 20)
        messages = listener.wait(21)
    assert sum(told) == 1_500
    rows = [(topic, row["t"]) for topic, payload in messages for row in orjson.loads(payload)]
    assert len(rows) == len(set(rows)) == 1_500
    assert len(messages) == 21


def test_a_batch_of_nothing_has_no_end() -> None:
    with pytest.raises(ValueError, match="empty"):
        last_end_ms([])
