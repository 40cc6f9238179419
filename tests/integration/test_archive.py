"""The archive: closed days as files, found by their index, made anew when late data came, read as its users read it."""

import base64
import csv
import dataclasses
import gzip
import hashlib
import io
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from fastapi import FastAPI

from api.archive.job import Wanted
from api.archive.main import once
from api.archive.store import Store
from api.streams import PARQUET_GROUP_ROWS
from schemas.settings import Settings
from tests.api.city import app_without_servers, client_of, make_settings
from tests.integration.history import DAY_0_MS, DAY_MS, History, Reading, three_days
from tests.integration.test_api import as_row, database, history
from tests.integration.test_exports import table

__all__ = ["database", "history"]

AFTER_MS = DAY_0_MS + 4 * DAY_MS + 7 * 3_600_000  # all four days of `three_days` are closed, a quarter of a day ago
FIRST_DAY = DAY_0_MS // DAY_MS


@pytest.fixture
def settings(database: Settings, tmp_path: Path) -> Settings:
    made = make_settings(tmp_path, database_url=database.database_url, database_schema=database.database_schema)
    return dataclasses.replace(made, archive_url=f"file://{tmp_path}/archive")


@pytest.fixture
async def app(settings: Settings, tmp_path: Path) -> AsyncIterator[FastAPI]:
    app = app_without_servers(tmp_path, archive_url=settings.archive_url)
    yield app


async def archive(settings: Settings, now_ms: int = AFTER_MS, wanted: Wanted | None = None) -> list[str]:
    return await once(settings, wanted, now_ms)


def wrote(history: History) -> None:
    """The statistics' counters are behind; a test can't wait for them."""
    history.connection.execute("SELECT pg_stat_force_next_flush()")
    history.connection.execute("SELECT 1")


async def get(app: FastAPI, path: str, status: int = 200, **headers: str) -> Any:
    async with client_of(app) as client:
        got = await client.get(f"/v1/archive/{path}", headers={k.replace("_", "-"): v for k, v in headers.items()})
    assert got.status_code == status, got.text
    return got


