"""Recorded weeks as MQTT messages: pure; which moments are due is an argument."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from deploy.replay.mqtt import Message
from deploy.replay.sample import Due, Week

LIVE_MS = 3600 * 1000
"""What is older than this when it is published is marked as import: no alerts, and not in the live feed."""
ROWS_PER_MESSAGE = 72  # six hours of a loop: large enough to be quick, small enough for any broker's packet limit
CHUNK_MS = 6 * 3600 * 1000


def topic_of(prefix: str, dataset: str, sensor: str) -> bytes:
    """`<prefix>/v1/<dataset>/<sensor>`."""
    return f"{prefix}/v1/{dataset}/{sensor}".encode()


@dataclass
class Batch:
    """Messages of a stretch of time, in its order; `readings` counts the values in them."""

    messages: list[Message] = field(default_factory=list)
    readings: int = 0


def batch(weeks: Sequence[Week], prefix: str, after_ms: int, until_ms: int, now_ms: int) -> Batch:
    """All that was to be published in (after_ms, until_ms]; more than one row of a sensor go as arrays."""
    made = Batch()
    timed: list[tuple[int, Message]] = []
    for week in weeks:
        for due in week.due(after_ms, until_ms):
            sensor = week.sensors[due.sensor]
            topic = topic_of(prefix, week.dataset, sensor)
            for rows in _rows(week, due):
                made.readings += sum(len(row) - 1 for row in rows)
                for row in rows:
                    if row["t"] < now_ms - LIVE_MS:
                        row["origin"] = "import"
                payload = orjson.dumps(rows if len(rows) > 1 else rows[0])
                timed.append((due.at_ms - (due.last * week.step_ms + week.origin_ms - rows[-1]["t"]), (topic, payload)))
    timed.sort(key=lambda pair: pair[0])
    made.messages = [message for _, message in timed]
    return made


def batches(weeks: Sequence[Week], prefix: str, after_ms: int, now_ms: int) -> Iterator[tuple[int, Batch]]:
    """(reached_ms, batch) for (after_ms, now_ms] in pieces of six hours, so that all sensors advance together."""
    while after_ms < now_ms:
        reached_ms = min(after_ms + CHUNK_MS, now_ms)
        yield reached_ms, batch(weeks, prefix, after_ms, reached_ms, now_ms)
        after_ms = reached_ms


def _rows(week: Week, due: Due) -> Iterator[list[dict[str, Any]]]:
    for first in range(due.first, due.last + 1, ROWS_PER_MESSAGE):
        last = min(first + ROWS_PER_MESSAGE - 1, due.last)
        rows = [row for k in range(first, last + 1) if len(row := week.row(due.sensor, k)) > 1]
        if rows:
            yield rows
