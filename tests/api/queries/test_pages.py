"""PostgreSQL's binary COPY, decoded; pages against a real database are in tests/integration/test_api.py."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.queries.pages import Table, _by_part, decode

TABLE = Table((), {"start": "M", "value": ">f8", "flag": ">i2", "complete": "?"}, lambda chosen: "")
_2000_US = 946_684_800_000_000


def copy_of(rows: list[tuple[int, int, float, int, bool]]) -> bytes:
    """What the server sends, after "COPY", "Binary Format" in PostgreSQL's manual."""
    body = b"".join(
        struct.pack("!hiiiqidihi?", 5, 4, series, 8, start_ms * 1000 - _2000_US, 8, value, 2, flag, 1, complete)
        for series, start_ms, value, flag, complete in rows
    )
    return b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0) + body + struct.pack("!h", -1)


ROWS = st.tuples(st.integers(1, 2**31 - 1), st.integers(-(2**50), 2**50), st.floats(), st.integers(0, 9), st.booleans())


@given(st.lists(ROWS, max_size=5))
def test_copied_rows_come_back(rows: list[tuple[int, int, float, int, bool]]) -> None:
    got = decode(copy_of(rows), TABLE)
    assert got.dtype.names == ("series", "start", "value", "flag", "complete")
    assert all(got.dtype[name].isnative for name in got.dtype.names)
    assert np.array_equal(got["value"], np.array([r[2] for r in rows], float), equal_nan=True)
    for i, name in enumerate(("series", "start", None, "flag", "complete")):
        if name:
            assert got[name].tolist() == [r[i] for r in rows]


def test_rows_of_other_lengths_are_refused() -> None:
    whole = copy_of([(1, 0, 1.0, 1, True), (2, 0, 1.0, 1, True)])
    with pytest.raises(ValueError, match="null"):
        decode(whole[:-3] + whole[-2:], TABLE)


def test_no_statement_no_rows() -> None:
    assert len(decode(b"", TABLE)) == 0


def test_a_partition_without_position_has_stored_nothing() -> None:
    assert _by_part({2: 7, 0: 5}) == [5, -1, 7]
    assert _by_part({}) == []
