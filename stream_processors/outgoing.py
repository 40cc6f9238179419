"""What a transaction publishes: rows numbered with `out_seq`, made into records for the outbox. Pure."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas import topics
from schemas.dead_letters import DeadLetter
from schemas.dead_letters import encode as encode_letter
from schemas.published import KINDS, ROWS_PER_RECORD, Columns, Published, Texts, encode
from stream_processors.series import Key
from stream_processors.store import OutRecord, Position

Array = npt.NDArray[Any]


class Outgoing:
    """The records of one transaction. Numbers go on from `positions[part].out_seq`, which is moved."""

    def __init__(self, positions: Mapping[int, Position]) -> None:
        self._positions = positions
        self.records: list[OutRecord] = []

    def number(self, part: Array) -> Array:
        """The next `out_seq` (n) of each row, counted for each partition. A number that is not used is a hole."""
        out_seq = np.zeros(len(part), np.int64)
        for p in np.unique(part).tolist():
            rows = np.flatnonzero(part == p)
            out_seq[rows] = self._positions[p].out_seq + 1 + np.arange(len(rows))
            self._positions[p].out_seq += len(rows)
        return out_seq

    def add(self, kind: str, part: Array, columns: Columns) -> None:
        """Publish n rows of a kind of `schemas.published.KINDS`, whose `out_seq` came from `number`; after it nothing
        with a lower number may be added.
        """
        for p in np.unique(part).tolist():
            rows = np.flatnonzero(part == p)
            rows = rows[np.argsort(columns["out_seq"][rows], kind="stable")]  # type: ignore[index]
            for at in range(0, len(rows), ROWS_PER_RECORD):
                chosen = rows[at : at + ROWS_PER_RECORD]
                taken = {name: _take(columns[name], chosen) for name in KINDS[kind]}
                last = int(taken["out_seq"][-1])  # type: ignore[index]
                self.records.append(OutRecord(p, last, kind, encode(Published(kind, taken))))

    def letter(self, part: int, letter: DeadLetter) -> None:
        """Send a dead letter, safe from crashes as published rows are."""
        self._positions[part].out_seq += 1
        out_seq = self._positions[part].out_seq
        self.records.append(OutRecord(part, out_seq, topics.DEAD_LETTERS, encode_letter(letter)))


def names_of(keys: list[Key], slot: Array) -> dict[str, Texts]:
    """The columns dataset, sensor and metric (n) of series given by their slots."""
    distinct, index = np.unique(slot, return_inverse=True)
    found: dict[str, Texts] = {}
    for i, name in enumerate(("dataset", "sensor", "metric")):
        of: dict[str, int] = {}
        code = np.array([of.setdefault(keys[s][i], len(of)) for s in distinct.tolist()], np.int64)
        found[name] = Texts(list(of), code[index])
    return found


def _take(column: "Array | Texts", rows: Array) -> "Array | Texts":
    return column.take(rows) if isinstance(column, Texts) else column[rows]
