"""Play readings from files through MQTT: the core of `cityfeed replay`."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deploy.replay.feed import ROWS_PER_MESSAGE
from deploy.replay.mqtt import Message
from deploy.replay.payloads import messages, rows
from deploy.replay.publisher import Publisher
from deploy.replay.shift import WEEK_MS, whole_weeks
from schemas.readings import Readings

GATHER_S = 0.02  # messages that are due within so short a time are written together
GATHER_MESSAGES = 1_000


@dataclass(frozen=True)
class Plan:
    """How to play. `speed` None is as fast as the broker takes it; 60 plays an hour in a minute.

    `shift_to_now`: by a whole number of weeks, so that nothing is in the future and the newest is at most a week old;
    otherwise the times are those of the file. `prefix` is the first level of the MQTT topics.
    """

    prefix: str
    speed: float | None = None
    shift_to_now: bool = True


def last_end_ms(batches: Sequence[Readings]) -> int:
    """When the last of these readings ends, epoch ms UTC."""
    return max(int((b.start + b.period_s.clip(0).astype("i8") * 1000).max()) for b in batches if len(b))


def next_shift(batches: Sequence[Readings], now_ms: int, previous_ms: int | None) -> tuple[int, int]:
    """(shift_ms, wait_ms) of a pass: the newest whole number of weeks, and later than the previous pass by as many
    weeks as the readings span, or the chain would drop them as repeats; `wait_ms` until that is not in the future.
    """
    last_ms = last_end_ms(batches)
    shift_ms = whole_weeks(last_ms, now_ms)
    if previous_ms is not None:
        span_ms = last_ms - min(int(b.start.min()) for b in batches if len(b))
        shift_ms = max(shift_ms, previous_ms - (-span_ms // WEEK_MS) * WEEK_MS)
    return shift_ms, max(0, last_ms + shift_ms - now_ms)


async def play(
    publisher: Publisher,
    batches: Sequence[Readings],
    plan: Plan,
    shift_ms: int,
    now_ms: int,
    told: Callable[[int], None],
) -> None:
    """One pass; returns when the broker has acknowledged all of it. `told(n)`: n more readings are written."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    first_ms: int | None = None
    for batch in batches:
        found = rows(batch, shift_ms, now_ms)
        due: list[Message] = []
        counted = 0
        for end_ms, n, message in messages(found, plan.prefix, 1 if plan.speed else ROWS_PER_MESSAGE):
            if plan.speed:
                first_ms = end_ms if first_ms is None else first_ms
                wait_s = began + (end_ms - first_ms) / 1000 / plan.speed - loop.time()
                if wait_s > GATHER_S or len(due) >= GATHER_MESSAGES:
                    await publisher.publish(due)
                    told(counted)
                    due, counted = [], 0
                    await asyncio.sleep(max(0.0, wait_s))
            due.append(message)
            counted += n
        await publisher.publish(due)
        told(counted)
    await publisher.flush()
