"""Readings as payloads: what the gateway's decoder reads back is what went in."""

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from deploy.replay.payloads import messages, rows
from schemas.readings import Readings, readings

HOUR_MS = 3_600_000
NOW_MS = 1_800_000_000_000


def batch(*found: tuple[int, int, int, float], period_s: int = 60) -> Readings:
    """Of (sensor, metric, start, value)."""
    columns = list(zip(*found, strict=True))
    return readings(
        [("air-quality", "s0"), ("air-quality", "s1")], [("pm25", "ug/m3"), ("no2", "ppb"), ("co2", "")], received=0,
        sensor=columns[0], metric=columns[1], start=columns[2], value=columns[3], period_s=period_s,
    )  # fmt: skip


def test_one_object_a_moment_with_units_and_period() -> None:
    made = rows(batch((0, 0, NOW_MS, 7.1), (1, 0, NOW_MS, 8.0), (0, 1, NOW_MS, -3.0), (0, 2, NOW_MS, 400.0)))
    assert [(row.sensor, row.n, row.end_ms) for row in made] == [("s0", 3, NOW_MS + 60_000), ("s1", 1, NOW_MS + 60_000)]
    units = {"pm25": "ug/m3", "no2": "ppb"}
    assert made[0].payload == {"t": NOW_MS, "period_s": 60, "pm25": 7.1, "no2": -3.0, "co2": 400.0, "units": units}


def test_a_reading_that_stands_twice_stays_two() -> None:
    made = rows(batch((0, 0, NOW_MS, 7.1), (0, 0, NOW_MS, 7.1), (0, 1, NOW_MS, 1.0)))
    assert [row.payload.get("pm25") for row in made] == [7.1, 7.1]
    assert sum(row.n for row in made) == 3


def test_shifted_old_ones_are_imports_and_an_unknown_period_is_left_to_the_registry() -> None:
    found = batch((0, 0, 0, 1.0), (0, 0, 2 * HOUR_MS, 2.0), period_s=-1)
    made = rows(found, shift_ms=NOW_MS - 3 * HOUR_MS, now_ms=NOW_MS)
    assert [(row.payload["t"], row.payload.get("origin")) for row in made] == [
        (NOW_MS - 3 * HOUR_MS, "import"),
        (NOW_MS - HOUR_MS, None),
    ]
    assert "period_s" not in made[0].payload


def test_several_moments_of_a_sensor_go_as_an_array_in_time_order() -> None:
    made = list(messages(rows(batch(*((i % 2, 0, NOW_MS + i, float(i)) for i in range(10)))), "city", 2))
    assert [message[0] for _, _, message in made] == [b"city/v1/air-quality/s%d" % s for s in (0, 1, 0, 1, 0, 1)]
    assert [[r["pm25"] for r in _list(m[1])] for _, _, m in made] == [[0, 2], [1, 3], [4, 6], [5, 7], [8], [9]]
    assert [n for _, n, _ in made] == [2, 2, 2, 2, 1, 1]


READING = st.tuples(st.integers(0, 1), st.integers(0, 2), st.integers(NOW_MS, NOW_MS + 5), st.floats(-1e6, 1e6))


@given(st.lists(READING, min_size=1, max_size=30), st.integers(1, 7))
def test_every_reading_is_in_one_message(found: list[tuple[int, int, int, float]], rows_per_message: int) -> None:
    names = ("pm25", "no2", "co2")
    read: list[tuple[int, int, int, float]] = []
    counted = 0
    for _, n, (topic, payload) in messages(rows(batch(*found)), "c", rows_per_message):
        counted += n
        for row in _list(payload):
            read += [(int(topic[-1:]), names.index(m), row["t"], row[m]) for m in names if m in row]
    assert counted == len(found)
    assert sorted(read) == sorted(found)


def _list(payload: bytes) -> list[dict[str, Any]]:
    parsed = orjson.loads(payload)
    return parsed if isinstance(parsed, list) else [parsed]
