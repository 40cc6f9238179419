"""Speed and volume of windows, and free-flow speeds learned from off-peak hours, for traffic measures."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from api.queries.pages import Connection
from api.times import as_datetime
from schemas.traffic import FREE_FLOW_DAYS, FREE_FLOW_SHARE, OFF_PEAK


class Quarter(NamedTuple):
    """A window: its start in epoch ms, mean and sum of its readings."""

    sensor: str
    metric: str
    start: int
    mean: float
    total: float


_WINDOWS = """
    SELECT s.sensor, s.metric, (extract(epoch FROM w.start) * 1000)::bigint, w.mean, w.total
    FROM series s JOIN windows w ON w.series = s.id
    WHERE s.dataset = %(dataset)s AND s.metric IN ('speed', 'volume') AND s.sensor = ANY(%(sensors)s)
      AND w.width_s = %(width_s)s AND w.start >= %(from_)s AND w.start < %(to)s AND w.n > 0 AND NOT w.gone"""


def _hours(spans: Sequence[tuple[int, int]]) -> str:
    return " OR ".join(f"local.hour >= {begin} AND local.hour < {end}" for begin, end in spans)


_FREE_FLOW = f"""
    SELECT s.sensor, percentile_cont({FREE_FLOW_SHARE}) WITHIN GROUP (ORDER BY w.mean), count(*)
    FROM series s JOIN windows w ON w.series = s.id
    CROSS JOIN LATERAL (
        SELECT extract(hour FROM w.start AT TIME ZONE %(zone)s) AS hour,
               extract(isodow FROM w.start AT TIME ZONE %(zone)s) AS day
    ) AS local
    WHERE s.dataset = %(dataset)s AND s.metric = 'speed' AND s.sensor = ANY(%(sensors)s)
      AND w.width_s = 3600 AND w.start >= %(to)s - interval '{FREE_FLOW_DAYS} days' AND w.start < %(to)s
      AND w.complete AND NOT w.gone
      AND CASE WHEN local.day < 6 THEN {_hours(OFF_PEAK["weekdays"])} ELSE {_hours(OFF_PEAK["weekends"])} END
    GROUP BY s.sensor"""

# One step back on the primary key for each series.
_NEWEST = """
    SELECT s.sensor, (extract(epoch FROM n.start) * 1000)::bigint FROM series s
    CROSS JOIN LATERAL (SELECT w.start FROM windows w WHERE w.series = s.id AND w.width_s = %(width_s)s AND w.n > 0
                        AND NOT w.gone ORDER BY w.start DESC LIMIT 1) n
    WHERE s.dataset = %(dataset)s AND s.metric = 'speed' AND s.sensor = ANY(%(sensors)s)"""

_SENSORS = "SELECT sensor FROM series WHERE dataset = %s AND metric = 'speed' ORDER BY sensor"


async def windows(
    connection: Connection, dataset: str, sensors: Sequence[str], width_s: int, from_ms: int, to_ms: int
) -> list[Quarter]:
    """The windows of speed and volume that start in [from_ms, to_ms)."""
    parameters = _parameters(dataset, sensors, to_ms) | {"width_s": width_s, "from_": as_datetime(from_ms)}
    return [Quarter(*row) for row in await (await connection.execute(_WINDOWS, parameters)).fetchall()]


async def free_flow(
    connection: Connection, dataset: str, sensors: Sequence[str], to_ms: int, zone: str
) -> dict[str, tuple[float, int]]:
    """By sensor: the 85th percentile (km/h) of the off-peak hours of four weeks before `to_ms`, and how many."""
    parameters = _parameters(dataset, sensors, to_ms) | {"zone": zone}
    rows = await (await connection.execute(_FREE_FLOW.encode(), parameters)).fetchall()
    return {sensor: (float(speed), int(hours)) for sensor, speed, hours in rows}


async def newest(connection: Connection, dataset: str, sensors: Sequence[str], width_s: int) -> dict[str, int]:
    """By sensor: the start of its newest window of speed."""
    parameters = _parameters(dataset, sensors, 0) | {"width_s": width_s}
    return dict(await (await connection.execute(_NEWEST, parameters)).fetchall())


async def sensors_with_speed(connection: Connection, dataset: str) -> list[str]:
    """The sensors of a dataset that measure speed."""
    return [row[0] for row in await (await connection.execute(_SENSORS, (dataset,))).fetchall()]


def _parameters(dataset: str, sensors: Sequence[str], to_ms: int) -> dict[str, Any]:
    return {"dataset": dataset, "sensors": list(sensors), "to": as_datetime(to_ms)}
