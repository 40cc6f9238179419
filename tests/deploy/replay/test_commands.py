"""`cityfeed replay`, `simulate`, `sensors import` and `watch`, as a person meets them."""

import asyncio
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import orjson
import paho.mqtt.publish as paho_publish
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from websockets.asyncio.server import ServerConnection, serve

from deploy.cli import sensors
from deploy.cli.watch import SUBPROTOCOL, Feed, table
from schemas import registry
from schemas.city import read_city
from schemas.errors import CityfeedError
from schemas.settings import Settings, variable
from tests.deploy.replay.listener import listening

ROOT = Path(__file__).parents[3]
SAMPLE = ROOT / "deploy" / "sample_city"


def cityfeed(settings: Settings, *words: str) -> "subprocess.CompletedProcess[str]":
    names = ("mqtt_host", "mqtt_port", "mqtt_topic_prefix", "kafka_bootstrap", "kafka_topic_prefix", "api_port")
    environment = {variable(name): str(getattr(settings, name)) for name in names}
    return subprocess.run(
        [sys.executable, "-c", "from deploy.cli import main; main()", *words],
        cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.fixture
def settings(servers: Settings) -> Settings:
    name = f"test-{uuid.uuid4().hex}"
    return replace(servers, mqtt_topic_prefix=name, kafka_topic_prefix=f"{name}.")


# -- replay -----------------------------------------------------------------------------------------------


def test_replay_plays_a_folder_at_its_own_times_or_shifted(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "los_speed.csv").write_text("773869,767541\n64.375,67.625\n62.5,68.5\n")
    with listening(settings.mqtt_host, settings.mqtt_port, f"{settings.mqtt_topic_prefix}/#") as listener:
        done = cityfeed(settings, "replay", str(tmp_path), "--dataset", "traffic", "--original-times")
        assert done.returncode == 0, done.stderr
        assert "4 readings acknowledged" in done.stdout
        topic, payload = sorted(listener.wait(2))[1]
        assert topic == f"{settings.mqtt_topic_prefix}/v1/traffic/773869"
        assert [(row["t"], row["speed"]) for row in orjson.loads(payload)] == [
            (1_330_588_800_000, 64.375),
            (1_330_589_100_000, 62.5),
        ]
        done = cityfeed(settings, "replay", str(tmp_path / "los_speed.csv"), "--speed", "100000")
        assert done.returncode == 0, done.stderr
        shifted = [orjson.loads(payload) for _, payload in listener.wait(6)[2:]]
    week_ms = 7 * 86_400_000
    assert [(row["t"] - 1_330_588_800_000) % week_ms for row in shifted] == [0, 0, 300_000, 300_000]
    assert all(row["t"] > 1_700_000_000_000 for row in shifted)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["/nowhere"], "/nowhere does not exist"),
        ([str(ROOT / "schemas")], "--reader"),
        ([str(ROOT / "schemas"), "--reader", "tarot"], "there is no reader 'tarot'"),
        ([str(ROOT / "schemas"), "--speed", "fast"], "--speed fast"),
    ],
)
def test_replay_says_what_it_would_take(settings: Settings, words: list[str], said: str) -> None:
    done = cityfeed(settings, "replay", *words)
    assert done.returncode == 1
    assert said in done.stderr and "Traceback" not in done.stderr


# -- simulate ---------------------------------------------------------------------------------------------


def test_simulate_registers_sends_and_tells_its_rate(settings: Settings) -> None:
    with listening(settings.mqtt_host, settings.mqtt_port, f"{settings.mqtt_topic_prefix}/#") as listener:
        words = ["-n", "50", "-r", "1000", "-k", "2", "--duration", "0.5", "--register", "--profile", "air"]
        done = cityfeed(settings, "simulate", *words)
        assert done.returncode == 0, done.stderr
        assert "500 messages of 2 acknowledged" in done.stdout and "messages/s" in done.stdout
        messages = listener.wait(550)
        paho_publish.multiple(  # what is retained stays at the broker for ever otherwise
            [{"topic": t, "payload": b"", "retain": True} for t, _ in messages if t.endswith("/meta")],
            settings.mqtt_host, settings.mqtt_port,
        )  # fmt: skip
    meta = [(t, p) for t, p in messages if t.endswith("/meta")]
    assert len(meta) == 50 and orjson.loads(meta[0][1])["demo"] is True
    assert len([r for t, p in messages if not t.endswith("/meta") for r in orjson.loads(p)]) == 1_000


