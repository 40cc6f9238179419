"""For a client that comes back: what the ring does not have, out of Kafka or the database; and replays.

    the ring has it            the hub gives it at once; not here
    the log has it             Kafka, then the ring               at most `MOST_READINGS`
    the database has it        the database, Kafka, then the ring
    nobody has it              recovered: false, with the reason

Each client that is catching up is a task, which sends as its client reads. What breaks off in the middle closes the
connection (4208): every frame had a cursor, so the client comes back and goes on. Never in part, never in silence.
"""

import asyncio
import itertools
import logging
import math
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import psycopg
import psycopg_pool
from aiokafka.errors import KafkaError

from api.cursor import Cursor
from api.live import catching
from api.live.batches import Batch
from api.live.catching import Catch, Chunk, Missed
from api.live.frames import Frame, data_frame
from api.live.groups import FRAME_ROWS, Group, Member
from api.live.hub import RESUME_RECORDS, UNTIL, Hub, Resume
from api.live.log import Log, LogRecord, Stretch
from api.live.messages import Close, Subscribed
from api.live.past import Past, Place, batch_of
from api.live.past_rows import PastRows
from api.live.published import RowsTopic
from api.live.sources import Chain, epoch_of, offset_of, position_of
from api.queries import published, stored
from api.queries.pool import Pool
from api.queries.stored import StoredRow
from schemas import wire
from schemas.errors import WireError

log = logging.getLogger(__name__)

MOST_READINGS = 5_000_000
"""More are not read out of Kafka for one client."""
MOST_AMENDED = 200_000
"""Amendments that are read from the database for one client."""
AT_ONCE = 4
"""So many clients read Kafka or the database at a time; the others wait their turn."""
AHEAD_S = 10.0
"""So long a cursor may be ahead of this process, which follows the same log a little later than another."""
RESERVED = 1_000_000
"""Numbers for the frames of a recovery whose length is not known at its start; the last one spans what is left."""
ROOM_S = 0.01
BROKEN = (KafkaError, psycopg.Error, psycopg_pool.PoolTimeout, OSError, TimeoutError)


