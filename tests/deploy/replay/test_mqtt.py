"""Packets and acknowledgements, byte for byte (MQTT 3.1.1)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.replay.mqtt import MqttRefused, Session, connect_packet

ACCEPTED = b"\x20\x02\x00\x00"


def puback(*ids: int) -> bytes:
    return b"".join(b"\x40\x02" + i.to_bytes(2, "big") for i in ids)


def test_connect_is_that_of_the_standard() -> None:
    assert connect_packet("ab") == b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02ab"
    assert connect_packet("c", "u", "pw", 10) == b"\x10\x14\x00\x04MQTT\x04\xc2\x00\x0a\x00\x01c\x00\x01u\x00\x02pw"


def test_a_publish_packet_with_qos_1_and_retained() -> None:
    session = Session()
    assert session.publish([(b"a/b", b"10")]) == b"\x32\x09\x00\x03a/b\x00\x0110"
    assert session.publish([(b"a/b", b"10")], retain=True) == b"\x33\x09\x00\x03a/b\x00\x0210"


@pytest.mark.parametrize(
    ("payload", "length"),
    [(120, b"\x7d"), (123, b"\x80\x01"), (16378, b"\xff\x7f"), (16379, b"\x80\x80\x01")],
)
def test_lengths_take_as_many_bytes_as_they_need(payload: int, length: bytes) -> None:
    assert Session().publish([(b"t", b"x" * payload)])[1:].startswith(length + b"\x00\x01t\x00\x01xxx")


def test_the_window_bounds_what_is_unacknowledged_and_an_iterator_goes_on_where_it_was() -> None:
    session = Session(window=3)
    messages = iter([(b"t", payload) for payload in (b"a", b"b", b"c", b"d", b"e")])
    assert session.publish(messages).count(b"\x32") == 3
    assert session.publish(messages) == b""
    session.receive(puback(1, 2))
    assert (session.room, session.acknowledged) == (2, 2)
    assert session.publish(messages, limit=1).endswith(b"d")
    assert session.publish(messages).endswith(b"e")
    assert (session.published, len(session)) == (5, 3)


@given(st.data())
def test_acknowledgements_may_come_in_any_pieces(data: st.DataObject) -> None:
    session = Session()
    session.publish([(b"t", b"x")] * 100)
    stream = ACCEPTED + puback(*range(1, 51)) + b"\xd0\x00" + puback(*range(51, 101))
    while stream:
        n = data.draw(st.integers(1, len(stream)))
        session.receive(stream[:n])
        stream = stream[n:]
    assert session.connected and len(session) == 0 and session.acknowledged == 100


def test_what_was_not_acknowledged_is_sent_again_in_its_order() -> None:
    session = Session()
    packets = [session.publish([(b"t", b"%d" % i)]) for i in range(4)]
    session.receive(ACCEPTED + puback(2) + b"\x40")
    session.lost()
    assert not session.connected
    assert session.resend() == packets[0] + packets[2] + packets[3]
    session.receive(ACCEPTED + puback(1, 3, 4))  # the half packet is forgotten
    assert len(session) == 0


def test_packet_ids_come_round_and_skip_those_in_use() -> None:
    session = Session()
    session.publish([(b"t", b"first")])
    for _ in range(65_534 // 4_999 + 1):
        session.publish([(b"t", b"x")] * 4_999)
        session.receive(puback(*(i for i in list(session._waiting) if i != 1)))
    assert list(session._waiting) == [1]
    assert session.published == 1 + 14 * 4_999 > 65_535


@pytest.mark.parametrize("packet", [b"\x30\x02xx", b"\x20\xff\x01", b"\x00\x00"])
def test_what_no_broker_sends_ends_the_connection(packet: bytes) -> None:
    with pytest.raises(ConnectionError):
        Session().receive(packet)


def test_a_refusal_says_why() -> None:
    with pytest.raises(MqttRefused, match="password"):
        Session().receive(b"\x20\x02\x00\x04")
