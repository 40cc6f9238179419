"""Kept answers of all newest values: the same rows as the plain way gives, whatever changed in between."""

import random
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from schemas.registry import Registration, Site
from tests.api.city import NOW_MS, app_without_servers, client_of, hear, heard

SENSORS = ("moved", "coarse", "fiji", "homeless", "stranger")


async def both(app: FastAPI, format: str) -> tuple[Any, Any]:
    """The kept answer, and the plain one: a filter that leaves nothing out."""
    plain = "&".join(f"sensor={s}" for s in SENSORS)
    async with client_of(app) as client:
        kept = await client.get(f"/v1/traffic/latest?format={format}")
        other = await client.get(f"/v1/traffic/latest?format={format}&{plain}")
        assert kept.status_code == other.status_code == 200
        again = await client.get(f"/v1/traffic/latest?format={format}", headers={"if-none-match": kept.headers["etag"]})
        assert (again.status_code, again.headers["etag"]) == (304, kept.headers["etag"])
    return kept.json(), other.json()


@pytest.mark.parametrize("format", ["json", "geojson"])
async def test_kept_answers_are_the_plain_ones(tmp_path: Path, format: str) -> None:
    app = app_without_servers(tmp_path)
    here, dice, now = app.state.cityfeed, random.Random(3), NOW_MS
    here.now_ms = lambda: now
    kept, plain = await both(app, format)
    assert kept == plain
    for step in range(12):
        now += dice.choice((50, 900, 1500, 90_000))
        for sensor in dice.sample(SENSORS, dice.randrange(4)):
            start = [now - 600_000 + step * 1000]
            hear(
                app,
                heard("traffic", sensor, "speed", "km/h", start, value=[dice.random()], flag=dice.choice((1, 3, 4))),
            )
        if step == 6:
            here.registry.apply(Registration("traffic", "homeless", site=Site("Here", 10.0, 50.0)))
        now += 1001  # an answer is given again within its max-age
        kept, plain = await both(app, format)
        assert kept == plain


async def test_within_its_age_an_unchanged_answer_is_given_again(tmp_path: Path) -> None:
    app = app_without_servers(tmp_path)
    now = NOW_MS
    app.state.cityfeed.now_ms = lambda: now
    hear(app, heard("traffic", "moved", "speed", "km/h", [NOW_MS - 310_000]))
    first, _ = await both(app, "json")
    now += 999
    assert (await both(app, "json"))[0] == first
    now += 1
    assert (await both(app, "json"))[0]["meta"] != first["meta"]
    hear(app, heard("traffic", "moved", "speed", "km/h", [NOW_MS - 10_000]))
    assert (await both(app, "json"))[0]["data"] != first["data"]


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
