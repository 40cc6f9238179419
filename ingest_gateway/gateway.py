"""The loop: MQTT -> intake -> Kafka -> acknowledgement, with one bound on all that is under way."""

import asyncio
import logging
from collections.abc import Callable

from ingest_gateway import metrics
from ingest_gateway.flights import Flight
from ingest_gateway.intake import Intake, registration_record, tick_records
from ingest_gateway.mqtt_source import MqttSource
from ingest_gateway.publish import Publisher
from ingest_gateway.registry_tail import RegistryTail
from ingest_gateway.routes import Routes
from schemas import registry
from schemas.city import City
from schemas.settings import Settings

log = logging.getLogger(__name__)

# Beside the setting gateway_unacknowledged_messages: large messages are bounded by their bytes.
UNACKNOWLEDGED_BYTES = 64 * 1024 * 1024
REGISTRATIONS_A_FLIGHT = 500
DRAIN_TIMEOUT_S = 2.5


class Gateway:
    """One gateway process. `clock_ms` gives epoch ms UTC: the receive time of messages, and of ticks."""

    def __init__(self, settings: Settings, city: City, clock_ms: Callable[[], int]) -> None:
        self._settings = settings
        self._city = city
        self._clock_ms = clock_ms
        self._loop = asyncio.get_running_loop()
        routes = Routes(settings.mqtt_topic_prefix, city.datasets, city.sources, settings.kafka_partitions)
        self._registry = registry.fold(city.datasets, city.registrations)
        self._intake = Intake(routes, self._registry, settings.gateway_batch_readings, settings.kafka_topic_prefix)
        self._tail = RegistryTail(settings, self._registry)
        self._publisher = Publisher(settings, self._settled)
        self._source = MqttSource(settings, routes.filters, self._take)
        self._flush_timer: asyncio.TimerHandle | None = None
        self._messages = 0  # under way: gathered, or in a flight
        self._bytes = 0
        self._tick_flight: Flight | None = None
        self._tick_timer: asyncio.TimerHandle | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then drain. Raises `PipelineError` where going on makes no sense."""
        publishing = asyncio.create_task(self._publisher.run())
        parts = [publishing, asyncio.create_task(self._run_when_kafka_is_there()), asyncio.create_task(stop.wait())]
        close_metrics: Callable[[], None] = lambda: None  # noqa: E731
        try:
            ready = asyncio.create_task(self._source.ready.wait())
            await asyncio.wait([*parts, ready], return_when=asyncio.FIRST_COMPLETED)
            if ready.done():
                close_metrics = metrics.serve(self._settings.gateway_metrics_port, self._settings.metrics_host)
                log.info("gateway ready")
                await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            ready.cancel()
            await self._drain()
        finally:
            close_metrics()
            for part in parts:
                part.cancel()
            ended = await asyncio.gather(*parts, return_exceptions=True)
        for outcome in ended:
            if isinstance(outcome, Exception):
                raise outcome

    async def _run_when_kafka_is_there(self) -> None:
        await self._publisher.connected.wait()
        registrations = self._city.registrations
        for i in range(0, len(registrations), REGISTRATIONS_A_FLIGHT):
            some = registrations[i : i + REGISTRATIONS_A_FLIGHT]
            records = [registration_record(r, self._settings.kafka_topic_prefix) for r in some]
            self._publisher.submit(Flight(records, []))
        # Read before the first message: a reading without a unit has the one that is registered for its sensor.
        await self._tail.start()
        self._tick()
        await asyncio.gather(self._tail.run(), self._source.run())

    # -- messages ---------------------------------------------------------------------------------------

    def _take(self, topic: str, payload: bytes, receipt: int | None, retained: bool) -> None:
        self._intake.take(topic, payload, receipt, retained, self._clock_ms())
        self._messages += 1
        self._bytes += len(payload)
        if self._intake.full:
            self._flush()
        elif self._flush_timer is None:
            self._flush_timer = self._loop.call_later(self._settings.gateway_batch_ms / 1000, self._flush)
        if self._messages >= self._settings.gateway_unacknowledged_messages or self._bytes >= UNACKNOWLEDGED_BYTES:
            self._source.pause()

    def _flush(self) -> None:
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        flight = self._intake.flush(self._loop.time())
        if flight is None:
            return
        metrics.MESSAGES.inc(flight.messages)
        metrics.UNACKNOWLEDGED.set(self._messages)
        metrics.READINGS.inc(self._intake.readings)
        self._intake.readings = 0
        for reason, count in self._intake.rejects.items():
            metrics.REJECTS.labels(reason).inc(count)
        self._intake.rejects.clear()
        self._publisher.submit(flight)

    def _settled(self, flight: Flight) -> None:
        """Kafka has all of a flight and of those before it."""
        if flight is self._tick_flight:
            self._tick_flight = None
        if not flight.messages:
            return
        self._source.acknowledge(flight.receipts)
        self._messages -= flight.messages
        self._bytes -= flight.payload_bytes
        metrics.UNACKNOWLEDGED.set(self._messages)
        metrics.FLUSH_SECONDS.observe(self._loop.time() - flight.made_s)
        if (
            self._messages <= self._settings.gateway_unacknowledged_messages // 2
            and self._bytes <= UNACKNOWLEDGED_BYTES // 2
        ):
            self._source.resume()

    def _tick(self) -> None:
        """Write the time into each partition, behind all that was received before it; one tick at a time."""
        self._tick_timer = self._loop.call_later(self._settings.gateway_tick_ms / 1000, self._tick)
        if self._tick_flight is not None:
            return
        self._flush()
        records = tick_records(self._clock_ms(), self._settings.kafka_partitions, self._settings.kafka_topic_prefix)
        self._tick_flight = Flight(records, [])
        self._publisher.submit(self._tick_flight)

    # -- the end ----------------------------------------------------------------------------------------

    async def _drain(self) -> None:
        """Send what was taken, acknowledge it, disconnect. What Kafka does not take in time stays with the broker."""
        self._source.pause()
        if self._tick_timer is not None:
            self._tick_timer.cancel()
        self._flush()
        waiting = self._messages
        try:
            await asyncio.wait_for(self._publisher.drained(), DRAIN_TIMEOUT_S)
        except TimeoutError:
            log.warning("Kafka did not take the last of %d messages; the broker will send them again", waiting)
        await self._source.close()
        await self._tail.stop()
