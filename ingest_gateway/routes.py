"""MQTT topics: what a message on one is, found once a topic and remembered."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from ingest_gateway.decoders import DECODERS, Context, Decoder
from schemas.city import Source
from schemas.readings import DATASET_PATTERN, RESERVED_DATASETS, SENSOR_PATTERN, Reject
from schemas.topics import mqtt_meta_filter, mqtt_readings_filter, partition_of

# Topics remembered; when a flood of others fills it, it starts over. An entry is about 1 KB.
MAX_REMEMBERED = 50_000


@dataclass(frozen=True, slots=True)
class Route:
    """Where a topic's messages go: to a decoder and a partition, to the registry, or to the dead letters."""

    kind: Literal["readings", "meta", "refused"]
    context: Context
    sensor: tuple[str, str] = ("", "")  # (dataset, sensor)
    partition: int = 0
    decoder: Decoder = DECODERS["cityfeed"]
    reject: Reject | None = None


def match(pattern: str, topic: str) -> tuple[str, ...] | None:
    """What the `+` of an MQTT topic filter stand for in a topic; None where it does not match (MQTT 5, 4.7)."""
    levels, wanted = topic.split("/"), pattern.split("/")
    if topic.startswith("$") and wanted[0] in ("+", "#"):
        return None
    found: list[str] = []
    for i, want in enumerate(wanted):
        if want == "#":
            return tuple(found)
        if i >= len(levels):
            return None
        if want == "+":
            found.append(levels[i])
        elif want != levels[i]:
            return None
    return tuple(found) if len(levels) == len(wanted) else None


class Routes:
    """Routes by topic. `datasets` are the known ids, `partitions` their topics' number in Kafka."""

    def __init__(self, prefix: str, datasets: Collection[str], sources: Sequence[Source], partitions: int) -> None:
        self._readings, self._meta = mqtt_readings_filter(prefix), mqtt_meta_filter(prefix)
        self._datasets = frozenset(datasets)
        self._sources = tuple(sources)
        self._partitions = partitions
        self._remembered: dict[str, Route] = {}

    @property
    def filters(self) -> list[str]:
        """The topic filters to subscribe to, without repeats."""
        return list(dict.fromkeys([self._readings, self._meta, *(s.topic for s in self._sources)]))

    def of(self, topic: str) -> Route:
        """The route of a topic."""
        route = self._remembered.get(topic)
        if route is None:
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.clear()
            route = self._remembered[topic] = self._find(topic)
        return route

    def _find(self, topic: str) -> Route:
        if (levels := match(self._readings, topic)) is not None:
            return self._checked("readings", Context(levels[0], levels[1]), topic)
        if (levels := match(self._meta, topic)) is not None:
            return self._checked("meta", Context(levels[0], levels[1]), topic)
        for source in self._sources:
            if (levels := match(source.topic, topic)) is not None:
                context = Context(_filled(source.dataset, levels), _filled(source.sensor, levels), source)
                return self._checked("readings", context, topic)
        return _refused("topic_unknown", f"{topic!r} is neither {self._readings} nor a topic of sources.toml")

    def _checked(self, kind: Literal["readings", "meta"], context: Context, topic: str) -> Route:
        dataset, sensor = context.dataset, context.sensor
        if not DATASET_PATTERN.fullmatch(dataset) or dataset in RESERVED_DATASETS:
            return _refused(
                "topic_dataset", f"{topic!r}: {dataset!r} is reserved or not of the form {DATASET_PATTERN.pattern}"
            )
        if not SENSOR_PATTERN.fullmatch(sensor):
            return _refused("topic_sensor", f"{topic!r}: {sensor!r} is not of the form {SENSOR_PATTERN.pattern}")
        if dataset not in self._datasets:
            return _refused(
                "dataset_unknown", f"{topic!r}: there is no dataset {dataset!r}; add datasets/{dataset}.toml to the "
                f"city folder, or send to one of {', '.join(sorted(self._datasets))}",
            )  # fmt: skip
        decoder = DECODERS[context.source.decoder if context.source else "cityfeed"]
        partition = partition_of(dataset, sensor, self._partitions)
        return Route(kind, context, (dataset, sensor), partition, decoder)


def _refused(reason: str, detail: str) -> Route:
    return Route("refused", Context("", ""), reject=Reject(reason, detail[:500]))


def _filled(template: str, levels: tuple[str, ...]) -> str:
    return re.sub(r"\{(\d+)\}", lambda place: levels[int(place[1]) - 1], template)
