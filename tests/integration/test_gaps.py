"""What is missing, told apart: nobody sent it, or a log lost it; and neither is a zero.

slot of five minutes   0     1     2     3     4     5     6     7
sensor a               0.0   5.0   .     .     .     .     6.0   7.0
its log lost what was received here      |<--------->|
told                   0     5     none  lost  lost  none  6     7      (a lateness of 0: what ends in the span)
"""

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from api.times import as_datetime, rfc3339
from schemas.settings import Settings
from schemas.topics import partition_of
from tests.api.city import app_without_servers, client_of
from tests.integration.history import DAY_0_MS, DAY_MS, History, Reading
from tests.integration.test_api import database, get, history, read_through, window
from tests.integration.test_exports import export, table

__all__ = ["database", "history"]

SLOT_MS = 300_000
NOTICED_MS = DAY_0_MS + DAY_MS
PARTS = 8
LOST = (DAY_0_MS + 4 * SLOT_MS, DAY_0_MS + 6 * SLOT_MS)
RANGE = f"from={rfc3339(DAY_0_MS)}&to={rfc3339(DAY_0_MS + 8 * SLOT_MS)}"


@pytest.fixture
async def app(database: Settings, tmp_path: Path) -> AsyncIterator[FastAPI]:
    """A city whose datasets allow no lateness: what was due then is known to the millisecond."""
    folder = tmp_path / "city" / "datasets"
    folder.mkdir(parents=True)
    shipped = resources.files("schemas").joinpath("datasets/traffic.toml").read_text("utf-8")
    (folder / "traffic.toml").write_text(re.sub(r"(?m)^lateness_s = .*$", "lateness_s = 0", shipped))
    app = app_without_servers(tmp_path, database_url=database.database_url, database_schema=database.database_schema)
    here = app.state.cityfeed
    await here.pool.open(wait=True)
    await here.exports.open(wait=True)
    yield app
    await here.exports.close()
    await here.pool.close()


@pytest.fixture
def stored(history: History) -> History:
    history.store(
        Reading("traffic", sensor, "speed", DAY_0_MS + slot * SLOT_MS, value=value)
        for sensor in ("a", "b")
        for slot, value in ((0, 0.0), (1, 5.0), (6, 6.0), (7, 7.0))
    )
    assert partition_of("traffic", "a", PARTS) != partition_of("traffic", "b", PARTS)
    lost(history, "readings.raw", "a")
    return history


def lost(history: History, topic: str, sensor: str, since: int | None = LOST[0], until: int | None = LOST[1]) -> None:
    history.connection.execute(
        "INSERT INTO log_gaps (topic, part, noticed, log_epoch, first_lost, next_offset, reason, since, until)"
        " VALUES (%s, %s, %s, 0, 12, 20, 'retention', %s, %s)",
        (
            topic, partition_of("traffic", sensor, PARTS), as_datetime(NOTICED_MS),
            None if since is None else as_datetime(since), None if until is None else as_datetime(until),
        ),
    )  # fmt: skip


def told(rows: list[dict[str, Any]], sensor: str = "a") -> list[str | float]:
    return [row["gap"] or row["value"] for row in rows if row["sensor"] == sensor]


async def test_none_lost_and_zero(app: FastAPI, stored: History) -> None:
    rows, _ = await read_through(app, f"/v1/traffic/readings?{RANGE}&gaps=show&limit=3")
    assert told(rows) == [0.0, 5.0, "none", "lost", "lost", "none", 6.0, 7.0]
    assert told(rows, "b") == [0.0, 5.0, *["none"] * 4, 6.0, 7.0], "another partition lost nothing"
    missing = [row for row in rows if row["gap"]]
    assert {(row["value"], row["flag"], row["rev"], row["origin"], row["received"]) for row in missing} == {
        (None, 9, 0, "none", None)
    }
    plain, _ = await read_through(app, f"/v1/traffic/readings?{RANGE}")
    assert all("gap" not in row for row in plain)


async def test_a_reading_that_lasts_longer_leaves_no_gap_under_it(app: FastAPI, history: History) -> None:
    """A sensor that says a period of 900 s, and nobody registered it: slots of five minutes under a reading are there.

    slot       0     1     2     3     4     5     6     7
    readings   |<------------->|.    .     .     |<------------->| (revised since)
    """
    readings = [Reading("traffic", "a", "speed", DAY_0_MS + slot * SLOT_MS, 900, 5.0) for slot in (0, 6)]
    history.store(readings)
    first = (await get(app, f"/v1/traffic/readings?{RANGE}&gaps=show&limit=2")).json()
    history.store([replace(readings[1], rev=2, value=6.0)])
    history.store([Reading("traffic", "a", "speed", DAY_0_MS + 12 * SLOT_MS, 900, 5.0)])
    rest, _ = await read_through(app, first["next"])
    assert told(first["data"] + rest) == [5.0, "none", "none", "none", 5.0]
    rows, _ = await read_through(app, f"/v1/traffic/readings?{RANGE}&gaps=show")
    assert told(rows) == [5.0, "none", "none", "none", 6.0]
    five, _ = await read_through(app, f"/v1/traffic/windows?{RANGE}&gaps=show&width=5m")
    assert [(row["start"], row["n"]) for row in five] == [
        (rfc3339(DAY_0_MS + slot * SLOT_MS), 0) for slot in (3, 4, 5)
    ]  # fmt: skip


