"""The wire format against its test vectors, against damage, and against a reader made from its description alone."""

import json
import re
import struct
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from schemas import topics, wire
from schemas.errors import WireError
from schemas.readings import COLUMNS, EMPTY, OPTIONAL_COLUMNS, Readings, readings
from schemas.wire import Record

ALL_COLUMNS = COLUMNS | OPTIONAL_COLUMNS
VECTORS = json.loads((Path(__file__).parent / "wire_vectors.json").read_text("utf-8"))
RECORDS = {v["name"]: v for v in VECTORS["records"]}
EXACT = {name: v for name, v in RECORDS.items() if not v.get("decode_only")}
REFUSED = {v["name"]: v["hex"] for v in VECTORS["refused"]}
WITH_PLACES = next(v["hex"] for name, v in RECORDS.items() if "mobile" in name)


def numbers(name: str, said: list[Any]) -> list[Any]:
    """A vector's column: the numbers that JSON has not are texts there."""
    return [float(x) for x in said] if ALL_COLUMNS[name].kind == "f" else said


def record_of(said: dict[str, Any]) -> Record:
    """The record that a vector states."""
    columns = {name: np.array(numbers(name, values), ALL_COLUMNS[name]) for name, values in said["columns"].items()}
    batch = (
        Readings(tuple(map(tuple, said["sensors"])), tuple(map(tuple, said["metrics"])), **columns)
        if said["n"] else EMPTY
    )  # fmt: skip
    chain = {key: said[key] for key in ("raw", "prev_raw", "rules", "raw_crc", "gap") if key in said}
    return Record(said["kind"], batch, said["tick"], **chain)


def assert_same(a: Record, b: Record) -> None:
    """Equal, where NaN equals NaN."""
    assert (a.kind, a.tick, a.raw, a.prev_raw, a.rules) == (b.kind, b.tick, b.raw, b.prev_raw, b.rules)
    assert (a.raw_crc, a.gap) == (b.raw_crc, b.gap)
    assert len(a.readings) == len(b.readings)
    if not len(a.readings):
        return
    assert (a.readings.sensors, a.readings.metrics) == (b.readings.sensors, b.readings.metrics)
    for name, dtype in ALL_COLUMNS.items():
        mine, other = getattr(a.readings, name), getattr(b.readings, name)
        assert (mine is None) == (other is None), name
        if mine is not None:
            assert mine.dtype == other.dtype == dtype, name
            np.testing.assert_array_equal(mine, other, err_msg=name)


@pytest.mark.parametrize("name", RECORDS)
def test_vector_decodes_to_what_it_states(name: str) -> None:
    vector = RECORDS[name]
    assert_same(wire.decode(bytes.fromhex(vector["hex"])), record_of(vector["record"]))


@pytest.mark.parametrize("name", EXACT)
def test_vector_is_encoded_to_exactly_these_bytes(name: str) -> None:
    assert wire.encode(record_of(EXACT[name]["record"])).hex() == EXACT[name]["hex"]


@pytest.mark.parametrize("name", REFUSED)
def test_what_must_be_refused_is(name: str) -> None:
    with pytest.raises(WireError):
        wire.decode(bytes.fromhex(REFUSED[name]))


# --- a reader as somebody would write it elsewhere, from docs/wire-format.md and the MessagePack specification ---


def plain_messagepack(data: bytes, at: int = 0) -> tuple[Any, int]:
    """(value, position after it): the part of MessagePack that the format uses."""
    kind = data[at]
    at += 1
    sizes = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4, 0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}
    if kind < 0x80:
        return kind, at
    if kind >= 0xE0:
        return kind - 256, at
    fixed = {0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q", 0xD0: ">b", 0xD1: ">h",
             0xD2: ">i", 0xD3: ">q"}  # fmt: skip
    if kind in fixed:
        return struct.unpack_from(fixed[kind], data, at)[0], at + struct.calcsize(fixed[kind])
    if kind in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[kind], at
    if kind in sizes:
        n, at = int.from_bytes(data[at : at + sizes[kind]], "big"), at + sizes[kind]
    else:
        n = kind & (0x1F if 0xA0 <= kind < 0xC0 else 0x0F)
    if 0xC4 <= kind <= 0xC6:
        return data[at : at + n], at + n
    if 0xA0 <= kind < 0xC0 or 0xD9 <= kind <= 0xDB:
        return data[at : at + n].decode(), at + n
    items = []
    is_map = 0x80 <= kind < 0x90 or kind >= 0xDE
    for _ in range(2 * n if is_map else n):
        item, at = plain_messagepack(data, at)
        items.append(item)
    return (dict(zip(items[::2], items[1::2], strict=True)) if is_map else items), at


PLAIN_COLUMNS = {"sensor": "I", "metric": "H", "start": "q", "period_s": "i", "value": "d", "rev": "i", "origin": "B",
                 "received": "q", "flag": "B", "tests": "I", "lon": "d", "lat": "d", "source_rev": "i"}  # fmt: skip


