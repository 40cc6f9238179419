"""Cursors: where a reader stands, opaque to it and signed by us.

The text is base64url, without padding, of a MessagePack array [version, kind, body] and 8 bytes of its
HMAC-SHA256. All processes that share the key read each other's cursors.

History and the live feed have ONE kind, `Cursor`: what a page, an export or a frame ended with is taken by all of
them. Lists in memory (sensors, latest) have kinds of their own.
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
FEED = "feed"
PUBLISHED = "published"
_MAC_BYTES = 8
_KEY_BYTES = 32


class Page(msgspec.Struct, frozen=True, array_like=True):
    """Where a page of history stopped: the digest of its query, its range [from_ms, to_ms), and its last row's key
    in the order of pages, (series, start in epoch ms).
    """

    query: bytes
    from_ms: int
    to_ms: int
    after: tuple[int, int]


class Cursor(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a reader of history or of the live feed has: everything up to `at`.

    `at` is {topic: {partition: number}}, ends included: of `readings` the position of a record
    (`log_epoch << 44 | offset`), of `amended`, `windows` and `index` the `out_seq` of a row. Since `out_seq` is one
    counter over these three, history writes it once, as `published`. `within` is {partition: n}: of the record of
    readings after `at`, the first n too. `page` is there after a page that another one follows. `made_ms`: what is
    not in `at` came after this moment (epoch ms); 0: nobody knows. So logs of numbered rows are looked up by time.
    """

    at: dict[str, dict[int, int]]
    within: dict[int, int] = {}
    page: Page | None = None
    made_ms: int = 0

    def of(self, topic: str) -> dict[int, int] | None:
        """How far the reader is in a topic, by partition; None: this cursor does not say."""
        found = self.at.get(topic)
        return self.at.get(PUBLISHED) if found is None and topic != "readings" else found


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

    def encode_feed(self, cursor: Cursor) -> str:
        """The text of a cursor of history and the live feed."""
        return self.encode(FEED, msgspec.to_builtins(cursor, builtin_types=(bytes,)))

    def decode_feed(self, text: str) -> Cursor:
        """A cursor of history or of the live feed. Raises `RequestError` (400, `bad-cursor`)."""
        try:
            return msgspec.convert(self.decode(FEED, text), Cursor, builtin_types=(bytes,))
        except msgspec.ValidationError as e:
            raise bad_cursor(f"its content is not as it should be ({e})") from None

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
