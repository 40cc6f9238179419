"""RFC 6455 at the live feed's endpoint, case by case, in the order of the Autobahn test suite's chapters.

Written as bytes on a socket: a client library would not send most of this. Echo is `ping`, answered by `pong`.
"""

import asyncio
import contextlib
import json
import struct
import zlib
from collections.abc import AsyncIterator

import pytest

from tests.api.live.feeding import batch
from tests.api.live.serving import port_of, served

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
EXTENSIONS = "Sec-WebSocket-Extensions"
REQUEST = {
    "Host": "x", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": "cityfeed.v1.json",
}  # fmt: skip


def frame(opcode: int, data: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bool = True) -> bytes:
    """A frame as a client sends it."""
    key, n = b"\x37\xfa\x21\x3d", len(data)
    head = bytes((fin << 7 | rsv << 4 | opcode,))
    if n >= 65536:
        head += bytes((mask << 7 | 127,)) + struct.pack("!Q", n)
    elif n >= 126:
        head += bytes((mask << 7 | 126,)) + struct.pack("!H", n)
    else:
        head += bytes((mask << 7 | n,))
    return head + (key + bytes(b ^ key[i % 4] for i, b in enumerate(data)) if mask else data)


class Peer:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.extensions = b""  # what the server took of those that were offered
        self.compressed = 0  # frames that came compressed

    def send(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))

    async def slowly(self, data: bytes) -> None:
        """Byte by byte, as Autobahn's chops."""
        for i in range(len(data)):
            self.writer.write(data[i : i + 1])
            await self.writer.drain()
            await asyncio.sleep(0)

    async def frame(self) -> tuple[int, bytes]:
        """The next frame of the server, which is whole, unmasked, without reserved bits but that of compression."""
        async with asyncio.timeout(10):
            first, second = await self.reader.readexactly(2)
            packed = first & 0x40
            assert first & 0xB0 == 0x80 and second < 128
            assert not packed or (self.extensions and first & 0x0F == TEXT)
            n = second
            if n >= 126:
                n = int.from_bytes(await self.reader.readexactly(2 if n == 126 else 8), "big")
            data = await self.reader.readexactly(n)
        if packed:
            self.compressed += 1
            data = zlib.decompressobj(wbits=-15).decompress(data + b"\0\0\xff\xff")
        return first & 0x0F, data

    async def message(self) -> dict[str, object]:
        opcode, data = await self.frame()
        assert opcode == TEXT
        found: dict[str, object] = json.loads(data)
        return found

    async def closed(self) -> int:
        """The close code; then the server ends the connection."""
        while (got := await self.frame())[0] != CLOSE:
            pass
        code = int.from_bytes(got[1][:2], "big") if got[1] else 1005
        self.send(frame(CLOSE, got[1][:2]))
        async with asyncio.timeout(10):
            with contextlib.suppress(ConnectionError):
                assert await self.reader.read() == b""
        return code


@contextlib.asynccontextmanager
async def opened(url: str, hello: bool = True, **headers: str) -> AsyncIterator[Peer]:
    port = port_of(url)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = "".join(f"{name}: {value}\r\n" for name, value in (REQUEST | headers).items() if value)
    writer.write(f"GET /v1/live HTTP/1.1\r\n{lines}\r\n".encode())
    try:
        peer = Peer(reader, writer)
        if hello:
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101") and b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
            peer.extensions = head.lower().partition(b"sec-websocket-extensions:")[2].partition(b"\r\n")[0]
            assert not peer.extensions or EXTENSIONS in headers
            peer.send(frame(TEXT, b'{"type":"hello"}'))
            assert (await peer.message())["type"] == "welcome"
        yield peer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def ping(n: int, pad: int = 0) -> bytes:
    return json.dumps({"type": "ping", "n": n, "pad": "*" * pad}).encode()


@pytest.mark.parametrize("pad", [0, 60, 85, 86, 87, 88, 89, 90, 128, 4000])
async def test_1_messages_of_every_length_whole_and_byte_by_byte(pad: int) -> None:
    async with served() as (_, url, _), opened(url) as peer:
        peer.send(frame(TEXT, ping(1, pad)))
        assert await peer.message() == {"type": "pong", "n": 1}
        await peer.slowly(frame(TEXT, ping(2, pad)))
        assert await peer.message() == {"type": "pong", "n": 2}


