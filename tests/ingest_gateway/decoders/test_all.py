"""What holds for every decoder."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ingest_gateway
from ingest_gateway.decoders import DECODERS, MAX_READINGS, REASONS, Context, Decoded, decode
from schemas.city import DECODER_NAMES, Source
from tests.ingest_gateway.decoders.payloads import BAD, RECEIVED, T0, as_bytes


def context_of(family: str, *, is_source: bool = True) -> Context:
    if not is_source:
        return Context("air-quality", "s1")
    return Context("air-quality", "s1", Source("a/+", family, "air-quality", "{1}", time="received"))


def test_there_is_a_decoder_for_each_name_that_sources_may_use() -> None:
    assert tuple(DECODERS) == DECODER_NAMES


@pytest.mark.parametrize("family", DECODERS)
@pytest.mark.parametrize("name", BAD)
def test_bad_payloads_are_rejects_and_nothing_else(family: str, name: str) -> None:
    for context in (context_of(family), context_of(family, is_source=False)):
        rows, rejects = DECODERS[family](BAD[name], context, RECEIVED)
        assert rows == []
        assert rejects
        for reject in rejects:
            assert reject.reason in REASONS
            assert len(reject.detail) < 500


KEYS = [
    *["t", "pm25", "metric", "value", "unit", "units", "rev", "lon", "lat", "origin", "period_s"],
    *["n", "v", "bn", "bt", "bv", "bver", "u", "vs"],
    *["Time", "BME280", "Temperature", "TempUnit", "last_seen", "temperature"],
    *["sensordatavalues", "value_type", "timestamp"],
]
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(KEYS) | st.text(max_size=8),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


def check(outcome: Decoded) -> None:
    rows, rejects = outcome
    for row in rows:
        assert row.value - row.value == 0, "finite"
        assert -(2**62) < row.start < 2**62
        assert re.fullmatch("[a-z][a-z0-9-]{0,31}", row.metric)
        assert isinstance(row.unit, str)
        assert -1 <= row.period_s < 2**31
        assert 1 <= row.rev <= 2**30
    assert {reject.reason for reject in rejects} <= REASONS.keys()


@pytest.mark.parametrize("family", DECODERS)
@given(payload=st.binary(max_size=300) | JSON_VALUES.map(as_bytes), is_source=st.booleans())
@settings(max_examples=300, deadline=None)
def test_no_bytes_whatsoever_raise(family: str, payload: bytes, is_source: bool) -> None:
    check(DECODERS[family](payload, context_of(family, is_source=is_source), RECEIVED))


def test_too_many_readings_in_one_message() -> None:
    one = {"t": T0, "pm25": 1.5}
    context = Context("air-quality", "s1")
    rows, _ = decode(DECODERS["cityfeed"], as_bytes([one] * MAX_READINGS), context, RECEIVED)
    assert len(rows) == MAX_READINGS
    rows, (reject,) = decode(DECODERS["cityfeed"], as_bytes([one] * (MAX_READINGS + 1)), context, RECEIVED)
    assert rows == []
    assert reject.reason == "too_many_readings"


def test_a_mistake_of_ours_is_a_reject_and_stops_nothing() -> None:
    def broken(payload: bytes, context: Context, received_ms: int) -> Decoded:
        raise KeyError("oops")

    rows, (reject,) = decode(broken, b"{}", Context("air-quality", "s1"), RECEIVED)
    assert (rows, reject.reason) == ([], "decoder_error")


def test_every_reason_in_the_code_is_listed_and_every_listed_one_is_used() -> None:
    folder = Path(ingest_gateway.__file__).parent
    text = "\n".join(path.read_text() for path in folder.rglob("*.py") if path.name != "__init__.py")
    used = set(re.findall(r'(?:Reject|_refused)\(\s*"([a-z0-9_]+)"', text))
    assert used | {"decoder_error", "too_many_readings"} == REASONS.keys()
