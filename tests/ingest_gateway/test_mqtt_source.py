"""The contract with paho's private methods, without a broker (tests/integration/test_gateway_mqtt.py has one)."""

import itertools
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import paho.mqtt.client as mqtt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion

from ingest_gateway.mqtt_source import BulkClient, PlainClient, bulk_is_possible

Pair = tuple[PlainClient, socket.socket]


def publish_packet(
    message_id: int, payload: bytes, *, topic: bytes = b"a", qos: int = 1, flags: int = 0, properties: bytes = b""
) -> bytes:
    """A PUBLISH; `flags` are dup (8) and retain (1), `properties` MQTT 5's with their length before them."""
    body = (
        len(topic).to_bytes(2, "big") + topic + (message_id.to_bytes(2, "big") if qos else b"") + properties + payload
    )
    length, rest = bytearray(), len(body)
    while True:
        rest, digit = divmod(rest, 128)
        length.append(digit | (0x80 if rest else 0))
        if not rest:
            return bytes([0x30 | qos << 1 | flags]) + bytes(length) + body


@contextmanager
def client_of(kind: type[PlainClient], protocol: MQTTProtocolVersion = mqtt.MQTTv311) -> Iterator[Pair]:
    """A client whose connection is one end of a socket pair, and the other end."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    clean = None if protocol == mqtt.MQTTv5 else False
    client = kind(CallbackAPIVersion.VERSION2, "x", clean, protocol=protocol, manual_ack=True)
    client.on_socket_register_write = lambda *_: None
    client._sock = ours
    try:
        yield client, theirs
    finally:
        client._sock = None
        ours.close()
        theirs.close()


@pytest.fixture(params=[PlainClient, BulkClient])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    with client_of(request.param) as pair:
        yield pair


def test_paho_has_what_the_bulk_client_stands_on() -> None:
    assert bulk_is_possible()


def test_other_signatures_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def changed(self: object, command: int, packet: bytes) -> None: ...

    monkeypatch.setattr(mqtt.Client, "_packet_queue", changed)
    assert not bulk_is_possible()
    monkeypatch.undo()
    monkeypatch.delattr(mqtt.Client, "_sock_recv")
    assert not bulk_is_possible()


def test_packets_arrive_whole_and_in_order_however_they_are_cut(pair: Pair) -> None:
    client, broker = pair
    got: list[tuple[int, bytes]] = []
    client.deliver = lambda topic, payload, message_id, retained: got.append((message_id or 0, payload))
    sent = [(i + 1, bytes([i % 256]) * (i * 7 % 400)) for i in range(300)]
    stream = b"".join(publish_packet(message_id, payload) for message_id, payload in sent)
    for at in range(0, len(stream), 1777):
        broker.sendall(stream[at : at + 1777])
        for _ in range(3000):
            before = len(got)
            assert client.read_packet() == MQTTErrorCode.MQTT_ERR_SUCCESS
            if len(got) == before and not client.has_buffered():
                break
    assert got == sent


def read_all(kind: type[PlainClient], protocol: MQTTProtocolVersion, pieces: list[bytes]) -> list[tuple[object, ...]]:
    """What is delivered of a stream that comes in these pieces, with the errors at its end."""
    got: list[tuple[object, ...]] = []
    with client_of(kind, protocol) as (client, broker):
        client.deliver = lambda *message: got.append(message)
        for piece in pieces:
            broker.sendall(piece)
            outcome = MQTTErrorCode.MQTT_ERR_SUCCESS
            for _ in range(400):  # more reads than there are packets; the rest find nothing
                outcome = client.read_packet()
                if outcome != MQTTErrorCode.MQTT_ERR_SUCCESS:
                    return [*got, (outcome,)]
    return got


LENGTHS = st.sampled_from([0, 1, 20, 100, 120, 127, 128, 130, 1000, 16_370, 16_384, 20_000, 70_000])
PACKETS = st.builds(
    publish_packet,
    st.integers(1, 65535),
    LENGTHS.map(lambda n: b"x" * n),
    topic=st.sampled_from([b"a", b"city/v1/air/s1", "ü".encode(), b"", b"t" * 200, b"\xff"]),
    qos=st.sampled_from([0, 1]),
    flags=st.sampled_from([0, 1, 8, 9]),
)
V5_PACKETS = st.builds(
    publish_packet,
    st.integers(1, 65535),
    LENGTHS.map(lambda n: b"x" * n),
    qos=st.sampled_from([0, 1]),
    properties=st.sampled_from([b"\x00", b"\x02\x01\x01", b"\x00", b"\x04\x03\x00\x01a"]),
)
OTHERS = st.sampled_from(
    [b"\xd0\x00", b"\x30\x00", b"\x32\x03\x00\x01a", b"\x30\x02\x00\x09", b"\x36\x05\x00\x01a\x00\x01"]
)


@given(data=st.data(), is_v5=st.booleans())
@settings(max_examples=150, deadline=None)
def test_the_bulk_client_delivers_what_paho_does(data: st.DataObject, is_v5: bool) -> None:
    """Whatever the packets, short, long, malformed or not for it, and wherever the stream is cut."""
    packets = data.draw(st.lists((V5_PACKETS if is_v5 else PACKETS) | OTHERS, max_size=6))
    stream = b"".join(packets)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=4)))
    cuts = sorted({*cuts, *range(0, len(stream), 50_000), len(stream)})  # more would not fit the socket pair
    pieces = [stream[a:b] for a, b in itertools.pairwise(cuts)]
    protocol = mqtt.MQTTv5 if is_v5 else mqtt.MQTTv311
    assert read_all(BulkClient, protocol, pieces) == read_all(PlainClient, protocol, pieces)


def test_the_bulk_client_reads_many_packets_at_once() -> None:
    with client_of(BulkClient) as (client, broker):
        client.deliver = lambda *_: None
        broker.sendall(b"".join(publish_packet(i + 1, b"x") for i in range(100)))
        client.read_packet()
        assert client.has_buffered()
        client.forget_buffered()
        assert not client.has_buffered()


def test_acknowledgements_are_pubacks_in_order(pair: Pair) -> None:
    client, broker = pair
    client.acknowledge_all([1, 2, 65535])
    client.loop_write()
    assert broker.recv(100) == b"\x40\x02\x00\x01" + b"\x40\x02\x00\x02" + b"\x40\x02\xff\xff"


def test_the_end_of_the_connection_is_seen(pair: Pair) -> None:
    client, broker = pair
    broker.close()
    assert client.read_packet() == MQTTErrorCode.MQTT_ERR_CONN_LOST
