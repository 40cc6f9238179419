"""SensorThings: the newest observation of 100 Datastreams, and pages of one, asked of a real API process."""

import asyncio
import itertools
import re
import time
from collections.abc import Iterator
from urllib.parse import quote

import httpx
import psycopg

from api.sensorthings.routes import ROOT
from tests.bench import stored
from tests.bench.figure import Figure
from tests.service_stack import ServiceStack

ROWS = 10_000_000
CLIENTS = 4
SECONDS = 8
DEEP = 100
"""The page that is compared with the first."""
NEWEST = "Datastreams?" + quote("$expand=Observations($top=1;$orderby=phenomenonTime desc)&$top=100", safe="$=()&;,")
FROST_REQUESTS_PER_S = 31.0
"""FROST-Server 2.4.2 with PostgreSQL on this machine, the same question: 101 queries each."""


def measure(stack: ServiceStack, rows: int = ROWS) -> Iterator[Figure]:
    """Fill the schema of a stack that runs, then ask its API."""
    settings = stack.settings
    options = f"-c search_path={settings.database_schema},public"
    with psycopg.connect(str(settings.database_url), autocommit=True, options=options) as connection:
        there = stored.fill(connection, rows)
        root = f"http://127.0.0.1:{settings.api_port}{ROOT}"
        per_s, answer_s = asyncio.run(_ask(settings.api_port, f"{ROOT}/{NEWEST}"))
        yield Figure(
            "SensorThings: newest of 100 Datastreams", per_s, "requests/s", FROST_REQUESTS_PER_S, "FROST-Server 2.4.2",
            "at least 300", per_s >= 300, f"{there:,} readings, {CLIENTS} connections, median {answer_s * 1000:.1f} ms",
        )  # fmt: skip
        per_s, answer_s = asyncio.run(_ask(settings.api_port, f"{ROOT}/{NEWEST}", anew=True))
        yield Figure(
            "SensorThings: the same, never asked before", per_s, "requests/s", FROST_REQUESTS_PER_S,
            "FROST-Server 2.4.2", note=f"median {answer_s * 1000:.1f} ms",
        )  # fmt: skip
        first_s, deep_s = asyncio.run(_pages(root))
        yield Figure(
            "SensorThings: page of 1,000 Observations", first_s * 1000, "ms",
            note=f"page {DEEP} of a Datastream: {deep_s * 1000:.1f} ms",
        )  # fmt: skip


async def _ask(port: int, path: str, anew: bool = False) -> tuple[float, float]:
    """Requests a second over all connections, and the median time of one. `anew`: each with a parameter that means
    nothing and makes it another one, so that no answer is given again.
    """
    took: list[float] = []
    numbers = itertools.count()

    async def one(until: float) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (began := time.perf_counter()) < until:
            body = await _get(reader, writer, f"{path}&_={next(numbers)}" if anew else path)
            assert body.count(b'"resultTime"') == 200, body[:500]
            took.append(time.perf_counter() - began)
        writer.close()

    await asyncio.gather(*(one(time.perf_counter() + 2) for _ in range(CLIENTS)))  # plans are made, pages are warm
    took.clear()
    await asyncio.gather(*(one(time.perf_counter() + SECONDS) for _ in range(CLIENTS)))
    return len(took) / SECONDS, sorted(took)[len(took) // 2]


async def _get(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> bytes:
    """The body of a GET; a client that costs little, for it has the same processors as what is measured."""
    writer.write(f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    assert length is not None, head
    return await reader.readexactly(int(length[1]))


async def _pages(root: str) -> tuple[float, float]:
    """Seconds for the first and the 100th page of the longest Datastream, medians of five."""
    async with httpx.AsyncClient(headers={"accept-encoding": "identity"}, timeout=30) as client:
        found = await client.get(f"{root}/Datastreams?$top=1&$filter=properties/dataset eq 'air-quality'")
        first = f"{root}/Datastreams({found.json()['value'][0]['@iot.id']})/Observations?$top=1000"
        url = first
        for page in range(2, DEEP + 1):
            rest = (await client.get(url)).json().get("@iot.nextLink")
            if rest is None:
                raise ValueError(f"a Datastream has {page - 1} pages: store more readings")
            url = rest
        return await _median(client, first), await _median(client, url)


async def _median(client: httpx.AsyncClient, url: str) -> float:
    took = []
    for _ in range(5):
        began = time.perf_counter()
        assert (await client.get(url)).status_code == 200
        took.append(time.perf_counter() - began)
    return sorted(took)[2]
