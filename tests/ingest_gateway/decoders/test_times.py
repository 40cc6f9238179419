"""Local times, where clocks go back and forward."""

import pytest

from ingest_gateway.decoders.times import epoch_ms

HOUR = 3_600_000
# Los Angeles, 2025-11-02: clocks go back from 02:00 PDT to 01:00 PST at 09:00 UTC.
BACK = 1_762_074_000_000


def test_local_time_by_the_sources_zone() -> None:
    assert epoch_ms("2025-01-01T00:00:00", "America/Los_Angeles", 0) == 1_735_689_600_000 + 8 * HOUR
    assert epoch_ms("2025-07-01T00:00:00", "America/Los_Angeles", 0) == 1_751_328_000_000 + 7 * HOUR


@pytest.mark.parametrize(
    ("received", "start"),
    [
        (BACK - HOUR // 2 + 1000, BACK - HOUR // 2),  # 01:30 PDT, received a second later
        (BACK + HOUR // 2 + 1000, BACK + HOUR // 2),  # 01:30 PST, an hour after that
    ],
)
def test_an_hour_that_is_there_twice_is_the_one_nearer_to_the_receipt(received: int, start: int) -> None:
    """
    UTC     08:00        08:30        09:00        09:30
    local   01:00 PDT    01:30 PDT    01:00 PST    01:30 PST
                         ^ received    |            ^ received
    """
    assert epoch_ms("2025-11-02T01:30:00", "America/Los_Angeles", received) == start


def test_an_offset_wins_over_the_zone() -> None:
    assert epoch_ms("2025-01-01T00:00:00Z", "America/Los_Angeles", 0) == 1_735_689_600_000
