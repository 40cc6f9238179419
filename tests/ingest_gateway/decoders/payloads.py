"""Payloads that no decoder may choke on, for all families."""

import json

T0 = 1_735_689_600_000  # 2025-01-01T00:00:00Z
RECEIVED = T0 + 1_500

BAD: dict[str, bytes] = {
    "empty": b"",
    "blank": b"  \n",
    "not JSON": b"pm25=7.1",
    "half an object": b'{"t": 1735689600000, "pm25": 7',
    "trailing comma": b'{"t": 1735689600000, "pm25": 7.1,}',
    "comment": b'{"t": 1735689600000 /* now */, "pm25": 7.1}',
    "single quotes": b"{'t': 1735689600000, 'pm25': 7.1}",
    "NaN": b'{"t": 1735689600000, "pm25": NaN}',
    "Infinity": b'{"t": 1735689600000, "pm25": Infinity}',
    "-Infinity": b'{"t": 1735689600000, "pm25": -Infinity}',
    "a number over all floats": b'{"t": 1735689600000, "pm25": 1e400}',
    "a number of 500 digits": b'{"t": 1735689600000, "pm25": ' + b"9" * 500 + b"}",
    "a number of 5,000 digits": b'{"t": 1735689600000, "pm25": 0.' + b"9" * 5000 + b', "pm25": 1}',
    "not UTF-8": b'{"t": 1735689600000, "pm25": 7.1, "name": "\xff\xfe"}',
    "UTF-16": '{"t": 1735689600000, "pm25": 7.1}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"t": 1735689600000, "pm25": 7.1}',
    "a lone surrogate": b'{"t": 1735689600000, "\\ud800": 7.1}',
    "a NUL": b'{"t": 1735689600000, "pm25": 7.1}\x00',
    "deep arrays": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "deep, and no more than orjson takes": b'{"a":' * 1000 + b"1" + b"}" * 1000,
    "deep with a duplicate": b'{"a":1,"a":' * 1000 + b"1" + b"}" * 1000,
    "1 MB of spaces": b" " * 1_000_000,
    "1 MB of one text": b'"' + b"x" * 1_000_000 + b'"',
    "1 MB of quotes": b'["' + b'\\"' * 500_000 + b'"]',
    "1 MB of empty objects": b"[" + b"{}," * 333_000 + b"{}]",
    "1 MB of bytes": bytes(range(256)) * 4000,
    "a number": b"7.1",
    "a text": b'"7.1"',
    "true": b"true",
    "null": b"null",
    "empty object": b"{}",
    "empty array": b"[]",
    "an array of nothing good": b'[null, true, 1, "a", [], [[]]]',
    "duplicate keys": b'{"t": 1735689600000, "pm25": 1, "pm25": 2}',
    "duplicate keys, one escaped": b'{"t": 1735689600000, "pm25": 1, "\\u0070m25": 2}',
}
"""None of these may raise, and none gives a reading."""


def as_bytes(value: object) -> bytes:
    return json.dumps(value).encode()