def test_simulate_says_what_it_would_take(settings: Settings) -> None:
    for words, said in (
        (["--profile", "noise"], "traffic, air"),
        (["--faults", "gremlins"], "spike=0.01"),
        (["-r", "0"], "positive"),
    ):
        done = cityfeed(settings, "simulate", *words)
        assert (done.returncode, said in done.stderr, "Traceback" in done.stderr) == (1, True, False), done.stderr


# -- sensors import ---------------------------------------------------------------------------------------

GOOD = """\
dataset,sensor,lon,lat,valid_from,metrics
traffic,s1,-118.2,34.0,,speed=mph@300
air-quality,s2,-118.3,34.1,,
"""
BAD = GOOD + "traffic,s3,-500,34,,\nnowhere,s4,,,,\ntraffic,s5,,,,speed=furlong\ntraffic,s1,,,,\n"


@pytest.fixture
async def topic(settings: Settings) -> AsyncIterator[str]:
    name = settings.kafka_topic_prefix + "sensors"
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(name, 1, 1)])
    yield name
    await admin.delete_topics([name])
    await admin.close()


async def imported(settings: Settings, topic: str, n: int) -> dict[str, registry.Registration]:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=settings.kafka_bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        async with asyncio.timeout(15):
            found = [await consumer.getone() for _ in range(n)]
        more = await consumer.getmany(timeout_ms=200)
    finally:
        await consumer.stop()
    assert not more
    return {record.key.decode(): registry.decode(record.value) for record in found}


