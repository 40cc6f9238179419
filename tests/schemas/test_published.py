"""Bytes of published rows."""

import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from schemas import topics
from schemas.errors import WireError
from schemas.published import KINDS, Columns, Published, Texts, decode, encode

DOCS = (Path(__file__).parents[2] / "docs" / "wire-format.md").read_text("utf-8")


@st.composite
def any_rows(draw: st.DrawFn) -> Published:
    kind = draw(st.sampled_from(sorted(KINDS)))
    n = draw(st.integers(1, 6))
    columns: dict[str, Any] = {}
    for name, dtype in KINDS[kind].items():
        if dtype is None:
            names = draw(st.lists(st.text(max_size=5), min_size=1, max_size=3, unique=True))
            columns[name] = Texts(
                names, np.array(draw(st.lists(st.integers(0, len(names) - 1), min_size=n, max_size=n)))
            )
        else:
            elements = hnp.from_dtype(dtype)
            columns[name] = draw(hnp.arrays(dtype, n, elements=elements, fill=elements))
    return Published(kind, columns)


def as_lists(columns: Columns) -> dict[str, Any]:
    return {name: c.values() if isinstance(c, Texts) else repr(c.tolist()) for name, c in columns.items()}


@given(any_rows())
def test_what_was_encoded_is_decoded_to_the_same(rows: Published) -> None:
    again = decode(encode(rows))
    assert (again.kind, len(again), as_lists(again.columns)) == (rows.kind, len(rows), as_lists(rows.columns))
    assert all(again.columns[name].dtype == dtype for name, dtype in KINDS[rows.kind].items() if dtype is not None)  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_topic_with_the_partitions_of_readings_and_a_number_for_each_row(kind: str) -> None:
    assert topics.TOPICS[kind].partitions == topics.TOPICS[topics.RAW].partitions
    assert KINDS[kind]["out_seq"] == np.dtype("<i8")
    assert [name for name, dtype in KINDS[kind].items() if dtype is None][:2] == ["dataset", "sensor"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_docs_list_the_columns_and_their_types(kind: str) -> None:
    section = DOCS.partition(f"\n### `{kind}`\n")[2].partition("\n#")[0]
    kinds = {"u": "unsigned integer", "i": "signed integer", "f": "float"}
    told = {
        name: (type_, int(size))
        for names, type_, size in re.findall(r"^\| (`.+?`) \| ([a-z ]+) \| (\d) \|", section, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", names)
    }
    assert told == {
        name: ("text", 4) if dtype is None else (kinds[dtype.kind], dtype.itemsize)
        for name, dtype in KINDS[kind].items()
    }


def one() -> dict[str, Any]:
    columns: dict[str, Any] = {name: np.ones(1, dtype) for name, dtype in KINDS["windows"].items() if dtype is not None}
    columns |= {name: Texts(["x"], np.array([0])) for name, dtype in KINDS["windows"].items() if dtype is None}
    message: dict[str, Any] = msgspec.msgpack.decode(encode(Published("windows", columns)))
    return message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"v": 2}, "version 2; this program reads version 1"),
        ({"kind": "weather"}, "unknown kind 'weather'"),
        ({"n": 0}, "not a record"),
        ({"n": 2_000_000}, "not a record"),
        ({"names": {}}, "names a text that the record does not list"),
        ({"c": {}}, "without column dataset"),
        ({"c": one()["c"] | {"n": 1.5}}, "column n holds whole numbers"),
        ({"c": one()["c"] | {"n": 2**40}}, "column n does not hold"),
        ({"c": one()["c"] | {"mean": b"123"}}, "column mean has 3 bytes for 1 rows"),
    ],
)
def test_what_must_be_refused_is(change: dict[str, Any], said: str) -> None:
    assert len(decode(msgspec.msgpack.encode(one()))) == 1
    with pytest.raises(WireError, match=said):
        decode(msgspec.msgpack.encode(one() | change))


@given(st.binary(max_size=200))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        decode(data)


def test_a_record_cut_off_at_any_byte_is_refused() -> None:
    whole = msgspec.msgpack.encode(one())
    for length in range(len(whole)):
        with pytest.raises(WireError):
            decode(whole[:length])


def test_keys_and_columns_of_a_later_program_are_ignored() -> None:
    message = one()
    later = message | {"more": 1, "c": message["c"] | {"p99": 3.0}}
    assert len(decode(msgspec.msgpack.encode(later))) == 1
