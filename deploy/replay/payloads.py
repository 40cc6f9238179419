"""Readings as cityfeed's own MQTT payloads: pure.

One object a moment with all metrics of it, with their units and period, so that it needs no registry:
`{"t": ..., "period_s": 60, "units": {"pm25": "ug/m3"}, "pm25": 7.1}`; several moments of a sensor as an array.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from deploy.replay.feed import LIVE_MS, topic_of
from deploy.replay.mqtt import Message
from schemas.readings import Readings


@dataclass(frozen=True)
class Row:
    """The readings of one sensor with one start. `end_ms` is when they could first be known; `n` their number."""

    dataset: str
    sensor: str
    end_ms: int
    n: int
    payload: dict[str, Any]


def rows(batch: Readings, shift_ms: int = 0, now_ms: int | None = None) -> list[Row]:
    """The batch's rows in the order of their ends, shifted; what is an hour old at `now_ms` is marked as import.

    A reading that stands twice in the batch (same sensor, metric and start) stays two.
    """
    order = np.lexsort((batch.start, batch.sensor))
    columns = [getattr(batch, name)[order].tolist() for name in ("sensor", "metric", "start", "period_s", "value")]
    made: list[Row] = []
    current: tuple[int, int, int] | None = None
    payload: dict[str, Any] = {}
    units: dict[str, str] = {}
    for sensor, metric, start, period_s, value in zip(*columns, strict=True):
        name, unit = batch.metrics[metric]
        if current != (sensor, start, period_s) or name in payload:
            _finish(made, batch, current, payload, units)
            current, units = (sensor, start, period_s), {}
            payload = {"t": start + shift_ms}
            if now_ms is not None and payload["t"] < now_ms - LIVE_MS:
                payload["origin"] = "import"
            if period_s >= 0:
                payload["period_s"] = period_s
        payload[name] = value
        if unit:
            units[name] = unit
    _finish(made, batch, current, payload, units)
    return sorted(made, key=lambda row: row.end_ms)


def _finish(
    made: list[Row], batch: Readings, of: tuple[int, int, int] | None, payload: dict[str, Any], units: dict[str, str]
) -> None:
    if of is None:
        return
    sensor, _, period_s = of
    n = len(payload.keys() - {"t", "origin", "period_s"})
    if units:
        payload["units"] = units
    made.append(Row(*batch.sensors[sensor], payload["t"] + max(period_s, 0) * 1000, n, payload))


def messages(found: list[Row], prefix: str, rows_per_message: int = 1) -> Iterator[tuple[int, int, Message]]:
    """(end_ms of its last row, readings in it, message), in the order of their last rows' ends."""
    gathered: dict[tuple[str, str], list[Row]] = {}
    for row in found:
        waiting = gathered.setdefault((row.dataset, row.sensor), [])
        waiting.append(row)
        if len(waiting) == rows_per_message:
            yield _message(waiting, prefix)
            waiting.clear()
    rest = [waiting for waiting in gathered.values() if waiting]
    yield from (_message(waiting, prefix) for waiting in sorted(rest, key=lambda w: w[-1].end_ms))


def _message(found: list[Row], prefix: str) -> tuple[int, int, Message]:
    last = found[-1]
    payload = orjson.dumps([row.payload for row in found] if len(found) > 1 else last.payload)
    return last.end_ms, sum(row.n for row in found), (topic_of(prefix, last.dataset, last.sensor), payload)
