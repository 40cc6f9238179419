"""Flights to Kafka: an idempotent producer, made anew when it sticks, and the word that a flight has arrived.

Nothing is given up: what Kafka has not acknowledged is sent again, by the next producer if need be, so a record may
be there twice (the stream drops repeats), and never not at all. How much waits here is bounded by who submits.
"""

import asyncio
import contextlib
import functools
import logging
from collections import deque
from collections.abc import Callable

from aiokafka import AIOKafkaProducer, errors

from ingest_gateway.flights import Flight, Ledger, Out
from ingest_gateway.kafka_topics import ensure_topics
from ingest_gateway.metrics import KAFKA_ERRORS
from schemas.settings import Settings

log = logging.getLogger(__name__)

MAX_BATCH_BYTES = 1024 * 1024
MAX_REQUEST_BYTES = 4 * 1024 * 1024
REQUEST_TIMEOUT_MS = 10_000
START_TIMEOUT_S = 20.0
CLOSE_TIMEOUT_S = 1.0
SILENT_S = 3.0  # no acknowledgement for so long, with something to acknowledge: a line in the log
STALLED_S = 60.0  # and for so long: the producer is made anew
RETRY_FIRST_S, RETRY_LAST_S = 0.2, 5.0


class Publisher:
    """Sends flights in the order they are submitted; `settled(flight)` is called in that order when Kafka has them.

    `run` must be running; it ends with `PipelineError` where going on makes no sense. `connected` is set while
    there is a producer.
    """

    def __init__(self, settings: Settings, settled: Callable[[Flight], None]) -> None:
        self._settings = settings
        self._settled = settled
        self._ledger = Ledger()
        self._unsent: deque[Flight] = deque()
        self._wake = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._failure: BaseException | None = None
        self._session = 0
        self._progress_s = 0.0
        self._silent = False
        self._settlements = 0
        self.connected = asyncio.Event()

    def submit(self, flight: Flight) -> None:
        """Take a flight in. It is kept until Kafka has all of its records."""
        if not len(self._ledger):
            self._progress_s = asyncio.get_running_loop().time()
        self._ledger.add(flight)
        self._unsent.append(flight)
        self._empty.clear()
        if not flight.pending:
            self._settle()
        self._wake.set()

    async def drained(self) -> None:
        """Wait until Kafka has every flight."""
        await self._empty.wait()

    async def run(self) -> None:
        """Send for ever; ends only by cancellation or with `PipelineError`."""
        delay_s, told, settlements = RETRY_FIRST_S, False, 0
        while True:
            try:
                producer = await self._start()
            except (errors.KafkaError, OSError, TimeoutError) as e:
                if not told:
                    log.warning(
                        "waiting for Kafka at %s (CITYFEED_KAFKA_BOOTSTRAP): %s",
                        self._settings.kafka_bootstrap,
                        str(e) or type(e).__name__,
                    )
                    told = True
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, RETRY_LAST_S)
                continue
            told = False
            self.connected.set()
            try:
                await self._pump(producer)
            except (errors.KafkaError, TimeoutError) as e:
                KAFKA_ERRORS.inc()
                log.warning("Kafka refused or lost records (%s); sending them again by a new producer", _named(e))
                delay_s = RETRY_FIRST_S if self._settlements > settlements else min(delay_s * 2, RETRY_LAST_S)
                settlements = self._settlements
            finally:
                self.connected.clear()
                await _close(producer, is_idle=not len(self._ledger))
            await asyncio.sleep(delay_s)

    async def _start(self) -> AIOKafkaProducer:
        await ensure_topics(self._settings)
        producer = AIOKafkaProducer(
            bootstrap_servers=self._settings.kafka_bootstrap,
            client_id="cityfeed-gateway",
            acks="all",
            enable_idempotence=True,
            compression_type="lz4",
            max_batch_size=MAX_BATCH_BYTES,
            max_request_size=MAX_REQUEST_BYTES,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
        )
        try:
            await asyncio.wait_for(producer.start(), START_TIMEOUT_S)
        except BaseException:
            await _close(producer, is_idle=False)
            raise
        return producer

    async def _pump(self, producer: AIOKafkaProducer) -> None:
        """Send what Kafka has not acknowledged, then what comes. Raises what the producer failed with."""
        loop = asyncio.get_running_loop()
        self._session += 1
        self._failure = None
        self._unsent = deque(self._ledger)
        self._progress_s = loop.time()
        while True:
            self._wake.clear()
            while self._unsent and self._failure is None:
                flight = self._unsent.popleft()
                for index, record in flight.unsent():
                    await self._send(producer, flight, index, record)
            if self._failure is not None:
                raise self._failure
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), SILENT_S / 4)
            self._watch(loop.time() - self._progress_s if len(self._ledger) else 0.0)

    def _watch(self, silent_s: float) -> None:
        """One line when Kafka falls silent and one when it is back. Raises `TimeoutError` when that is too long."""
        if silent_s > STALLED_S:
            raise TimeoutError(f"no acknowledgement for {STALLED_S:.0f} s")
        if silent_s > SILENT_S and not self._silent:
            log.warning(
                "waiting for Kafka at %s (CITYFEED_KAFKA_BOOTSTRAP) to acknowledge", self._settings.kafka_bootstrap
            )
            self._silent = True
        elif silent_s == 0.0 and self._silent:
            log.info("Kafka has acknowledged everything again")
            self._silent = False

    async def _send(self, producer: AIOKafkaProducer, flight: Flight, index: int, record: Out) -> None:
        future = await producer.send(record.topic, record.value, key=record.key, partition=record.partition)
        future.add_done_callback(functools.partial(self._answered, self._session, flight, index))

    def _answered(self, session: int, flight: Flight, index: int, future: asyncio.Future[object]) -> None:
        failure = asyncio.CancelledError() if future.cancelled() else future.exception()
        if failure is None:  # an older producer's good word counts as well
            flight.pending.discard(index)
            self._progress_s = asyncio.get_running_loop().time()
            if not flight.pending:
                self._settle()
        elif session == self._session and self._failure is None:
            record = flight.records[index]
            if isinstance(failure, errors.MessageSizeTooLargeError):
                log.error(
                    "Kafka's topic %s refuses a record of %d bytes: raise its max.message.bytes to 4194304",
                    record.topic,
                    len(record.value),
                )
            self._failure = failure if isinstance(failure, errors.KafkaError) else errors.KafkaError(_named(failure))
            self._wake.set()

    def _settle(self) -> None:
        for flight in self._ledger.settled():
            self._settlements += 1
            self._settled(flight)
        if not len(self._ledger):
            self._empty.set()


async def _close(producer: AIOKafkaProducer, is_idle: bool) -> None:
    """Close a producer. One that still holds records is dropped with them; the next one sends them again."""
    if is_idle:
        with contextlib.suppress(errors.KafkaError, OSError, TimeoutError):
            await asyncio.wait_for(producer.stop(), CLOSE_TIMEOUT_S)
        return
    # aiokafka's `stop` waits until Kafka has everything, and has no public way around it.
    producer._closed = True
    sender = producer._sender
    if sender.sender_task is not None:
        sender.sender_task.remove_done_callback(sender._fail_all)
        sender.sender_task.cancel()
    await producer.client.close()
    if sender.sender_task is not None:
        done, _ = await asyncio.wait([sender.sender_task], timeout=1.0)
        for task in done:
            if not task.cancelled():
                task.exception()  # seen, and of no interest any more


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
