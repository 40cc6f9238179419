"""One flush: the readings that came, the windows that they and the ticks close, marks, positions, one transaction."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from schemas import topics
from schemas.dead_letters import DeadLetter
from schemas.readings import Readings
from stream_processors import metrics, ordering
from stream_processors.chain import Item, follow, log_time
from stream_processors.clean import REASONS
from stream_processors.log_check import split
from stream_processors.owner import HOUR_S, Owner, Work, count_closed, index_marks
from stream_processors.rejudge import judge_marks
from stream_processors.series import Rows, join
from stream_processors.store import LogGap, Store
from stream_processors.verdicts import ask

Array = npt.NDArray[Any]


async def flush(owner: Owner, store: Store, items: Sequence[Item]) -> None:
    """Store what came. Raises what the store raises, and `GapError` where the chain has a gap."""
    followed = follow(items, owner.positions, owner.ticks)
    async with owner.transaction(store) as work:
        for part, position in followed.positions.items():
            work.positions[part].follow(position)
        await store.put_log_gaps([_gap(item, followed.ticks) for item in followed.gaps])
        if followed.accepted:
            await _store_readings(work, followed.accepted)
        closed, marks = owner.windows.close(followed.ticks)
        for window in closed:
            await work.put_closed(window, expect_new=True)
            count_closed(window, repaired=False)
        await work.put_marks(marks)
    owner.ticks = followed.ticks
    metrics.WINDOWS_SKIPPED.inc(followed.repeats)


def _gap(item: Item, ticks: Mapping[int, int]) -> LogGap:
    """What `clean` says that readings.raw lost, for it has no database to say it in."""
    record = item.record
    before, (epoch, offset) = max(0, record.prev_raw), split(record.raw)
    return LogGap(
        topics.RAW, item.part, epoch, split(before)[1] + 1, offset, record.gap, log_time(record) or ticks.get(item.part)
    )


async def _store_readings(work: Work, accepted: list[Item]) -> None:
    owner, batches = work.owner, [item.record.readings for item in accepted]
    counts = [len(batch) for batch in batches]
    slot = np.concatenate([await _slots(work, batch) for batch in batches])
    columns = join(batches)
    columns["series"] = owner.table.columns["id"][slot]
    columns["part"] = np.repeat([item.part for item in accepted], counts)
    columns["position"] = np.repeat([work.positions[item.part].at(item.offset) for item in accepted], counts)
    stored = await work.store.put_readings(columns)
    rows = Rows(
        slot, columns["start"], columns["period_s"], columns["value"], columns["flag"], columns["received"],
        owner.table.span_ms(slot, columns["period_s"]), columns["origin"],
    )  # fmt: skip
    standing = rows
    judge = owner.windows.out_of_order(rows)
    if stored.new.all():
        await work.put_marks(owner.windows.take(rows))
    else:
        put = stored.new | stored.replaced
        # of several revs in one flush, only the last is stored
        standing = rows.take(_last_of_each(rows, np.flatnonzero(put)))
        await work.put_marks(owner.windows.take(standing, rows.take(stored.replaced)))
        judge = ((judge & put) | stored.replaced) & ~stored.amended | stored.unsure
        _refuse_conflicts(work, accepted, counts, np.flatnonzero(stored.conflict))
        metrics.WINDOWS_REVISED.inc(int(stored.replaced.sum()))
        metrics.WINDOWS_CONFLICTS.inc(int(stored.conflict.sum()))
        metrics.WINDOWS_REPEATS.inc(int((~put & ~stored.conflict).sum()))
    await work.put_marks(judge_marks(owner.table, slot[judge], rows.start[judge]))
    of_an_hour = standing.span_ms == HOUR_S * 1000  # such a reading is a window itself
    if of_an_hour.any():
        hours = standing.take(of_an_hour)
        await work.put_marks(index_marks(owner.table, HOUR_S, hours.slot, hours.start))
        await ask(work, HOUR_S, hours.slot, hours.start)
    metrics.WINDOWS_READINGS.inc(int(stored.new.sum()))


async def _slots(work: Work, batch: Readings) -> Array:
    """The slot of each reading; series that are new get one, and a key in the database."""
    table = work.owner.table
    slot = table.slots(batch)
    if (slot < 0).any():
        new = table.unknown(batch, slot)
        table.add(await work.store.add_series(new), {key: work.owner.part(key) for key in new})
        slot = table.slots(batch)
    return slot


def _refuse_conflicts(work: Work, accepted: list[Item], counts: list[int], conflicts: Array) -> None:
    """Readings of a stored rev with another value go to the dead letters: `clean` remembers only so far back."""
    ends = np.cumsum(counts)
    topic = work.owner.settings.kafka_topic_prefix + topics.CLEAN
    for i in conflicts.tolist():
        number = int(np.searchsorted(ends, i, side="right"))
        item, row = accepted[number], i - int(ends[number]) + counts[number]
        said = item.record.readings.row(row)
        detail = f"conflict: {REASONS['conflict']}: {msgspec.json.encode(said).decode()}"
        work.outgoing.letter(
            item.part,
            DeadLetter(
                "kafka", topic, work.store.now_ms, "conflict", detail, msgspec.json.encode(said),
                item.part, item.offset, row,
            ),
        )  # fmt: skip


def _last_of_each(rows: Rows, chosen: Array) -> Array:
    """Of the chosen row numbers, the last of each (slot, start)."""
    backwards = chosen[::-1]
    _, first = np.unique(ordering.keys(rows.slot[backwards], rows.start[backwards]), return_index=True)
    return np.sort(backwards[first])
