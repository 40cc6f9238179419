"""Snapshots in pieces."""

import pytest

from stream_processors.clean_memory import PIECE_BYTES, Kept, cut, following, gather

SMALL = Kept(5, 7, "a", b"abc")
LARGE = Kept(9, 11, "b", bytes(range(256)) * (PIECE_BYTES // 100))


@pytest.mark.parametrize("kept", [SMALL, LARGE, Kept(1, 1, "a", b"")])
def test_a_snapshot_comes_back_whole(kept: Kept) -> None:
    records = cut(kept)
    assert all(len(value) < 1024 * 1024 for _, value in records)
    assert gather(records) == kept


def test_the_newest_whole_one_is_taken() -> None:
    assert gather([*cut(SMALL), *cut(LARGE)]) == LARGE
    assert gather([*cut(LARGE), *cut(SMALL)]) == LARGE


def test_one_that_a_crash_cut_off_is_passed_over() -> None:
    assert len(cut(LARGE)) > 2
    assert gather([*cut(SMALL), *cut(LARGE)[:-1]]) == SMALL
    older = Kept(3, 3, "b", LARGE.data)  # its last pieces stay under the name, until they are written again
    assert gather([*cut(older), *cut(SMALL), *cut(LARGE)[:-1]]) == SMALL


def test_an_older_and_longer_one_under_the_same_name_leaves_nothing_behind() -> None:
    newer = Kept(12, 12, "b", b"short")
    assert gather([*cut(LARGE), *cut(newer)]) == newer


def test_what_is_no_piece_is_passed_over() -> None:
    assert gather([(None, None), (b"c/0", b"\x80"), (b"a/0", b"x"), *cut(SMALL)]) == SMALL
    assert gather([]) is None


def test_names_take_turns() -> None:
    first = following(None, 1, 2, b"x")
    second = following(first, 3, 4, b"y")
    assert (first, second.name, following(second, 5, 6, b"z").name) == (Kept(1, 2, "a", b"x"), "b", "a")
