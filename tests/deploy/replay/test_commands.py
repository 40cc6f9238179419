"""`cityfeed replay`, `simulate`, `sensors import` and `watch`, as a person meets them."""

import asyncio
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import orjson
import paho.mqtt.publish as paho_publish
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from cityfeed_client import Feed, Row

from deploy.cli import sensors, watch
from deploy.cli.watch import notice, table
from deploy.replay.publisher import Broker
from schemas import registry
from schemas.city import read_city
from schemas.errors import CityfeedError
from schemas.settings import Settings, variable
from tests.clients.conversations import verdict
from tests.deploy.replay.listener import listening
from tests.deploy.replay.test_publisher import CuttingProxy

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


class SlowBroker(CuttingProxy):
    """Takes connections at once, and says nothing for a while; `open_ms`: when it began to."""

    open_ms = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.1)
        self.open_ms = time.time_ns() // 1_000_000
        await super().serve(reader, writer)


async def test_what_is_simulated_is_stamped_when_it_is_sent_not_when_the_command_began(settings: Settings) -> None:
    proxy = SlowBroker(Broker.of(settings), 0, 0)
    with listening(settings.mqtt_host, settings.mqtt_port, f"{settings.mqtt_topic_prefix}/#") as listener:
        async with proxy.running() as through:
            slow = replace(settings, mqtt_host=through.host, mqtt_port=through.port)
            words = ["-n", "50", "-r", "1000", "--duration", "0.05"]
            done = await asyncio.to_thread(cityfeed, slow, "simulate", *words)
        assert done.returncode == 0, done.stderr
        stamps = [orjson.loads(payload)["t"] for _, payload in listener.wait(50)]
    assert stamps == sorted(stamps) and proxy.open_ms <= stamps[0]


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


def row(value: float | None, sensor: str = "a") -> Row:
    return Row(
        dataset="traffic", sensor=sensor, metric="speed", unit="km/h", start="2026-01-01T00:00:00.000Z", value=value,
        flag=1,
    )  # fmt: skip


class Watching:
    """`cityfeed watch` on a conversation of clients/conversations, as a process."""

    def __init__(self, folder: Path, port: int, name: str, *words: str) -> None:
        self.name, self.port = name, port
        self._said = [folder / f"{name}.{kind}" for kind in ("out", "err")]
        with self._said[0].open("wb") as out, self._said[1].open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-c", "from deploy.cli import main; main()", "watch", "--mode", "all",
                 "--url", f"http://127.0.0.1:{port}/{name}/watch", *words],
                cwd=ROOT, stdout=out, stderr=err, env=os.environ | {"COLUMNS": "200"},
            )  # fmt: skip

    def verdict(self) -> str | None:
        return verdict(self.port, self.name, "watch")

    def said(self) -> tuple[str, str]:
        """What it has said so far on standard output and error."""
        return self._said[0].read_text("utf-8"), self._said[1].read_text("utf-8")

    def end(self) -> tuple[str, str]:
        """What it said, when it has ended."""
        self.process.wait(60)
        return self.said()

    def interrupt(self, after_lines: int) -> tuple[str, str]:
        """Ctrl-C when it has said so many lines; what it said."""
        deadline = time.monotonic() + 60
        while self.said()[0].count("\n") < after_lines and self.process.poll() is None:
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.02)
        self.process.send_signal(signal.SIGINT)
        return self.end()


