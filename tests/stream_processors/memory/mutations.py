"""Faults put in on purpose, each in one place of the code under test; the property must find every one of them.

Where the fence and the transactions are PostgreSQL's, it is their stand-in that is broken: the test must need them.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stream_processors import clean, clean_role, flush, ordering, outbox, owner, remake, windows
from stream_processors.store import readings as reading_tables
from stream_processors.windows import Kind
from tests.stream_processors.memory.store import MemoryStore

Patch = pytest.MonkeyPatch
MUTATIONS: dict[str, Callable[[Patch], None]] = {}


def mutation(put_in: Callable[[Patch], None]) -> Callable[[Patch], None]:
    """List a mutation under its name."""
    MUTATIONS[put_in.__name__] = put_in
    return put_in


def _wrap(patch: Patch, of: Any, name: str, around: Callable[..., Any]) -> None:
    """Replace `of.name` by `around`, which is given the original first."""
    original = getattr(of, name)
    patch.setattr(of, name, lambda *args, **named: around(original, *args, **named))


# -- the chain and positions --------------------------------------------------------------------------------------


@mutation
def repeats_of_clean_are_taken_for_new_records(patch: Patch) -> None:
    def follow(original: Any, items: Any, positions: Any, ticks: Any) -> Any:
        return original(items, {part: replace(p, raw=None) for part, p in positions.items()}, ticks)

    _wrap(patch, flush, "follow", follow)
    patch.setattr(reading_tables, "_compare", _every_one_replaces)


@mutation
def positions_move_apart_from_the_data(patch: Patch) -> None:
    def lose(self: MemoryStore) -> None:
        self.is_lost = True
        if self._before is not None:
            moved = self._tables.positions
            self._database.tables, self._before = self._before, None
            self._tables.positions = moved

    patch.setattr(MemoryStore, "lose", lose)


@mutation
def clean_begins_one_record_too_late(patch: Patch) -> None:
    def remember(original: Any, self: Any, record: Any) -> None:
        original(self, record)
        self.prev_raw += 1

    _wrap(patch, clean.Cleaner, "remember", remember)


@mutation
def a_failed_send_is_passed_over(patch: Patch) -> None:
    async def clean_and_send(original: Any, self: Any, part: int, waiting: Any) -> None:
        try:
            await original(self, part, waiting)
        except Exception:
            self._cleaners[part].prev_raw = waiting[-1].offset

    _wrap(patch, clean_role.CleanRole, "_clean", clean_and_send)


# -- the fence and transactions -----------------------------------------------------------------------------------


@mutation
def there_is_no_fence(patch: Patch) -> None:
    patch.setattr(MemoryStore, "check_fence", lambda self, positions: None)
    patch.setattr(MemoryStore, "end_owner", lambda self, part: None)


@mutation
def the_state_stays_after_a_failed_flush(patch: Patch) -> None:
    async def load(original: Any, self: Any, store: Any, positions: Any) -> None:
        if set(self.positions) == set(positions):
            self.positions = positions
        else:
            await original(self, store, positions)

    _wrap(patch, owner.Owner, "load", load)


@mutation
def a_transaction_that_fails_is_not_rolled_back(patch: Patch) -> None:
    def lose(self: MemoryStore) -> None:
        self.is_lost, self._before = True, None

    patch.setattr(MemoryStore, "lose", lose)


# -- readings -----------------------------------------------------------------------------------------------------


def _every_one_replaces(came: Any, known: Any) -> Any:
    replaces = np.zeros(len(came["rev"]), bool)
    replaces[known["i"]] = True
    came["rev"] = came["rev"].copy()
    came["rev"][known["i"]] = known["rev"] + 1
    return replaces, np.zeros(len(replaces), bool)


@mutation
def a_repeat_is_taken_for_a_revision(patch: Patch) -> None:
    patch.setattr(clean.Cleaner, "_repeats", lambda self, batch, rows: (np.zeros(len(batch), bool),) * 2)
    patch.setattr(reading_tables, "_compare", _every_one_replaces)


@mutation
def the_last_of_equal_revs_stays(patch: Patch) -> None:
    def compare(original: Any, came: Any, known: Any) -> Any:
        replaces, conflicts = original(came, known)
        return replaces | conflicts, np.zeros(len(conflicts), bool)

    _wrap(patch, reading_tables, "_compare", compare)


@mutation
def a_conflict_is_not_told(patch: Patch) -> None:
    patch.setattr(flush, "_refuse_conflicts", lambda *_: None)


@mutation
def all_revs_of_a_flush_count(patch: Patch) -> None:
    patch.setattr(flush, "_last_of_each", lambda rows, chosen: chosen)


@mutation
def the_old_rev_stays_in_memory(patch: Patch) -> None:
    patch.setattr(windows._Memory, "forget", lambda self, rows: None)


# -- windows ------------------------------------------------------------------------------------------------------


@mutation
def late_readings_count_as_in_time(patch: Patch) -> None:
    patch.setattr(windows.Windows, "_late", lambda self, rows, width_s: np.zeros(len(rows), bool))


@mutation
def a_window_closes_a_moment_early(patch: Patch) -> None:
    def late(original: Any, self: Any, rows: Any, width_s: int) -> Any:
        return original(self, replace(rows, start=rows.start + width_s * 1000), width_s)

    _wrap(patch, windows.Windows, "_late", late)


@mutation
def late_volumes_do_not_mark_the_speeds_they_weigh(patch: Patch) -> None:
    def marks(self: Any, rows: Any, width_s: int) -> Any:
        slot, start = ordering.distinct(rows.slot, rows.start // (width_s * 1000) * (width_s * 1000))
        return [windows.Marks(width_s, slot, start, at_once=width_s in windows.NARROW_S)]

    patch.setattr(windows.Windows, "_marks", marks)


@mutation
def nothing_weighs_in_repair(patch: Patch) -> None:
    def close_rows(original: Any, rows: Any, width_s: int, among: Any, table: Any) -> Any:
        return original(rows, width_s, among.take(np.zeros(len(among), bool)), table)

    _wrap(patch, remake, "close_rows", close_rows)


@mutation
def series_of_a_sensor_close_apart(patch: Patch) -> None:
    patch.setattr(windows.Windows, "_level", lambda self: None)


@mutation
def open_windows_are_loaded_from_too_late(patch: Patch) -> None:
    _wrap(patch, windows.Windows, "open_since", lambda original, self: original(self) + 60_000)


@mutation
def hours_and_days_are_forgotten_in_a_crash(patch: Patch) -> None:
    def finish(original: Any, self: Any) -> None:
        original(self)
        for pending in self._pending.values():
            pending.clear()

    _wrap(patch, windows.Windows, "finish_restore", finish)


# -- repair -------------------------------------------------------------------------------------------------------


@mutation
def marks_are_forgotten_in_a_crash(patch: Patch) -> None:
    async def marks(self: Any, parts: Any) -> list[Any]:
        return []

    patch.setattr(MemoryStore, "marks", marks)


@mutation
def marks_are_dropped_before_their_windows_are_made(patch: Patch) -> None:
    async def put_closed(original: Any, self: Any, closed: Any, *, expect_new: bool) -> None:
        if expect_new:
            await original(self, closed, expect_new=expect_new)

    _wrap(patch, owner.Work, "put_closed", put_closed)


@mutation
def marks_never_become_due_again(patch: Patch) -> None:
    def due(original: Any, self: Any, log_ms: int, limit: int, kind: int = Kind.WINDOW) -> Any:
        return [key for key in original(self, log_ms, limit, kind) if self.marks[key].touched == 0]

    _wrap(patch, owner.DirtyMarks, "due", due)


# -- the outbox ---------------------------------------------------------------------------------------------------


@mutation
def rows_to_publish_are_not_kept(patch: Patch) -> None:
    async def put_outbox(self: Any, records: Any) -> None:
        pass

    patch.setattr(MemoryStore, "put_outbox", put_outbox)


@mutation
def rows_are_forgotten_before_kafka_has_them(patch: Patch) -> None:
    patch.setattr(outbox.Outbox, "sent", lambda self: {number: part.queued for number, part in self._parts.items()})


@mutation
def every_published_rev_is_the_first(patch: Patch) -> None:
    def published(original: Any, self: Any, closed: Any, rows: Any, rev: Any, out_seq: Any) -> Any:
        return original(self, closed, rows, np.ones_like(rev), out_seq)

    _wrap(patch, owner.Work, "_published", published)


@mutation
def rows_that_are_sent_again_get_new_numbers(patch: Patch) -> None:
    """A restart numbers from where Kafka was known to be, so two different rows have one number."""

    async def load(original: Any, self: Any, store: Any, positions: Any) -> None:
        for position in positions.values():
            position.out_seq = position.published_seq
        store._tables.outbox.clear()
        await original(self, store, positions)

    _wrap(patch, owner.Owner, "load", load)
