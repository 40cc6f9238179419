"""Send a simulated city to the broker at its rate: the core of `cityfeed simulate`."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass

from deploy.replay.mqtt import Message
from deploy.replay.publisher import Publisher
from deploy.replay.simulator import Simulator

TURN_S = 0.005  # at 30,000 messages/s, 150 are written together


@dataclass(frozen=True)
class Report:
    """What was sent: messages given to the broker and acknowledged by it, in `seconds`; `swallowed` by dropouts.

    `behind_s`: how much later than planned the last one was written.
    """

    messages: int
    readings: int
    swallowed: int
    seconds: float
    behind_s: float

    @property
    def messages_per_s(self) -> float:
        """The achieved rate."""
        return self.messages / self.seconds if self.seconds else 0.0


async def send(
    publisher: Publisher, city: Simulator, duration_s: float, told: Callable[[int], None] = lambda n: None
) -> Report:
    """Send for `duration_s` (inf: until cancelled), then wait for the acknowledgements; `told(n)`: n more written.

    A broker that is too slow slows this down: nothing piles up here, and the report shows it.
    """
    loop = asyncio.get_running_loop()
    wanted = math.inf if math.isinf(duration_s) else round(duration_s * city.rate)
    blocks = city.blocks()
    block: list[Message | None] = []
    at = planned = sent = 0
    began = loop.time()
    while planned < wanted:
        due = int(min(wanted, (loop.time() - began) * city.rate))
        while planned < due:
            if at == len(block):
                block, at = next(blocks), 0
            part = block[at : at + due - planned]
            written = await publisher.publish(message for message in part if message is not None)
            at += len(part)
            planned += len(part)
            sent += written
            told(written)
        await asyncio.sleep(TURN_S)
    behind_s = max(0.0, loop.time() - began - planned / city.rate)
    await publisher.flush()
    return Report(sent, sent * city.per_message, planned - sent, loop.time() - began, behind_s)
