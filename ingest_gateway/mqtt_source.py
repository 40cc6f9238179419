"""MQTT messages from the broker: the only file that knows paho.

paho is driven by asyncio (its `on_socket_...` callbacks). It reads its socket a packet's field at a time, and makes
several objects of each message: 10 us. `BulkClient` reads and acknowledges in bulk, and takes plain PUBLISH packets
out of what it read by itself: 1 us. It stands on three things of paho's inside; `bulk_is_possible` looks whether
they are what they were, and if not, paho is used as it comes (tests/ingest_gateway/test_mqtt_source.py).
"""

import asyncio
import inspect
import logging
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from schemas.settings import Settings

log = logging.getLogger(__name__)

READ_BYTES = 256 * 1024
PACKETS_A_TURN = 256  # then the event loop has its turn: about 4 ms
# A long pause (Kafka is down, the socket is not read) costs the connection after this; the broker then keeps the
# messages in its queue, and sends again what was not acknowledged.
KEEPALIVE_S = 300
CONNECT_TIMEOUT_S = 3.0  # TCP
ANSWER_TIMEOUT_S = 10.0  # CONNACK and SUBACK
SESSION_EXPIRY_S = 7 * 86_400  # MQTT 5: how long the broker keeps the queue of a gateway that is away
RETRY_FIRST_S, RETRY_LAST_S = 0.2, 5.0
LASTING_S = 10.0  # a connection lost before that is tried again later and later: another may use our client id
_RECEIVE_MAXIMUM = 65_535
_QOS = 1
_PUBACK = struct.Struct("!BBH")

Take = Callable[[str, bytes, int | None, bool], None]
"""`take(topic, payload, receipt, retained)`; a receipt of None needs no acknowledgement (QoS 0)."""


