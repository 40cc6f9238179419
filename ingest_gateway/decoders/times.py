"""Times in payloads, to epoch milliseconds UTC."""

import re
import zoneinfo
from datetime import UTC, datetime, timedelta
from typing import Any

from ingest_gateway.decoders.rows import Context, shown
from schemas.readings import Reject

# A number under this is no millisecond after March 1973, but would be a second until the year 5138.
SECONDS_BELOW_MS = 100_000_000_000
LATEST_MS = 253_402_300_799_999  # the end of the year 9999
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d{1,9})?([Zz]|[+-]\d\d:?\d\d)?", re.ASCII)


def start_ms(given: Any, context: Context, received_ms: int, period_s: int, field: str = "t") -> int | Reject:
    """The start of a reading, by its time in the payload (None: it has none) and the source's rules.

    `field` is what the payload calls it, for the detail. Sources that stamp the end are shifted by the period.
    """
    if context.received_is_time:
        moment: int | Reject = received_ms
    elif given is None:
        moment = Reject(
            "t_missing", f'{field} is missing: each reading needs its time, such as "{field}": 1735689600000'
        )
    else:
        moment = epoch_ms(given, context.source.time_zone if context.source else "", received_ms, field)
    if context.source is None or context.source.stamp == "start" or isinstance(moment, Reject):
        return moment
    if period_s < 0:
        return Reject("period_missing", "the source stamps the end of the period, but no period_s is known to take off")
    return moment - period_s * 1000


def epoch_ms(given: Any, time_zone: str, received_ms: int, field: str = "t") -> int | Reject:
    """Epoch ms from a whole number of ms, or RFC 3339 text with offset (without one: `time_zone`'s local time)."""
    if type(given) is int:
        if SECONDS_BELOW_MS <= given <= LATEST_MS:
            return given
        if 0 <= given < SECONDS_BELOW_MS:
            return Reject("t_seconds", f"{field} is {given}, which looks like seconds; send milliseconds (times 1000)")
        return Reject("t_range", f"{field} is {given}, which is not in milliseconds since 1970, before the year 10000")
    if isinstance(given, str):
        return _from_text(given, time_zone, received_ms, field)
    if type(given) is float and given.is_integer():  # 1.7356896e12
        return epoch_ms(int(given), time_zone, received_ms, field)
    return Reject(
        "t_type", f"{field} is {shown(given)}; it is whole milliseconds since 1970, or RFC 3339 text with offset"
    )


def _from_text(text: str, time_zone: str, received_ms: int, field: str) -> int | Reject:
    match = _RFC3339.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        day, clock, fraction, offset = match.groups()
        moment = datetime.fromisoformat(f"{day}T{clock}{(fraction or '')[:7]}{(offset or '').upper()}")
        if moment.tzinfo is not None:
            return _in_range((moment - _EPOCH) // _MILLISECOND, text, field)
    except (ValueError, OverflowError):
        return Reject("t_format", f"{field} is {shown(text)}, which is not RFC 3339, such as 2026-01-31T12:00:00Z")
    if not time_zone:
        return Reject(
            "t_offset", f"{field} is {shown(text)} without an offset; add Z or one such as -08:00, or name the "
            "source's time_zone in sources.toml",
        )  # fmt: skip
    return _in_range(_local_ms(moment, time_zone, received_ms), text, field)


def _local_ms(naive: datetime, time_zone: str, received_ms: int) -> int:
    """Of the two instants that a local time may be when clocks go back, the one nearer to the receipt."""
    zone = zoneinfo.ZoneInfo(time_zone)
    both = [
        ((naive - _EPOCH.replace(tzinfo=None)) - (naive.replace(tzinfo=zone, fold=fold).utcoffset() or timedelta()))
        // _MILLISECOND
        for fold in (0, 1)
    ]
    return min(both, key=lambda ms: abs(ms - received_ms))


def _in_range(ms: int, text: str, field: str) -> int | Reject:
    if SECONDS_BELOW_MS <= ms <= LATEST_MS:
        return ms
    return Reject("t_range", f"{field} is {shown(text)}; times before 1973 and after 9999 are not taken")