def plain_read(data: bytes) -> dict[str, Any]:
    message, end = plain_messagepack(data)
    assert end == len(data) and message["v"] == 1
    n = message["n"]
    columns = {
        name: list(struct.unpack(f"<{n}{letter}", packed))
        if isinstance(packed, bytes)
        else [float(packed) if letter == "d" else packed] * n
        for name, letter in PLAIN_COLUMNS.items()
        if (packed := message["c"].get(name)) is not None
    }
    chain = {key: message[key] for key in ("raw", "prev_raw", "rules") if message["kind"] == "clean"}
    return {"kind": message["kind"], "tick": message["tick"], **chain, "n": n, "sensors": message["sensors"],
            "metrics": message["metrics"], "columns": columns}  # fmt: skip


@pytest.mark.parametrize("name", RECORDS)
def test_a_plain_reader_agrees_with_the_vectors(name: str) -> None:
    stated = RECORDS[name]["record"]
    columns = {key: numbers(key, values) for key, values in stated["columns"].items()}
    assert repr(plain_read(bytes.fromhex(RECORDS[name]["hex"]))) == repr(stated | {"columns": columns})


def test_the_vectors_hold_every_column_both_ways() -> None:
    """As bytes and as one number; lon and lat too, or a mistake there would pass."""
    packed = [plain_messagepack(bytes.fromhex(v["hex"]))[0]["c"] for v in EXACT.values()]
    for name in COLUMNS:
        assert {type(c[name]) for c in packed if name in c} >= {bytes}, name
        assert {type(c[name]) for c in packed if name in c} & {int, float}, name
    assert {type(c["lon"]) for c in packed if "lon" in c} == {bytes}


# --- damage ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXACT)
def test_a_record_cut_off_at_any_byte_is_refused(name: str) -> None:
    whole = bytes.fromhex(EXACT[name]["hex"])
    for length in range(len(whole)):
        with pytest.raises(WireError):
            wire.decode(whole[:length])


@given(st.binary(max_size=200))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        wire.decode(data)


@given(st.data())
def test_a_damaged_record_is_read_or_refused_and_nothing_else(data: st.DataObject) -> None:
    whole = bytearray.fromhex(data.draw(st.sampled_from([v["hex"] for v in EXACT.values()])))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        record = wire.decode(bytes(whole))
    except WireError:
        return
    assert_same(wire.decode(wire.encode(record)), record)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=9) | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


@given(st.data())
def test_anything_in_a_fields_place_is_read_or_refused_and_nothing_else(data: st.DataObject) -> None:
    message = msgspec.msgpack.decode(bytes.fromhex(WITH_PLACES))
    inside = message["c"] if data.draw(st.booleans()) else message
    inside[data.draw(st.sampled_from(sorted(inside)))] = data.draw(ANYTHING)
    try:
        record = wire.decode(msgspec.msgpack.encode(message))
    except WireError:
        return
    assert_same(wire.decode(wire.encode(record)), record)


@pytest.mark.parametrize(
    "data",
    [
        b"\x81\xa1x" + b"\x91" * 100_000 + b"\xc0",  # nested too deeply for the stack
        b"\xdd\xff\xff\xff\xff",  # says that it has four thousand million elements
        b"\xdf\xff\xff\xff\xff",
        b"\x81\xa1v\xc6\xff\xff\xff\xff",
        b"\x81\xa4kind\xa1\xff",  # not UTF-8
        b"\x81\x81\x01\x02\x03",  # a map for a key
    ],
)
def test_a_hostile_record_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        wire.decode(data)


@pytest.mark.parametrize(("n", "allowed"), [(wire.MAX_READINGS, True), (wire.MAX_READINGS + 1, False)])
def test_a_few_bytes_can_not_make_any_number_of_readings(n: int, allowed: bool) -> None:
    """Every column is one number, so that `n` is all that says how many there are."""
    message = msgspec.msgpack.decode(bytes.fromhex(VECTORS["records"][0]["hex"])) | {"n": n}
    if allowed:
        assert len(wire.decode(msgspec.msgpack.encode(message)).readings) == n
    else:
        with pytest.raises(WireError, match=f"a record of {n} readings; at most {wire.MAX_READINGS}"):
            wire.decode(msgspec.msgpack.encode(message))


@pytest.mark.parametrize("key", ["tick", "raw", "prev_raw"])
def test_an_integer_beyond_64_bits_with_sign_is_refused(key: str) -> None:
    message = msgspec.msgpack.decode(wire.encode(Record("clean", EMPTY, 5, 7, 6, "qc-1")))
    assert getattr(wire.decode(msgspec.msgpack.encode(message | {key: 2**63 - 1})), key) == 2**63 - 1
    with pytest.raises(WireError):
        wire.decode(msgspec.msgpack.encode(message | {key: 2**63}))


def test_the_refusal_of_a_newer_version_says_so() -> None:
    with pytest.raises(WireError, match="record of version 2; this program reads version 1"):
        wire.decode(bytes.fromhex(REFUSED["version 2"]))


