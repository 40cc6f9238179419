from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from schemas.indices.days import civil_day, standard_day

LA = ZoneInfo("America/Los_Angeles")


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def text(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def test_epas_day_is_of_standard_time_also_in_summer() -> None:
    """00:30 by Los Angeles' clocks in July is 23:30 of the day before in standard time."""
    day = standard_day(ms("2024-07-10T00:30:00-07:00"), LA)
    assert (day.date, text(day.start_ms), text(day.end_ms)) == (
        date(2024, 7, 9),
        "2024-07-09 08:00",
        "2024-07-10 08:00",
    )


@pytest.mark.parametrize("moment", ["2024-03-10T12:00:00-07:00", "2024-11-03T12:00:00-08:00"])
def test_epas_day_has_24_hours_when_the_clocks_change(moment: str) -> None:
    assert standard_day(ms(moment), LA).hours == 24


@pytest.mark.parametrize(
    ("moment", "hours"),
    [("2024-03-10T12:00:00-07:00", 23), ("2024-11-03T12:00:00-08:00", 25), ("2024-05-01T00:00:00-07:00", 24)],
)  # fmt: skip
def test_the_citys_day_has_the_hours_of_its_clocks(moment: str, hours: int) -> None:
    day = civil_day(ms(moment), LA)
    assert day.hours == hours
    assert day.start_ms <= ms(moment) < day.end_ms


def test_each_moment_is_in_its_days() -> None:
    for day_of in (standard_day, civil_day):
        at = ms("2024-03-09T00:00:00+00:00")
        for _ in range(72):
            day = day_of(at, LA)
            assert day.start_ms <= at < day.end_ms
            at += 3_600_000


def test_a_zone_without_daylight_saving_has_one_kind_of_day() -> None:
    hanoi = ZoneInfo("Asia/Ho_Chi_Minh")
    moment = ms("2016-03-13T02:30:00+07:00")
    assert standard_day(moment, hanoi) == civil_day(moment, hanoi)
