"""Keys: who shows a token has limits of its own, and is counted by its key's name, not by its address.

The data are open: a key opens nothing, it only lets an application that serves many people have more connections,
messages, subscriptions and requests than an address has. The live feed takes the token in `hello`, everything else in
`Authorization: Bearer` or `X-API-Key` (`api.limits`). Keys are a file (`CITYFEED_LIVE_KEYS`), a table each:

    [tram-app]
    sha256 = "9f86d081..."        # of the token: printf %s TOKEN | sha256sum
    connections = 500             # of one API process
    requests = 600_000            # of one API process, in CITYFEED_RATE_LIMIT_WINDOW_S
    until = 2027-01-01            # from that day on (UTC) the token is refused, with 4003
    # blocked = true              # at once

Tokens are not in it, so it can be read by anybody who may see the server's configuration.
"""

import hashlib
import tomllib
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec

from api.live.messages import Close
from schemas.errors import SettingsError

Positive = Annotated[int, msgspec.Meta(ge=1)]


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a key may: connections of one process; of each of them messages per second, in a burst, subscriptions;
    requests of one process in a window.
    """

    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    connections: Positive = 500
    rate_per_s: Annotated[float, msgspec.Meta(gt=0)] = 50.0
    rate_burst: Positive = 500
    subscriptions: Positive = 500
    requests: Positive = 600_000
    until: date | None = None
    blocked: bool = False


class Grant(NamedTuple):
    """A key that was shown and is good."""

    name: str
    key: Key


class Refusal(NamedTuple):
    """A close code and what it says."""

    code: int
    reason: str


class Keys:
    """The keys of this server, by name; none at all: every token is taken for anonymous."""

    def __init__(self, keys: Mapping[str, Key]) -> None:
        self._of_digest = {key.sha256: Grant(name, key) for name, key in keys.items()}

    def find(self, token: str, now_ms: int) -> Grant | Refusal | None:
        """What a token is good for at a time (epoch ms); None: anonymous."""
        if not self._of_digest:
            return None
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
        if (found := self._of_digest.get(digest)) is None:
            return Refusal(Close.UNAUTHORIZED, "there is no such token; say hello without one to be anonymous")
        if found.key.blocked:
            return Refusal(Close.FORBIDDEN, f"the key {found.name} is blocked"[:120])
        if found.key.until is not None and datetime.fromtimestamp(now_ms / 1000, UTC).date() >= found.key.until:
            return Refusal(Close.FORBIDDEN, f"the key {found.name} was good until {found.key.until}"[:120])
        return found


def read_keys(path: str) -> Keys:
    """The keys in a file; an empty path is none. Raises `SettingsError`."""
    if not path:
        return Keys({})
    try:
        found = msgspec.convert(tomllib.loads(Path(path).read_text(encoding="utf-8")), dict[str, Key])
    except OSError as e:
        raise SettingsError(f"can't read CITYFEED_LIVE_KEYS={path}: {e.strerror}") from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as e:
        raise SettingsError(f"CITYFEED_LIVE_KEYS={path}: {e}; a key is a table, as docs/live.md shows") from e
    if len({key.sha256 for key in found.values()}) < len(found):
        raise SettingsError(f"CITYFEED_LIVE_KEYS={path}: two keys have the same sha256; a token is one key's")
    return Keys(found)
