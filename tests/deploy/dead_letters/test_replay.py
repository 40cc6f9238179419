"""What a letter becomes when it is judged again."""

import json
from typing import Any

import msgspec
import pytest

from deploy.dead_letters.replay import Replayed, Replayer
from schemas import topics, wire
from schemas.city import City, parse_city
from schemas.datasets import shipped_files
from schemas.dead_letters import DeadLetter
from schemas.readings import Origin, Readings
from schemas.registry import fold
from schemas.topics import partition_of

NOW_MS = 1_800_000_000_000
TOWN = 'name = "Town"\ntime_zone = "UTC"\nbbox = [0.0, 0.0, 1.0, 1.0]\n'
SOURCES = """\
[[source]]
topic = "tele/+/SENSOR"
decoder = "tasmota"
dataset = "air-quality"
sensor = "{1}"
time = "received"
[source.metrics]
"AM2301.Temperature" = "temperature"
"""
ROW = {
    "dataset": "traffic", "sensor": "loop-1", "metric": "speed", "unit": "km/h", "start": NOW_MS - 60_000,
    "period_s": 300, "value": 61.5, "rev": 2, "origin": 0, "received": NOW_MS - 50_000,
}  # fmt: skip


def city(sources: str = SOURCES, **datasets: str) -> City:
    return parse_city({"city.toml": TOWN, "sources.toml": sources, **datasets})


def replay(letter: DeadLetter, of: City | None = None, *, as_import: bool = False) -> Replayed:
    town = of or city()
    replayer = Replayer(town, fold(town.datasets, town.registrations), "cityfeed", 4, 300_000)
    return replayer.replay(letter, NOW_MS, as_import)


def message(payload: Any, topic: str = "cityfeed/v1/traffic/loop-1", received: int = NOW_MS - 1000) -> DeadLetter:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return DeadLetter("mqtt", topic, received, "x", "x", body)


def reading(**fields: Any) -> DeadLetter:
    return DeadLetter("kafka", "readings.raw", NOW_MS, "x", "x", json.dumps(ROW | fields).encode(), 1, 7, 0)


def only(made: Replayed) -> Readings:
    assert made.refused == ""
    (record,) = made.records
    assert record.topic == topics.RAW
    batch = wire.decode(record.value).readings
    assert record.partition == partition_of(*batch.sensors[0], 4)
    return batch


def test_a_message_that_was_mended_becomes_its_readings() -> None:
    batch = only(replay(message({"t": NOW_MS - 5000, "speed": 61.5})))
    assert (batch.value.tolist(), batch.received.tolist()) == ([61.5], [NOW_MS - 1000])


def test_a_message_that_is_still_bad_sends_its_good_part_and_says_why() -> None:
    made = replay(message([{"t": NOW_MS - 5000, "speed": 61.5}, {"t": NOW_MS - 4000, "speed": "fast"}]))
    assert made.refused.startswith("value_type: ")
    assert [record.topic for record in made.records] == [topics.RAW]


def test_a_dataset_that_was_added_since_takes_the_message() -> None:
    letter = message({"t": NOW_MS - 5000, "noise": 61.5}, "cityfeed/v1/noise/n1")
    assert replay(letter).refused.startswith("dataset_unknown")
    added = shipped_files()["datasets/air-quality.toml"].replace('id = "air-quality"', 'id = "noise"')
    assert only(replay(letter, city(**{"datasets/noise.toml": added}))).sensors == (("noise", "n1"),)


def test_a_source_without_times_is_stamped_by_its_first_receipt() -> None:
    letter = message({"AM2301": {"Temperature": 20.5}}, "tele/kitchen/SENSOR", received=NOW_MS - 86_400_000)
    assert only(replay(letter)).start.tolist() == [NOW_MS - 86_400_000]


def test_a_registration_is_read_again() -> None:
    letter = message({"site": {"name": "Corner", "lon": 0.5, "lat": 0.5}}, "cityfeed/v1/traffic/loop-1/meta")
    made = replay(letter)
    assert (made.refused, [record.topic for record in made.records]) == ("", [topics.SENSORS])


def test_a_reading_comes_again_with_what_it_had() -> None:
    batch = only(replay(reading(lon=1.5, lat=2.5)))
    assert (batch.sensors, batch.metrics) == ((("traffic", "loop-1"),), (("speed", "km/h"),))
    assert [getattr(batch, name).item() for name in ("start", "period_s", "value", "rev", "origin", "received")] == [
        ROW["start"], 300, 61.5, 2, Origin.LIVE, ROW["received"],
    ]  # fmt: skip
    assert batch.lon is not None and batch.lat is not None and (batch.lon[0], batch.lat[0]) == (1.5, 2.5)


def test_what_was_the_future_then_is_received_now() -> None:
    ahead = reading(start=NOW_MS - 3_600_000, received=NOW_MS - 7_200_000)
    assert only(replay(ahead)).received.tolist() == [NOW_MS]


@pytest.mark.parametrize(
    ("letter", "said"),
    [
        (reading(start=NOW_MS + 3_600_000, received=NOW_MS), "clock_future"),
        (reading(unit="furlong"), "unit_unknown"),
        (reading(dataset="trafic"), "dataset_unknown"),
        (reading(sensor="a b"), "not a sensor's and a metric's name"),
        (reading(value="fast"), "not a reading as JSON"),
        (DeadLetter("kafka", "readings.raw", 1, "not_a_record", "x", b"\xff", 2, 7), "not a record of readings"),
        (DeadLetter("kafka", "readings.raw", 1, "not_a_letter", "x", b"", row=-1), "not a record of readings"),
        (msgspec.structs.replace(reading(), truncated=True), "its bytes were cut"),
    ],
)  # fmt: skip
def test_what_would_be_refused_again_is_told(letter: DeadLetter, said: str) -> None:
    assert said in replay(letter).refused


def test_as_history_a_reading_may_be_as_old_as_it_is() -> None:
    old = reading(start=915_148_800_000, received=NOW_MS)
    assert "clock_past" in replay(old).refused
    assert only(replay(old, as_import=True)).origin.tolist() == [Origin.IMPORT]


def test_a_record_that_this_version_can_read_goes_where_it_stood() -> None:
    value = wire.encode(wire.Record("raw", tick=5))
    (record,) = replay(DeadLetter("kafka", "readings.raw", 1, "not_a_record", "x", value, 2, 7)).records
    assert (record.partition, record.value) == (2, value)