def rows_of(history: History, day: int, dataset: str = "traffic") -> list[dict[str, Any]]:
    rows = [as_row(r) for r in history.stored.values() if r.dataset == dataset and r.start // DAY_MS == FIRST_DAY + day]
    return sorted(rows, key=lambda row: (row["sensor"], row["metric"], row["start"]))


async def test_closed_days_are_files_with_an_index(settings: Settings, app: FastAPI, history: History) -> None:
    history.store(three_days(1))
    wrote(history)
    assert len(await archive(settings)) == 6  # three days of two datasets; the day without readings has no file
    assert await archive(settings) == []
    index = (await get(app, "traffic")).json()
    assert [day["day"] for day in index["days"]] == ["2026-11-15", "2026-11-16", "2026-11-18"]
    for number, day in zip((0, 1, 3), index["days"], strict=True):
        expected = rows_of(history, number)
        assert (day["revision"], day["newest"], day["rows"]) == (1, True, len(expected))
        for kind, file in day["files"].items():
            got = await get(app, file["url"].split("/v1/archive/")[1])
            assert len(got.content) == file["bytes"] == int(got.headers["content-length"])
            assert hashlib.sha256(got.content).hexdigest() == file["sha256"]
            assert got.headers["repr-digest"] == f"sha-256=:{base64.b64encode(bytes.fromhex(file['sha256'])).decode()}:"
            content = gzip.decompress(got.content) if kind == "csv" else got.content
            assert table(kind, content) == expected
            if kind == "csv":
                assert next(csv.reader(io.StringIO(content.decode()))) == list(expected[0])


async def test_late_and_revised_data_make_a_new_revision_and_the_old_one_stays(
    settings: Settings, app: FastAPI, history: History
) -> None:
    late = three_days(2)
    history.store(late[10:])
    wrote(history)
    await archive(settings)
    first = (await get(app, "traffic/2026/11/15.parquet")).content
    assert (await get(app, "traffic/2026/11/15.r1.parquet")).content == first
    history.store(r for r in late[:10] if r.start // DAY_MS == FIRST_DAY)
    changed = next(r for r in history.stored.values() if r.dataset == "traffic" and r.start // DAY_MS == FIRST_DAY)
    history.store([replace(changed, rev=2, value=-7.0)])
    wrote(history)
    assert "traffic 2026-11-15 revision 2" in " ".join(await archive(settings))
    second = await get(app, "traffic/2026/11/15.parquet")
    assert table("parquet", second.content) == rows_of(history, 0)
    assert second.headers["content-location"].endswith("/traffic/2026/11/15.r2.parquet")
    assert (await get(app, "traffic/2026/11/15.r1.parquet")).content == first
    days = [(d["day"], d["revision"], d["newest"]) for d in (await get(app, "traffic")).json()["days"]]
    assert ("2026-11-15", 1, False) in days and ("2026-11-15", 2, True) in days
    assert ("2026-11-16", 1, True) in days and ("2026-11-16", 2, True) not in days
    assert await archive(settings) == []


async def test_a_day_is_written_when_it_is_closed_and_only_what_is_wanted(settings: Settings, history: History) -> None:
    history.store(three_days(3))
    end_of_first = DAY_0_MS + DAY_MS
    hours = settings.archive_after_h * 3_600_000
    assert await archive(settings, end_of_first + hours - 1) == []
    assert [line.split()[1] for line in await archive(settings, end_of_first + hours)] == ["2026-11-15"] * 2
    one = Wanted(("traffic",), FIRST_DAY + 1, FIRST_DAY + 2)
    assert [line.split(" revision")[0] for line in await archive(settings, wanted=one)] == ["traffic 2026-11-16"]


async def test_the_same_rows_are_the_same_bytes(settings: Settings, history: History, tmp_path: Path) -> None:
    history.store(three_days(4))
    await archive(settings)
    other = dataclasses.replace(settings, archive_url="memory://again")
    await archive(other)
    for dataset in ("traffic", "air-quality"):
        shas = [
            [(d.day, {k: f.sha256 for k, f in d.files.items()}) for d in Store(s).index(dataset).days]
            for s in (settings, other)
        ]
        assert shas[0] == shas[1] != []


async def test_ranges_and_conditions(settings: Settings, app: FastAPI, history: History) -> None:
    history.store(three_days(5))
    await archive(settings)
    path = "traffic/2026/11/15.csv.gz"
    whole = await get(app, path)
    size = len(whole.content)
    for asked, part, said in (
        ("bytes=0-9", whole.content[:10], f"bytes 0-9/{size}"),
        ("bytes=10-", whole.content[10:], f"bytes 10-{size - 1}/{size}"),
        ("bytes=-5", whole.content[-5:], f"bytes {size - 5}-{size - 1}/{size}"),
        (f"bytes=3-{size * 9}", whole.content[3:], f"bytes 3-{size - 1}/{size}"),
        (f"bytes=3-{'9' * 40}", whole.content[3:], f"bytes 3-{size - 1}/{size}"),
        ("Bytes=-999999999999999999999", whole.content, f"bytes 0-{size - 1}/{size}"),
    ):
        got = await get(app, path, 206, range=asked)
        assert (got.content, got.headers["content-range"]) == (part, said)
    for asked in ("bytes=0-1,5-6", "rows=1-2", "bytes=-", "nonsense"):
        assert (await get(app, path, range=asked)).content == whole.content
    assert (await get(app, path, range="bytes=0-1", if_range='"other"')).content == whole.content
    for validator in (whole.headers["etag"], whole.headers["last-modified"]):
        assert (await get(app, path, 206, range="bytes=0-1", if_range=validator)).content == whole.content[:2]
    for asked in (f"bytes={size}-", "bytes=5-3", f"bytes={'9' * 40}-", "bytes=-0"):
        refused = await get(app, path, 416, range=asked)
        assert refused.json()["type"] == "/problems/bad-byte-range"
        assert refused.headers["content-range"] == f"bytes */{size}"
    assert (await get(app, path, 304, if_none_match=whole.headers["etag"])).content == b""
    assert (await get(app, path, 304, if_modified_since=whole.headers["last-modified"])).content == b""
    assert (await get(app, path, 304, if_modified_since="Fri, 01 Jan 2100 00:00:00 GMT")).content == b""
    for before in ("Thu, 01 Jan 1970 00:00:00 GMT", "nonsense", "Fri, 01 Jan 2100 00:00:00"):
        assert (await get(app, path, if_modified_since=before)).content == whole.content
    index = await get(app, "traffic")
    assert (await get(app, "traffic", 304, if_none_match=index.headers["etag"])).content == b""
    assert "immutable" in (await get(app, "traffic/2026/11/15.r1.csv.gz")).headers["cache-control"]
    async with client_of(app) as client:
        head = await client.head(f"/v1/archive/{path}")
    assert (head.headers["content-length"], head.content) == (str(size), b"")


@pytest.mark.parametrize(
    "path",
    ["traffic/2026/11/14.parquet", "traffic/2026/11/15.r9.parquet", "traffic/2026/11/index.json", "trafic",
     "traffic/2026/11/..%2f..%2f..%2findex.json", "traffic/%2e%2e/%2e%2e/passwd", "traffic/2026/11/15.parquet.draft"],
)  # fmt: skip
async def test_what_is_not_there_is_404(settings: Settings, app: FastAPI, history: History, path: str) -> None:
    history.store([Reading("traffic", "a", "speed", DAY_0_MS)])
    await archive(settings)
    assert (await get(app, path, 404)).headers["content-type"] == "application/problem+json"


async def test_duckdb_reads_it_and_skips_row_groups(settings: Settings, history: History, tmp_path: Path) -> None:
    n = PARQUET_GROUP_ROWS
    for sensor in ("a", "b"):
        history.connection.execute(
            "INSERT INTO readings SELECT %s, '2026-11-15'::timestamptz + i * interval '1 second', 1, i, 1, 0, 1, 0,"
            " '2026-11-15', 0, 0 FROM generate_series(0, %s) i",
            (history.series("traffic", sensor, "speed"), n - 1),
        )
    await archive(settings)
    file = f"{tmp_path}/archive/traffic/2026/11/15.r1.parquet"
    with duckdb.connect() as db:
        assert db.execute(
            f"SELECT sensor, count(*), sum(value) FROM '{file}' GROUP BY ALL ORDER BY ALL"
        ).fetchall() == [(sensor, n, n * (n - 1) / 2) for sensor in ("a", "b")]
        ranges = db.execute(
            f"SELECT row_group_id, stats_min_value, stats_max_value FROM parquet_metadata('{file}')"
            " WHERE path_in_schema = 'sensor' ORDER BY 1"
        ).fetchall()
    assert ranges == [(0, "a", "a"), (1, "b", "b")]
    assert pl.read_parquet(file).height == 2 * n
