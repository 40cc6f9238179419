"""Moments as the API takes and gives them: RFC 3339 outside, epoch milliseconds UTC inside."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY_MS = 86_400_000
FIRST_MS = -62_135_596_800_000  # 0001-01-01
LAST_MS = 253_402_300_800_000  # 10000-01-01, which is excluded

_SHAPE = np.frombuffer("0000-00-00T00:00:00.000Z".encode("utf-32-le"), np.uint32)
_ZERO = ord("0")
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_PLUS_LOST = re.compile(r"(.+:\d\d(\.\d+)?) (\d\d:\d\d)")


def parse_moment(text: str) -> int:
    """Epoch ms UTC of an RFC 3339 time with offset; parts of a millisecond are rounded up, so that `from`
    stays inclusive and `to` exclusive.

    Raises `ValueError` with a sentence that says what is wrong and what would be right.
    """
    if lost := _PLUS_LOST.fullmatch(text):
        raise ValueError(
            f"{text!r} has a space where the + of the offset was: in a query, write + as %2B "
            f"({lost[1]}%2B{lost[3]}), or give the time in UTC with Z"
        )
    if not _RFC3339.fullmatch(text):
        raise ValueError(f"{text!r} is not a time with offset (RFC 3339), such as 2026-01-31T00:00:00Z")
    try:
        microseconds = (datetime.fromisoformat(text.upper()) - EPOCH) // timedelta(microseconds=1)
    except ValueError as e:
        raise ValueError(f"{text!r} is not a moment: {e}") from None
    moment_ms = -(-microseconds // 1000)
    if not FIRST_MS <= moment_ms < LAST_MS:
        raise ValueError(f"{text!r} is outside the years 1 to 9999 in UTC")
    return moment_ms


def rfc3339(moment_ms: int) -> str:
    """`2026-01-31T00:00:00.000Z` of epoch ms."""
    return f"{np.datetime64(moment_ms, 'ms')}Z"


def rfc3339_column(moments_ms: npt.NDArray[Any]) -> list[str]:
    """The same for a column (n,) of epoch ms. NumPy's own way takes twice as long, and is for what is outside of the
    years 1 to 9999.
    """
    if len(moments_ms) and not FIRST_MS <= moments_ms.min() <= moments_ms.max() < LAST_MS:
        texts: list[str] = np.datetime_as_string(moments_ms.astype("M8[ms]"), unit="ms", timezone="UTC").tolist()
        return texts
    days, of_day = np.divmod(moments_ms.astype(np.int64), DAY_MS)
    known, which = np.unique(days, return_inverse=True)
    dates = np.datetime_as_string(known.astype("M8[D]")).astype("U10")
    hours, rest = np.divmod(of_day.astype(np.int32), 3_600_000)
    minutes, rest = np.divmod(rest, 60_000)
    seconds, ms = np.divmod(rest, 1000)
    text = np.empty((len(days), len(_SHAPE)), np.uint32)
    text[:] = _SHAPE
    text[:, :10] = dates.view(np.uint32).reshape(-1, 10)[which]
    for at, numbers in ((11, hours), (14, minutes), (17, seconds), (21, ms % 100)):
        text[:, at], text[:, at + 1] = _ZERO + numbers // 10, _ZERO + numbers % 10
    text[:, 20] = _ZERO + ms // 100
    made: list[str] = text.view(f"U{len(_SHAPE)}").ravel().tolist()
    return made


def as_datetime(moment_ms: int) -> datetime:
    """Epoch ms as an aware datetime, for the database."""
    return EPOCH + timedelta(milliseconds=moment_ms)
