"""Text frames of RFC 6455 as a server sends them: made once, written to every client that is to have them."""


def text_frame(payload: bytes) -> bytes:
    """An unmasked, unfragmented text frame around UTF-8 bytes."""
    n = len(payload)
    if n < 126:
        return bytes((0x81, n)) + payload
    if n < 65536:
        return b"\x81\x7e" + n.to_bytes(2, "big") + payload
    return b"\x81\x7f" + n.to_bytes(8, "big") + payload


def payload_of(frame: bytes) -> bytes:
    """What `text_frame` was given."""
    return frame[{126: 4, 127: 10}.get(frame[1], 2) :]
