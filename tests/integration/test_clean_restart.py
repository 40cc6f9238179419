"""`clean` killed and started again on a real Kafka: it says what one that never stopped says."""

import asyncio
import dataclasses

import numpy as np
import pytest
from aiokafka import AIOKafkaProducer

from schemas import wire
from schemas.city import read_city
from schemas.flags import Test
from schemas.registry import Registry
from schemas.settings import Settings
from schemas.wire import Record
from stream_processors import clean_memory
from stream_processors.clean import Cleaner
from stream_processors.clean_role import CleanRole
from tests.integration.real_week import SAMPLE
from tests.integration.test_outbox import settings
from tests.integration.test_rejudge import raw, real
from tests.service_stack import ServiceStack

__all__ = ["settings"]  # the fixture


def said(records: list[Record]) -> dict[tuple[str, str, int], tuple[float, int, int]]:
    """What was said last of each reading: records that were cleaned together need fewer amendments for it."""
    last: dict[tuple[str, str, int], tuple[float, int, int]] = {}
    for batch in (record.readings for record in records):
        for i in range(len(batch)):
            row = batch.row(i)
            last[row["sensor"], row["metric"], row["start"]] = row["value"], int(batch.flag[i]), int(batch.tests[i])
    return last


async def send(settings: Settings, values: list[bytes]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap)
    await producer.start()
    for value in values:
        await producer.send_and_wait(settings.kafka_topic_prefix + "readings.raw", value, partition=0)
    await producer.stop()


async def clean(settings: Settings, values: list[bytes], upto: int) -> None:
    """A process that cleans up to an offset and is gone, without a good-bye."""
    role = CleanRole(settings, Registry(read_city(SAMPLE).datasets), lambda: 0)
    starts = await role.assign({0: (0, len(values))})
    running = asyncio.create_task(role.run())
    for offset in range(starts[0], upto):
        await role.take(0, offset, values[offset])
    async with asyncio.timeout(20):
        while role.committed()[0] < upto:
            await asyncio.sleep(0.01)
    running.cancel()
    assert role._producer is not None
    await role._producer.stop()


async def cleaned(settings: Settings) -> list[Record]:
    stack = ServiceStack(settings, SAMPLE)
    return [wire.decode(record.value) for record in await asyncio.to_thread(stack.records, "readings.clean")]


@pytest.mark.parametrize("snapshots", [True, False])
async def test_after_a_restart_it_goes_on_as_if_there_was_none(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, snapshots: bool
) -> None:
    """With snapshots the rules' memory reaches behind the clean records that are read again for repeats."""
    monkeypatch.setattr(clean_memory, "EVERY_S", 0.0 if snapshots else 1e9)
    # Without snapshots all of the log is read again; with them nothing but what came after.
    settings = dataclasses.replace(settings, duplicate_horizon_s=0 if snapshots else 900)
    rows = sorted(real(), key=lambda row: (row[0], row[2]))[:320]
    values = [wire.encode(Record("raw", raw(rows[at : at + 1]))) for at in range(len(rows))]
    await send(settings, values)
    for upto in (130, 221, 222, 240, len(values)):
        await clean(settings, values, upto)
    found = [
        wire.decode(r.value) for r in await asyncio.to_thread(ServiceStack(settings, SAMPLE).records, "readings.clean")
    ]
    never_stopped = Cleaner(Registry(read_city(SAMPLE).datasets), prev_raw=-1, future_ms=300_000, horizon_ms=900_000)
    expected = [never_stopped.clean([(offset, wire.decode(value))])[0].record for offset, value in enumerate(values)]
    assert [record.raw for record in found] == list(range(len(values)))
    assert said(found) == said(expected)
    fired = np.bitwise_or.reduce([int(t) for record in expected for t in record.readings.tests])
    assert fired & Test.FLAT_LINE_SUSPECT and fired & (Test.SPIKE_SUSPECT | Test.SPIKE_FAIL), (
        "there is something to tell"
    )


async def test_a_snapshot_of_other_rules_is_left_alone(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clean_memory, "EVERY_S", 0.0)
    rows = sorted(real(), key=lambda row: (row[0], row[2]))[:40]
    values = [wire.encode(Record("raw", raw(rows[at : at + 1]))) for at in range(len(rows))]
    await send(settings, values)
    await clean(settings, values, 20)
    monkeypatch.setattr("stream_processors.clean.RULES_VERSION", "qc-of-tomorrow")
    await clean(settings, values, 40)
    assert [record.raw for record in await cleaned(settings)] == list(range(40))
