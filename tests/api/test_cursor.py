"""Cursors: round trips, forgeries, and one key for all processes."""

import base64
import stat
import string
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.cursor import Cursors, load_key
from schemas.errors import RequestError, SettingsError
from schemas.settings import Secret, Settings

CURSORS = Cursors(b"a key")
BODIES = st.dictionaries(
    st.text(max_size=8) | st.integers(0, 2**16), st.integers(-(2**63), 2**63) | st.text() | st.binary() | st.none()
)


@given(st.text(max_size=8), BODIES)
def test_a_cursor_comes_back(kind: str, body: dict[Any, Any]) -> None:
    text = CURSORS.encode(kind, body)
    assert set(text) <= set(string.ascii_letters + string.digits + "-_")
    assert CURSORS.decode(kind, text) == body
    assert Cursors(b"a key").decode(kind, text) == body


def refusal(text: str, kind: str = "page", cursors: Cursors = CURSORS) -> RequestError:
    with pytest.raises(RequestError) as refused:
        cursors.decode(kind, text)
    assert (refused.value.status, refused.value.kind, refused.value.parameter) == (400, "bad-cursor", "cursor")
    assert refused.value.remedy
    return refused.value


def test_positions_by_partition_come_back() -> None:
    body = {"readings": {0: (3 << 44) | 17, 7: -1}}
    assert CURSORS.decode("live", CURSORS.encode("live", body)) == body


@given(st.text(max_size=200))
def test_any_other_text_is_refused(text: str) -> None:
    refusal(text)


@given(st.binary(max_size=200))
def test_any_other_bytes_are_refused(data: bytes) -> None:
    refusal(base64.urlsafe_b64encode(data).rstrip(b"=").decode())


@given(st.data())
def test_a_changed_cursor_is_refused(data: st.DataObject) -> None:
    text = CURSORS.encode("page", {"after": 12345})
    raw = bytearray(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    refusal(base64.urlsafe_b64encode(raw).rstrip(b"=").decode())


def test_what_another_key_signed_is_refused() -> None:
    assert "signature" in refusal(Cursors(b"another").encode("page", {})).detail


def test_a_cursor_of_another_kind_is_refused() -> None:
    assert "'latest'" in refusal(CURSORS.encode("latest", {})).detail


def test_a_cursor_of_another_version_is_refused() -> None:
    message = msgspec.msgpack.encode([2, "page", {}])
    text = base64.urlsafe_b64encode(message + CURSORS._mac(message)).rstrip(b"=").decode()
    assert "version 2" in refusal(text).detail


def test_a_very_long_cursor_is_refused() -> None:
    assert "too long" in refusal("A" * 1_000_000).detail


def test_the_key_of_the_settings_is_taken(tmp_path: Path) -> None:
    assert load_key(Settings(cursor_key=Secret("given"), state_dir=str(tmp_path))) == b"given"
    assert list(tmp_path.iterdir()) == []


def test_the_key_is_made_once_and_kept_to_ourselves(tmp_path: Path) -> None:
    settings = Settings(state_dir=str(tmp_path / "new" / "folder"))
    with ThreadPoolExecutor(16) as threads:
        keys = set(threads.map(lambda _: load_key(settings), range(64)))
    assert len(keys) == 1
    assert len(keys.pop()) == 32
    (file,) = (tmp_path / "new" / "folder").iterdir()
    assert file.name == "cursor-key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_state_folder_that_can_not_be_written_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="CITYFEED_STATE_DIR"):
        load_key(Settings(state_dir=str(tmp_path / "file")))
