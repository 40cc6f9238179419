"""Moments in and out."""

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.times import EPOCH, as_datetime, parse_moment, rfc3339, rfc3339_column


@pytest.mark.parametrize(
    ("text", "moment_ms"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t00:00:00z", 0),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T16:00:00-08:00", 0),
        ("1970-01-01T00:00:00.001Z", 1),
        ("1970-01-01T00:00:00.0001Z", 1),  # rounded up: nothing of this millisecond is in yet
        ("1969-12-31T23:59:59.9995Z", 0),
        ("2026-11-16T08:05:00.000Z", 1_794_816_300_000),
        ("0001-01-01T00:00:00Z", -62_135_596_800_000),
        ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
    ],
)
def test_moments_are_read(text: str, moment_ms: int) -> None:
    assert parse_moment(text) == moment_ms


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("2026-01-31", "RFC 3339"),
        ("2026-01-31T00:00:00", "with offset"),
        ("1794816300", "RFC 3339"),
        ("1794816300000", "RFC 3339"),
        ("", "RFC 3339"),
        ("now", "RFC 3339"),
        ("2026-01-31T00:00:00 01:00", "%2B"),
        ("2026-01-31T00:00:00.5 01:00", "2026-01-31T00:00:00.5%2B01:00"),
        ("2026-02-30T00:00:00Z", "not a moment"),
        ("2026-01-31T24:00:01Z", "not a moment"),
        ("2026-01-31T00:00:00+25:00", "not a moment"),
        ("9999-12-31T23:59:59-14:00", "years"),
        ("0001-01-01T00:00:00+14:00", "years"),
        ("\uff12\uff10\uff12\uff16-01-31T00:00:00Z", "RFC 3339"),
        ("2026-01-31T00:00:00Z\n", "RFC 3339"),
    ],
)
def test_what_is_no_moment_says_why(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says.replace("%", "%").replace(".", r"\.")):
        parse_moment(text)


OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=OFFSETS))  # noqa: DTZ001
def test_a_moment_is_the_same_at_any_offset(moment: datetime) -> None:
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    moment_ms = parse_moment(moment.isoformat(timespec="milliseconds"))
    assert as_datetime(moment_ms) == moment
    assert moment_ms == (moment - EPOCH) // timedelta(milliseconds=1)
    assert parse_moment(rfc3339(moment_ms)) == moment_ms
    assert rfc3339_column(np.array([moment_ms])) == [rfc3339(moment_ms)]
    utc = moment.astimezone(UTC)
    assert rfc3339(moment_ms) == f"{utc.isoformat(timespec='milliseconds').removesuffix('+00:00')}Z"


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused_with_a_sentence(text: str) -> None:
    try:
        parse_moment(text)
    except ValueError as e:
        assert str(e)


def test_a_column_of_none() -> None:
    assert rfc3339_column(np.array([], np.int64)) == []
