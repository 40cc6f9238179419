"""Where `clean` begins."""

import logging

import pytest

from schemas.wire import Record
from stream_processors.clean_start import Begin, Chain, begin
from stream_processors.log_check import Log, Reason, join


def chain(raw: int, crc: int = 5) -> Chain:
    return Chain(Record("clean", raw=raw, prev_raw=raw - 1, raw_crc=crc), True, None)


@pytest.mark.parametrize(
    ("what", "raw", "found"),
    [
        # the usual: after the last clean record
        (chain(6), Log(0, 9, crc=5, following=7), Begin(6, 7, 0)),
        (chain(join(2, 6)), Log(0, 9, crc=5, following=7), Begin(join(2, 6), 7, 2)),
        (chain(6, crc=-1), Log(0, 9, crc=1, following=7), Begin(6, 7, 0)),  # of a version that knew no CRC
        # the raw log was made anew: its positions go on in the next epoch
        (chain(6), Log(0, 4), Begin(6, 0, 1, Reason.SHORTER)),
        (chain(join(1, 6)), Log(0, 90, crc=8, following=7), Begin(join(1, 6), 0, 2, Reason.UNLIKE)),
        # or lost records before they were cleaned
        (chain(6), Log(20, 90), Begin(6, 20, 0, Reason.RETENTION)),
        # nothing there yet
        (Chain(None, False, None), Log(0, 0), Begin(-1, 0, 0)),
        (Chain(None, False, None), Log(3, 9, following=3), Begin(2, 3, 0)),
        # retention emptied readings.clean: the group knows
        (Chain(None, True, 8), Log(3, 9, following=8), Begin(7, 8, 0)),
        (Chain(None, True, 8, epoch=2), Log(3, 9, following=8), Begin(join(2, 7), 8, 2)),
        (Chain(None, False, 8, epoch=2), Log(0, 9, following=0), Begin(-1, 0, 0)),
        (Chain(None, True, None), Log(3, 9, following=3), Begin(2, 3, 0)),
        # readings.clean was made anew: everything again, for what was not stored is only in readings.raw
        (Chain(None, False, 8), Log(3, 9, following=3), Begin(2, 3, 0)),
    ],
)
def test_where_to_begin(what: Chain, raw: Log, found: Begin) -> None:
    assert begin(0, what, raw) == found


def test_what_is_wrong_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        begin(3, chain(6), Log(0, 4))
        begin(3, Chain(None, False, 8), Log(0, 9, following=0))
    first, second = (record.getMessage() for record in caplog.records)
    assert "readings.raw partition 3 [0, 4), cleaned up to 7: the log is shorter" in first
    assert "readings.clean partition 3 was made anew" in second
