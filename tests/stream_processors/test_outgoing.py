"""Numbers and records of what a transaction publishes."""

import numpy as np

from schemas.dead_letters import DeadLetter
from schemas.dead_letters import decode as decode_letter
from schemas.published import AMENDED, ROWS_PER_RECORD, Columns, decode
from stream_processors.outgoing import Outgoing, names_of
from stream_processors.store import Position

KEYS = [("air", "a", "pm25"), ("air", "b", "pm25"), ("traffic", "a", "speed")]


def positions() -> dict[int, Position]:
    return {part: Position(0, None, 0, 1, 0, out_seq=part * 100, published_seq=0) for part in (0, 1)}


def rows(slot: list[int], out_seq: np.ndarray) -> Columns:
    n = len(slot)
    columns = {name: np.zeros(n, dtype) for name, dtype in AMENDED.items() if dtype is not None}
    return {**columns, **names_of(KEYS, np.array(slot)), "start": np.arange(n), "out_seq": out_seq}


def test_rows_are_numbered_for_each_partition_and_go_to_its_record() -> None:
    at = positions()
    outgoing = Outgoing(at)
    part = np.array([1, 0, 1])
    out_seq = outgoing.number(part)
    assert (out_seq.tolist(), at[0].out_seq, at[1].out_seq) == ([101, 1, 102], 1, 102)
    outgoing.add("readings.amended", part, rows([2, 0, 1], out_seq))
    assert [(r.part, r.out_seq, r.topic) for r in outgoing.records] == [
        (0, 1, "readings.amended"), (1, 102, "readings.amended"),
    ]  # fmt: skip
    second = decode(outgoing.records[1].value).columns
    assert second["out_seq"].tolist() == [101, 102]  # type: ignore[union-attr]
    assert second["sensor"].values() == ["a", "b"]  # type: ignore[union-attr]
    assert second["dataset"].values() == ["traffic", "air"]  # type: ignore[union-attr]


def test_many_rows_become_several_records() -> None:
    at = positions()
    outgoing = Outgoing(at)
    n = ROWS_PER_RECORD + 1
    part = np.zeros(n, int)
    outgoing.add("readings.amended", part, rows([0] * n, outgoing.number(part)))
    assert [r.out_seq for r in outgoing.records] == [ROWS_PER_RECORD, n]
    assert all(len(r.value) < 1024 * 1024 for r in outgoing.records)


def test_a_letter_takes_a_number_of_its_own() -> None:
    at = positions()
    outgoing = Outgoing(at)
    outgoing.letter(1, DeadLetter("kafka", "t", 1, "conflict", "d", b"{}"))
    outgoing.letter(1, DeadLetter("kafka", "t", 1, "conflict", "e", b"{}"))
    assert [(r.part, r.out_seq, r.topic) for r in outgoing.records] == [
        (1, 101, "dead-letters"), (1, 102, "dead-letters"),
    ]  # fmt: skip
    assert decode_letter(outgoing.records[1].value).detail == "e"
