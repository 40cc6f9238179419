"""Answers are given again in the same snapshot, for a moment, and few are kept."""

from api.sensorthings.kept import KEPT_MS, MAX_ANSWERS, MAX_BYTES, Kept

NOW_MS = 1_795_392_000_000


def test_an_answer_is_given_again_while_the_snapshot_and_the_moment_last() -> None:
    kept = Kept[str]()
    kept.put(("a",), "10:10:", NOW_MS, "answer", 6)
    assert kept.find(("a",), "10:10:", NOW_MS + KEPT_MS - 1) == "answer"
    assert kept.find(("a",), "10:10:", NOW_MS + KEPT_MS) is None
    assert kept.find(("a",), "10:10:", NOW_MS - 1) is None  # the clock was set back
    assert kept.find(("a",), "10:11:", NOW_MS) is None
    assert kept.find(("b",), "10:10:", NOW_MS) is None


def test_a_new_answer_takes_the_place_of_the_old_one() -> None:
    kept = Kept[str]()
    kept.put(("a",), "1", NOW_MS, "old", 3)
    kept.put(("a",), "2", NOW_MS, "new", 3)
    assert kept.find(("a",), "2", NOW_MS) == "new"
    kept.put(("a",), "2", NOW_MS, "huge", MAX_BYTES + 1)
    assert kept.find(("a",), "2", NOW_MS) is None


def test_the_oldest_goes() -> None:
    kept = Kept[int]()
    for i in range(MAX_ANSWERS + 1):
        kept.put((i,), "1", NOW_MS, i, 1)
    assert [kept.find((i,), "1", NOW_MS) for i in (0, 1, MAX_ANSWERS)] == [None, 1, MAX_ANSWERS]