@pytest.fixture
def conversations() -> Iterator[int]:
    with subprocess.Popen(
        [sys.executable, ROOT / "clients" / "conversations" / "server.py"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.terminate()


FILTER = ("--dataset", "air-quality", "--metric", "pm25")


def test_watch_tells_what_is_missing_and_keeps_its_place(conversations: int, tmp_path: Path) -> None:
    place = tmp_path / "place"
    watching = Watching(tmp_path, conversations, "not_recovered", *FILTER, "--json", "--keep", str(place))
    assert watching.verdict() is None
    out, err = watching.interrupt(after_lines=3)
    assert [msgspec.json.decode(line)["value"] for line in out.splitlines()] == [1.0, 3.0, 3.1]
    assert "4208" not in out and "slow; again in" in err
    assert "rows are missing here (expired)" in err and "/v1/air-quality/readings?from=" in err
    assert (watching.process.returncode, place.read_text()) == (0, "c901\n")


def test_watch_begins_at_the_place_that_was_kept(conversations: int, tmp_path: Path) -> None:
    (tmp_path / "place").write_text("page-end\n")
    watching = Watching(
        tmp_path, conversations, "history_handover", *FILTER, "--lines", "--keep", str(tmp_path / "place")
    )
    assert watching.verdict() is None
    out, _ = watching.interrupt(after_lines=3)
    assert [line.split()[:4] for line in out.splitlines()] == [
        [f"2026-01-01T00:0{minute}:00.000Z", "air-quality/s1", "pm25", f"{minute}.0"] for minute in (1, 2, 3)
    ]


def test_watch_shows_the_past_to_its_end_or_goes_on_live(conversations: int, tmp_path: Path) -> None:
    times = ("--since", "2026-01-01T00:00:00Z", "--until", "2026-01-02T00:00:00Z")
    watching = Watching(
        tmp_path, conversations, "replay_to_its_end", *times, "--lines", "--keep", str(tmp_path / "place")
    )
    out, _ = watching.end()
    assert (watching.process.returncode, out.count("air-quality/s1"), watching.verdict()) == (0, 1, None)
    assert not (tmp_path / "place").exists()  # a place in a replay is no place in the feed
    words = ("--metric", "pm25", "--since", "2026-01-01T00:00:00Z", "--speed", "60", "--json")
    watching = Watching(tmp_path, conversations, "replay_handover", *words, "--keep", str(tmp_path / "place"))
    assert watching.verdict() is None
    out, _ = watching.interrupt(after_lines=3)
    assert [msgspec.json.decode(line)["value"] for line in out.splitlines()] == [1.0, 2.0, 3.0]
    assert (tmp_path / "place").read_text() == "c512\n"


def test_how_long_ago_is_a_time() -> None:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    assert watch._time("90m", now) == "2026-01-01T22:30:00.000+00:00"
    assert watch._time("1d", now) == "2026-01-01T00:00:00.000+00:00"
    assert watch._time("2026-01-01T00:00:00Z", now) == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("normal", (*FILTER, "--since", "1h", "--speed", "fast"), "--speed fast: it takes 1 to 600, or max"),
        ("close_40xx", FILTER, "the server refuses this client: 4001 unauthorized"),
        ("error", ("--dataset", "atlantis", "--mode", "latest"), "there is no dataset 'atlantis' (bad_filter)"),
        ("no_such_conversation", FILTER, "is no live feed of cityfeed: it answers 404"),
    ],
)
def test_watch_ends_with_one_line_where_trying_again_cannot_help(
    conversations: int, name: str, words: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    watching = Watching(tmp_path, conversations, name, *words, "--lines")
    out, err = watching.end()
    assert (watching.process.returncode, out) == (1, "")
    assert said in err and err.startswith("cityfeed: ") and err.count("\n") == 1


def test_watch_waits_for_a_feed_that_is_not_there(unused_tcp_port: int) -> None:
    with Feed(f"http://127.0.0.1:{unused_tcp_port}") as feed:
        events = iter(feed)
        assert notice(next(events)) is None
        assert "again in" in (notice(next(events)) or "")


def test_watch_shows_the_newest_first_as_many_as_fit() -> None:
    shown = table([row(1.0, "old"), row(2.0, "mid"), row(None, "new")], "live", 7, 2)
    assert list(shown.columns[1].cells) == ["new", "mid"]
    assert list(shown.columns[3].cells) == ["-", "2.0"]
    assert "3 series, 7 rows, live" in str(shown.title)


def test_replay_into_a_dataset_that_is_not_there_publishes_nothing(settings: Settings, tmp_path: Path) -> None:
    done = cityfeed(settings, "replay", str(tmp_path), "--dataset", "roads")
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "--dataset roads: there are traffic, air-quality" in done.stderr
