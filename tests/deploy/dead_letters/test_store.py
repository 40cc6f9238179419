"""Which letters are meant."""

import pytest

from deploy.cli.dead_letters import for_terminal
from deploy.dead_letters.store import Stored, Wanted
from schemas.dead_letters import DeadLetter

MESSAGE = DeadLetter("mqtt", "cityfeed/v1/traffic/loop-1", 1000, "not_json", "x", b"{")
FOREIGN = DeadLetter("mqtt", "tele/kitchen/SENSOR", 1000, "not_json", "x", b"{")
READING = DeadLetter(
    "kafka", "readings.raw", 1000, "clock_future", "x", b'{"dataset": "air-quality", "sensor": "s"}', row=3
)
RECORD = DeadLetter("kafka", "readings.raw", 1000, "not_a_record", "x", b"\xff", 2, 7)


@pytest.mark.parametrize(
    ("letter", "place"),
    [(MESSAGE, ("traffic", "loop-1")), (FOREIGN, ("", "")), (READING, ("air-quality", "s")), (RECORD, ("", ""))],
)  # fmt: skip
def test_a_letter_tells_whose_it_is(letter: DeadLetter, place: tuple[str, str]) -> None:
    assert Stored(1, 1000, letter).place == place


def test_a_payload_that_is_no_reading_is_none() -> None:
    assert Stored(1, 1, DeadLetter("kafka", "readings.raw", 1, "x", "x", b"[1]", row=0)).row is None
    assert Stored(1, 1, DeadLetter("kafka", "readings.raw", 1, "x", "x", b"\xff", row=0)).row is None


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        (Wanted(), [1, 2, 3]),
        (Wanted(replayed=True), [1, 2, 3, 4]),
        (Wanted(ids=(4,)), [4]),  # who names it means it, replayed or not
        (Wanted(reason="not_json"), [1, 2]),
        (Wanted(dataset="traffic"), [1]),
        (Wanted(dataset="air-quality", sensor="s"), [3]),
        (Wanted(sensor="loop"), []),
    ],
)  # fmt: skip
def test_fields_are_and_and_those_replayed_are_left_out(wanted: Wanted, ids: list[int]) -> None:
    letters = [Stored(i, 1000, letter, i == 4) for i, letter in enumerate((MESSAGE, FOREIGN, READING, RECORD), 1)]
    assert [stored.id for stored in letters if stored in wanted] == ids


@pytest.mark.parametrize(
    ("came", "shown"),
    [
        ("Straße/%2e", "Straße/%2e"),
        ("air/\x1b[2Jx", "air/\\x1b[2Jx"),
        ("air/\u202eabc\n", "air/\\u202eabc\\n"),
        ("x" * 161, "x" * 157 + "..."),
    ],
)
def test_what_came_from_outside_does_not_steer_the_terminal(came: str, shown: str) -> None:
    assert for_terminal(came) == shown
