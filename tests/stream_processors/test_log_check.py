"""What is wrong with a log, and where to read on."""

import pytest

from stream_processors.log_check import WORDS, Log, Reason, Verdict, check, join, split


@pytest.mark.parametrize(
    ("next_offset", "crc", "log", "verdict"),
    [
        # the log is as it was
        (0, None, Log(0, 0), Verdict(0)),
        (7, 11, Log(0, 9, crc=11, following=7), Verdict(7)),
        (9, 11, Log(3, 9, crc=11), Verdict(9)),
        (3, 11, Log(3, 9, following=3), Verdict(3)),  # retention ends exactly at the position: nothing to compare
        (7, None, Log(0, 9, crc=5, following=7), Verdict(7)),  # not known what was before
        # records were deleted before they were read
        (2, 11, Log(3, 9), Verdict(3, Reason.RETENTION)),
        (0, None, Log(3, 3), Verdict(3, Reason.RETENTION)),
        # a new log: shorter, longer, and one that begins later
        (7, 11, Log(0, 6), Verdict(0, Reason.SHORTER)),
        (7, 11, Log(0, 0), Verdict(0, Reason.SHORTER)),
        (7, 11, Log(2, 90, crc=12, following=7), Verdict(2, Reason.UNLIKE)),
        (7, 11, Log(2, 90, crc=None, following=7), Verdict(2, Reason.UNLIKE)),
        # a hole at the position
        (7, 11, Log(0, 90, crc=11, following=12), Verdict(12, Reason.HOLE)),
    ],
)
def test_a_position_against_a_log(next_offset: int, crc: int | None, log: Log, verdict: Verdict) -> None:
    assert check(next_offset, crc, log) == verdict
    assert verdict.is_new_log == (verdict.reason in (Reason.SHORTER, Reason.UNLIKE))


def test_every_reason_has_words() -> None:
    assert set(WORDS) == set(Reason)


@pytest.mark.parametrize(("epoch", "offset"), [(0, 0), (0, 2**44 - 1), (1, 0), (3, 17), (2**18, 2**44 - 1)])
def test_positions_only_grow(epoch: int, offset: int) -> None:
    assert split(join(epoch, offset)) == (epoch, offset)
    assert join(epoch + 1, 0) > join(epoch, offset)
    assert join(epoch, offset) < 2**63