async def test_sensors_import_registers_all_or_nothing(settings: Settings, topic: str, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text(BAD)
    done = cityfeed(settings, "sensors", "import", str(tmp_path / "bad.csv"))
    assert done.returncode == 1
    for said in ("bad.csv:4: lon -500", "no dataset 'nowhere'", "no conversion from 'furlong'", "listed twice"):
        assert said in done.stdout
    assert "4 mistake(s), nothing imported" in done.stderr
    done = cityfeed(settings, "sensors", "import", str(tmp_path / "bad.csv"), "--check", "--skip-bad")
    assert "2 rows are good" in done.stdout
    (tmp_path / "good.csv").write_text(GOOD)
    done = cityfeed(settings, "sensors", "import", str(tmp_path / "good.csv"))
    assert (done.returncode, done.stdout) == (0, "2 registrations imported\n"), done.stderr
    found = await imported(settings, topic, 2)
    assert found.keys() == {"traffic/s1@", "air-quality/s2@"}
    assert found["traffic/s1@"].series["speed"].unit == "mph"


async def test_without_the_topic_it_says_what_to_do(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sensors, "KAFKA_TIMEOUT_S", 2.0)
    with pytest.raises(CityfeedError, match="cityfeed up"):
        await sensors.publish(settings, [registry.Registration("traffic", "x")])


def test_geojson_is_read_and_other_files_are_refused(tmp_path: Path) -> None:
    datasets = read_city(SAMPLE).datasets
    point = {"type": "Point", "coordinates": [-118.2, 34.0]}
    feature = {"type": "Feature", "geometry": point, "properties": {"dataset": "traffic", "sensor": "g1"}}
    (tmp_path / "s.geojson").write_bytes(orjson.dumps({"type": "FeatureCollection", "features": [feature]}))
    [found], problems = sensors.read_registrations(tmp_path / "s.geojson", datasets)
    assert (found.sensor, found.site.lat, problems) == ("g1", 34.0, [])
    for name, content in (("s.xlsx", b""), ("missing.csv", None), ("latin.csv", b"dataset,sensor\ntraffic,\xe4\n")):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(CityfeedError, match=name):
            sensors.read_registrations(tmp_path / name, datasets)


# -- watch ------------------------------------------------------------------------------------------------


def row(value: float | None, sensor: str = "a") -> dict[str, Any]:
    names = {"dataset": "traffic", "sensor": sensor, "metric": "speed", "unit": "km/h"}
    return names | {"start": "2026-01-01T00:00:00.000Z", "value": value, "flag": 1}


class LiveFeed:
    """A live feed that speaks the protocol: `closes` are the codes with which it ends one connection after another."""

    def __init__(self, closes: list[int]) -> None:
        self.closes = closes
        self.heard: list[Any] = []

    @asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        async with serve(self._serve, "127.0.0.1", 0, subprotocols=[SUBPROTOCOL]) as server:
            yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/v1/live"

    async def _serve(self, socket: ServerConnection) -> None:
        async def say(**message: Any) -> None:
            await socket.send(msgspec.json.encode(message).decode())

        connection = len([m for m in self.heard if m["type"] == "hello"])
        self.heard.append(msgspec.json.decode(await socket.recv()))
        await say(type="welcome", v=1, node="x", hb_s=15, limits={}, schema_url="")
        self.heard.append(msgspec.json.decode(await socket.recv()))
        await say(type="subscribed", id=1, ch=3, seq=0, cursor="c", recovered=None)
        await say(type="snapshot", ch=3, part=0, last=True, cursor="c", d=[row(float(connection))])
        await say(type="something-new", d=[row(-1.0)])
        await say(type="data", ch=3, seq=[1, 1], cursor="c", n_conflated=0, d=[row(50.5), row(None, "b")])
        if connection < len(self.closes):
            await socket.close(self.closes[connection], "because")
        await socket.wait_closed()


async def first_rows(feed: Feed, n: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    rows = feed.rows()
    async with asyncio.timeout(15):
        async for some in rows:
            found += some
            if len(found) >= n:
                break
    await rows.aclose()
    return found


async def test_watch_subscribes_as_asked_and_comes_back_after_a_lost_connection() -> None:
    live = LiveFeed([4200, 4208])
    async with live.served() as url:
        found = await first_rows(Feed(url, {"metric": ["speed"], "bbox": [1.0, 2.0, 3.0, 4.0]}, "all"), 9)
    assert [r["value"] for r in found] == [0.0, 50.5, None, 1.0, 50.5, None, 2.0, 50.5, None]
    assert live.heard[0] == {"type": "hello", "client": "cityfeed watch"}
    assert live.heard[1] == {
        "type": "subscribe", "id": 1, "topic": "readings", "mode": "all", "snapshot": True,
        "filter": {"metric": ["speed"], "bbox": [1.0, 2.0, 3.0, 4.0]},
    }  # fmt: skip


async def test_watch_gives_up_where_trying_again_cannot_help() -> None:
    async with LiveFeed([4006]).served() as url:
        with pytest.raises(CityfeedError, match="4006 because"):
            await first_rows(Feed(url, {}, "latest"), 100)


async def test_watch_waits_for_a_feed_that_is_not_there(unused_tcp_port: int) -> None:
    feed = Feed(f"ws://127.0.0.1:{unused_tcp_port}/v1/live", {}, "latest")
    rows = feed.rows()
    assert await anext(rows) == []
    assert "again in" in feed.state
    await rows.aclose()


def test_watch_shows_the_newest_first_as_many_as_fit() -> None:
    shown = table([row(1.0, "old"), row(2.0, "mid"), row(None, "new")], "live", 7, 2)
    assert list(shown.columns[1].cells) == ["new", "mid"]
    assert list(shown.columns[3].cells) == ["-", "2.0"]
    assert "3 series, 7 readings, live" in str(shown.title)


def test_replay_into_a_dataset_that_is_not_there_publishes_nothing(settings: Settings, tmp_path: Path) -> None:
    done = cityfeed(settings, "replay", str(tmp_path), "--dataset", "roads")
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "--dataset roads: there are traffic, air-quality" in done.stderr
