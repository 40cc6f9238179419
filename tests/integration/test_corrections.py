"""Corrected hours on real servers: MQTT in, a series of its own out, and the index that it feeds."""

from pathlib import Path
from typing import Any

import pytest

from schemas.published import decode
from tests.integration.test_chain import CHAIN, count, hasty_city  # noqa: F401  (a fixture)
from tests.integration.test_indices import HOUR_MS, midnight, rows
from tests.service_stack import ServiceStack

pytestmark = pytest.mark.timeout(240)

BY = 'corrections = { "pm25-corr" = { by = "purpleair-us" } }\nindex_metrics = { pm25 = "pm25-corr" }\n'


def city_with(city: Path, by: str) -> None:
    """The dataset says by which correction."""
    file = city / "datasets" / "air-quality.toml"
    text = file.read_text()
    kept = [line for line in text.splitlines(True) if not line.startswith(("corrections", "index_metrics"))]
    first = next(i for i, line in enumerate(kept) if line.startswith("["))
    file.write_text("".join([*kept[:first], by, *kept[first:]]))


def corrected(stack: ServiceStack) -> dict[int, tuple[float, int, int]]:
    """Value, flag and rev by start."""
    found = stack.query(
        "SELECT (extract(epoch FROM start) * 1000)::bigint, value, flag, rev FROM readings JOIN series ON id = series"
        " WHERE metric = 'pm25-corr' ORDER BY start"
    )
    return {row[0]: row[1:] for row in found}


def us(pm25: float, humidity: float) -> float:
    return 0.524 * pm25 - 0.0862 * humidity + 5.75


def test_hours_are_corrected_and_feed_the_index(make_stack: Any, hasty_city: Path) -> None:  # noqa: F811
    city_with(hasty_city, BY)
    stack = make_stack(city_dir=str(hasty_city), repair_quiet_s=1, repair_max_delay_s=3)
    stack.start(*CHAIN)
    stack.wait_ready(*CHAIN)
    begin = midnight(4)
    topic = stack.mqtt_topic("air-quality", "low-cost")
    readings = [
        {"t": begin + i * HOUR_MS, "period_s": 3600, "pm25": 20.0 + i} | ({} if i == 3 else {"humidity": 40.0 + i})
        for i in range(6)
    ]
    stack.publish_all([(topic, readings)])
    stack.wait_until(lambda: len(corrected(stack)) == 5 and count(stack, "dirty") == 0, "the corrected hours")
    expected = {begin + i * HOUR_MS: us(20.0 + i, 40.0 + i) for i in range(6) if i != 3}
    assert {start: row[0] for start, row in corrected(stack).items()} == pytest.approx(expected)
    assert {row[1:] for row in corrected(stack).values()} == {(2, 1)}
    measured = stack.query("SELECT count(*), max(rev) FROM readings JOIN series ON id = series WHERE metric = 'pm25'")
    assert measured == [(6, 1)]
    stack.wait_until(lambda: len(rows(stack, "eaqi", "pm25", "low-cost")) >= 6, "the index of the corrected hours")
    index = rows(stack, "eaqi", "pm25", "low-cost")
    assert [row[1] for row in index.values()] == pytest.approx(
        [*list(expected.values())[:3], None, *list(expected.values())[3:]]
    )

    # The humidity that was missing comes late, and an hour is corrected by the sensor.
    late = [{"t": begin + 3 * HOUR_MS, "period_s": 3600, "humidity": 43.0}]
    fixed = [{"t": begin + HOUR_MS, "period_s": 3600, "pm25": 90.0, "rev": 2}]
    stack.publish_all([(topic, late + fixed)])
    stack.wait_until(lambda: len(corrected(stack)) == 6 and count(stack, "dirty") == 0, "the late hour")
    stack.wait_until(lambda: corrected(stack)[begin + HOUR_MS][2] == 2, "the revision")
    assert corrected(stack)[begin + 3 * HOUR_MS] == (pytest.approx(us(23.0, 43.0)), 2, 1)
    assert corrected(stack)[begin + HOUR_MS] == (pytest.approx(us(90.0, 41.0)), 2, 2)

    # Subscribers are told of each, once.
    stack.wait_until(lambda: count(stack, "outbox") == 0, "everything is published")
    told: dict[int, list[int]] = {}
    for record in stack.records("readings.amended"):
        columns: Any = decode(record.value or b"").columns
        for i, metric in enumerate(columns["metric"].values()):
            if metric == "pm25-corr":
                told.setdefault(int(columns["start"][i]), []).append(int(columns["rev"][i]))
    assert told == {start: list(range(1, row[2] + 1)) for start, row in corrected(stack).items()}

    # Another correction makes revisions of all hours; what was is in the history.
    city_with(hasty_city, BY.replace("purpleair-us", "purpleair-smoke"))
    stack.kill("windows")
    stack.start("windows")
    stack.wait_until(
        lambda: corrected(stack)[begin][0] == pytest.approx(0.52 * 20 - 0.086 * 40 + 5.75), "the other correction"
    )
    stack.wait_until(lambda: count(stack, "dirty") == 0, "all hours by the other correction")
    assert [row[2] for row in corrected(stack).values()] == [2, 3, 2, 2, 2, 2]
    assert stack.query(
        "SELECT count(*) FROM readings_history JOIN series ON id = series WHERE metric = 'pm25-corr'"
    ) == [(7,)]
    assert {row[0] for row in stack.query("SELECT rule FROM corrections")} == {"purpleair-smoke@1 of pm25 humidity"}


def test_two_channels_must_agree_and_smoke_has_its_own_form(make_stack: Any, hasty_city: Path) -> None:  # noqa: F811
    channels = 'corrections = { "pm25-corr" = { by = "purpleair-smoke", channels = ["pm25-a", "pm25-b"] } }\n'
    city_with(hasty_city, channels)
    stack = make_stack(city_dir=str(hasty_city), repair_quiet_s=1, repair_max_delay_s=3)
    stack.start(*CHAIN)
    stack.wait_ready(*CHAIN)
    begin = midnight(4)
    hours: list[dict[str, float]] = [
        {"pm25": 20.0, "pm25-a": 19.0, "pm25-b": 21.0},
        {"pm25": 20.0, "pm25-a": 10.0, "pm25-b": 30.0},  # 20 apart, and more than 70 % of 20
        {"pm25": 3.5, "pm25-a": 2.0, "pm25-b": 5.0},  # 86 % apart, but less than 5 ug/m3
        {"pm25": 20.0, "pm25-a": 19.0},
        {"pm25": 500.0, "pm25-a": 490.0, "pm25-b": 510.0},  # above 343; the last one, or it would be a spike
    ]
    readings = [{"t": begin + i * HOUR_MS, "period_s": 3600, "humidity": 40.0, **hour} for i, hour in enumerate(hours)]
    stack.publish_all([(stack.mqtt_topic("air-quality", "low-cost"), readings)])
    stack.wait_until(lambda: len(corrected(stack)) == 3 and count(stack, "dirty") == 0, "the corrected hours")
    assert {(start - begin) // HOUR_MS: row[0] for start, row in corrected(stack).items()} == pytest.approx({
        0: 0.52 * 20 - 0.086 * 40 + 5.75, 2: 0.52 * 3.5 - 0.086 * 40 + 5.75, 4: 0.46 * 500 + 3.93e-4 * 500**2 + 2.97,
    })  # fmt: skip
