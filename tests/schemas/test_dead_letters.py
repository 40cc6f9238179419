import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import dead_letters
from schemas.dead_letters import MAX_PAYLOAD_BYTES, DeadLetter
from schemas.errors import WireError
from schemas.topics import DEAD_LETTERS, TOPICS, topic_config

LETTER = DeadLetter("mqtt", "cityfeed/v1/traffic/a", 1_769_860_800_000, "not_json", "line 1: x", b"\xff\x00{")
PLACED = msgspec.structs.replace(LETTER, source="kafka", partition=3, offset=2**40, row=17)


@pytest.mark.parametrize("letter", [LETTER, PLACED])
def test_round_trip(letter: DeadLetter) -> None:
    assert dead_letters.decode(dead_letters.encode(letter)) == letter


def test_a_letter_is_a_map_that_anybody_can_read() -> None:
    assert msgspec.msgpack.decode(dead_letters.encode(LETTER)) == {
        "source": "mqtt", "topic": "cityfeed/v1/traffic/a", "received": 1_769_860_800_000, "reason": "not_json",
        "detail": "line 1: x", "payload": b"\xff\x00{",
    }  # fmt: skip


@given(st.builds(DeadLetter, st.text(), st.text(), st.integers(-(2**63), 2**63), st.text(), st.text(), st.binary(),
                 st.integers(-1, 2**31), st.integers(-1, 2**63), st.integers(-1, 2**31), st.booleans()))  # fmt: skip
def test_round_trip_of_any(letter: DeadLetter) -> None:
    assert dead_letters.decode(dead_letters.encode(letter)) == letter


@pytest.mark.parametrize(("over", "cut"), [(0, False), (1, True), (1_000_000, True)])
def test_a_payload_that_is_too_large_is_cut_and_marked(over: int, cut: bool) -> None:
    payload = b"ab" * ((MAX_PAYLOAD_BYTES + over) // 2) + b"c" * (over % 2)
    kept = dead_letters.decode(dead_letters.encode(msgspec.structs.replace(LETTER, payload=payload)))
    assert kept.truncated is cut
    assert kept.payload == payload[:MAX_PAYLOAD_BYTES]


def test_the_largest_letter_fits_into_its_topic() -> None:
    letter = msgspec.structs.replace(LETTER, payload=bytes(MAX_PAYLOAD_BYTES), topic="t" * 65_535, detail="d" * 10_000)
    config = topic_config(TOPICS[DEAD_LETTERS], retention_h=1)
    assert len(dead_letters.encode(letter)) + 1024 < int(config["max.message.bytes"])


WHOLE = dead_letters.encode(PLACED)


@pytest.mark.parametrize("length", range(len(WHOLE)))
def test_a_letter_cut_off_at_any_byte_is_refused(length: int) -> None:
    with pytest.raises(WireError):
        dead_letters.decode(WHOLE[:length])


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255))
def test_a_damaged_letter_is_read_or_refused_and_nothing_else(at: int, byte: int) -> None:
    with contextlib.suppress(WireError):
        assert isinstance(dead_letters.decode(WHOLE[:at] + bytes([byte]) + WHOLE[at + 1 :]), DeadLetter)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc0",
        b"\x80",
        b"\x81\xa6source\xa1\xff",  # not UTF-8
        b"\x81\xa1x" + b"\x91" * 100_000 + b"\xc0",  # nested too deeply for the stack
        WHOLE + b"\xc0",
    ],
)
def test_what_is_no_letter_is_refused(data: bytes) -> None:
    with pytest.raises(WireError, match="not a dead letter"):
        dead_letters.decode(data)


def test_the_refusal_of_a_newer_version_says_so() -> None:
    with pytest.raises(WireError, match="dead letter of version 2; this program reads version 1"):
        dead_letters.decode(dead_letters.encode(msgspec.structs.replace(LETTER, v=2)))
