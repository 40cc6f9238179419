"""Answers that are given again as long as the database is as it was.

Dashboards ask the same again and again. PostgreSQL's snapshot says whether any transaction has ended since an answer
was made: while it has not, the answer would be the same, but for the time, of which an answer may be a second late.
"""

from dataclasses import dataclass
from typing import Generic, TypeVar

KEPT_MS = 1_000
MAX_BYTES = 1 << 20
MAX_ANSWERS = 32  # then the oldest goes

Asked = tuple[object, ...]
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class _Entry(Generic[Answer]):
    snapshot: str
    made_ms: int
    answer: Answer


class Kept(Generic[Answer]):
    """Answers by what was asked."""

    def __init__(self) -> None:
        self._entries: dict[Asked, _Entry[Answer]] = {}

    def find(self, asked: Asked, snapshot: str, now_ms: int) -> Answer | None:
        """The answer, where one was made in this snapshot a moment ago."""
        found = self._entries.get(asked)
        if found is None or found.snapshot != snapshot or not 0 <= now_ms - found.made_ms < KEPT_MS:
            return None
        return found.answer

    def put(self, asked: Asked, snapshot: str, now_ms: int, answer: Answer, n_bytes: int) -> None:
        """Keep an answer; `snapshot` is from before it was made. A large one is not kept."""
        self._entries.pop(asked, None)
        if n_bytes <= MAX_BYTES:
            self._entries[asked] = _Entry(snapshot, now_ms, answer)
        if len(self._entries) > MAX_ANSWERS:
            del self._entries[next(iter(self._entries))]
