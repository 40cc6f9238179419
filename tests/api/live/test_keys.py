"""Keys: what a token is good for, what the file may say, and that a key is counted by its name."""

import hashlib
from pathlib import Path

import pytest

from api.live.keys import Grant, Refusal, read_keys
from api.live.messages import Close
from schemas.errors import SettingsError
from tests.api.live.feeding import T0
from tests.api.live.serving import calling, served


def sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "keys.toml"
    path.write_text(
        f"""
        [tram-app]
        sha256 = "{sha256("good")}"
        connections = 3
        rate_per_s = 1000.0
        subscriptions = 100
        [old]
        sha256 = "{sha256("old")}"
        until = 2026-01-01
        [later]
        sha256 = "{sha256("later")}"
        until = 2026-01-02
        [mean]
        sha256 = "{sha256("mean")}"
        blocked = true
        """
    )
    return str(path)


def test_what_a_token_is_good_for(file: str) -> None:
    keys = read_keys(file)
    good = keys.find("good", T0)
    assert isinstance(good, Grant) and (good.name, good.key.connections, good.key.rate_burst) == ("tram-app", 3, 500)
    assert isinstance(keys.find("later", T0), Grant)  # T0 is the first moment of 2026
    for token, code in (("bad", 4001), ("", 4001), ("\ud800", 4001), ("old", 4003), ("mean", 4003)):
        refused = keys.find(token, T0)
        assert isinstance(refused, Refusal) and refused.code == code and len(refused.reason.encode()) <= 123
    assert isinstance(keys.find("old", T0 - 1), Grant)


def test_without_keys_every_token_is_anonymous() -> None:
    assert read_keys("").find("anything", T0) is None


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[a", "live.md"),
        ('[a]\nsha256 = "short"', "sha256"),
        ("[a]\nconnections = 3", "sha256"),
        (f'[a]\nsha256 = "{sha256("x")}"\nconnection = 3', "connection"),
        (f'[a]\nsha256 = "{sha256("x")}"\nconnections = 0', "connections"),
        (f'[a]\nsha256 = "{sha256("x")}"\n[b]\nsha256 = "{sha256("x")}"', "same sha256"),
    ],
)
def test_a_file_with_a_mistake_is_refused_at_the_start(tmp_path: Path, text: str, wrong: str) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=wrong) as refused:
        read_keys(str(path))
    assert "CITYFEED_LIVE_KEYS" in str(refused.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"CITYFEED_LIVE_KEYS.*No such file"):
        read_keys(str(tmp_path / "none.toml"))


async def test_a_key_has_its_own_limits_and_is_not_counted_by_its_address(file: str) -> None:
    settings = {"live_keys": file, "live_connections_per_address": 1}
    async with served(**settings) as (_, url, _), calling(url, hello=False) as one:
        await one.say(type="hello", token="good")
        limits = (await one.hear("welcome"))["limits"]
        assert (limits["subscriptions"], limits["rate_per_s"], limits["message_bytes"]) == (100, 1000.0, 4096)
        async with calling(url) as anonymous, calling(url, hello=False) as too_many:
            assert await too_many.closed() == Close.CONNECTION_LIMIT  # the address has its one
            for n in range(300):
                await one.say(type="ping", n=n)
            assert [(await one.hear("pong"))["n"] for _ in range(300)] == list(range(300))
            await anonymous.say(type="ping", n=1)
            await anonymous.hear("pong")


async def test_a_key_has_so_many_connections_and_no_more(file: str) -> None:
    async with served(live_keys=file) as (_, url, _):
        async with calling(url, hello=False) as a, calling(url, hello=False) as b, calling(url, hello=False) as c:
            for client in (a, b, c):
                await client.say(type="hello", token="good")
                assert (await client.hear())["type"] == "welcome"
            async with calling(url, hello=False) as d:
                await d.say(type="hello", token="good")
                assert await d.closed() == Close.CONNECTION_LIMIT
        async with calling(url, hello=False) as again:
            await again.say(type="hello", token="good")
            assert (await again.hear())["type"] == "welcome"


@pytest.mark.parametrize(("token", "code"), [("bad", Close.UNAUTHORIZED), ("mean", Close.FORBIDDEN)])
async def test_a_token_that_is_not_good_closes_the_connection(file: str, token: str, code: int) -> None:
    async with served(live_keys=file) as (feed, url, _), calling(url, hello=False) as client:
        await client.say(type="hello", token=token)
        assert await client.closed() == code
        assert not feed.hub.members