async def test_what_was_not_noticed_yet_was_not_known(app: FastAPI, stored: History) -> None:
    for as_of, known in ((NOTICED_MS - 1, "none"), (NOTICED_MS, "lost")):
        rows, _ = await read_through(app, f"/v1/traffic/readings?{RANGE}&gaps=show&as_of={rfc3339(as_of)}")
        assert told(rows)[3] == known


async def test_without_an_end_it_lasts_until_it_was_noticed(app: FastAPI, stored: History) -> None:
    lost(stored, "readings.clean", "b", until=None)
    rows, _ = await read_through(app, f"/v1/traffic/readings?{RANGE}&gaps=show&sensor=b")
    assert told(rows, "b") == [0.0, 5.0, "none", "lost", "lost", "lost", 6.0, 7.0]


async def test_windows_tell_it_too(app: FastAPI, stored: History) -> None:
    stored.publish([window("a", DAY_0_MS + hour * 3_600_000, n=2) for hour in (0, 3)])
    stored.publish([window("b", DAY_0_MS + hour * 3_600_000, n=2) for hour in (0, 3)])
    stored.store([Reading("traffic", s, "speed", DAY_0_MS + 3 * 3_600_000) for s in "ab"])
    lost(stored, "readings.raw", "a", DAY_0_MS + 3_700_000, DAY_0_MS + 7_000_000)
    query = f"from={rfc3339(DAY_0_MS)}&to={rfc3339(DAY_0_MS + 4 * 3_600_000)}&width=1h&gaps=show"
    rows, _ = await read_through(app, f"/v1/traffic/windows?{query}")
    assert [(r["sensor"], r["n"], r["rev"], r["gap"]) for r in rows] == [
        ("a", 2, 1, None), ("a", 0, 0, "lost"), ("a", 0, 0, "none"), ("a", 2, 1, None),
        ("b", 2, 1, None), ("b", 0, 0, "none"), ("b", 0, 0, "none"), ("b", 2, 1, None),
    ]  # fmt: skip
    for format in ("csv", "ndjson", "parquet"):
        assert table(format, (await export(app, f"of=windows&format={format}&{query}")).content) == rows
    chosen, _ = await read_through(app, f"/v1/traffic/windows?{query}&agg=mean")
    assert "gap" in chosen[0] and "std" not in chosen[0]


@pytest.mark.parametrize("format", ["csv", "json", "geojson", "parquet", "arrow"])
async def test_files_tell_it_and_resume_with_it(app: FastAPI, stored: History, format: str) -> None:
    rows, _ = await read_through(app, f"/v1/traffic/readings?{RANGE}&gaps=show")
    got = await export(app, f"format={format}&gaps=show&{RANGE}")
    assert table(format, got.content) == rows
    chosen = await export(app, f"format={format}&gaps=show&fields=gap,start&{RANGE}")
    assert table(format, chosen.content) == [{"gap": row["gap"], "start": row["start"]} for row in rows]
    stored.connection.execute("DELETE FROM log_gaps")
    async with client_of(app) as client:
        again = await client.get(got.links["describedby"]["url"], params={"after_row": 0})
    assert again.content == got.content


async def test_the_gaps_themselves(app: FastAPI, stored: History) -> None:
    lost(stored, "readings.clean", "b", since=None, until=None)
    lost(stored, "windows", "a")
    rows, _ = await read_through(app, "/v1/traffic/gaps?sensor=a&sensor=b&limit=1")
    assert [(r["topic"], r["sensors"], r["since"], r["until"], r["reason"]) for r in rows] == [
        ("readings.raw", ["a"], rfc3339(LOST[0]), rfc3339(LOST[1]), "retention"),
        ("readings.clean", ["b"], None, None, "retention"),
    ]
    assert (rows[0]["first_lost"], rows[0]["next_offset"], rows[0]["noticed"]) == (12, 20, rfc3339(NOTICED_MS))
    late, _ = await read_through(app, f"/v1/traffic/gaps?sensor=a&from={rfc3339(LOST[1])}")
    assert late == []
    async with client_of(app) as client:
        refused = await client.get(f"/v1/traffic/readings?{RANGE}&fields=gap")
        assert (refused.status_code, refused.json()["parameter"]) == (400, "fields")


async def test_resumed_exports_keep_what_was_lost(app: FastAPI, stored: History) -> None:
    got = await export(app, f"format=ndjson&gaps=show&{RANGE}")
    lines = got.content.splitlines(keepends=True)
    stored.store([replace(next(iter(stored.stored.values())), rev=2)])
    async with client_of(app) as client:
        rest = await client.get(got.links["describedby"]["url"], params={"after_row": 3})
    assert rest.content == b"".join(lines[3:])
