"""Days as the authorities define them, in epoch milliseconds UTC.

EPA's day is midnight to midnight in local STANDARD time, always 24 hours, daylight saving or not (40 CFR part 50,
appendix N, 1.0 and appendix U, 3). Other days are those of the city's calendar, 23 to 25 hours long. Hours are whole
hours of UTC: where a zone is half an hour off, a day has the hours that start in it.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

HOUR_MS = 3_600_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Day:
    """A day of the calendar and its time, [start_ms, end_ms)."""

    date: date
    start_ms: int
    end_ms: int

    @property
    def hours(self) -> int:
        """How many hours it has: 24, or 23 and 25 where the clocks change."""
        return (self.end_ms - self.start_ms) // HOUR_MS


def standard_day(moment_ms: int, zone: ZoneInfo) -> Day:
    """The day in local standard time that a moment is in."""
    local = _at(moment_ms) + _standard_offset(moment_ms, zone)
    start = datetime(local.year, local.month, local.day, tzinfo=UTC)
    start_ms = _ms(start - _standard_offset(moment_ms, zone))
    return Day(local.date(), start_ms, start_ms + 24 * HOUR_MS)


def civil_day(moment_ms: int, zone: ZoneInfo) -> Day:
    """The day of the zone's calendar that a moment is in."""
    day = _at(moment_ms).astimezone(zone).date()
    return Day(day, _midnight_ms(day, zone), _midnight_ms(day + timedelta(days=1), zone))


def _standard_offset(moment_ms: int, zone: ZoneInfo) -> timedelta:
    local = _at(moment_ms).astimezone(zone)
    # Dublin's winter time is the one that zoneinfo calls daylight saving, by -1 h: standard is what the law calls so.
    return (local.utcoffset() or timedelta()) - (local.dst() or timedelta())


def _midnight_ms(day: date, zone: ZoneInfo) -> int:
    return _ms(datetime(day.year, day.month, day.day, tzinfo=zone))


def _at(moment_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=moment_ms)


def _ms(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)
