"""Verdicts of closed hours and days as stored flags, by several owners on a real database."""

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psycopg
import pytest

from api.times import rfc3339
from schemas import published
from schemas.city import read_city
from schemas.errors import FencedError
from schemas.flags import Flag, Test
from schemas.readings import EMPTY, Readings, readings
from schemas.registry import Registration, Registry, Site
from schemas.settings import Settings
from schemas.topics import partition_of
from schemas.wire import Record
from stream_processors.chain import Item
from stream_processors.clean import Cleaner
from stream_processors.flush import flush
from stream_processors.migrations import migrate
from stream_processors.outbox import Outbox
from stream_processors.owner import Owner
from stream_processors.rejudge import rejudge
from stream_processors.remake import remake
from stream_processors.store import Store
from stream_processors.verdicts import answer
from tests.api.city import app_without_servers, client_of
from tests.integration.real_week import SAMPLE
from tests.integration.test_chain import CHAIN, count, hasty_city  # noqa: F401  (a fixture)
from tests.integration.test_indices import midnight
from tests.integration.test_live import listening
from tests.service_stack import ServiceStack, unique_settings

HOUR_MS, STEP_MS = 3_600_000, 300_000
DAY_0_MS = 1_794_729_600_000  # 2026-11-15T08:00Z: midnight in Los Angeles
PARTS = 4
HOURS = 4
PLACES = {"odd": 34.001, "east": 34.0, "n2": 34.002, "n4": 34.003, "n6": 34.0035, "far": 34.5}
Row = tuple[str, str, int, float, int]  # (sensor, metric, start ms, value, rev)


@pytest.fixture
async def settings(servers: Settings, tmp_path: Any) -> AsyncIterator[Settings]:
    chosen = unique_settings(servers, f"verdicts{random.randrange(16**8):08x}", 0, tmp_path, kafka_partitions=PARTS)
    await migrate(chosen.database_url, chosen.database_schema)
    yield chosen
    async with await psycopg.AsyncConnection.connect(chosen.database_url, autocommit=True) as conn:
        await conn.execute(f"DROP SCHEMA {chosen.database_schema} CASCADE")


