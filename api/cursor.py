"""Cursors: where a reader stands, opaque to it and signed by us.

The text is base64url, without padding, of a MessagePack array [version, kind, body] and 8 bytes of its
HMAC-SHA256. All processes that share the key read each other's cursors.
"""

import base64
import binascii
import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path
from typing import Any

import msgspec

from schemas.errors import RequestError, SettingsError
from schemas.settings import Settings

VERSION = 1
MAX_CHARACTERS = 65_536  # the positions of 1,024 partitions in two topics fit
_MAC_BYTES = 8
_KEY_BYTES = 32


class Cursors:
    """Writes and reads cursors; `kind` says what a cursor is for, one of another kind is refused."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def encode(self, kind: str, body: dict[Any, Any]) -> str:
        """The cursor's text, safe in a URL."""
        message = msgspec.msgpack.encode([VERSION, kind, body])
        return base64.urlsafe_b64encode(message + self._mac(message)).rstrip(b"=").decode()

    def decode(self, kind: str, text: str) -> dict[Any, Any]:
        """The body of a cursor. Raises `RequestError` (400, `bad-cursor`) for one that we did not make."""
        if len(text) > MAX_CHARACTERS or not text.isascii():
            raise bad_cursor("it is too long or not ASCII")
        try:
            data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise bad_cursor("it is not base64url") from None
        message, mac = data[:-_MAC_BYTES], data[-_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(message)):
            raise bad_cursor("its signature is not ours")
        version, found, body = msgspec.msgpack.decode(message)
        if version != VERSION:
            raise bad_cursor(f"it is of version {version}, and this server reads version {VERSION}")
        if found != kind:
            raise bad_cursor(f"it is a cursor of kind {found!r}, and {kind!r} is needed here")
        return dict(body)

    def _mac(self, message: bytes) -> bytes:
        return hmac.new(self._key, message, hashlib.sha256).digest()[:_MAC_BYTES]


def bad_cursor(why: str) -> RequestError:
    """The refusal of a cursor."""
    return RequestError(
        400,
        "bad-cursor",
        "The cursor can't be used",
        f"The cursor can't be used: {why}.",
        "cursor",
        "Take the cursor unchanged from the `next` link of the page before, or ask without one to start again.",
    )


def load_key(settings: Settings) -> bytes:
    """The key that signs: `cursor_key`, or the one in the state folder, which the first process to ask makes.

    Raises `SettingsError` where the state folder can't be written.
    """
    if settings.cursor_key:
        return settings.cursor_key.encode()
    path = Path(settings.state_dir) / "cursor-key"
    try:
        return path.read_bytes() if path.exists() else _make_key(path)
    except OSError as e:
        raise SettingsError(
            f"can't make {path}: {e.strerror}; make the folder writable, name another with CITYFEED_STATE_DIR, "
            "or give the key in CITYFEED_CURSOR_KEY"
        ) from e


def _make_key(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secrets.token_bytes(_KEY_BYTES))
    try:
        # A link is there whole or not at all, and the first one wins: two processes agree.
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        return path.read_bytes()
    finally:
        draft.unlink()
