"""`clean` + `windows` + database, one process of each, against a bare COPY of the same rows in the same batches.

Records of 500 readings lie ready in readings.raw before the two start, so that nothing else takes part but Kafka and
PostgreSQL. The gateway runs for its ticks. A rate counts from the first committed readings to the last.
"""

import asyncio
import random
import time
from collections.abc import Iterator

import numpy as np
import psycopg
from aiokafka import AIOKafkaProducer
from psycopg import sql

from schemas import pgbinary, topics, wire
from schemas.readings import Readings, readings
from schemas.settings import Settings
from schemas.topics import partition_of
from schemas.wire import Record
from stream_processors.migrations import migrate
from stream_processors.store.readings import READINGS
from tests.bench.figure import Figure, counters, cpu_s
from tests.integration.real_week import slices
from tests.service_stack import ServiceStack

SENSORS = 1_000
PER_RECORD = 500
PER_COPY = 50_000
ONE_HZ_SECONDS = 2_400
FIVE_MINUTE_STEPS = 600
PARTS = ("clean", "windows")

Batches = list[tuple[int, Readings]]  # (partition, readings of a record)


def one_hz(stack: ServiceStack) -> Iterator[Figure]:
    """1,000 sensors, an instant each second."""
    batches = _regular(stack.settings, ONE_HZ_SECONDS, step_s=1, period_s=1)
    yield from _against_copy(stack, "clean + windows + store, 1,000 sensors at 1 Hz", batches, 100_000)


def five_minutes(stack: ServiceStack) -> Iterator[Figure]:
    """The shape of the LA loops: a reading each five minutes, of which 15 minutes, hours and days are made."""
    batches = _regular(stack.settings, FIVE_MINUTE_STEPS, step_s=300, period_s=300)
    yield from _against_copy(stack, "the same, five-minute readings", batches, 25_000)


def backfill(stack: ServiceStack) -> Iterator[Figure]:
    """The sample week in its order."""
    rate, note = _run(stack, _week(stack.settings, repeats=1, dice=None), repeats=1)
    yield Figure(
        "backfill of the sample week", rate, "readings/s committed", target="at least 25,000", met=rate >= 25_000,
        note=note,
    )  # fmt: skip


def shuffled(stack: ServiceStack) -> Iterator[Figure]:
    """The sample week, each reading twice, in any order: all late, half repeats."""
    batches = _week(stack.settings, repeats=2, dice=random.Random(1))
    n = sum(len(batch) for _, batch in batches)
    began = time.monotonic()
    _, note = _run(stack, batches, repeats=2)
    stack.wait_until(lambda: _is_drained(stack), "backlog and marks are drained", 600, every_s=0.5)
    rate = n / (time.monotonic() - began)
    yield Figure(
        "the same week shuffled and doubled, until no backlog and no mark is left", rate, "readings/s",
        target="at least 10,000", met=rate >= 10_000, note=f"from the first record sent; {note}",
    )  # fmt: skip


