"""What was refused, kept with its original bytes, place, time and reason."""

import msgspec

from schemas.errors import WireError

VERSION = 1


class DeadLetter(msgspec.Struct, frozen=True, omit_defaults=True):
    """One refused input.

    `source` is `mqtt` (payload: the message's bytes; topic: its MQTT topic) or `kafka` (payload: the record's
    value, or for one reading of it the JSON of that reading; topic, partition, offset: where it stood).
    `received` is epoch ms UTC. `reason` is a stable code, `detail` a sentence.
    """

    source: str
    topic: str
    received: int
    reason: str
    detail: str
    payload: bytes
    partition: int = -1
    offset: int = -1
    row: int = -1
    truncated: bool = False
    v: int = VERSION


MAX_PAYLOAD_BYTES = 2 * 1024 * 1024  # under the topic's max.message.bytes; MQTT packets are smaller by default

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(DeadLetter)


def encode(letter: DeadLetter) -> bytes:
    """The letter's bytes (MessagePack); a payload over `MAX_PAYLOAD_BYTES` is cut and marked `truncated`."""
    if len(letter.payload) > MAX_PAYLOAD_BYTES:
        letter = msgspec.structs.replace(letter, payload=letter.payload[:MAX_PAYLOAD_BYTES], truncated=True)
    return _encoder.encode(letter)


def decode(data: bytes) -> DeadLetter:
    """Read a letter's bytes. Raises `WireError`."""
    try:
        letter = _decoder.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError) as e:
        raise WireError(f"not a dead letter: {e}") from e
    if letter.v != VERSION:
        raise WireError(f"dead letter of version {letter.v}; this program reads version {VERSION}")
    return letter
