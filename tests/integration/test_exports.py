"""Exports on a real database: complete, proven, the same bytes again, and gone when the client is."""

import asyncio
import gc
import hashlib
import io
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import frictionless
import httpx
import polars as pl
import psycopg
import pytest
import uvicorn
from fastapi import FastAPI

from api.formats import FORMATS
from api.queries import copies
from api.times import rfc3339
from api.trailers import HTTP, repr_digest
from schemas.registry import Registration, Site
from tests.api.city import app_without_servers, client_of
from tests.integration.history import DAY_0_MS, DAY_MS, History, Reading, three_days
from tests.integration.test_api import ALL_DAYS, as_row, database, history, read_through, window

__all__ = ["database", "history"]


@pytest.fixture
async def app(database: Any, tmp_path: Any) -> AsyncIterator[FastAPI]:
    """The application with its pools open."""
    names = {"database_url": database.database_url, "database_schema": database.database_schema}
    async with opened(app_without_servers(tmp_path, **names)) as made:
        yield made


@asynccontextmanager
async def opened(made: FastAPI) -> AsyncIterator[FastAPI]:
    """An application with its pools open."""
    here = made.state.cityfeed
    await here.pool.open(wait=True)
    await here.exports.open(wait=True)
    yield made
    await here.stop_proving()
    await here.exports.close()
    await here.pool.close()


async def export(app: FastAPI, query: str, status: int = 200) -> httpx.Response:
    async with client_of(app) as client:
        got = await client.get(f"/v1/traffic/export?{query}", timeout=60)
    assert got.status_code == status, got.text
    return got


