"""Strict JSON."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_gateway.decoders.json_text import parse
from schemas.readings import Reject
from tests.ingest_gateway.decoders.payloads import BAD

TEXTS = st.text(max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=15,
)


@given(VALUES, st.booleans())
def test_what_json_has_is_what_it_gives(value: Any, ascii_only: bool) -> None:
    try:
        payload = json.dumps(value, ensure_ascii=ascii_only).encode()
    except UnicodeEncodeError:  # a lone surrogate is no UTF-8
        return
    parsed = parse(payload)
    if isinstance(parsed, Reject):
        assert "surrogate" in parsed.detail
    else:
        assert parsed == value


@given(st.dictionaries(TEXTS, VALUES, min_size=1, max_size=4), st.data())
def test_a_duplicate_is_found_wherever_it_is(value: dict[str, Any], data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(value)))
    members = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in value.items()]
    again = f"{json.dumps(key)}: {json.dumps(data.draw(VALUES))}"
    members.insert(data.draw(st.integers(0, len(members))), again)
    text = data.draw(st.sampled_from(["%s", "[%s]", '{"outer": [1, %s]}'])) % ("{" + ", ".join(members) + "}")
    parsed = parse(text.encode())
    assert isinstance(parsed, Reject)
    assert parsed.reason == "duplicate_key" or "surrogate" in parsed.detail


@pytest.mark.parametrize(
    ("name", "reason", "says"),
    [
        ("empty", "payload_empty", "no payload"),
        ("not JSON", "not_json", "not JSON"),
        ("NaN", "not_json", "no NaN"),
        ("Infinity", "not_json", "Infinity"),
        ("a number over all floats", "number_range", "too large"),
        ("not UTF-8", "not_utf8", "at byte"),
        ("a byte order mark", "not_json", "BOM"),
        ("deep arrays", "too_deep", "deep"),
        ("deep with a duplicate", "too_deep", "deep"),
        ("duplicate keys", "duplicate_key", "pm25"),
        ("duplicate keys, one escaped", "duplicate_key", "pm25"),
    ],
)
def test_reasons(name: str, reason: str, says: str) -> None:
    reject = parse(BAD[name])
    assert isinstance(reject, Reject)
    assert reject.reason == reason
    assert says in reject.detail