class PlainClient(mqtt.Client):
    """paho as it comes. `deliver(topic, payload, message id or None for QoS 0, retained)` gets each message."""

    deliver: Callable[[str, bytes, int | None, bool], None]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.on_message = self._deliver

    def _deliver(self, client: mqtt.Client, userdata: Any, message: mqtt.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:  # a broker should not let it through; it goes to the dead letters
            topic = "\N{REPLACEMENT CHARACTER}"
        self.deliver(topic, bytes(message.payload), message.mid if message.qos else None, message.retain)

    def read_packet(self) -> MQTTErrorCode:
        """Take one packet from the socket, or a part of one. An error ends the connection."""
        return self.loop_read()

    def has_buffered(self) -> bool:
        """True if bytes were read from the socket and not yet looked at."""
        return False

    def forget_buffered(self) -> None:
        """A new connection starts with nothing."""

    def acknowledge_all(self, message_ids: Sequence[int]) -> None:
        """Send the PUBACK of each message."""
        for message_id in message_ids:
            self.ack(message_id, _QOS)


class BulkClient(PlainClient):
    """Reads `READ_BYTES` at once, takes whole PUBLISH packets out of them itself, writes many PUBACKs as one.

    All other packets, and those that are cut, long or have MQTT 5 properties, are paho's.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._is_v5 = self.protocol == mqtt.MQTTv5
        self._chunk = b""
        self._at = 0

    def _sock_recv(self, bufsize: int) -> bytes:
        at = self._at
        if at == len(self._chunk):
            self._chunk = super()._sock_recv(READ_BYTES)
            at = 0
        self._at = at + bufsize
        piece = self._chunk[at : self._at]
        if len(piece) < bufsize:
            self._at = len(self._chunk)
        return piece

    def read_packet(self) -> MQTTErrorCode:
        chunk, at = self._chunk, self._at
        if len(chunk) < at + 4 or chunk[at] & 0xF4 != mqtt.PUBLISH or self._in_packet["command"]:
            return self.loop_read()  # nothing there, another packet (or QoS 2), or paho is in the middle of one
        length, start = chunk[at + 1], at + 2
        if length & 0x80:
            length, start = length & 0x7F | chunk[at + 2] << 7, at + 3
            if chunk[at + 2] & 0x80:  # a third digit
                return self.loop_read()
        end = start + length
        topic_end = start + 2 + (chunk[start] << 8 | chunk[start + 1]) if start + 2 <= len(chunk) else end
        payload_at = topic_end + (2 if chunk[at] & 0x02 else 0) + (1 if self._is_v5 else 0)
        if topic_end == start + 2 or payload_at > end or end > len(chunk) or (self._is_v5 and chunk[payload_at - 1]):
            return self.loop_read()
        try:
            topic = chunk[start + 2 : topic_end].decode()
        except UnicodeDecodeError:
            return self.loop_read()
        message_id = chunk[topic_end] << 8 | chunk[topic_end + 1] if chunk[at] & 0x02 else None
        self._at = end
        self.deliver(topic, chunk[payload_at:end], message_id, bool(chunk[at] & 0x01))
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def has_buffered(self) -> bool:
        return self._at < len(self._chunk)

    def forget_buffered(self) -> None:
        self._chunk, self._at = b"", 0

    def acknowledge_all(self, message_ids: Sequence[int]) -> None:
        packets = b"".join([_PUBACK.pack(mqtt.PUBACK, 2, message_id) for message_id in message_ids])
        self._packet_queue(mqtt.PUBACK, packets, 0, 0)


def bulk_is_possible() -> bool:
    """True if what `BulkClient` uses of paho's inside is there, as it was."""
    expected = {"_sock_recv": ["self", "bufsize"], "_packet_queue": ["self", "command", "packet", "mid", "qos", "info"]}
    methods_are = all(
        (method := getattr(mqtt.Client, name, None)) is not None
        and list(inspect.signature(method).parameters) == parameters
        for name, parameters in expected.items()
    )
    packet = getattr(mqtt.Client(CallbackAPIVersion.VERSION2), "_in_packet", None)
    return methods_are and isinstance(packet, dict) and packet.get("command") == 0


class MqttSource:
    """A persistent session at the broker, connected again whenever it is lost.

    `take` is called for each message, in the order of receipt. `pause` stops reading the socket, so what comes
    stays with the broker. A receipt is of its connection: after a reconnect the broker sends again what was not
    acknowledged, and older receipts mean nothing. `ready` is set while connected and subscribed.
    """

    def __init__(self, settings: Settings, filters: Sequence[str], take: Take) -> None:
        self._settings = settings
        self._filters = list(filters)
        self._take = take
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket | None = None
        self._connection = 0  # counts connections; a receipt is connection << 16 | message id
        self._paused = False
        self._continuing = False  # `_read` is on its way
        self._closing = False
        self._resumed = asyncio.Event()
        self._resumed.set()
        self._disconnected = asyncio.Event()
        self._why = ""
        self._failure: Exception | None = None
        self._was_ready = False
        self.ready = asyncio.Event()
        self._client = self._make_client()

    # -- what the gateway asks for ----------------------------------------------------------------------

    async def run(self) -> None:
        """Stay connected; ends by cancellation, after `close`, or with what `take` raised."""
        delay_s, told = RETRY_FIRST_S, False
        while not self._closing:
            await self._resumed.wait()
            began_s = self._loop.time()
            was_ready = await self._one_connection()
            if self._failure is not None:
                raise self._failure
            if self._closing:
                return
            if was_ready:
                told = False
            if self._loop.time() - began_s > LASTING_S:
                delay_s = RETRY_FIRST_S
            if not told:
                log.warning(
                    "waiting for MQTT at %s:%d (CITYFEED_MQTT_HOST, CITYFEED_MQTT_PORT): %s",
                    self._settings.mqtt_host, self._settings.mqtt_port, self._why,
                )  # fmt: skip
                told = True
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, RETRY_LAST_S)

    def pause(self) -> None:
        """Take no more messages until `resume`."""
        if not self._paused:
            self._paused = True
            self._resumed.clear()
            if self._socket is not None:
                self._loop.remove_reader(self._socket.fileno())

    def resume(self) -> None:
        """Take messages again."""
        if self._paused and not self._closing:
            self._paused = False
            self._resumed.set()
            if self._socket is not None:
                self._loop.add_reader(self._socket.fileno(), self._readable)
                self._continue()  # what was buffered makes no socket readable

    def acknowledge(self, receipts: Sequence[int]) -> None:
        """Acknowledge messages of this connection, in this order; receipts of older ones are dropped."""
        current = self._connection
        if ids := [receipt & 0xFFFF for receipt in receipts if receipt >> 16 == current]:
            self._client.acknowledge_all(ids)

    async def close(self) -> None:
        """Write what is left to write, and disconnect; the broker keeps the session."""
        self._closing = True
        self._paused = True
        if self._socket is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._client.disconnect()
            await asyncio.wait([asyncio.ensure_future(self._disconnected.wait())], timeout=1.0)
        self._disconnected.set()
        self._resumed.set()

    # -- a connection -----------------------------------------------------------------------------------

    async def _one_connection(self) -> bool:
        """Connect, and wait until the connection is lost. True if it had been subscribed."""
        self._disconnected.clear()
        self._was_ready = False
        self._why = "no answer"
        try:
            await asyncio.to_thread(self._connect)
        except OSError as e:
            self._why = str(e) or type(e).__name__
            return False
        waits = [asyncio.ensure_future(event.wait()) for event in (self.ready, self._disconnected)]
        try:
            await asyncio.wait(waits, timeout=ANSWER_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
            if not self._was_ready and not self._disconnected.is_set():
                self._client.disconnect()
            while not self._disconnected.is_set():
                await asyncio.wait(waits[1:], timeout=1.0)
                if not self._paused and not self._disconnected.is_set():
                    self._client.loop_misc()
        finally:
            for wait in waits:
                wait.cancel()
            self.ready.clear()
        return self._was_ready

    def _make_client(self) -> PlainClient:
        settings = self._settings
        kind = BulkClient if bulk_is_possible() else PlainClient
        if kind is PlainClient:
            log.warning("this version of paho-mqtt is read slowly: its private methods changed (mqtt_source.py)")
        is_v5 = settings.mqtt_version == "5"
        client = kind(
            CallbackAPIVersion.VERSION2,
            client_id=settings.mqtt_client_id,
            clean_session=None if is_v5 else False,
            protocol=mqtt.MQTTv5 if is_v5 else mqtt.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.connect_timeout = CONNECT_TIMEOUT_S
        if settings.mqtt_username:
            client.username_pw_set(settings.mqtt_username, str(settings.mqtt_password) or None)
        client.on_socket_open = self._on_socket_open
        client.on_socket_close = self._on_socket_close
        client.on_socket_register_write = self._on_register_write
        client.on_socket_unregister_write = self._on_unregister_write
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.deliver = self._on_message
        return client

    def _connect(self) -> None:
        """In a thread of its own, for it blocks while it resolves the name and connects."""
        settings = self._settings
        if settings.mqtt_version != "5":
            self._client.connect(settings.mqtt_host, settings.mqtt_port, KEEPALIVE_S)
            return
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = SESSION_EXPIRY_S
        properties.ReceiveMaximum = _RECEIVE_MAXIMUM
        self._client.connect(
            settings.mqtt_host, settings.mqtt_port, KEEPALIVE_S, clean_start=False, properties=properties
        )

    def _readable(self) -> None:
        if not self._continuing:
            self._read()

    def _read(self) -> None:
        """Take packets until none is buffered; after `PACKETS_A_TURN` the event loop has its turn first."""
        self._continuing = False
        client = self._client
        if self._paused or self._socket is None:
            return
        try:
            for _ in range(PACKETS_A_TURN):
                if client.read_packet() != MQTTErrorCode.MQTT_ERR_SUCCESS:
                    return
                if self._paused or not client.has_buffered():
                    return
        except Exception as e:  # of `take`: paho's reader has lost its place then
            self._failure = e
            self.pause()
            self._disconnected.set()
            return
        self._continue()

    def _continue(self) -> None:
        if not self._continuing:
            self._continuing = True
            self._loop.call_soon(self._read)

    def _write(self) -> None:
        self._client.loop_write()

    # -- paho's callbacks; connect's are called in its thread -------------------------------------------

    def _on_socket_open(self, client: mqtt.Client, userdata: Any, sock: Any) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        self._client.forget_buffered()
        self._loop.call_soon_threadsafe(self._opened, sock)

    def _opened(self, sock: socket.socket) -> None:
        if sock.fileno() < 0:
            return
        self._connection += 1
        self._socket = sock
        if not self._paused:
            self._loop.add_reader(sock.fileno(), self._readable)

    def _on_socket_close(self, client: mqtt.Client, userdata: Any, sock: Any) -> None:
        self._socket = None
        if sock.fileno() >= 0:
            self._loop.remove_reader(sock.fileno())
            self._loop.remove_writer(sock.fileno())

    def _on_register_write(self, client: mqtt.Client, userdata: Any, sock: Any) -> None:
        self._loop.call_soon_threadsafe(self._want_write, sock)

    def _want_write(self, sock: socket.socket) -> None:
        if sock.fileno() >= 0:
            self._loop.add_writer(sock.fileno(), self._write)

    def _on_unregister_write(self, client: mqtt.Client, userdata: Any, sock: Any) -> None:
        if sock.fileno() >= 0:
            self._loop.remove_writer(sock.fileno())

    def _on_connect(
        self, client: mqtt.Client, userdata: Any, flags: mqtt.ConnectFlags, reason: ReasonCode, properties: Any
    ) -> None:
        if reason.is_failure:
            self._why = f"the broker refuses the connection: {reason} (CITYFEED_MQTT_USERNAME, CITYFEED_MQTT_PASSWORD)"
            return
        if self._settings.mqtt_version == "5":
            options = SubscribeOptions(qos=_QOS)
            client.subscribe([(topic_filter, options) for topic_filter in self._filters])
        else:
            client.subscribe([(topic_filter, _QOS) for topic_filter in self._filters])
        if flags.session_present:  # subscribed already, and what waits comes before the broker's answer
            self._up("our session goes on")

    def _up(self, session: str) -> None:
        if not self.ready.is_set():
            log.info("connected to MQTT at %s:%d, %s", self._settings.mqtt_host, self._settings.mqtt_port, session)
            self._was_ready = True
            self.ready.set()

    def _on_subscribe(
        self, client: mqtt.Client, userdata: Any, message_id: int, reasons: list[ReasonCode], properties: Any
    ) -> None:
        refused = [f for f, reason in zip(self._filters, reasons, strict=True) if reason.is_failure]
        if refused:
            log.error(
                "the broker refuses the subscription to %s; does its ACL let the gateway read?", ", ".join(refused)
            )
            self._why = "the broker refuses the subscriptions"
        if len(refused) < len(self._filters):
            self._up("a new session")

    def _on_disconnect(
        self, client: mqtt.Client, userdata: Any, flags: mqtt.DisconnectFlags, reason: ReasonCode, properties: Any
    ) -> None:
        if self.ready.is_set() or self._why == "no answer":
            self._why = f"the connection was lost ({reason})"
        self.ready.clear()
        self._disconnected.set()

    def _on_message(self, topic: str, payload: bytes, message_id: int | None, retained: bool) -> None:
        receipt = None if message_id is None else self._connection << 16 | message_id
        self._take(topic, payload, receipt, retained)