def _regular(settings: Settings, steps: int, step_s: int, period_s: int) -> Batches:
    """Sensors of each partition that all send at once; as many steps in a record as 500 readings hold."""
    sensors: dict[int, list[tuple[str, str]]] = {}
    for i in range(SENSORS):
        sensors.setdefault(partition_of("traffic", f"s{i}", settings.kafka_partitions), []).append(("traffic", f"s{i}"))
    first_ms = (int(time.time()) - steps * step_s) // step_s * step_s * 1000
    dice = np.random.default_rng(1)
    batches: Batches = []
    for part, names in sensors.items():
        each = max(1, PER_RECORD // len(names))
        for step in range(0, steps, each):
            n = min(each, steps - step)
            start = first_ms + np.repeat(np.arange(step, step + n), len(names)) * step_s * 1000
            batches.append((part, readings(
                names, [("speed", "km/h")], sensor=np.tile(np.arange(len(names)), n), start=start, period_s=period_s,
                value=_smooth(dice, len(names), start), received=start + step_s * 1000,
            )))  # fmt: skip
    return sorted(batches, key=lambda batch: int(batch[1].start[0]))


def _smooth(dice: np.random.Generator, sensors: int, start: np.ndarray) -> np.ndarray:
    """Speeds as sensors send them, for steps of all sensors in turn: slowly up and down, with a little noise."""
    base = np.tile(dice.uniform(40, 90, sensors), len(start) // sensors)
    return (base + 10 * np.sin(start / 600_000) + dice.uniform(-1, 1, len(start))).round(1)


def _week(settings: Settings, repeats: int, dice: random.Random | None) -> Batches:
    rows: dict[int, list[tuple[int, int, int, float]]] = {}
    everything = [*slices("traffic"), *slices("air-quality")]
    for number, one in enumerate(everything):
        part = partition_of(one.dataset, one.sensor, settings.kafka_partitions)
        rows.setdefault(part, []).extend((start, number, one.period_s, value) for start, value in one.readings)
    names = [(one.dataset, one.sensor) for one in everything]
    metrics = [(one.metric, "") for one in everything]
    now_ms = int(time.time() * 1000)
    batches: Batches = []
    for part, of_part in rows.items():
        of_part *= repeats
        of_part.sort() if dice is None else dice.shuffle(of_part)
        for at in range(0, len(of_part), PER_RECORD):
            start, number, period_s, value = zip(*of_part[at : at + PER_RECORD], strict=True)
            batches.append((part, readings(
                names, metrics, sensor=number, metric=number, start=start, period_s=period_s, value=value,
                received=now_ms,
            )))  # fmt: skip
    return batches


def _against_copy(stack: ServiceStack, name: str, batches: Batches, wanted: int) -> Iterator[Figure]:
    rate, note = _run(stack, batches, repeats=1)
    reference = asyncio.run(_copy(stack.settings, batches))
    ratio = rate / reference
    yield Figure(
        name, rate, "readings/s committed", reference, "bare binary COPY into the same hypertable with its key",
        f"at least {wanted:,}" + (", ratio at least 0.4" if wanted >= 100_000 else ""),
        rate >= wanted and (wanted < 100_000 or ratio >= 0.4), note,
    )  # fmt: skip


def _run(stack: ServiceStack, batches: Batches, repeats: int) -> tuple[float, str]:
    """Give the records, start both processes; the rate from the first committed readings to the last."""
    n = sum(len(batch) for _, batch in batches) // repeats
    asyncio.run(_send(stack.settings, batches))
    stack.start(*PARTS)
    stack.wait_until(lambda: _stored(stack) > 0, "the first reading", 60)
    began, before = time.monotonic(), _stored(stack)
    stack.wait_until(lambda: _stored(stack) >= n, f"{n} readings", 300)
    took_s = time.monotonic() - began
    rows = stack.query("SELECT count(*) FROM windows")[0][0]
    cpu = ", ".join(f"{name} {cpu_s(stack.pid(name)):.0f} s" for name in PARTS)
    return (n - before) / took_s, f"{n} readings and {rows} windows stored; CPU {cpu}"


def _stored(stack: ServiceStack) -> int:
    return int(_counters(stack).get("cityfeed_windows_readings_total", 0))


def _counters(stack: ServiceStack) -> dict[str, float]:
    try:
        return counters(stack.settings.clean_metrics_port) | counters(stack.settings.windows_metrics_port)
    except OSError:  # not up yet, or too busy to answer
        return {}


def _is_drained(stack: ServiceStack) -> bool:
    """Nothing waits in either log, and no mark is left."""
    now = _counters(stack)
    lags = [now.get(f"cityfeed_{part}_lag_records", 1.0) for part in PARTS]
    return sum(lags) < stack.settings.kafka_partitions and stack.query("SELECT count(*) FROM dirty") == [(0,)]


async def _send(settings: Settings, batches: Batches) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap, compression_type="lz4", max_batch_size=1024 * 1024,
        max_request_size=4 * 1024 * 1024,
    )  # fmt: skip
    await producer.start()
    topic = settings.kafka_topic_prefix + topics.RAW
    try:
        for at in range(0, len(batches), 500):
            sent = [
                await producer.send(topic, wire.encode(Record("raw", batch)), partition=part)
                for part, batch in batches[at : at + 500]
            ]
            await asyncio.gather(*sent)
    finally:
        await producer.stop()


async def _copy(settings: Settings, batches: Batches) -> float:
    """Rows/s of the bare COPY, a transaction for each 50,000."""
    schema = f"{settings.database_schema}_reference"
    await migrate(settings.database_url, schema)
    statement = sql.SQL("COPY readings ({}) FROM STDIN (FORMAT binary)").format(
        sql.SQL(", ").join(map(sql.Identifier, READINGS))
    )
    n, took_s = 0, 0.0
    async with await psycopg.AsyncConnection.connect(settings.database_url, autocommit=True) as connection:
        await connection.execute(sql.SQL("SET search_path TO {}, public").format(sql.Identifier(schema)))
        for columns in _columns(batches):
            began = time.perf_counter()
            async with connection.transaction(), connection.cursor() as cursor, cursor.copy(statement) as copy:
                await copy.write(pgbinary.dump({name: (kind, columns[name]) for name, kind in READINGS.items()}))
            took_s += time.perf_counter() - began
            n += len(columns["start"])
        await connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))
    return n / took_s


def _columns(batches: Batches) -> Iterator[dict[str, np.ndarray]]:
    each = PER_COPY // PER_RECORD
    series: dict[tuple[str, str], int] = {}
    for at in range(0, len(batches), each):
        chunk = batches[at : at + each]
        columns = {
            name: np.concatenate([getattr(batch, name) for _, batch in chunk])
            for name in READINGS
            if name not in ("series", "source_rev", "part", "position")
        }
        ids = [np.array([series.setdefault(s, len(series)) for s in b.sensors])[b.sensor] for _, b in chunk]
        columns["series"] = np.concatenate(ids)
        columns["source_rev"] = columns["rev"]
        columns["part"] = np.repeat([part for part, _ in chunk], [len(b) for _, b in chunk])
        columns["position"] = np.repeat(np.arange(at, at + len(chunk)), [len(b) for _, b in chunk])
        yield columns