class CatchUp:
    """Brings clients up to the present, and plays the past to them."""

    def __init__(self, hub: Hub, pool: Pool, read_log: Log) -> None:
        self.hub = hub
        self._pool = pool
        self._log = read_log
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._tasks: dict[tuple[Member, int], asyncio.Task[None]] = {}
        hub.later = self.resume
        hub.cancel = self.cancel

    def resume(self, resume: Resume) -> None:
        """Bring a client up to the present; the hub calls it for what it can't do at once."""
        self.start(resume.member, resume.group.ch, self._resume(resume), lambda: self.hub.arrived(resume.group))

    def start(
        self, member: Member, ch: int, work: Coroutine[Any, Any, None], after: Callable[[], None] | None = None
    ) -> None:
        """Run a member's work for a channel until it is done, breaks off or is cancelled."""
        task = asyncio.create_task(self._guarded(member, work))
        self._tasks[member, ch] = task

        def done(task: asyncio.Task[None]) -> None:
            if self._tasks.get((member, ch)) is task:
                del self._tasks[member, ch]
                if task.cancelled():  # not by `cancel`: it would wait for ever
                    self._send_back(member)
            if after is not None:
                after()

        task.add_done_callback(done)

    def cancel(self, member: Member, ch: int) -> None:
        """The subscription ended; the hub calls it."""
        if (task := self._tasks.pop((member, ch), None)) is not None:
            task.cancel()

    async def stop(self) -> None:
        """End everything."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _guarded(self, member: Member, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except _Gone:
            pass
        except BROKEN as e:
            log.warning("a client that was catching up is sent back: %s", e)
            self._send_back(member)
        except Exception:
            log.exception("a client that was catching up is sent back")
            self._send_back(member)

    @staticmethod
    def _send_back(member: Member) -> None:
        member.close(Close.SLOW, "what you missed could not be read on; come back with the last cursor")

    # -- resume -------------------------------------------------------------------------------------

    async def _resume(self, resume: Resume) -> None:
        hub, cursor, group = self.hub, resume.cursor, resume.group
        for _ in range(int(AHEAD_S / 0.05)):
            if not hub.is_ahead(group.wish, cursor):
                break
            await asyncio.sleep(0.05)
        catch = hub.catch(group.wish, cursor)
        if hub.is_ahead(group.wish, cursor) or not self._same_log(catch):
            return hub.refuse(resume.member, resume.message, group, "epoch", cursor)
        if UNTIL not in cursor.at and hub.ring.covers(catch.at):
            await self.through_ring(catch, self._begin(resume), group)
            return None
        async with self._turn:
            plan, stretches, amended = await self._plan(catch, cursor)
            if plan not in ("log", "database"):
                return hub.refuse(resume.member, resume.message, group, plan, cursor)
            stream = self._begin(resume)
            if plan == "database" and isinstance(catch.topic, RowsTopic):
                stretches = await self._tell_rows(catch.topic, catch, cursor, stream)
            elif amended is not None:
                stretches = await self._tell_readings(catch, cursor, stream, amended)
            await self.through_log(catch, stream, stretches)
        await self.through_ring(catch, stream, group)
        return None

    def _same_log(self, catch: Catch) -> bool:
        now = self.hub.at.get("readings", {})
        return all(
            epoch_of(number) == epoch_of(now[partition])
            for partition, number in catch.at.get("readings", {}).items()
            if partition in now and number >= 0
        )

    async def _plan(self, catch: Catch, cursor: Cursor) -> tuple[str, list[Stretch], "Amended | None"]:
        """`log` and what to read of it; `database`, of readings with what was amended; or the reason why neither."""
        at = {source: self._all_partitions(source, numbers) for source, numbers in catch.at.items()}
        reason = "too_far"
        try:
            stretches = None if UNTIL in cursor.at else await self._log.after(at, cursor.made_ms)
            if stretches is None:
                reason = "expired"
            elif sum(s.end - s.first for s in stretches) * self.hub.rows_per_record <= MOST_READINGS:
                return "log", stretches, None
        except BROKEN as e:
            log.warning("Kafka can't be read back: %s", e)
        if catch.within or not cursor.made_ms:
            return reason, [], None
        try:
            async with self._pool.connection() as connection, connection.transaction():
                await stored.one_moment(connection)
                if isinstance(catch.topic, RowsTopic):
                    last, _ = await published.numbers(connection)
                    here, there = self.hub.at[catch.topic.name], at[catch.topic.name]
                    known = all(last.get(p, 0) >= max(n, here.get(p, n)) for p, n in there.items())
                    return ("database" if known else reason), [], None
                if await stored.moved_until(connection, catch.wish) > cursor.made_ms - stored.LATE_MS:
                    return "expired", [], None
                until, numbers, _ = await stored.progress(connection)
                rows: list[StoredRow] | None = []
                needed = {"readings": until}
                if UNTIL in cursor.at and catch.at["amended"]:  # it had its amendments before it broke off
                    amended = Amended([], catch.at["amended"], cursor.made_ms)
                    needed["amended"] = amended.numbers
                else:
                    held = catch.at["readings"]
                    rows = await stored.amended(connection, catch.wish, held, cursor.made_ms, MOST_AMENDED)
                    amended = Amended(rows or [], numbers, self.hub.log_ms)
            had = (at["readings"], cursor.at.get(UNTIL, {}))
            behind = any(until.get(p, -1) < number for positions in had for p, number in positions.items())
            if rows is None:
                reason = "too_far"
            elif not behind and await self._log.after(needed, cursor.made_ms) is not None:
                return "database", [], amended
        except BROKEN as e:
            log.warning("what a client missed can't be read: %s", e)
            reason = "too_far"
        return reason, [], None

    def _all_partitions(self, source: str, numbers: dict[int, int]) -> dict[int, int]:
        return dict.fromkeys(self.hub.at[source], -1) | numbers

    def _begin(self, resume: Resume) -> "Stream":
        stream = Stream(self.hub, resume.member, resume.group.ch, resume.group.seq - RESERVED)
        text = self.hub.same_place(resume.cursor)
        self.hub.send(resume.member, Subscribed(resume.message.id, resume.group.ch, stream.seq, text, True))
        return stream

    async def tell(
        self, past: Past, catch: Catch, stream: "Stream", speed: float = math.inf, made_ms: int | None = None
    ) -> None:
        """Stored readings, `speed` times as fast as they came; `made_ms`: what was amended after this moment is to be
        told behind them.
        """
        amended, made_ms = catch.at.get("amended", {}), past.place.moment_ms if made_ms is None else made_ms
        pace, rows = Pace(speed), list[bytes]()
        place = past.place
        while not past.done:
            for piece in await past.read():
                if not isinstance(catch, Missed):
                    catch.add(piece.batch)
                    continue
                wait_s = pace.wait_s(piece.received_ms)
                if rows and (wait_s > 0 or len(rows) >= FRAME_ROWS):
                    await stream.send([Chunk(self.hub.text_of(place.cursor(amended, made_ms)), b",".join(rows))])
                    rows = []
                await asyncio.sleep(wait_s)
                rows += [piece.batch.row(i) for i in catch.wanted(piece.batch)]
                place = piece.place
            await stream.room()
        if rows:
            await stream.send([Chunk(self.hub.text_of(place.cursor(amended, made_ms)), b",".join(rows))])

    async def _tell_readings(self, catch: Catch, cursor: Cursor, stream: "Stream", amended: "Amended") -> list[Stretch]:
        """Stored readings: first what was amended of those that the client has, then those that it has not; gives what
        of the log is to be read behind them. Who breaks off goes on where it was.
        """
        hub, wish = self.hub, catch.wish
        if amended.rows:
            batch = batch_of(hub, amended.rows)
            if isinstance(catch, Missed):
                await self._tell_batch(batch, catch, stream, hub.same_place(cursor))
            else:
                catch.add(batch)
        catch.at["amended"] = {p: max(n, catch.at["amended"].get(p, n)) for p, n in amended.numbers.items()}
        place = Place(cursor.made_ms - stored.LATE_MS, catch.at["readings"])
        past = Past(hub, self._pool, wish, Place.of(cursor) if UNTIL in cursor.at else place)
        await self.tell(past, catch, stream, made_ms=amended.log_ms)
        catch.at["readings"] = dict(past.place.until)
        return await self._log.after(catch.at, amended.log_ms) or []

    @staticmethod
    async def _tell_batch(batch: Batch, catch: Catch, stream: "Stream", cursor: str) -> None:
        """What a catch wants of a batch, in frames that leave the client where it is."""
        rows = [batch.row(i) for i in catch.wanted(batch)]
        parts = (rows[i : i + FRAME_ROWS] for i in range(0, len(rows), FRAME_ROWS))
        await stream.send(Chunk(cursor, b",".join(part)) for part in parts)

    async def _tell_rows(self, topic: RowsTopic, catch: Catch, cursor: Cursor, stream: "Stream") -> list[Stretch]:
        """Published rows up to where this process is; gives what of the log is to be read behind them.

        Their order is that of the database's clock, so who breaks off begins again: clients know a row by its `rev`.
        """
        hub, source = self.hub, topic.name
        async with self._pool.connection() as connection:
            last, now_ms = await published.numbers(connection)
        until, until_ms = last | hub.at[source], hub.log_ms
        until |= {p: max(n, until.get(p, n)) for p, n in catch.at[source].items()}
        past = PastRows(topic, self._pool, catch.wish, catch.at[source], until, cursor.made_ms, now_ms)
        began = hub.same_place(cursor)
        while not past.done:
            for batch in await past.read():
                if isinstance(catch, Missed):
                    await self._tell_batch(batch, catch, stream, began)
                else:
                    catch.add(batch)
            await stream.room()
        catch.at[source] = until
        return [] if hub.ring.covers(catch.at) else await self._log.after(catch.at, until_ms) or []

    async def through_log(self, catch: Catch, stream: "Stream", stretches: list[Stretch]) -> None:
        """From Kafka, until the ring has the rest."""
        floors = self.hub.ring.floors("readings")
        wanted = [
            replace(s, end=min(s.end, offset_of(floors.get(s.partition, s.end)) + 1)) if s.source == "readings" else s
            for s in stretches
        ]
        epochs = {p: epoch_of(number) for p, number in self.hub.at.get("readings", {}).items()}
        chain = Chain()
        async for records in self._log.read(wanted):
            for record in records:
                if (batch := self._batch(record, epochs, chain)) is not None:
                    catch.take(batch)
            if isinstance(catch, Missed):
                await stream.send(catch.drain())
            await asyncio.sleep(0)
        for stretch in wanted:
            if stretch.source == "readings":
                at = catch.at["readings"]
                end = position_of(epochs.get(stretch.partition, 0), stretch.end - 1)
                at[stretch.partition] = max(at.get(stretch.partition, -1), end)

    def _batch(self, record: LogRecord, epochs: dict[int, int], chain: Chain) -> Batch | None:
        """A record as the tail would have taken it: neither repeats nor what is not ours."""
        number = position_of(epochs.get(record.partition, 0), record.offset)
        try:
            if record.source != "readings":
                return self.hub.read(record.source, record.partition, number, record.value)
            found = wire.decode(record.value)
        except WireError:
            return None  # the tail has raised the alarm
        if chain.link(record.partition, found.raw, found.prev_raw) == "repeat":
            return None
        return self.hub.readings.of(found.readings, record.partition, number)

    async def through_ring(self, catch: Catch, stream: "Stream", group: Group, then: Sequence[Frame] = ()) -> None:
        """From the ring, turn by turn, and then into the group; `then` are frames to be sent in between."""
        while True:
            if not self.hub.ring.covers(catch.at):
                raise TimeoutError("it reads more slowly than the feed goes on")
            if self.hub.read_ring(catch, RESUME_RECORDS):
                return stream.finish(catch, group, then)
            if isinstance(catch, Missed):
                await stream.send(catch.drain())
            await asyncio.sleep(0)


class Amended(NamedTuple):
    """What our rules changed of the rows that a client has; by partition the number up to which these are all, and the
    log's time (epoch ms) then.
    """

    rows: list[StoredRow]
    numbers: dict[int, int]
    log_ms: int


class _Gone(Exception):
    """The client left."""


class Pace:
    """When what was received at a moment is due, `speed` times as fast as then."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._first: tuple[int, float] | None = None

    def wait_s(self, received_ms: int) -> float:
        """Seconds until it is due; the first one is at once."""
        now_s = asyncio.get_running_loop().time()
        if self._first is None:
            self._first = received_ms, now_s
        first_ms, began_s = self._first
        return max(0.0, began_s + (received_ms - first_ms) / 1000 / self._speed - now_s)


