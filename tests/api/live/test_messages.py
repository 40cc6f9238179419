"""Messages as types, and the frames around them."""

import json

import msgspec
import pytest

from api.live.frames import data_frame, joined, message_frame, payload_of, snapshot_frame, text_frame
from api.live.messages import DOCUMENTED, Data, Error, Pong, Row, Snapshot, encode, rfc3339


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_767_225_600_007, "2026-01-01T00:00:00.007Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (951_782_399_999, "2000-02-28T23:59:59.999Z"),
    ],
)
def test_times(ms: int, text: str) -> None:
    assert rfc3339(ms) == text


def test_rows_that_are_json_already_make_the_same_message() -> None:
    row = Row("traffic", "a", "speed", "km/h", rfc3339(0), 300, None, 9, 0, 1, "live", rfc3339(1))
    rows = [encode(row), encode(row)]
    assert data_frame(1, (1, 2), "c", 3, rows).payload == msgspec.json.encode(Data[Row](1, (1, 2), "c", 3, [row, row]))
    assert b'"value":null' in rows[0] and b"newer_failed" not in rows[0]
    replayed = msgspec.json.decode(data_frame(1, (-1, 2), "c", 0, rows, replay=True).payload, type=Data[Row])
    assert replayed == Data[Row](1, (-1, 2), "c", 0, [row, row], replay=True)
    for part in (snapshot_frame(7, 0, True, "c", rows), snapshot_frame(7, 0, True, "c", [])):
        found = msgspec.json.decode(part.payload, type=Snapshot[Row])
        assert part.payload == msgspec.json.encode(found) and found.cursor == part.cursor == "c" and found.last
    assert snapshot_frame(7, 0, False, "c", rows).cursor == ""  # who has a part has not the state


def test_a_frame_in_every_dialect() -> None:
    one, two = message_frame(Pong(1)), data_frame(1, (1, 1), "cur", 0, [b"{}"])
    assert (one.kind, one.cursor, two.kind, two.cursor) == ("pong", "", "data", "cur")
    assert joined([one, two], "ws") == text_frame(one.payload) + text_frame(two.payload)
    assert joined([two], "sse") == b"id: cur\nevent: data\ndata: " + two.payload + b"\n\n"
    assert joined([one], "sse") == b'event: pong\ndata: {"type":"pong","n":1}\n\n'
    assert json.loads(b"[" + joined([one, two], "json")[:-1] + b"]")[0] == {"type": "pong", "n": 1}


def test_what_an_error_does_not_know_it_does_not_say() -> None:
    assert encode(Error("bad_filter", "no")) == b'{"type":"error","code":"bad_filter","msg":"no"}'


def test_every_message_has_a_schema() -> None:
    _, components = msgspec.json.schema_components(DOCUMENTED, ref_template="#/$defs/{name}")
    tags = {c["properties"]["type"]["enum"][0] for c in components.values() if "type" in c.get("properties", {})}
    assert tags == {
        "hello", "subscribe", "replay", "unsubscribe", "ping", "welcome", "subscribed", "snapshot", "data", "replayed",
        "hb", "status", "error", "going_away", "pong",
    }  # fmt: skip


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 70000])
def test_frames(size: int) -> None:
    from websockets.frames import Frame, Opcode

    payload = b"x" * size
    frame = text_frame(payload)
    assert frame == Frame(Opcode.TEXT, payload).serialize(mask=False)
    assert payload_of(frame) == payload
