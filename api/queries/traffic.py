"""Speed and volume of windows, and free-flow speeds learned from off-peak hours, for traffic measures.

A reading whose period is the width asked for is a window itself and is not stored twice: five minutes of a detector
that sends each five minutes, hours of one that counts by the hour.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from api.queries.pages import Connection
from api.times import as_datetime
from schemas.traffic import FREE_FLOW_DAYS, FREE_FLOW_SHARE, OFF_PEAK

HOUR_S = 3600


class Quarter(NamedTuple):
    """A window: its start in epoch ms, mean and sum of its readings."""

    sensor: str
    metric: str
    start: int
    mean: float
    total: float


# The first or last reading of the range says whether a series has this period: otherwise quarters of an hour would
# read every reading of five minutes to find none.
_PERIOD = """(SELECT a.period_s FROM readings a WHERE a.series = s.id AND a.start >= {since} AND a.start < %(to)s
              ORDER BY a.start {way} LIMIT 1)"""
_READINGS = f"""
    CROSS JOIN LATERAL (
        SELECT r.start, r.value AS mean FROM readings r
        WHERE r.series = s.id AND r.start >= {{since}} AND r.start < %(to)s AND r.period_s = {{width_s}}
          AND r.flag IN (1, 2, 3) AND r.value <> 'NaN'
          AND {{width_s}} IN ({_PERIOD.replace("{way}", "ASC")}, {_PERIOD.replace("{way}", "DESC")})
    ) AS w"""

_WINDOWS = f"""
    SELECT s.sensor, s.metric, (extract(epoch FROM w.start) * 1000)::bigint, w.mean, w.total
    FROM series s JOIN windows w ON w.series = s.id
    WHERE s.dataset = %(dataset)s AND s.metric IN ('speed', 'volume') AND s.sensor = ANY(%(sensors)s)
      AND w.width_s = %(width_s)s AND w.start >= %(from_)s AND w.start < %(to)s AND w.n > 0 AND NOT w.gone
    UNION ALL
    SELECT s.sensor, s.metric, (extract(epoch FROM w.start) * 1000)::bigint, w.mean, w.mean
    FROM series s {_READINGS.format(since="%(from_)s", width_s="%(width_s)s")}
    WHERE s.dataset = %(dataset)s AND s.metric IN ('speed', 'volume') AND s.sensor = ANY(%(sensors)s)"""


def _hours(spans: Sequence[tuple[int, int]]) -> str:
    return " OR ".join(f"local.hour >= {begin} AND local.hour < {end}" for begin, end in spans)


_SINCE = f"%(to)s - interval '{FREE_FLOW_DAYS} days'"
_FREE_FLOW = f"""
    WITH hours AS (
        SELECT s.sensor, w.start, w.mean FROM series s JOIN windows w ON w.series = s.id
        WHERE s.dataset = %(dataset)s AND s.metric = 'speed' AND s.sensor = ANY(%(sensors)s)
          AND w.width_s = 3600 AND w.start >= {_SINCE} AND w.start < %(to)s AND w.complete AND NOT w.gone
        UNION ALL
        SELECT s.sensor, w.start, w.mean FROM series s {_READINGS.format(since=_SINCE, width_s=HOUR_S)}
        WHERE s.dataset = %(dataset)s AND s.metric = 'speed' AND s.sensor = ANY(%(sensors)s)
    )
    SELECT hours.sensor, percentile_cont({FREE_FLOW_SHARE}) WITHIN GROUP (ORDER BY hours.mean), count(*)
    FROM hours CROSS JOIN LATERAL (
        SELECT extract(hour FROM hours.start AT TIME ZONE %(zone)s) AS hour,
               extract(isodow FROM hours.start AT TIME ZONE %(zone)s) AS day
    ) AS local
    WHERE CASE WHEN local.day < 6 THEN {_hours(OFF_PEAK["weekdays"])} ELSE {_hours(OFF_PEAK["weekends"])} END
    GROUP BY hours.sensor"""

# One step back on the primary key for each series; of readings some, for the newest may not count.
_NEWEST = """
    SELECT s.sensor, (extract(epoch FROM n.start) * 1000)::bigint FROM series s
    CROSS JOIN LATERAL (
        SELECT max(start) AS start FROM (
            (SELECT w.start FROM windows w WHERE w.series = s.id AND w.width_s = %(width_s)s AND w.n > 0
             AND NOT w.gone ORDER BY w.start DESC LIMIT 1)
            UNION ALL
            SELECT start FROM (SELECT start, period_s, flag, value FROM readings r WHERE r.series = s.id
                               ORDER BY r.start DESC LIMIT 100) AS r
            WHERE r.period_s = %(width_s)s AND r.flag IN (1, 2, 3) AND r.value <> 'NaN'
        ) AS either
    ) n
    WHERE s.dataset = %(dataset)s AND s.metric = 'speed' AND s.sensor = ANY(%(sensors)s) AND n.start IS NOT NULL"""

_SENSORS = "SELECT sensor FROM series WHERE dataset = %s AND metric = 'speed' ORDER BY sensor"


async def windows(
    connection: Connection, dataset: str, sensors: Sequence[str], width_s: int, from_ms: int, to_ms: int
) -> list[Quarter]:
    """The windows of speed and volume that start in [from_ms, to_ms)."""
    parameters = _parameters(dataset, sensors, to_ms) | {"width_s": width_s, "from_": as_datetime(from_ms)}
    return [Quarter(*row) for row in await (await connection.execute(_WINDOWS.encode(), parameters)).fetchall()]


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