async def status_of(app: FastAPI, got: httpx.Response) -> dict[str, Any]:
    assert got.links["describedby"]["url"].startswith("http://city.example/v1/exports/")
    async with client_of(app) as client:
        answer = await client.get(got.links["describedby"]["url"])
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def again(app: FastAPI, got: httpx.Response, after_row: int) -> bytes:
    async with client_of(app) as client:
        answer = await client.get(got.links["describedby"]["url"], params={"after_row": after_row}, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.content


def table(format: str, content: bytes) -> list[dict[str, Any]]:
    """The rows as JSON would have them."""
    if format == "csv":
        frame = pl.read_csv(content, infer_schema_length=None, schema_overrides={"sensor": pl.String})
    elif format == "parquet":
        frame = pl.read_parquet(content)
    elif format == "arrow":
        frame = pl.read_ipc_stream(content)
    elif format == "json":
        found: list[dict[str, Any]] = json.loads(content)["data"]
        return found
    elif format == "geojson":
        return [feature["properties"] for feature in json.loads(content)["features"]]
    else:
        return [json.loads(line) for line in content.splitlines()]
    times = [name for name, kind in frame.schema.items() if isinstance(kind, pl.Datetime)]
    return frame.with_columns(pl.col(times).dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")).to_dicts()


@pytest.mark.parametrize("format", FORMATS)
async def test_an_export_has_all_rows_in_order_and_proves_it(app: FastAPI, history: History, format: str) -> None:
    history.store(three_days(1))
    expected = [as_row(r) for r in history.ordered() if r.dataset == "traffic"]
    got = await export(app, f"format={format}")
    assert table(format, got.content) == expected
    assert got.headers["content-type"] == FORMATS[format].media_type
    assert "traffic-readings-" in got.headers["content-disposition"]
    status = await status_of(app, got)
    assert (status["state"], status["rows"], status["bytes"]) == ("complete", len(expected), len(got.content))
    assert status["sha256"] == hashlib.sha256(got.content).hexdigest()
    assert status["positions"]["readings"] == {
        str(p): offset - 1 for p, offset in history.next_offset.items()
    }  # fmt: skip
    if format == "parquet":
        import pyarrow.parquet as pq

        notes = pq.ParquetFile(io.BytesIO(got.content)).metadata.metadata
        assert notes[b"cityfeed.export"].decode() == status["id"]
        assert notes[b"cityfeed.rows"].decode() == str(len(expected))


async def test_filters_are_those_of_pages(app: FastAPI, history: History) -> None:
    history.store(three_days(2))
    history.register([Registration("traffic", "a", site=Site("", -118.5, 34))])
    history.publish([window(s, DAY_0_MS + h * 3_600_000, mean=h + 0.5) for s in ("b", "a") for h in range(30)])
    for path, query in (
        ("readings", "sensor=a&metric=speed&flag=1&flag=3"),
        ("readings", "bbox=-119,33,-118,35&fields=value,start,sensor"),
        ("readings", f"gaps=show&from={rfc3339(DAY_0_MS)}"),
        ("readings", f"as_of={rfc3339(DAY_0_MS + DAY_MS)}"),
        ("windows", "width=1h&agg=mean"),
        ("windows", "width=5m&sensor=a"),
        ("windows", "width=1d&tz=America/Los_Angeles"),
        ("windows", "width=1mo&group=metric"),
    ):
        range_ = "" if "from=" in query else f"&from={rfc3339(DAY_0_MS - 40 * DAY_MS)}"
        rows, _ = await read_through(app, f"/v1/traffic/{path}?{query}{range_}")
        assert rows, query
        for format in ("csv", "ndjson", "parquet"):
            got = await export(app, f"of={path}&format={format}&{query}{range_}")
            assert table(format, got.content) == rows, (query, format)


@pytest.mark.parametrize("query", ["format=csv", "format=csv&of=windows&fields=start,mean", "format=parquet&gaps=show"])
@pytest.mark.filterwarnings("ignore")
async def test_an_export_is_a_data_package(app: FastAPI, history: History, query: str, tmp_path: Any) -> None:
    """As frictionless reads it: the columns are those of the file, and so are bytes and digest."""
    history.store(three_days(6))
    history.publish([window("a", DAY_0_MS)])
    got = await export(app, query)
    async with client_of(app) as client:
        made = (await client.get((await status_of(app, got))["links"]["package"])).json()
    (resource,) = made["resources"]
    assert (resource["bytes"], resource["hash"]) == (
        len(got.content), f"sha256:{hashlib.sha256(got.content).hexdigest()}"
    )  # fmt: skip
    file = resource["path"] = f"export.{resource['format']}"
    (tmp_path / file).write_bytes(got.content)
    del resource["scheme"]
    if resource["format"] != "csv":
        assert [field["name"] for field in resource["schema"]["fields"]] == pl.read_parquet(tmp_path / file).columns
        return
    report = frictionless.Package.from_descriptor(made, basepath=str(tmp_path)).validate()
    assert report.valid, report.flatten(["title", "message"])


async def test_nothing_is_a_file_too(app: FastAPI) -> None:
    got = await export(app, "format=csv&sensor=nobody")
    assert got.text == "dataset,sensor,metric,unit,start,end,period_s,value,flag,tests,rev,origin,received\n"
    assert (await status_of(app, got))["rows"] == 0
    assert (await export(app, "format=json")).json()["data"] == []


@pytest.mark.parametrize("format", [name for name, format in FORMATS.items() if format.resumes])
@pytest.mark.parametrize("query", ["", "&gaps=show", "&of=windows&width=1w&tz=Asia/Tokyo"])
async def test_a_broken_export_goes_on_with_the_same_bytes(
    app: FastAPI, history: History, format: str, query: str, tmp_path: Any, database: Any
) -> None:
    """After rows were revised, late ones and new series came, in a new process: nothing of it is seen."""
    all_readings = three_days(3)
    history.store(all_readings[::2])
    got = await export(app, f"format={format}{query}&from={rfc3339(DAY_0_MS - 9 * DAY_MS)}")
    rows = (await status_of(app, got))["rows"]
    history.store(replace(r, rev=2, value=-1.0) for r in all_readings[:200:2])
    history.store(all_readings[1::2])
    history.store([Reading("traffic", "new", "speed", DAY_0_MS - 3 * DAY_MS)])
    other = app_without_servers(tmp_path, database_url=database.database_url, database_schema=database.database_schema)
    await other.state.cityfeed.pool.open(wait=True)
    await other.state.cityfeed.exports.open(wait=True)
    try:
        assert await again(other, got, 0) == got.content
        dice = random.Random(5)
        for after_row in (1, dice.randrange(rows), rows - 1, rows):
            rest = await again(other, got, after_row)
            assert got.content.endswith(rest)
            kept = got.content[: len(got.content) - len(rest)]
            assert kept.count(b'"sensor"' if format != "csv" else b"\n") == after_row + (format == "csv")
    finally:
        await other.state.cityfeed.exports.close()
        await other.state.cityfeed.pool.close()
    assert (await status_of(app, got))["sha256"] == hashlib.sha256(got.content).hexdigest()


@pytest.mark.parametrize("query", ["", "&gaps=show", "&of=windows&width=1w&tz=Asia/Tokyo"])
@pytest.mark.parametrize("format", FORMATS)
async def test_a_file_goes_on_after_any_byte(app: FastAPI, history: History, format: str, query: str) -> None:
    history.store(three_days(4))
    got = await export(app, f"format={format}{query}&from={rfc3339(DAY_0_MS - 9 * DAY_MS)}")
    history.store(replace(r, rev=2, value=-1.0) for r in list(history.stored.values())[:50])
    n, url = len(got.content), got.links["describedby"]["url"]
    async with client_of(app) as client:
        for after in (0, 1, n // 3, n - 1, n):
            rest = await client.get(url, params={"after_byte": after}, timeout=60)
            assert (rest.status_code, rest.content) == (200, got.content[after:]), after
        refused = await client.get(url, params={"after_byte": n + 1})
        assert (refused.status_code, refused.json()["remedy"]) == (400, f"after_byte is at most {n}.")
        refused = await client.get(url, params={"after_byte": 3, "after_row": 2})
        assert (refused.status_code, refused.json()["type"]) == (400, "/problems/contradictory-parameters")
    assert (await status_of(app, got))["sha256"] == hashlib.sha256(got.content).hexdigest()


@pytest.mark.parametrize("format", ["parquet", "arrow"])
async def test_files_of_columns_are_not_cut_between_rows(app: FastAPI, history: History, format: str) -> None:
    history.store(three_days(4))
    got = await export(app, f"format={format}")
    history.store(replace(r, rev=2, value=-1.0) for r in list(history.stored.values())[:50])
    assert await again(app, got, 0) == got.content
    async with client_of(app) as client:
        refused = await client.get(got.links["describedby"]["url"] + "?after_row=5")
    assert (refused.status_code, refused.json()["parameter"]) == (400, "after_row")
    assert "after_byte=N" in refused.json()["remedy"]


@pytest.mark.parametrize(
    ("query", "kind", "parameter"),
    [
        ("of=reading", "bad-parameter", "of"),
        ("of=readings&width=1h", "unknown-parameter", "width"),
        ("of=windows&flag=1", "unknown-parameter", "flag"),
        ("limit=5", "unknown-parameter", "limit"),
        ("format=xlsx", "bad-parameter", "format"),
        ("from=2026-01-02T00:00:00Z&to=2026-01-02T00:00:00Z", "bad-range", "from"),
    ],
)
async def test_what_makes_no_sense_is_refused_before_anything_is_sent(
    app: FastAPI, query: str, kind: str, parameter: str
) -> None:
    got = await export(app, query, 400)
    assert (got.json()["type"], got.json()["parameter"]) == (f"/problems/{kind}", parameter)


async def test_unknown_exports_and_rows(app: FastAPI, history: History) -> None:
    history.store([Reading("traffic", "a", "speed", DAY_0_MS)])
    got = await export(app, "format=csv")
    async with client_of(app) as client:
        unknown = await client.get("/v1/exports/../../etc/passwd")
        assert unknown.status_code == 404
        unknown = await client.get("/v1/exports/0123")
        assert (unknown.status_code, unknown.json()["type"]) == (404, "/problems/unknown-export")
        beyond = await client.get(got.links["describedby"]["url"] + "?after_row=2")
        assert (beyond.status_code, beyond.json()["remedy"]) == (400, "after_row is at most 1.")
        head = await client.head("/v1/traffic/export?format=csv")
        assert (head.status_code, head.content) == (200, b"")
    assert history.connection.execute("SELECT count(*) FROM exports").fetchone() == (1,)


# -- over a socket --------------------------------------------------------------------------------------


PLAIN = {"accept-encoding": "identity"}  # gzip would fit the socket's buffers


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[str]:
    """The application behind a real socket, its pools open already."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="off", http=HTTP))
    task = asyncio.ensure_future(server.serve())
    try:
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


def many(history: History, n: int) -> None:
    history.connection.execute(
        "INSERT INTO readings SELECT %s, %s::timestamptz + i * interval '1 second', 1, i / 7.0, 1, 0, 1, 0, now(), 0, 0"
        " FROM generate_series(1, %s) i",
        (history.series("traffic", "many", "speed"), rfc3339(DAY_0_MS), n),
    )
    history.store([Reading("traffic", "d", "speed", DAY_0_MS)])


async def test_a_client_that_goes_frees_the_database(app: FastAPI, history: History) -> None:
    many(history, 300_000)

    def copying() -> int:
        (n,) = history.connection.execute(
            "SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation WHERE c.relname = 'readings'"
            " AND c.relnamespace = current_schema()::regnamespace AND l.pid <> pg_backend_pid()"
        ).fetchone() or (0,)
        return int(n)

    async def leave(url: str, client: httpx.AsyncClient) -> tuple[str, float]:
        """The export's id, and the seconds from the client's going until the database is free."""
        async with client.stream("GET", f"{url}/v1/traffic/export?format=csv") as got:
            await anext(got.aiter_raw(1000))
            id = got.headers["link"].split("/v1/exports/")[1].split(">")[0]
            assert copying()
        left_s = time.monotonic()
        async with asyncio.timeout(20):
            while copying():
                await asyncio.sleep(0.02)
        return id, time.monotonic() - left_s

    async with served(app) as url, httpx.AsyncClient(headers=PLAIN) as client:
        left = [await leave(url, client) for _ in range(4)]
        assert min(took_s for _, took_s in left) < 3  # not each of them: other tests share the processors
        async with asyncio.timeout(20):
            while (status := (await client.get(f"{url}/v1/exports/{left[-1][0]}")).json())["state"] == "running":
                await asyncio.sleep(0.02)
        assert status["state"] == "broken"
        assert 0 < status["rows"] < 300_001


@pytest.mark.parametrize("query", [*(f"format={format}" for format in FORMATS), "of=windows&width=1d&tz=Asia/Tokyo"])
async def test_nobody_waits_at_a_connection_that_is_closed(
    app: FastAPI, history: History, query: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Where somebody does, libuv ends the whole API (seen: seven clients that left were enough)."""
    many(history, 300_000)
    async with served(app) as url, httpx.AsyncClient(headers=PLAIN) as client:
        for _ in range(3):
            async with client.stream("GET", f"{url}/v1/traffic/export?{query}") as got:
                await anext(got.aiter_raw(1000))
            id = got.headers["link"].split("/v1/exports/")[1].split(">")[0]
            async with asyncio.timeout(20):
                while (await client.get(f"{url}/v1/exports/{id}")).json()["state"] == "running":
                    await asyncio.sleep(0.02)
        gc.collect()
        await asyncio.sleep(0)
    assert [r.getMessage() for r in caplog.records if r.name == "psycopg"] == []


async def test_a_resumed_export_is_proven_in_the_end(app: FastAPI, history: History) -> None:
    many(history, 100_000)
    async with served(app) as url, httpx.AsyncClient(timeout=60, headers=PLAIN) as client:
        begun = b""
        async with client.stream("GET", f"{url}/v1/traffic/export?format=csv") as got:
            status_url = f"{url}/v1/exports/{got.headers['link'].split('/v1/exports/')[1].split('>')[0]}"
            async for piece in got.aiter_bytes(10_000):
                begun += piece
                if len(begun) > 500_000:
                    break
        begun = begun[: begun.rindex(b"\n") + 1]
        async with asyncio.timeout(60):
            while (await client.get(status_url)).json()["state"] == "running":
                await asyncio.sleep(0.02)
        rest = await client.get(status_url, params={"after_row": begun.count(b"\n") - 1})
        whole = begun + rest.content
        async with asyncio.timeout(60):
            while (status := (await client.get(status_url)).json())["state"] != "complete":
                await asyncio.sleep(0.05)
    assert (status["rows"], status["bytes"]) == (100_001, len(whole))
    assert status["sha256"] == hashlib.sha256(whole).hexdigest()


@pytest.mark.parametrize("format", ["parquet", "arrow", "json"])
async def test_a_file_that_broke_goes_on_after_a_byte_and_is_proven_with_it(
    app: FastAPI, history: History, format: str
) -> None:
    """Of the export that broke off nobody knows the end; what goes on makes all of it."""
    many(history, 200_000)
    async with served(app) as url, httpx.AsyncClient(timeout=60, headers=PLAIN) as client:
        begun = b""
        async with client.stream("GET", f"{url}/v1/traffic/export?format={format}") as got:
            status_url = f"{url}/v1/exports/{got.headers['link'].split('/v1/exports/')[1].split('>')[0]}"
            async for piece in got.aiter_raw(10_000):
                begun += piece
                if len(begun) > 100_000:
                    break
        async with asyncio.timeout(60):
            while (await client.get(status_url)).json()["state"] == "running":
                await asyncio.sleep(0.02)
        rest = await client.get(status_url, params={"after_byte": len(begun)})
        whole, status = begun + rest.content, (await client.get(status_url)).json()
    assert (status["state"], status["rows"], status["bytes"]) == ("complete", 200_001, len(whole))
    assert status["sha256"] == hashlib.sha256(whole).hexdigest()
    assert len(table(format, whole)) == 200_001


async def test_the_digest_stands_behind_an_export(app: FastAPI, history: History) -> None:
    history.store(three_days(4))
    async with served(app) as url:
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /v1/traffic/export?format=csv HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
    assert b"trailer: repr-digest" in head.lower()
    body, _, trailers = body.rpartition(b"0\r\nrepr-digest: ")
    content = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        content, body = content + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    assert content.startswith(b"dataset,sensor,metric")
    assert trailers.decode().strip() == repr_digest(hashlib.sha256(content).digest())


async def test_more_exports_than_there_may_be_at_once_are_asked_to_come_again(
    database: Any, history: History, tmp_path: Any
) -> None:
    history.store([Reading("traffic", "a", "speed", DAY_0_MS)])
    app = app_without_servers(
        tmp_path, database_url=database.database_url, database_schema=database.database_schema, exports_at_once=1
    )
    here = app.state.cityfeed
    await here.pool.open(wait=True)
    await here.exports.open(wait=True)
    try:
        async with here.exports.connection():
            refused = await export(app, "format=csv", 503)
            assert refused.json()["type"] == "/problems/too-many-exports"
            assert "retry-after" in refused.headers
            await read_through(app, f"/v1/traffic/readings?{ALL_DAYS}&limit=1")
        await export(app, "format=csv")
    finally:
        await here.exports.close()
        await here.pool.close()


# -- COPY in pieces -------------------------------------------------------------------------------------


async def test_copied_pieces_are_what_psycopg_gives(app: FastAPI, history: History) -> None:
    """The contract with libpq: every byte and every row, an error, and a connection that is good afterwards."""
    async with app.state.cityfeed.exports.connection() as connection:
        for n in (0, 1, 7, 50_000):
            query = f"COPY (SELECT i, 'text ' || i FROM generate_series(1, {n}) i) TO STDOUT (FORMAT {{}})"
            got = [piece async for piece in copies.text(connection, query.format("csv"), {})]
            text = b"".join(piece for piece, _ in got)
            assert text == b"".join(f"{i},text {i}\n".encode() for i in range(1, n + 1))
            assert sum(rows for _, rows in got) == n
            body = b"".join([piece async for piece in copies.binary(connection, query.format("binary"), {})])
            async with connection.cursor() as cursor, cursor.copy(query.format("binary").encode()) as copy:
                whole = b"".join([bytes(part) async for part in copy])
            assert copies.SIGNATURE + body == whole
            assert await copies.whole(connection, query.format("binary"), {}) == whole
        with pytest.raises(psycopg.errors.DivisionByZero):
            async for _ in copies.text(
                connection, "COPY (SELECT 1 / (3 - i) FROM generate_series(1, 5) i) TO STDOUT", {}
            ):
                pass
        assert (await (await connection.execute("SELECT 1")).fetchone()) == (1,)
