"""The only file that knows Faust. What it is trusted with: membership in the group, rebalances, fetching.

What it is not trusted with (measured, see ARCHITECTURE.md): offsets. Its acknowledgements lose records when an
agent fails, so they are off (`acks=False`); a role says which offsets are safe, they are committed as a hint, and on
each assignment the role says where to read from. Faust seeks to what is committed after `on_rebalance_complete`,
so that the role's word is committed first makes it go there: `Consumer._commit_offsets` is private, called in one
place, and held by tests/stream_processors/test_faust_contract.py.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Protocol

import faust
from aiokafka.errors import KafkaError
from faust.types import TP

from schemas.errors import CityfeedError
from schemas.settings import Settings
from schemas.topics import group_name
from stream_processors.group_watch import divided

log = logging.getLogger(__name__)

COMMIT_EVERY_S = 2.0
STAND_BY_LOOK_S, STAND_BY_LOOKS = 2.0, 3


class Role(Protocol):
    """What `clean` and `windows` have in common."""

    async def assign(self, log_ends: Mapping[int, tuple[int, int]]) -> dict[int, int]:
        """Own these partitions; gives the offset to read each from."""

    async def revoke(self) -> None:
        """Give all partitions up."""

    async def take(self, part: int, offset: int, value: bytes) -> None:
        """Take a record; waits while there is no room."""

    async def run(self) -> None:
        """Work, for ever; an exception ends the process."""

    async def stop(self) -> None:
        """End in good order."""

    def committed(self) -> dict[int, int]:
        """The next offset of each partition that is safe."""

    def measure_lag(self, ends: Mapping[int, int]) -> None:
        """Set the lag gauges."""


def build(
    name: str, topic_name: str, role: Role, settings: Settings, prepare: Callable[[], Awaitable[None]]
) -> faust.App:
    """A Faust app that feeds one role from one topic. `prepare` is awaited before each assignment is taken, for
    Faust starts an app's tasks only after the first one.
    """
    bootstrap = ";".join(f"kafka://{address.strip()}" for address in settings.kafka_bootstrap.split(","))
    app = faust.App(
        group_name(settings.kafka_topic_prefix, name),
        broker=bootstrap,
        store="memory://",
        datadir=f"{settings.state_dir}/faust",  # it makes the folder, and leaves it empty
        web_enabled=False,
        agent_supervisor="mode.supervisors.CrashingSupervisor",
        topic_disable_leader=True,
        topic_allow_declare=False,
        consumer_auto_offset_reset="earliest",
        # Static membership: after a quick restart its partitions are its own again, without the 10 s of a lost member.
        consumer_group_instance_id=f"{name}-{settings.processor_instance}",
        stream_buffer_maxsize=256,
        broker_max_poll_records=500,
        broker_max_poll_interval=86_400.0,  # a role that waits for its database must not lose its partitions
        consumer_max_fetch_size=4 * 1024 * 1024,
        broker_session_timeout=10,
        broker_heartbeat_interval=3,
        stream_wait_empty=False,
        stream_recovery_delay=0.0,
    )
    topic = app.topic(topic_name, value_type=bytes, value_serializer="raw", key_serializer="raw", acks=False)

    async def feed(stream: Any) -> None:
        with _crash_only():
            async for event in stream.noack().events():
                message = event.message
                await role.take(message.partition, message.offset, message.value)

    app.agent(topic, name=f"{name}-feed", concurrency=1)(feed)

    # Kafka gives a static member that is back soon what its predecessor had, without asking the group's leader. If the
    # leader divided while the topic was being made anew, that is nothing, and would be for ever. To join once more has
    # the leader divide again, and changes nothing for a process that rightly stands by.
    asked_again: list[Any] = []

    async def on_assigned(*_: Any, **__: Any) -> None:
        with _crash_only():
            await prepare()  # also by one that gets no partition yet: it stands by
            partitions = {tp for tp in app.consumer.assignment() if tp.topic == topic_name}
            if partitions:
                await _take_over(partitions)
            elif not asked_again:
                asked_again.append(app.add_future(app.consumer.subscribe({topic_name})))

    async def _take_over(partitions: set[TP]) -> None:
        first = await app.consumer.earliest_offsets(*partitions)
        end = await app.consumer.highwaters(*partitions)
        starts = await role.assign({tp.partition: (first[tp], end[tp]) for tp in partitions})
        await _commit(app, topic_name, starts)
        for part, offset in starts.items():  # aiokafka does not seek to a committed 0, as after a log was made anew
            await app.consumer.seek(TP(topic_name, part), offset)

    async def on_revoked(*_: Any, **__: Any) -> None:
        await role.revoke()

    async def on_shutdown(*_: Any, **__: Any) -> None:
        await role.stop()

    app.on_rebalance_complete.connect(on_assigned, weak=False)
    app.on_partitions_revoked.connect(on_revoked, weak=False)
    app.on_before_shutdown.connect(on_shutdown, weak=False)

    async def work() -> None:
        with _crash_only():
            await role.run()

    async def commit() -> None:
        while not app.should_stop:
            await asyncio.sleep(COMMIT_EVERY_S)
            partitions = {tp for tp in app.consumer.assignment() if tp.topic == topic_name}
            if partitions:
                await _commit(app, topic_name, role.committed())
                with contextlib.suppress(AssertionError):  # aiokafka: the partition was taken away meanwhile
                    ends = {tp.partition: app.consumer.highwater(tp) or 0 for tp in partitions}
                    role.measure_lag(ends)

    async def stand_by() -> None:
        """See that a process without partitions is not one that missed them: then the next one joins anew."""
        looks = 0
        while not app.should_stop:
            await asyncio.sleep(STAND_BY_LOOK_S)
            left: set[int] = set()
            if not any(tp.topic == topic_name for tp in app.consumer.assignment()):
                with contextlib.suppress(KafkaError, OSError):
                    partitions, owned = await divided(settings.kafka_bootstrap, app.conf.id, topic_name) or (left, left)
                    left = partitions - owned
            looks = looks + 1 if left else 0
            if looks >= STAND_BY_LOOKS:
                log.critical(
                    "nobody has partition(s) %s of %s, and this process none: it begins anew", left, topic_name
                )
                _exit()

    app.task(work)
    app.task(commit)
    app.task(stand_by)
    return app


async def _commit(app: faust.App, topic_name: str, offsets: Mapping[int, int]) -> None:
    if offsets:
        consumer: Any = app.consumer
        await consumer._commit_offsets({TP(topic_name, part): offset for part, offset in offsets.items()})


@contextlib.contextmanager
def _crash_only() -> Iterator[None]:
    """End the process at the first failure, at once and without good-byes: what is safe is in the log and in the
    database, and the next process begins there. Faust's own way down takes seconds and a hundred lines.
    """
    try:
        yield
    except CityfeedError as e:
        log.critical("%s", e)
        _exit()
    except Exception:
        log.critical("the process ends for an error that nobody expected", exc_info=True)
        _exit()


def _exit() -> None:
    logging.shutdown()
    os._exit(1)


def run(app: faust.App, log_level: str) -> None:
    """Run the app until a signal ends it, or its failure does (exit code 1)."""
    worker = faust.Worker(app, loglevel=log_level, redirect_stdouts=False, quiet=True, override_logging=False)
    worker.spinner = None  # it writes terminal codes into log files
    worker.execute_from_commandline()
