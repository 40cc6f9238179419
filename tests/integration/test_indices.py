"""Air quality indices on real servers: MQTT in, table `indices` and topic `index` out."""

import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from api.times import rfc3339
from schemas.indices import nowcast, us_aqi
from schemas.published import decode
from tests.integration.test_chain import CHAIN, count, hasty_city  # noqa: F401  (a fixture)
from tests.service_stack import ServiceStack

pytestmark = pytest.mark.timeout(240)

HOUR_MS = 3_600_000
HOURS = 40


def midnight(days_ago: int) -> int:
    """00:00 in Los Angeles' standard time, some days ago."""
    day = 24 * HOUR_MS
    return int(time.time() * 1000) // day * day - days_ago * day + 8 * HOUR_MS


def of_hours(begin: int, values: dict[int, float]) -> list[dict[str, Any]]:
    """Readings of an hour each: such a reading is a window itself."""
    return [{"t": begin + hour * HOUR_MS, "pm25": value, "period_s": 3600} for hour, value in values.items()]


def of_minutes(begin: int, hours: int, metric: str, value: float) -> list[dict[str, Any]]:
    """Readings of five minutes about a value, from which hours are made."""
    return [{"t": begin + i * 300_000, metric: value + (-1) ** i, "period_s": 300} for i in range(hours * 12)]


def rows(stack: ServiceStack, index: str, metric: str, sensor: str = "roof") -> dict[int, tuple[Any, ...]]:
    found = stack.query(
        "SELECT (extract(epoch FROM start) * 1000)::bigint, value, concentration, hours, expected, edition, rev"
        f" FROM indices JOIN index_series ON id = series WHERE index = '{index}' AND metric = '{metric}'"
        f" AND sensor = '{sensor}' ORDER BY start"
    )
    return {row[0]: row[1:] for row in found}


def hours_of(stack: ServiceStack, metric: str, day: int) -> int:
    """How many hours the official day has."""
    return int(rows(stack, "us-aqi", metric).get(day, (0,) * 6)[2])


def settle(stack: ServiceStack, index: str, metric: str, wanted: int) -> None:
    stack.wait_until(
        lambda: len(rows(stack, index, metric)) >= wanted and count(stack, "dirty") == 0,
        f"{wanted} rows of {index} {metric}",
        timeout_s=90,
    )


def published(stack: ServiceStack) -> dict[tuple[str, str, str, int], tuple[float, int]]:
    """What a subscriber of topic `index` knows in the end: value and rev by sensor, index, metric and start."""
    known: dict[tuple[str, str, str, int], tuple[float, int]] = {}
    last: dict[int, int] = {}
    for record in stack.records("index"):
        columns: Any = decode(record.value or b"").columns
        for i, seq in enumerate(columns["out_seq"].tolist()):
            if seq > last.get(record.partition, -1):
                last[record.partition] = seq
                names = (columns[name].values()[i] for name in ("sensor", "index", "metric"))
                key = (*names, int(columns["start"][i]))
                known[key] = (float(columns["value"][i]), int(columns["rev"][i]))
    return known


def test_from_mqtt_to_the_table_and_the_topic(make_stack: Any, hasty_city: Path) -> None:  # noqa: F811
    stack = make_stack(city_dir=str(hasty_city), repair_quiet_s=1, repair_max_delay_s=3)
    stack.start(*CHAIN)
    stack.wait_ready(*CHAIN)
    begin = midnight(4)
    topic = stack.mqtt_topic("air-quality", "roof")
    pm25 = np.round(20 + 15 * np.sin(np.arange(HOURS) / 3), 1)
    late, missing = 5, 9
    first = {hour: float(pm25[hour]) for hour in range(HOURS) if hour not in (late, missing)}
    stack.publish_all([(topic, of_hours(begin, first)), (topic, of_minutes(begin, 30, "no2", 60.0))])
    stack.wait_until(lambda: count(stack) == len(first) + 30 * 12, "all readings", timeout_s=90)
    settle(stack, "nowcast", "pm25", HOURS)
    stack.wait_until(lambda: hours_of(stack, "no2", begin) == 24, "the official day of NO2", timeout_s=90)
    settle(stack, "us-aqi", "overall", 1)

    hours = pm25.copy()
    hours[[late, missing]] = np.nan
    expect_nowcasts(stack, begin, hours)
    day = rows(stack, "us-aqi", "pm25")[begin]
    assert day[1] == pytest.approx(np.nanmean(hours[:24]))
    assert day[2:4] == (22, 24)
    assert rows(stack, "us-aqi", "no2")[begin][0] == 57
    assert rows(stack, "us-aqi", "overall")[begin][0] == max(day[0], 57)

    # A late hour and a corrected one: twelve NowCasts each, the official day, and nothing else.
    corrected = 20
    fixes = [*of_hours(begin, {late: float(pm25[late])}), of_hours(begin, {corrected: 150.0})[0] | {"rev": 2}]
    stack.publish_all([(topic, fixes)])
    hours[late], hours[corrected] = pm25[late], 150.0
    stack.wait_until(lambda: hours_of(stack, "pm25", begin) == 23, "the day again")
    stack.wait_until(lambda: rows(stack, "eaqi", "pm25")[begin + corrected * HOUR_MS][0] == 6, "the corrected hour")
    stack.wait_until(lambda: count(stack, "dirty") == 0, "all rows again")
    expect_nowcasts(stack, begin, hours)
    revs = [row[5] for row in rows(stack, "nowcast", "pm25").values()]
    changed = {*range(late, late + 12), *range(corrected, min(corrected + 12, HOURS))}
    assert [rev > 1 for rev in revs] == [hour in changed for hour in range(HOURS)]
    assert count(stack, "indices_history") > 0

    stack.wait_until(lambda: count(stack, "outbox") == 0, "everything is published")
    expect_told(stack)
    expect_answers(stack, begin)


