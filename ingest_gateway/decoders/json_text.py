"""JSON text, strictly: orjson's speed, and no duplicate keys.

orjson keeps the last of two equal keys without a word. Each key and each text in a document has two quotes, so
a document has more quotes than its parsed value accounts for exactly when a key was dropped or a text has an
escaped quote: only then the slow reader looks.
"""

import json
from typing import Any

import orjson

from schemas.readings import Reject


def parse(payload: bytes) -> Any:
    """The JSON value of a payload, or the `Reject` that says why it has none."""
    try:
        value = orjson.loads(payload)
    except orjson.JSONDecodeError as e:
        return _why(payload, str(e))
    quotes = payload.count(b'"')
    if (type(value) is dict and quotes == 2 * len(value)) or quotes == _quotes(value):
        return value
    return _duplicate(payload) or value


def _quotes(value: Any) -> int:
    """The quotes that a document of this value needs; without recursion, for it may be 1,000 deep."""
    count = 0
    todo = [value]
    while todo:
        item = todo.pop()
        kind = type(item)
        if kind is str:
            count += 2
        elif kind is dict:
            count += 2 * len(item)
            todo += item.values()
        elif kind is list:
            todo += item
    return count


class _Duplicate(Exception):
    pass


def _pairs(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise _Duplicate(key)
        seen.add(key)


def _duplicate(payload: bytes) -> Reject | None:
    try:
        json.loads(payload, object_pairs_hook=_pairs)
    except _Duplicate as e:
        return Reject(
            "duplicate_key", f"the key {str(e)[:64]!r} is there twice in one object; which one counts is unclear"
        )
    except RecursionError:
        return Reject("too_deep", "the JSON is nested too deeply")
    except ValueError as e:  # such as a number of 5,000 digits; orjson took it, so this is a difference in taste
        return Reject("not_json", f"not JSON: {str(e)[:120]}")
    return None


def _why(payload: bytes, message: str) -> Reject:
    if not payload:
        return Reject("payload_empty", "the message has no payload")
    try:
        payload.decode()
    except UnicodeDecodeError as e:
        return Reject("not_utf8", f"the payload is not UTF-8 text: {e.reason} at byte {e.start}")
    if "depth limit" in message:
        return Reject("too_deep", "the JSON is nested too deeply")
    if "infinity" in message:
        return Reject("number_range", "a number is too large for a 64-bit float")
    detail = f"not JSON: {message[:120]}"
    if any(token in payload for token in (b"NaN", b"nan", b"Infinity", b"inf")):
        detail += "; JSON has no NaN or Infinity: leave the metric out, or send null"
    return Reject("not_json", detail)
