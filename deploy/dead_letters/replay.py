"""A letter into the records that a message like it becomes now. Pure: time is an argument.

The gateway's and `clean`'s own code judge it again, with the city folder and the registry of today. What a message
holds beside its refused part was taken when it came; it is sent again with it, and dropped as a repeat.
"""

from dataclasses import dataclass

import msgspec

from ingest_gateway.intake import Intake
from ingest_gateway.routes import Routes
from schemas import dead_letters, topics, wire
from schemas.city import City
from schemas.dead_letters import DeadLetter
from schemas.errors import WireError
from schemas.readings import METRIC_PATTERN, PERIOD_FROM_REGISTRY, SENSOR_PATTERN, Origin, readings
from schemas.registry import Registry
from schemas.topics import partition_of
from stream_processors.clean import Cleaner


class Row(msgspec.Struct, frozen=True):
    """One refused reading, as `clean` and `windows` write it into a letter."""

    dataset: str
    sensor: str
    metric: str
    start: int
    value: float
    unit: str = ""
    period_s: int = PERIOD_FROM_REGISTRY
    rev: int = 1
    origin: int = 0
    received: int = 0
    lon: float | None = None
    lat: float | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """A Kafka record to write."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a letter becomes: records to send, and why a part of it would still be refused ("" for none)."""

    records: list[Record]
    refused: str = ""


class Replayer:
    """Judges letters by the city folder, the registry and the settings of now."""

    def __init__(self, city: City, registry: Registry, mqtt_prefix: str, partitions: int, future_ms: int) -> None:
        self._registry = registry
        self._partitions = partitions
        self._future_ms = future_ms
        self._routes = Routes(mqtt_prefix, city.datasets, city.sources, partitions)

    def replay(self, letter: DeadLetter, now_ms: int, as_import: bool = False) -> Replayed:
        """The records of a letter; `as_import`: marked as history, which may be older than the repair horizon."""
        if letter.truncated:
            return Replayed([], "its bytes were cut when it was kept: it was too large")
        if letter.source == "mqtt":
            made = self._message(letter)
        elif letter.row >= 0:
            made = self._reading(letter, now_ms, as_import)
        else:
            made = self._record(letter)
        return Replayed(made.records, made.refused or self._still_refused(made.records))

    def _message(self, letter: DeadLetter) -> Replayed:
        """An MQTT message, received when it was: a source without times is stamped by that."""
        intake = Intake(self._routes, self._registry, batch_readings=1 << 30)
        intake.take(letter.topic, letter.payload, None, False, letter.received)
        flight = intake.flush()
        records = [] if flight is None else [Record(*out) for out in flight.records]
        refused = [dead_letters.decode(r.value) for r in records if r.topic == topics.DEAD_LETTERS]
        return Replayed(
            [r for r in records if r.topic != topics.DEAD_LETTERS],
            "; ".join(f"{again.reason}: {again.detail}" for again in refused),
        )

    def _reading(self, letter: DeadLetter, now_ms: int, as_import: bool) -> Replayed:
        try:
            row = msgspec.json.decode(letter.payload, type=Row)
        except (msgspec.DecodeError, ValueError) as e:
            return Replayed([], f"not a reading as JSON: {e}")
        if not SENSOR_PATTERN.fullmatch(row.sensor) or not METRIC_PATTERN.fullmatch(row.metric):
            return Replayed([], f"{row.sensor!r} and {row.metric!r} are not a sensor's and a metric's name")
        # A clock that was ahead has been passed by now: what was the future then is the past.
        received = row.received if row.start <= row.received + self._future_ms else now_ms
        batch = readings(
            [(row.dataset, row.sensor)], [(row.metric, row.unit)], sensor=[0], value=[row.value], start=[row.start],
            period_s=row.period_s, rev=row.rev, origin=Origin.IMPORT if as_import else row.origin, received=received,
            lon=row.lon, lat=row.lat,
        )  # fmt: skip
        part = partition_of(row.dataset, row.sensor, self._partitions)
        return Replayed([Record(topics.RAW, part, None, wire.encode(wire.Record("raw", batch)))])

    def _record(self, letter: DeadLetter) -> Replayed:
        try:
            wire.decode(letter.payload)
        except WireError as e:
            return Replayed([], str(e))
        return Replayed([Record(topics.RAW, max(letter.partition, 0), None, letter.payload)])

    def _still_refused(self, records: list[Record]) -> str:
        reasons: list[str] = []
        for record in records:
            if record.topic == topics.RAW:
                cleaner = Cleaner(self._registry, prev_raw=-1, future_ms=self._future_ms, horizon_ms=0)
                for cleaned in cleaner.clean([(0, wire.decode(record.value))]):
                    reasons += [reject.detail for reject in cleaned.rejects]
        return "; ".join(reasons[:3])