class Stream:
    """Frames with `replay` to one client, which end where its group is; `seq` is the number of the last one sent."""

    def __init__(self, hub: Hub, member: Member, ch: int, seq: int) -> None:
        self.seq = seq
        self._hub = hub
        self._member = member
        self._ch = ch

    async def send(self, chunks: Iterable[Chunk]) -> None:
        """Send chunks as the client takes them. Raises `_Gone`."""
        for chunk in chunks:
            await self.room()
            self.seq += 1
            self._member.send(data_frame(self._ch, (self.seq, self.seq), chunk.cursor, 0, (chunk.rows,), replay=True))

    async def room(self) -> None:
        """Wait until the client takes more. Raises `_Gone`."""
        while not self._member.link.writable and not self._member.gone:
            await asyncio.sleep(ROOM_S)
        if self._member.gone:
            raise _Gone

    def finish(self, catch: Catch, group: Group, then: Sequence[Frame] = ()) -> None:
        """What is left of a catch that has everything; then the client hears what its group hears."""
        hub = self._hub
        group.flush(hub.cursor(group.wish.topic))
        chunks = catch.drain(True) if isinstance(catch, Missed) else catch.chunks(group)
        chunks = list(chunks) or [Chunk(hub.cursor(group.wish.topic), b"")]
        channel = hub.join(self._member, group)
        channel.tell_first(itertools.chain(catching.frames(group.ch, group.seq, chunks, self.seq + 1), then))
        self._member.flush()