# --- round trip ------------------------------------------------------------------------------------------------

NAMES = st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), min_size=1, max_size=4)


@st.composite
def records(draw: st.DrawFn) -> Record:
    """Any record: columns that are all one value, or all that their type allows."""
    sensors, metrics = draw(NAMES), draw(NAMES)
    n = draw(st.integers(1, 8))
    columns: dict[str, Any] = {}
    for name, dtype in ALL_COLUMNS.items():
        most = {"sensor": len(sensors) - 1, "metric": len(metrics) - 1}.get(name)
        elements = hnp.from_dtype(dtype) if most is None else st.integers(0, most)
        columns[name] = draw(hnp.arrays(dtype, n, elements=elements, fill=elements))
    if draw(st.booleans()):
        del columns["lon"], columns["lat"]
    if draw(st.booleans()):
        del columns["source_rev"]
    batch = Readings(tuple(sensors), tuple(metrics), **columns)
    tick = draw(st.integers(0, 2**63 - 1))
    if draw(st.booleans()):
        return Record("raw", batch, tick)
    offsets = st.integers(-1, 2**63 - 1)
    rules, gap = draw(st.text(max_size=9)), draw(st.text(max_size=9))
    return Record("clean", batch, tick, draw(offsets), draw(offsets), rules, draw(st.integers(-1, 2**32 - 1)), gap)


@given(records())
def test_what_was_encoded_is_decoded_to_the_same(record: Record) -> None:
    data = wire.encode(record)
    assert_same(wire.decode(data), record)
    assert wire.encode(wire.decode(data)) == data


def test_a_record_without_readings_keeps_its_chain() -> None:
    record = Record("clean", EMPTY, 5, 7, 6, "qc-1")
    assert wire.decode(wire.encode(record)) == record


@pytest.mark.parametrize("column", ["start", "value"])
def test_a_column_of_one_value_costs_a_few_bytes(column: str) -> None:
    def size(n: int, values: Any) -> int:
        columns: dict[str, Any] = {"sensor": 0, "value": np.zeros(n), "start": 0, "received": 0}
        return len(wire.encode(Record("raw", readings([("d", "s")], [("m", "")], **(columns | {column: values})))))

    assert size(10_000, np.zeros(10_000)) - size(1, 0.0 if column == "start" else [0.0]) < 10
    assert size(10_000, np.arange(10_000)) - size(10_000, np.zeros(10_000)) > 79_000


def test_the_largest_record_of_the_gateway_fits_into_its_topic() -> None:
    """20,000 readings, all different, each of another sensor with the longest name, with places."""
    n = 20_000
    rows = np.arange(n)
    sensors = [(f"{i:063}", f"{i:064}") for i in range(n)]
    batch = Readings(tuple(sensors), (("pm25", "ug/m3"), ("pm10", "")), **{
        name: (rows % 2 if name == "metric" else rows).astype(dtype) for name, dtype in ALL_COLUMNS.items()
    })  # fmt: skip
    size = len(wire.encode(Record("clean", batch, 2**62, 2**62, 2**62, "qc-1")))
    overhead = 1024  # of Kafka's record batch
    assert size + overhead < int(topics.topic_config(topics.TOPICS[topics.RAW], 1)["max.message.bytes"])


# --- docs/wire-format.md -----------------------------------------------------------------------------------------

DOCS = (Path(__file__).parents[2] / "docs" / "wire-format.md").read_text("utf-8")


def test_the_docs_list_the_columns_as_they_are() -> None:
    kinds = {"u": "unsigned integer", "i": "signed integer", "f": "float (IEEE 754)"}
    section = DOCS.partition("## The columns\n")[2].partition("\n## ")[0]
    told = re.findall(r"^\| `(\w+)` \| ([^|]+) \| (\d) \|", section, re.MULTILINE)
    assert told == [(name, kinds[dtype.kind], str(dtype.itemsize)) for name, dtype in ALL_COLUMNS.items()]
    assert all(dtype.str[0] in "<|" for dtype in ALL_COLUMNS.values()), "little-endian"


def test_the_docs_list_the_keys_as_they_are() -> None:
    section = DOCS.partition("## The map\n")[2].partition("## The columns")[0]
    one = readings([("d", "s")], [("m", "")], sensor=0, value=[1], start=0, received=0)
    record = Record("clean", one, raw_crc=1, gap="hole")
    told = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert told == list(msgspec.msgpack.decode(wire.encode(record)))
    assert f"0 to {wire.MAX_READINGS:,}" in section


def test_the_example_of_the_docs_is_the_first_vector() -> None:
    block = DOCS.partition("```\n")[2].partition("```")[0]
    spelled = "".join("".join(re.findall(r"\b[0-9a-f]{2,}\b", line.partition('"')[0].partition("map")[0]))
                      for line in block.splitlines())  # fmt: skip
    assert spelled == VECTORS["records"][0]["hex"]
