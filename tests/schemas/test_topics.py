import pytest

from schemas import topics
from schemas.topics import TOPICS, partition_of, topic_config


@pytest.mark.parametrize(
    ("dataset", "sensor", "crc", "of_4", "of_8", "of_12"),
    [
        # CRC-32 of "dataset/sensor" by `printf traffic/773869 | gzip -c | tail -c8 | od -An -N4 -tu4`
        ("traffic", "773869", 2893018166, 2, 6, 2),
        ("air-quality", "toco-toucan-rt01", 2311311655, 3, 7, 7),
        ("d", "s", 1804575237, 1, 5, 9),
    ],
)
def test_the_partition_of_a_sensor_never_changes(
    dataset: str, sensor: str, crc: int, of_4: int, of_8: int, of_12: int
) -> None:
    assert [partition_of(dataset, sensor, n) for n in (1, 4, 8, 12)] == [0, of_4, of_8, of_12]
    assert partition_of(dataset, sensor, 2**32) == crc


def test_sensors_spread_over_the_partitions() -> None:
    counts = [0] * 8
    for number in range(8000):
        counts[partition_of("traffic", f"loop-{number}", 8)] += 1
    assert min(counts) > 850 and max(counts) < 1150


def test_topics_are_listed_by_their_names() -> None:
    assert set(TOPICS) == {
        "readings.raw", "readings.clean", "sensors", "dead-letters", "dead-letters.replayed", "windows", "index",
        "readings.amended", "clean.memory",
    }  # fmt: skip
    assert all(name == topic.name for name, topic in TOPICS.items())


def test_the_data_topics_have_the_partitions_of_the_settings() -> None:
    """All alike: a clean record goes to the partition of its raw one, published rows to that of their sensor."""
    single = {topics.SENSORS, topics.DEAD_LETTERS, topics.REPLAYED}
    assert {name for name, topic in TOPICS.items() if topic.partitions == 1} == single
    assert {topic.partitions for topic in TOPICS.values()} == {0, 1}


@pytest.mark.parametrize("name", TOPICS)
def test_every_topic_is_stamped_by_the_broker_and_takes_4_mib(name: str) -> None:
    config = topic_config(TOPICS[name], retention_h=1)
    assert config["message.timestamp.type"] == "LogAppendTime"
    assert config["max.message.bytes"] == "4194304"
    assert all(isinstance(value, str) for value in config.values())


def test_data_is_deleted_after_the_retention_and_the_registry_never() -> None:
    raw = topic_config(TOPICS[topics.RAW], retention_h=168)
    assert (raw["cleanup.policy"], raw["retention.ms"]) == ("delete", "604800000")
    sensors = topic_config(TOPICS[topics.SENSORS], retention_h=168)
    assert sensors["cleanup.policy"] == "compact"
    assert "retention.ms" not in sensors


def test_dead_letters_are_kept_by_their_bytes_and_not_by_their_age() -> None:
    letters = topic_config(TOPICS[topics.DEAD_LETTERS], retention_h=1)
    assert (letters["cleanup.policy"], letters["retention.ms"]) == ("delete", "-1")
    assert letters["retention.bytes"] == str(1024**3)
    assert topic_config(TOPICS[topics.REPLAYED], retention_h=1)["cleanup.policy"] == "compact"


def test_a_topics_own_configuration_wins() -> None:
    own = topics.Topic("x", 1, "", "", config={"retention.ms": "5"})
    assert topic_config(own, retention_h=1)["retention.ms"] == "5"


def test_mqtt_filters() -> None:
    assert topics.mqtt_readings_filter("cityfeed") == "cityfeed/v1/+/+"
    assert topics.mqtt_meta_filter("cityfeed") == "cityfeed/v1/+/+/meta"
