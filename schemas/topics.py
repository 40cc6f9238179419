"""Names on MQTT and Kafka, keys, partitions, retention.

Kafka topics are made by the gateway at its start (`TOPICS`); everyone else waits for them.
"""

import zlib
from dataclasses import dataclass, field

RAW = "readings.raw"
CLEAN = "readings.clean"
SENSORS = "sensors"
DEAD_LETTERS = "dead-letters"
WINDOWS = "windows"
INDEX = "index"
AMENDED = "readings.amended"
CLEAN_MEMORY = "clean.memory"
REPLAYED = "dead-letters.replayed"

DEAD_LETTERS_MAX_BYTES = 1024**3
"""Dead letters are kept however old, until they are so many bytes; then the oldest go, by whole segments of Kafka."""


@dataclass(frozen=True)
class Topic:
    """A Kafka topic. `partitions` 0 means the number chosen in the settings."""

    name: str
    partitions: int
    key: str
    value: str
    retained: bool = False  # kept for ever, the newest record of each key (compaction)
    config: dict[str, str] = field(default_factory=dict)


TOPICS: dict[str, Topic] = {
    topic.name: topic
    for topic in (
        Topic(RAW, 0, "none: the partition is partition_of(dataset, sensor)", "schemas.wire, kind raw or tick"),
        Topic(CLEAN, 0, "none: the partition of its raw record", "schemas.wire, kind clean"),
        Topic(WINDOWS, 0, "none: the partition of their sensor", "schemas.published, kind windows"),
        Topic(INDEX, 0, "none: the partition of their sensor", "schemas.published, kind index"),
        Topic(AMENDED, 0, "none: the partition of their sensor", "schemas.published, kind readings.amended"),
        Topic(
            CLEAN_MEMORY,
            0,
            "name/piece",
            "stream_processors.clean_memory.Piece as MessagePack",
            retained=True,
            config={"segment.ms": "600000", "min.cleanable.dirty.ratio": "0.1"},
        ),
        Topic(SENSORS, 1, "dataset/sensor@valid_from", "schemas.registry.Registration as JSON", retained=True),
        Topic(
            DEAD_LETTERS,
            1,
            "none",
            "schemas.dead_letters.DeadLetter as MessagePack",
            config={"retention.ms": "-1", "retention.bytes": str(DEAD_LETTERS_MAX_BYTES)},
        ),
        Topic(REPLAYED, 1, "offset of a dead letter", "JSON {at: epoch ms}", retained=True),
    )
}


def topic_config(topic: Topic, retention_h: int) -> dict[str, str]:
    """Kafka's configuration of a topic.

    `LogAppendTime`: a record stamped hours ahead is refused otherwise, and then the producer sticks
    (measured). 4 MiB a record: 20,000 readings fit, the most that the gateway puts in one, each of another sensor
    with the longest name.
    """
    common = {"message.timestamp.type": "LogAppendTime", "max.message.bytes": str(4 * 1024 * 1024)}
    if topic.retained:
        return common | {"cleanup.policy": "compact"} | topic.config
    return common | {"cleanup.policy": "delete", "retention.ms": str(retention_h * 3_600_000)} | topic.config


def partition_of(dataset: str, sensor: str, partitions: int) -> int:
    """The partition of a sensor, for as long as the topics live: CRC-32 of `dataset/sensor`."""
    return zlib.crc32(f"{dataset}/{sensor}".encode()) % partitions


def group_name(topic_prefix: str, role: str) -> str:
    """The consumer group of a role of the processors."""
    return f"{topic_prefix}cityfeed-{role}"


def mqtt_readings_filter(prefix: str) -> str:
    """The MQTT subscription for readings: `<prefix>/v1/<dataset>/<sensor>`."""
    return f"{prefix}/v1/+/+"


def mqtt_meta_filter(prefix: str) -> str:
    """The MQTT subscription for retained registrations: `<prefix>/v1/<dataset>/<sensor>/meta`."""
    return f"{prefix}/v1/+/+/meta"


def mqtt_public_filters(prefix: str) -> tuple[str, ...]:
    """All topics of the public outlet (schemas/public_mqtt.py), as MQTT filters."""
    return (f"{prefix}/public/#", "v1.1/#")
