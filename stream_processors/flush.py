"""One flush: the readings that came, the windows that they and the ticks close, marks, positions, one transaction."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from schemas import topics
from schemas.dead_letters import DeadLetter
from schemas.readings import Readings
from stream_processors import metrics
from stream_processors.chain import Item, follow
from stream_processors.clean import REASONS
from stream_processors.owner import Owner, Work, count_closed
from stream_processors.series import Rows, join
from stream_processors.store import Store

Array = npt.NDArray[Any]


async def flush(owner: Owner, store: Store, items: Sequence[Item]) -> None:
    """Store what came. Raises what the store raises, and `GapError` where the chain has a gap."""
    followed = follow(items, owner.positions, owner.ticks)
    async with owner.transaction(store) as work:
        for part, position in followed.positions.items():
            work.positions[part].follow(position)
        if followed.accepted:
            await _store_readings(work, followed.accepted)
        closed, marks = owner.windows.close(followed.ticks)
        for window in closed:
            await work.put_closed(window, expect_new=True)
            count_closed(window, repaired=False)
        await work.put_marks(marks)
    owner.ticks = followed.ticks
    metrics.WINDOWS_SKIPPED.inc(followed.repeats)


async def _store_readings(work: Work, accepted: list[Item]) -> None:
    owner = work.owner
    batch = join([item.record.readings for item in accepted])
    if unknown := owner.table.unknown(batch):
        owner.table.add(await work.store.add_series(unknown), {key: owner.part(key) for key in unknown})
    counts = [len(item.record.readings) for item in accepted]
    part = np.repeat([item.part for item in accepted], counts)
    position = np.repeat([work.positions[item.part].at(item.offset) for item in accepted], counts)
    slot = owner.table.slots(batch)
    stored = await work.store.put_readings(batch, owner.table.columns["id"][slot], part, position)
    rows = Rows(
        slot, batch.start, batch.period_s, batch.value, batch.flag, batch.received,
        owner.table.span_ms(slot, batch.period_s), batch.origin,
    )  # fmt: skip
    put = stored.new | stored.replaced
    standing = _last_of_each(rows, np.flatnonzero(put))  # of several revs in one flush, only the last is stored
    await work.put_marks(owner.windows.take(rows.take(standing), rows.take(stored.replaced)))
    if stored.conflict.any():
        _refuse_conflicts(work, accepted, counts, batch, np.flatnonzero(stored.conflict))
    metrics.WINDOWS_READINGS.inc(int(stored.new.sum()))
    metrics.WINDOWS_REVISED.inc(int(stored.replaced.sum()))
    metrics.WINDOWS_CONFLICTS.inc(int(stored.conflict.sum()))
    metrics.WINDOWS_REPEATS.inc(int((~put & ~stored.conflict).sum()))


def _refuse_conflicts(work: Work, accepted: list[Item], counts: list[int], batch: Readings, conflicts: Array) -> None:
    """Readings of a stored rev with another value go to the dead letters: `clean` remembers only so far back."""
    ends = np.cumsum(counts)
    topic = work.owner.settings.kafka_topic_prefix + topics.CLEAN
    for i in conflicts.tolist():
        number = int(np.searchsorted(ends, i, side="right"))
        item = accepted[number]
        row = batch.row(i)
        detail = f"conflict: {REASONS['conflict']}: {msgspec.json.encode(row).decode()}"
        work.outgoing.letter(
            item.part,
            DeadLetter(
                "kafka", topic, work.store.now_ms, "conflict", detail, msgspec.json.encode(row),
                item.part, item.offset, i - int(ends[number]) + counts[number],
            ),
        )  # fmt: skip


def _last_of_each(rows: Rows, chosen: Array) -> Array:
    """Of the chosen row numbers, the last of each (slot, start)."""
    backwards = chosen[::-1]
    _, first = np.unique((rows.slot[backwards] << 43) + rows.start[backwards], return_index=True)
    return np.sort(backwards[first])
