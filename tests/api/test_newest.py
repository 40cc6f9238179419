"""Kept answers of all newest values: the same rows as the plain way gives, whatever changed in between."""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from api import newest
from api.times import parse_moment
from schemas.registry import Registration, Site
from tests.api.city import NOW_MS, app_without_servers, client_of, hear, heard

SENSORS = ("moved", "coarse", "fiji", "homeless", "stranger")


async def both(app: FastAPI, query: str) -> tuple[Any, Any]:
    """The kept answer, and the plain one: a filter that leaves nothing out."""
    plain = "&".join(f"sensor={s}" for s in SENSORS)
    async with client_of(app) as client:
        kept = await client.get(f"/v1/traffic/latest?{query}")
        other = await client.get(f"/v1/traffic/latest?{query}&{plain}")
        assert kept.status_code == other.status_code == 200
        again = await client.get(f"/v1/traffic/latest?{query}", headers={"if-none-match": kept.headers["etag"]})
        assert (again.status_code, again.headers["etag"]) == (304, kept.headers["etag"])
    return kept.json(), other.json()


QUERIES = ["format=json", "format=geojson", "metric=speed", "metric=volume&format=geojson"]


@pytest.mark.parametrize("query", QUERIES)
async def test_kept_answers_are_the_plain_ones(tmp_path: Path, query: str, monkeypatch: pytest.MonkeyPatch) -> None:
    app = app_without_servers(tmp_path)
    here, dice, now = app.state.cityfeed, random.Random(3), NOW_MS
    here.now_ms = lambda: now
    made, make = 0, newest._made

    async def counted(*things: Any) -> None:
        nonlocal made
        made += 1
        await make(*things)

    monkeypatch.setattr(newest, "_made", counted)
    kept, plain = await both(app, query)
    assert kept == plain
    for step in range(12):
        now += dice.choice((50, 900, 1500, 90_000))
        for sensor in dice.sample(SENSORS, dice.randrange(4)):
            start = [now - 600_000 + step * 1000]
            hear(
                app,
                heard("traffic", sensor, "speed", "km/h", start, value=[dice.random()], flag=dice.choice((1, 3, 4))),
            )
            hear(app, heard("traffic", sensor, "volume", "{veh}", start, value=[dice.random()]))
        if step == 6:
            here.registry.apply(Registration("traffic", "homeless", site=Site("Here", 10.0, 50.0)))
        now += 2001  # so old none is given
        kept, plain = await both(app, query)
        assert kept == plain
    assert made == 13


async def test_an_answer_is_given_again_as_long_as_it_may(tmp_path: Path) -> None:
    app, now = app_without_servers(tmp_path), NOW_MS
    here = app.state.cityfeed
    here.now_ms = lambda: now

    async def kept() -> tuple[int, int]:
        """Of which moment the answer is, after the first one, and how many rows it has."""
        async with client_of(app) as client:
            got = (await client.get("/v1/traffic/latest")).json()
        return parse_moment(got["meta"]["time"]) - NOW_MS, len(got["data"])

    def another(sensor: str) -> None:
        hear(app, heard("traffic", sensor, "speed", "km/h", [NOW_MS - 310_000]))

    async def after(passed_ms: int) -> list[tuple[int, int]]:
        """The answer then, and the one when nothing is being made."""
        nonlocal now
        now = NOW_MS + passed_ms
        first = await kept()
        await here.newest.settled()
        return [first, await kept()]

    another("a")
    assert await after(0) == [(0, 1)] * 2
    assert await after(999) == [(0, 1)] * 2
    assert await after(1000) == [(0, 1), (1000, 1)]  # the next one was made meanwhile
    assert await after(3000) == [(3000, 1)] * 2  # too old to be given once more
    another("b")
    assert await after(3249) == [(3000, 1)] * 2
    assert await after(3250) == [(3000, 1), (3250, 2)]
    another("c")
    assert await after(3750) == [(3750, 3)] * 2
    assert await after(3700) == [(3700, 3)] * 2  # a clock that was set back


async def test_many_who_ask_at_once_are_answered_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app, made, make = app_without_servers(tmp_path), 0, newest._made

    async def counted(*things: Any) -> None:
        nonlocal made
        made += 1
        await make(*things)

    monkeypatch.setattr(newest, "_made", counted)
    hear(app, heard("traffic", "moved", "speed", "km/h", [NOW_MS - 310_000]))
    async with client_of(app) as client:
        got = await asyncio.gather(*(client.get("/v1/traffic/latest?format=geojson") for _ in range(20)))
    assert made == 1
    assert {len(answer.json()["features"]) for answer in got} == {1}


async def test_what_could_not_be_made_is_made_the_next_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = app_without_servers(tmp_path)
    hear(app, heard("traffic", "moved", "speed", "km/h", [NOW_MS - 310_000]))
    async with client_of(app) as client:
        with monkeypatch.context() as broken:
            broken.setattr(newest, "_text", lambda *_: 1 / 0)
            assert (await client.get("/v1/traffic/latest")).status_code == 500
        assert len((await client.get("/v1/traffic/latest")).json()["data"]) == 1


@pytest.mark.parametrize("encoding", ["zstd", "gzip"])
async def test_it_is_packed_for_who_takes_it(tmp_path: Path, encoding: str) -> None:
    app = app_without_servers(tmp_path)
    for i in range(50):
        hear(app, heard("traffic", f"s{i}", "speed", "km/h", [NOW_MS - 310_000]))
    async with client_of(app) as client:
        got = await client.get("/v1/traffic/latest", headers={"accept-encoding": encoding})
        plain = await client.get("/v1/traffic/latest", headers={"accept-encoding": "identity"})
        assert got.headers["content-encoding"] == encoding
        assert "Accept-Encoding" in got.headers["vary"] and "Accept" in got.headers["vary"]
        assert int(got.headers["content-length"]) < len(plain.content) / 4
        assert got.headers["last-modified"].endswith("GMT")
        if encoding == "gzip":
            assert got.json() == plain.json()