def expect_answers(stack: ServiceStack, begin: int) -> None:
    """REST says what the table says: in pages, as CSV, by another table, the newest."""
    stack.start("api")
    stack.wait_ready("api")
    base = f"http://127.0.0.1:{stack.settings.api_port}/v1/air-quality/index"
    span = {"from": rfc3339(begin), "to": rfc3339(begin + 3 * 24 * HOUR_MS)}

    def ask(**parameters: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        url: str | None = str(httpx.URL(base, params=parameters))
        while url:
            got = httpx.get(url)
            assert got.status_code == 200, got.text
            found += got.json()["data"]
            url = got.json()["next"]
        return found

    for index in ("nowcast", "us-aqi", "eaqi", "daqi", "who"):
        told = ask(index=index, metric="pm25", limit=7, **span)
        stored = rows(stack, index, "pm25")
        assert [row["start"] for row in told] == [rfc3339(start) for start in stored]
        assert [row["value"] for row in told] == [row[0] for row in stored.values()]
        assert [(row["hours"], row["expected"], row["rev"]) for row in told] == [
            (row[2], row[3], row[5]) for row in stored.values()
        ]
    everything = ask(limit=500, **span)
    assert len(everything) == count(stack, "indices")

    before = stack.query(
        "SELECT (extract(epoch FROM start) * 1000)::bigint, value, rev,"
        " (extract(epoch FROM published + (known_to - published) / 2) * 1000)::bigint"
        " FROM indices_history JOIN index_series ON id = series WHERE index = 'nowcast' AND metric = 'pm25'"
    )
    assert before, "late hours made revisions"
    for start, value, rev, then in before[:3]:
        known = {row["start"]: row for row in ask(index="nowcast", metric="pm25", as_of=rfc3339(then), **span)}
        assert (known[rfc3339(start)]["value"], known[rfc3339(start)]["rev"]) == (value, rev)

    old = ask(index="nowcast", table="2012", **span)
    assert {row["table"] for row in old} == {"2012"}
    of_pm25 = [row for row in old if row["metric"] == "pm25"]
    by_2012 = us_aqi.score("pm25", np.array([row["concentration"] or np.nan for row in of_pm25]), "2012")
    assert [row["value"] for row in of_pm25] == [None if v != v else v for v in by_2012.value.tolist()]
    assert [row["value"] for row in old if row["metric"] == "overall"] == [row["value"] for row in of_pm25]

    newest = ask(latest="true", index="us-aqi", lang="fr")
    assert [row["metric"] for row in newest] == ["no2", "overall", "pm25"]
    assert newest[0]["category"] == "Modéré"
    assert newest[0]["stale"] is True
    lines = httpx.get(base, params={**span, "index": "who", "format": "csv", "fields": "metric,start,value"}).text
    assert lines.splitlines()[0] == "metric,start,value"
    refused = httpx.get(base, params={"index": "eaqi", "table": "2012"})
    assert (refused.status_code, refused.json()["parameter"]) == (400, "table")


def expect_told(stack: ServiceStack) -> None:
    """What a subscriber has been told is what is stored."""
    stored = stack.query(
        "SELECT sensor, index, metric, (extract(epoch FROM start) * 1000)::bigint, coalesce(value, 'NaN'), rev"
        " FROM indices JOIN index_series ON id = series"
    )
    told = published(stack)
    assert {row[:4] for row in stored} == set(told)
    assert all(np.array_equal(told[row[:4]], row[4:], equal_nan=True) for row in stored)


def expect_nowcasts(stack: ServiceStack, begin: int, hours: np.ndarray, sensor: str = "roof") -> None:
    expected = nowcast.pm(hours)
    found = rows(stack, "nowcast", "pm25", sensor)
    assert [start for start in found] == [begin + hour * HOUR_MS for hour in range(HOURS)]
    concentration = np.array([np.nan if row[1] is None else row[1] for row in found.values()])
    assert np.allclose(concentration, expected, rtol=1e-12, equal_nan=True)
    value = np.array([np.nan if row[0] is None else row[0] for row in found.values()])
    assert np.array_equal(value, us_aqi.score("pm25", expected, "2024").value, equal_nan=True)
    assert [row[2] for row in found.values()] == [
        int(np.isfinite(hours[max(0, i - 11) : i + 1]).sum()) for i in range(HOURS)
    ]


def test_a_kill_in_the_middle_changes_nothing(make_stack: Any, hasty_city: Path) -> None:  # noqa: F811
    stack = make_stack(city_dir=str(hasty_city), repair_quiet_s=1, repair_max_delay_s=3)
    stack.start(*CHAIN)
    stack.wait_ready(*CHAIN)
    begin = midnight(4)
    hours = np.round(30 + 10 * np.cos(np.arange(HOURS)), 1)
    topics = [stack.mqtt_topic("air-quality", f"roof-{i}") for i in range(4)]
    for chunk in np.array_split(np.arange(HOURS), 5):
        values = {int(hour): float(hours[hour]) for hour in chunk}
        stack.publish_all([(topic, of_hours(begin, values)) for topic in topics])
        stack.kill("windows")
        stack.start("windows")
    stack.wait_until(lambda: count(stack) == HOURS * 4 and count(stack, "dirty") == 0, "all hours", timeout_s=90)
    stack.wait_until(lambda: len(rows(stack, "nowcast", "pm25", "roof-3")) == HOURS, "the last sensor's rows")
    for i in range(4):
        expect_nowcasts(stack, begin, hours, f"roof-{i}")
    stack.wait_until(lambda: count(stack, "outbox") == 0, "everything is published")
    expect_told(stack)