@pytest.mark.parametrize("data", [b"", b"Hello", bytes(range(125)), b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"])
async def test_2_pings_are_answered_with_their_payload(data: bytes) -> None:
    async with served() as (_, url, _), opened(url) as peer:
        peer.send(*(frame(PING, data[n:]) for n in range(10)))
        for n in range(10):
            assert await peer.frame() == (PONG, data[n:])
        peer.send(frame(PONG, b"unasked"), frame(PING, b"x"))
        assert await peer.frame() == (PONG, b"x")


@pytest.mark.parametrize(
    "broken",
    [
        frame(PING, b"x" * 126),  # 2.5: a control frame of more than 125 bytes
        *(frame(TEXT, ping(1), rsv=rsv) for rsv in range(1, 8)),  # 3: reserved bits
        *(frame(opcode) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)),  # 4: reserved opcodes
        frame(PING, fin=False),  # 5.1: a control frame in fragments
        frame(PONG, fin=False),
        frame(CONT, b"x"),  # 5.9: nothing to continue
        frame(CONT, b"x", fin=False),
        frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"),  # 5.15: a new message inside one
        frame(TEXT, ping(1), mask=False),  # 5.1 of the RFC: a client masks
        frame(CLOSE, b"\x03"),  # 7.3: a code of one byte
        *(frame(CLOSE, struct.pack("!H", code)) for code in (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999)),
    ],
    ids=lambda data: data[:2].hex(),
)
async def test_2_to_7_what_breaks_the_protocol_is_closed_with_1002(broken: bytes) -> None:
    async with served() as (feed, url, _):
        async with opened(url) as other, opened(url) as peer:
            peer.send(broken, frame(TEXT, ping(1)))
            assert await peer.closed() == 1002
            other.send(frame(TEXT, ping(7)))  # nobody else notices
            assert await other.message() == {"type": "pong", "n": 7}
        async with asyncio.timeout(5):
            while feed.hub.members:
                await asyncio.sleep(0.01)


async def test_5_fragments_with_control_frames_between_make_one_message() -> None:
    text = ping(3, 20)
    pieces = [text[:1], b"", text[1:9], text[9:]]
    async with served() as (_, url, _), opened(url) as peer:
        peer.send(frame(TEXT, pieces[0], fin=False), frame(PING, b"a"), frame(CONT, pieces[1], fin=False))
        assert await peer.frame() == (PONG, b"a")
        peer.send(frame(CONT, pieces[2], fin=False), frame(PONG, b"b"), frame(CONT, pieces[3]))
        assert await peer.message() == {"type": "pong", "n": 3}
        peer.send(frame(TEXT, ping(4)))
        assert await peer.message() == {"type": "pong", "n": 4}


@pytest.mark.parametrize("text", ["Hello-µ@ßöäüàá-UTF-8!!", "κόσμε", "\ud7ff\ue000\U0010ffff", "\x00", "𐍈" * 50])
async def test_6_any_text_that_is_utf_8_in_any_pieces(text: str) -> None:
    data = json.dumps({"type": "ping", "n": 5, "pad": text}, ensure_ascii=False).encode()
    async with served() as (_, url, _), opened(url) as peer:
        pieces = [frame(CONT, data[i : i + 1], fin=i == len(data) - 1) for i in range(1, len(data))]
        peer.send(frame(TEXT, data[:1], fin=False), *pieces)
        assert await peer.message() == {"type": "pong", "n": 5}


@pytest.mark.parametrize(
    "data",
    [
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited", b"\xf4\x90\x80\x80", b"\x80", b"\xc0\xaf",
        b"\xed\xbf\xbf", b"\xf8\x88\x80\x80\x80", b"\xfe", b'{"type":"ping","pad":"\xc3"}', b"\xe0\x80\xaf",
    ],
)  # fmt: skip
async def test_6_text_that_is_not_utf_8_is_closed_with_1007(data: bytes) -> None:
    for pieces in ([frame(TEXT, data)], [frame(TEXT, data[:1], fin=False), frame(CONT, data[1:])]):
        async with served() as (_, url, _), opened(url) as peer:
            peer.send(*pieces)
            assert await peer.closed() == 1007


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999])
async def test_7_a_close_is_echoed(code: int) -> None:
    async with served() as (feed, url, _), opened(url) as peer:
        peer.send(frame(CLOSE, struct.pack("!H", code) + "grüße".encode()), frame(TEXT, ping(1)))
        assert await peer.closed() == code
        assert not feed.hub.members


async def test_7_a_close_without_a_code_is_echoed() -> None:
    async with served() as (_, url, _), opened(url) as peer:
        peer.send(frame(CLOSE))
        assert await peer.closed() == 1005


