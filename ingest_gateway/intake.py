"""Messages in, flights out: the gateway without its I/O."""

from collections import Counter, defaultdict

from ingest_gateway.batches import PartitionBatch
from ingest_gateway.decoders import decode
from ingest_gateway.flights import Flight, Out
from ingest_gateway.registrations import decode_registration
from ingest_gateway.routes import Route, Routes
from schemas import dead_letters, registry, wire
from schemas.dead_letters import DeadLetter
from schemas.readings import Reject
from schemas.registry import Registration, Registry
from schemas.topics import DEAD_LETTERS, RAW, SENSORS


def registration_record(registration: Registration, topic_prefix: str = "") -> Out:
    """The record of a registration; the topic keeps the newest of each key."""
    return Out(topic_prefix + SENSORS, 0, registration.key.encode(), registry.encode(registration))


def tick_records(now_ms: int, partitions: int, topic_prefix: str = "") -> list[Out]:
    """The records that carry the gateway's time into each partition."""
    value = wire.encode(wire.Record("raw", tick=now_ms))
    return [Out(topic_prefix + RAW, partition, None, value) for partition in range(partitions)]


class Intake:
    """Gathers messages until `flush`.

    `batch_readings`: a partition's batch is full at this size. All partitions are flushed together, so that a
    flight holds whole messages.
    """

    def __init__(self, routes: Routes, registry: Registry, batch_readings: int, topic_prefix: str = "") -> None:
        self._routes = routes
        self._registry = registry
        self._batch_readings = batch_readings
        self._prefix = topic_prefix
        self._batches: dict[int, PartitionBatch] = defaultdict(lambda: PartitionBatch(registry))
        self._others: list[Out] = []  # registrations and dead letters
        self._receipts: list[int] = []
        self._payload_bytes = 0
        self.messages = 0  # since the last flush
        self.full = False
        self.readings = 0  # counted for the metrics since the last flush
        self.rejects: Counter[str] = Counter()

    def take(self, topic: str, payload: bytes, receipt: int | None, retained: bool, received_ms: int) -> None:
        """Take a message in. `receipt` acknowledges it (None: QoS 0, nothing to acknowledge)."""
        self.messages += 1
        self._payload_bytes += len(payload)
        if receipt is not None:
            self._receipts.append(receipt)
        route = self._routes.of(topic)
        if route.kind == "readings":
            self._take_readings(route, topic, payload, retained, received_ms)
        elif route.reject is not None:
            self._refuse([route.reject], topic, payload, received_ms)
        elif payload:  # an empty one clears the retained message, which changes nothing that was said
            dataset = self._registry.datasets.get(route.context.dataset)
            registration = decode_registration(payload, route.context, received_ms, dataset)
            if isinstance(registration, Reject):
                self._refuse([registration], topic, payload, received_ms)
            else:
                self._registry.apply(registration)
                self._others.append(registration_record(registration, self._prefix))

    def _take_readings(self, route: Route, topic: str, payload: bytes, retained: bool, received_ms: int) -> None:
        if retained and route.context.received_is_time:
            return  # it was measured before we came, and only its receive time would be new
        rows, rejects = decode(route.decoder, payload, route.context, received_ms)
        if rows:
            batch = self._batches[route.partition]
            batch.add(route.sensor, rows, received_ms)
            self.readings += len(rows)
            if len(batch.rows) >= self._batch_readings:
                self.full = True
        if rejects:
            self._refuse(rejects, topic, payload, received_ms)

    def _refuse(self, rejects: list[Reject], topic: str, payload: bytes, received_ms: int) -> None:
        """One dead letter a reason, with the first of its rejects: one bad message can't become thousands."""
        counts = Counter(reject.reason for reject in rejects)
        first = {reject.reason: reject for reject in reversed(rejects)}
        for reason, count in counts.items():
            reject = first[reason]
            detail = reject.detail if count == 1 else f"{reject.detail} (and {count - 1} more in this message)"
            letter = DeadLetter("mqtt", topic, received_ms, reason, detail, payload, row=reject.row.get("index", -1))
            self._others.append(Out(self._prefix + DEAD_LETTERS, 0, None, dead_letters.encode(letter)))
        self.rejects += counts

    def flush(self, made_s: float = 0.0) -> Flight | None:
        """All that was gathered, as one flight; None where nothing was. `made_s` is kept with it."""
        if not self.messages:
            return None
        records = [
            Out(self._prefix + RAW, partition, None, value)
            for partition, batch in self._batches.items()
            for value in batch.take()
        ]
        flight = Flight(records + self._others, self._receipts, self.messages, self._payload_bytes, made_s)
        self._others, self._receipts, self._payload_bytes, self.messages = [], [], 0, 0
        self.full = False
        return flight