class City:
    """`clean` of every partition, and two owners of half of them each."""

    def __init__(self, settings: Settings) -> None:
        city = read_city(SAMPLE)
        self.registry = Registry(city.datasets, city.info.time_zone)
        for sensor, lat in PLACES.items():
            self.registry.apply(Registration("traffic", sensor, site=Site(lon=-118.0, lat=lat)))
        self._settings = settings
        self._cleaners = [
            Cleaner(self.registry, prev_raw=-1, future_ms=10**12, horizon_ms=10**12) for _ in range(PARTS)
        ]
        self._offset = [0] * PARTS

    async def start(self) -> "City":
        self.owners: list[tuple[Owner, Store]] = []
        for parts in ([0, 1], [2, 3]):
            store = await Store.connect(self._settings.database_url, self._settings.database_schema)
            owner = Owner(self._settings, self.registry, Outbox(self._settings))
            await owner.load(store, await store.acquire(parts))
            self.owners.append((owner, store))
        return self

    async def close(self) -> None:
        for _, store in self.owners:
            await store.close()

    async def came(self, rows: list[Row], tick: int = 0) -> None:
        """These readings, each on its sensor's partition; a tick on every partition."""
        for part in range(PARTS):
            mine = [row for row in rows if partition_of("traffic", row[0], PARTS) == part]
            if mine:
                await self._record(part, Record("raw", _raw(mine)))
            if tick:
                await self._record(part, Record("raw", _raw([]), tick))

    async def _record(self, part: int, raw: Record) -> None:
        owner, store = self.owners[part // 2]
        (done,) = self._cleaners[part].clean([(self._offset[part], raw)])
        await flush(owner, store, [Item(part, self._offset[part], done.record, 1)])
        self._offset[part] += 1

    async def drain(self, rounds: int = 3) -> None:
        """Everything that is due, with all quiet times over."""
        for _ in range(rounds):
            for owner, store in self.owners:
                owner.ticks = {part: tick + 600_000 for part, tick in owner.ticks.items()}
                await rejudge(owner, store)
                while owner.dirty.due(owner.log_ms(), 1):
                    await remake(owner, store)
                while await answer(owner, store):
                    pass

    async def rows(self, sensor: str) -> list[tuple[str, int, float, int, int, int]]:
        """(metric, start, value, flag, tests, rev) as stored."""
        found = await self.owners[0][1]._conn.execute(
            "SELECT metric, (extract(epoch FROM start) * 1000)::bigint, value, flag, tests, rev FROM readings r"
            " JOIN series s ON s.id = r.series WHERE s.sensor = %s ORDER BY 1, 2",
            [sensor],
        )
        return await found.fetchall()

    async def fired(self, sensor: str, test: int) -> list[int]:
        """Starts of the readings with this test."""
        return [start for _, start, _, _, tests, _ in await self.rows(sensor) if tests & test]

    async def amended(self) -> list[dict[str, Any]]:
        """What is to be published on readings.amended."""
        found = await self.owners[0][1]._conn.execute("SELECT value FROM outbox WHERE topic = 'readings.amended'")
        rows: list[dict[str, Any]] = []
        for (value,) in await found.fetchall():
            columns = published.decode(value).columns
            lists = {n: c.values() if isinstance(c, published.Texts) else c.tolist() for n, c in columns.items()}
            rows += [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
        return rows


def _raw(rows: list[Row]) -> Readings:
    if not rows:
        return EMPTY
    sensor, metric, start, value, rev = zip(*rows, strict=True)
    sensors, metrics = list(dict.fromkeys(sensor)), list(dict.fromkeys(metric))
    return readings(
        [("traffic", s) for s in sensors], [(m, "") for m in metrics], sensor=[sensors.index(s) for s in sensor],
        metric=[metrics.index(m) for m in metric], value=value, start=start, period_s=300,
        received=np.array(start) + STEP_MS, rev=rev,
    )  # fmt: skip


def speeds(rev: int = 1, shown: float = 1.0) -> list[Row]:
    """Four hours; from the second one on `odd` sends m/s where it sent km/h."""
    rows = []
    for i, sensor in enumerate(PLACES):
        for start in range(DAY_0_MS, DAY_0_MS + HOURS * HOUR_MS, STEP_MS):
            value = 96.0 + 2 * i + (start // STEP_MS) % 7 / 4
            is_wrong = sensor == "odd" and start >= DAY_0_MS + HOUR_MS
            rows.append((sensor, "speed", start, value / 3.6 if is_wrong else value * shown, rev))
    return rows


def test_the_neighbours_are_another_owners() -> None:
    owners = {sensor: partition_of("traffic", sensor, PARTS) // 2 for sensor in PLACES}
    assert owners == {sensor: 0 if sensor == "odd" else 1 for sensor in PLACES}


@pytest.mark.parametrize("order", ["as measured", "sensor by sensor", "shuffled", "backwards"])
async def test_hours_far_from_the_neighbours_are_flagged_in_whatever_order_they_came(
    settings: Settings, order: str
) -> None:
    city = await City(settings).start()
    rows, dice = speeds(), random.Random(order)
    if order == "as measured":
        rows.sort(key=lambda row: row[2])
    elif order == "shuffled":
        dice.shuffle(rows)
    elif order == "backwards":
        rows.sort(key=lambda row: -row[2])
    while rows:
        size = dice.choice((1, 7, 60))
        came, rows = rows[:size], rows[size:]
        await city.came(came, tick=dice.choice((0, max(row[2] for row in came) + STEP_MS)))
        if not dice.randrange(6):
            await city.drain(1)
    await city.came([], tick=DAY_0_MS + 2 * HOURS * HOUR_MS)
    await city.drain()
    wrong = list(range(DAY_0_MS + HOUR_MS, DAY_0_MS + HOURS * HOUR_MS, STEP_MS))
    assert await city.fired("odd", Test.NEIGHBOURS_SUSPECT) == wrong
    for _, start, _, flag, tests, _ in await city.rows("odd"):
        assert flag == (Flag.SUSPECT if start in wrong else Flag.GOOD) or tests & ~Test.NEIGHBOURS_SUSPECT
    for sensor in ("east", "n2", "n4", "n6", "far"):
        assert not await city.fired(sensor, Test.NEIGHBOURS_SUSPECT), sensor
    published = {row["start"] for row in await city.amended() if row["tests"] & Test.NEIGHBOURS_SUSPECT}
    assert published == set(wrong), "the amendments go out"
    await city.close()


async def test_a_sensor_that_changes_its_unit_in_mid_stream_shows_in_the_report(
    settings: Settings, tmp_path: Path
) -> None:
    city = await City(settings).start()
    await city.came(sorted(speeds(), key=lambda row: row[2]), tick=DAY_0_MS + 2 * HOURS * HOUR_MS)
    await city.drain()
    await city.close()
    app = app_without_servers(tmp_path, database_url=settings.database_url, database_schema=settings.database_schema)
    for sensor, lat in PLACES.items():
        app.state.cityfeed.registry.apply(Registration("traffic", sensor, site=Site(lon=-118.0, lat=lat)))
    await app.state.cityfeed.pool.open(wait=True)
    async with client_of(app) as client:
        asked = "from=2026-11-15T00:00:00Z&to=2026-11-16T00:00:00Z"
        report = (await client.get(f"/v1/traffic/quality?{asked}")).json()["data"]
        readings = (await client.get(f"/v1/traffic/readings?{asked}&sensor=odd&flag=3")).json()["data"]
    await app.state.cityfeed.pool.close()
    of = {row["sensor"]: row for row in report}
    assert of["odd"]["tests"]["neighbours-suspect"] == 36 and of["odd"]["suspect"] >= 36 / 48
    assert (of["odd"]["neighbour_hours"], of["odd"]["neighbour_hours_suspect"]) == (4, 3)
    assert of["odd"]["score_agreement"] == 0.25 and of["odd"]["score"] < of["east"]["score"]
    assert not of["east"]["tests"] and of["east"]["score_agreement"] == 1
    assert len([row for row in readings if row["tests"] & Test.NEIGHBOURS_SUSPECT]) == 36
    assert min(row["start"] for row in readings) == "2026-11-15T09:00:00.000Z", "the hour of the change"


async def test_what_neighbours_correct_changes_the_verdict_and_ends_there(settings: Settings) -> None:
    """The others find out that they were wrong: their corrections, on other partitions, clear the first one."""
    city = await City(settings).start()
    await city.came(sorted(speeds(), key=lambda row: row[2]), tick=DAY_0_MS + 2 * HOURS * HOUR_MS)
    await city.drain()
    assert len(await city.fired("odd", Test.NEIGHBOURS_SUSPECT)) == 36
    corrected = [row for row in speeds(rev=2, shown=1 / 3.6) if row[0] != "odd"]
    await city.came(corrected)
    await city.drain()
    first = list(range(DAY_0_MS, DAY_0_MS + HOUR_MS, STEP_MS))
    assert await city.fired("odd", Test.NEIGHBOURS_SUSPECT) == first, "now the hour before the change is the odd one"
    cleared = [row for row in await city.rows("odd") if row[1] == DAY_0_MS + 2 * HOUR_MS]
    assert (cleared[0][3], cleared[0][5]) == (Flag.GOOD, 3), "measured, suspect, good again"
    before = await city.amended()
    await city.drain()
    assert await city.amended() == before, "verdicts ask for no verdicts"
    assert not await _due(city)
    await city.close()


async def test_a_correction_of_the_sensor_itself_gets_the_verdict_again(settings: Settings) -> None:
    city = await City(settings).start()
    await city.came(sorted(speeds(), key=lambda row: row[2]), tick=DAY_0_MS + 2 * HOURS * HOUR_MS)
    await city.drain()
    at = DAY_0_MS + 2 * HOUR_MS
    await city.came([("odd", "speed", at, 27.0, 2)])
    await city.drain()
    (row,) = [row for row in await city.rows("odd") if row[1] == at]
    assert row[2] == 27.0 and row[4] & Test.NEIGHBOURS_SUSPECT and row[5] == 4
    await city.close()


async def test_what_the_stream_says_of_a_reading_after_its_verdict_is_said_too(settings: Settings) -> None:
    """The last reading before a silence is a spike, which the first one after it tells: the hour is judged by then."""
    city = await City(settings).start()
    rows = sorted(speeds(), key=lambda row: row[2])
    rows[-6] = ("odd", "speed", rows[-6][2], 110.0, 1)
    at = rows[-6][2]
    await city.came(rows, tick=DAY_0_MS + 2 * HOURS * HOUR_MS)
    await city.drain()
    assert at in await city.fired("odd", Test.NEIGHBOURS_SUSPECT)
    await city.came([("odd", "speed", at + HOUR_MS, 27.0, 1)])
    await city.drain()
    (row,) = [row for row in await city.rows("odd") if row[1] == at]
    assert row[4] & Test.NEIGHBOURS_SUSPECT and row[4] & Test.SPIKE_SUSPECT, row
    await city.close()


async def test_who_lost_a_partition_gives_no_verdict(settings: Settings) -> None:
    city = await City(settings).start()
    await city.came(sorted(speeds(), key=lambda row: row[2]), tick=DAY_0_MS + 2 * HOURS * HOUR_MS)
    for owner, store in city.owners:
        owner.ticks = {part: tick + 600_000 for part, tick in owner.ticks.items()}
        await remake(owner, store)
    asked = await _due(city)
    assert asked
    other = await Store.connect(settings.database_url, settings.database_schema)
    await other.acquire(list(range(PARTS)))
    for owner, store in city.owners:
        with pytest.raises((FencedError, psycopg.OperationalError)):
            await answer(owner, store)
    found = await other._conn.execute("SELECT count(*) FROM verdicts_due")
    assert await found.fetchone() == (asked,), "the next owner has them all"
    await other.close()


async def _due(city: City) -> int:
    found = await city.owners[0][1]._conn.execute("SELECT count(*) FROM verdicts_due")
    (count,) = await found.fetchone() or (0,)
    return int(count)


def day_of(occupancy: list[float], rev: int = 1) -> list[Row]:
    """The day in Los Angeles of a detector that sends all three."""
    rows: list[Row] = []
    for i, share in enumerate(occupancy):
        start = DAY_0_MS + i * STEP_MS
        rows += [("loop", "occupancy", start, share, rev), ("loop", "speed", start, 90.0 + i % 5, rev)]
        rows += [("loop", "volume", start, 60.0 + i % 9, rev)]
    return rows


LIVELY = [0.1 + 0.01 * (i % 9) for i in range(288)]


async def test_a_detectors_day_is_flagged_in_all_its_series(settings: Settings) -> None:
    """Stuck for four hours, which the flat line test (12 h) does not see; corrected the day after."""
    city = await City(settings).start()
    stuck = [0.15 if 100 <= i < 148 else share for i, share in enumerate(LIVELY)]
    after = [
        ("loop", m, DAY_0_MS + 30 * HOUR_MS, v, 1) for m, v in (("occupancy", 0.1), ("speed", 90.0), ("volume", 60.0))
    ]
    await city.came(day_of(stuck), tick=DAY_0_MS + 21 * HOUR_MS)
    await city.drain(1)
    assert not await city.fired("loop", Test.DETECTOR_CONSTANT), "a day that is not over has no verdict"
    await city.came(after, tick=DAY_0_MS + 60 * HOUR_MS)
    await city.drain()
    rows = await city.rows("loop")
    today = [row for row in rows if row[1] < DAY_0_MS + 24 * HOUR_MS]
    assert len(today) == 3 * 288 and all(row[4] & Test.DETECTOR_CONSTANT for row in today)
    assert {row[3] for row in today} == {Flag.SUSPECT}
    (occupancy,) = [row for row in rows if row[0] == "occupancy" and row not in today]
    assert occupancy[4] == Test.DETECTOR_INSUFFICIENT_DATA, "one reading is less than 60 % of a day"
    late = [("loop", "occupancy", DAY_0_MS + i * STEP_MS, LIVELY[i], 2) for i in range(100, 148)]
    await city.came(late)
    await city.drain()
    assert not await city.fired("loop", Test.DETECTOR_CONSTANT), "corrected: the day is good"
    published = [row for row in await city.amended() if row["tests"] & Test.DETECTOR_CONSTANT]
    assert {row["metric"] for row in published} == {"occupancy", "volume", "speed"} and len(published) == 3 * 288
    await city.close()


@pytest.mark.timeout(240)
def test_from_mqtt_to_the_table_with_a_sensors_own_limits(make_stack: Any, hasty_city: Path) -> None:  # noqa: F811
    """The real processes: places and one sensor's own rule come by MQTT, the odd one's closed hours are amended, and
    who listens hears it.
    """
    stack = make_stack(city_dir=str(hasty_city), repair_quiet_s=1, repair_max_delay_s=3)
    stack.start(*CHAIN, "api")
    stack.wait_ready(*CHAIN, "api")
    with listening(stack, filter={"sensor": ["odd"]}) as client:
        _from_mqtt_to_the_table(stack)
        client.until(lambda: sum(row["rev"] > 1 for row in client.rows()) >= 36)
        client.assert_no_gap()
    begin = midnight(3)
    heard = {row["start"]: (row["value"], row["flag"], row["rev"]) for row in client.rows()}
    address = f"http://127.0.0.1:{stack.settings.api_port}/v1/traffic/readings"
    asked = {"sensor": "odd", "from": rfc3339(begin), "to": rfc3339(begin + HOURS * HOUR_MS)}
    rows = httpx.get(address, params=asked).json()["data"]
    assert {row["start"]: (row["value"], row["flag"], row["rev"]) for row in rows} == heard
    assert len({start for start, (_, flag, rev) in heard.items() if flag == Flag.SUSPECT and rev == 2}) == 36
    before = [row for row in client.rows() if row["rev"] == 1]
    assert len(before) == len(heard) and {row["flag"] for row in before} == {Flag.GOOD}


def _from_mqtt_to_the_table(stack: ServiceStack) -> None:
    own = {"series": {"speed": {"quality": {"suspect": [0, 90]}}}}
    stack.publish_all([
        (stack.mqtt_topic("traffic", sensor) + "/meta",
         {"site": {"lon": -118.0, "lat": lat}} | (own if sensor == "n6" else {}))
        for sensor, lat in PLACES.items()
    ])  # fmt: skip
    stack.wait_until(
        lambda: count(stack, "registrations WHERE dataset = 'traffic' AND lat < 35") >= len(PLACES), "the places"
    )
    begin = midnight(3)
    by_sensor: dict[str, list[dict[str, Any]]] = {}
    for sensor, _, start, value, _ in speeds():
        by_sensor.setdefault(sensor, []).append({"t": start - DAY_0_MS + begin, "speed": value, "unit": "km/h"})
    stack.publish_all([(stack.mqtt_topic("traffic", sensor), rows) for sensor, rows in by_sensor.items()])
    flagged = (
        "SELECT DISTINCT sensor, flag FROM readings JOIN series ON id = series WHERE tests & {} <> 0 ORDER BY 1, 2"
    )
    suspect = f"readings WHERE tests & {int(Test.NEIGHBOURS_SUSPECT)} <> 0"
    stack.wait_until(lambda: count(stack, suspect) == 36, "the verdicts on three hours", timeout_s=90)
    assert stack.query(flagged.format(int(Test.NEIGHBOURS_SUSPECT))) == [("odd", int(Flag.SUSPECT))]
    assert stack.query(flagged.format(int(Test.GROSS_RANGE_SUSPECT))) == [("n6", int(Flag.SUSPECT))]
    stack.wait_until(lambda: count(stack, "outbox") == 0, "everything is published")
    told = [
        (sensor, tests)
        for record in stack.records("readings.amended")
        for columns in [published.decode(record.value or b"").columns]
        for sensor, tests in zip(columns["sensor"].values(), columns["tests"].tolist(), strict=True)  # type: ignore[union-attr]
    ]
    assert len([sensor for sensor, tests in told if tests & Test.NEIGHBOURS_SUSPECT and sensor == "odd"]) == 36