@pytest.mark.parametrize("reason", [b"\xff\xfe", b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80"])
async def test_7_a_reason_that_is_not_utf_8_is_closed_with_1007(reason: bytes) -> None:
    async with served() as (_, url, _), opened(url) as peer:
        peer.send(frame(CLOSE, struct.pack("!H", 1000) + reason))
        assert await peer.closed() == 1007


async def test_9_more_than_the_server_reads_is_closed_with_1009() -> None:
    async with served() as (_, url, _), opened(url) as peer:
        peer.send(frame(TEXT, b"x" * 65_537))
        assert await peer.closed() == 1009
    async with served() as (_, url, _), opened(url) as peer:
        peer.send(frame(TEXT, b"x" * 40_000, fin=False), frame(CONT, b"x" * 40_000))
        assert await peer.closed() == 1009


async def test_10_what_is_sent_in_one_piece_is_taken_apart() -> None:
    async with served() as (_, url, _), opened(url) as peer:
        peer.send(*(frame(TEXT, ping(n)) for n in range(50)))
        assert [(await peer.message())["n"] for _ in range(50)] == list(range(50))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-WebSocket-Version": "12"}, b"400"),
        ({"Sec-WebSocket-Key": "short"}, b"400"),
        ({"Sec-WebSocket-Key": ""}, b"400"),
    ],
)
async def test_a_handshake_that_is_none_is_refused(headers: dict[str, str], status: bytes) -> None:
    async with served() as (_, url, _), opened(url, hello=False, **headers) as peer:
        async with asyncio.timeout(10):
            assert (await peer.reader.readline()).split()[1] in (status, b"426")


def deflated(data: bytes) -> bytes:
    """A message's payload as a client compresses it."""
    encoder = zlib.compressobj(wbits=-15)
    return (encoder.compress(data) + encoder.flush(zlib.Z_SYNC_FLUSH))[:-4]


OFFERS = (
    "permessage-deflate",
    "permessage-deflate; client_max_window_bits",
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
    "permessage-deflate; server_max_window_bits=10; client_max_window_bits=10",
    "x-unknown, permessage-deflate; client_max_window_bits=15",
)


@pytest.mark.parametrize("offer", OFFERS)
async def test_12_and_13_who_offers_compression_gets_and_sends_it(offer: str) -> None:
    sensors = [(f"s{i:03}", 0, float(i)) for i in range(300)]
    async with served() as (feed, url, _), opened(url, **{EXTENSIONS: offer}) as peer:
        assert b"server_no_context_takeover" in peer.extensions and b"client_no_context_takeover" in peer.extensions
        subscribe = b'{"type":"subscribe","id":1,"topic":"readings","mode":"all"}'
        peer.send(frame(TEXT, deflated(subscribe), rsv=4))
        assert [(await peer.message())["type"] for _ in range(2)] == ["subscribed", "snapshot"]
        for _ in range(3):  # each frame is compressed for itself
            feed.publish(batch(*sensors))
            message = await peer.message()
            assert [row["value"] for row in message["d"]] == [value for _, _, value in sensors]  # type: ignore[attr-defined]
        assert peer.compressed == (0 if "server_max_window_bits=10" in offer else 3)
        for size in (0, 16, 64, 256, 1024, 4000):
            peer.send(frame(TEXT, deflated(ping(size, size)), rsv=4), frame(TEXT, ping(size + 1)))
            assert [(await peer.message())["n"] for _ in range(2)] == [size, size + 1]


async def test_12_a_compressed_message_in_fragments() -> None:
    async with served() as (_, url, _), opened(url, **{EXTENSIONS: OFFERS[0]}) as peer:
        data = deflated(ping(7, 2000))
        peer.send(frame(TEXT, data[:5], fin=False, rsv=4), frame(PING, b"x"), frame(CONT, data[5:9], fin=False))
        peer.send(frame(CONT, data[9:]))
        assert await peer.frame() == (PONG, b"x")
        assert await peer.message() == {"type": "pong", "n": 7}


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\xff\xff\xff", 1002),  # it can't be inflated
        (deflated(b"*" * 1_000_000), 1009),  # small on the wire, and more than the server reads when it is unpacked
        (deflated(ping(1, 5000)), 4000),  # what counts is the message, not how well it was packed
    ],
)
async def test_12_what_is_packed_is_held_to_the_same_limits(data: bytes, code: int) -> None:
    async with served() as (_, url, _), opened(url, **{EXTENSIONS: OFFERS[0]}) as peer:
        peer.send(frame(TEXT, data, rsv=4))
        assert await peer.closed() == code


@pytest.mark.parametrize("offer", ["permessage-deflate; nonsense=1", "permessage-deflate; server_max_window_bits=7"])
async def test_13_an_offer_that_can_not_be_taken_leaves_messages_plain(offer: str) -> None:
    async with served() as (_, url, _), opened(url, **{EXTENSIONS: offer}) as peer:
        assert peer.extensions == b""
        peer.send(frame(TEXT, ping(1)))
        assert await peer.message() == {"type": "pong", "n": 1}
