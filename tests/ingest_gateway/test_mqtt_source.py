"""The contract with paho's private methods, without a broker (tests/integration/test_gateway_mqtt.py has one)."""

import socket
from collections.abc import Iterator

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from ingest_gateway.mqtt_source import BulkClient, PlainClient, bulk_is_possible

Pair = tuple[PlainClient, socket.socket]


def publish_packet(message_id: int, payload: bytes) -> bytes:
    """An MQTT 3.1.1 PUBLISH of QoS 1 to the topic `a`."""
    body = b"\x00\x01a" + message_id.to_bytes(2, "big") + payload
    length, rest = bytearray(), len(body)
    while True:
        rest, digit = divmod(rest, 128)
        length.append(digit | (0x80 if rest else 0))
        if not rest:
            return b"\x32" + bytes(length) + body


def client_of(kind: type[PlainClient]) -> Iterator[Pair]:
    """A client whose connection is one end of a socket pair, and the other end."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    client = kind(CallbackAPIVersion.VERSION2, client_id="x", clean_session=False, manual_ack=True)
    client.on_socket_register_write = lambda *_: None
    client._sock = ours
    yield client, theirs
    client._sock = None
    ours.close()
    theirs.close()


@pytest.fixture(params=[PlainClient, BulkClient])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    yield from client_of(request.param)


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
    client.on_message = lambda client, userdata, message: got.append((message.mid, bytes(message.payload)))
    sent = [(i + 1, bytes([i % 256]) * (i * 7 % 400)) for i in range(300)]
    stream = b"".join(publish_packet(message_id, payload) for message_id, payload in sent)
    for at in range(0, len(stream), 1777):
        broker.sendall(stream[at : at + 1777])
        for _ in range(3000):
            before = len(got)
            assert client.loop_read() == MQTTErrorCode.MQTT_ERR_SUCCESS
            if len(got) == before and not client.has_buffered():
                break
    assert got == sent


def test_the_bulk_client_reads_many_packets_at_once() -> None:
    for client, broker in client_of(BulkClient):
        client.on_message = lambda *_: None
        broker.sendall(b"".join(publish_packet(i + 1, b"x") for i in range(100)))
        client.loop_read()
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
    assert client.loop_read() == MQTTErrorCode.MQTT_ERR_CONN_LOST
