"""Open data on 10 million stored readings, made from the sample city's real week by shifting it inside PostgreSQL."""

import csv
import gzip
import http.client
import json
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any
from urllib.parse import urlencode

import psycopg

from api import columns
from api.cursor import Cursors, load_key
from api.paging import Key, Positions, Start, cursor_after, digest
from api.params import Asked
from api.queries import pages
from api.queries.readings import READINGS
from api.times import DAY_MS, rfc3339
from deploy.local.tools import ROOT
from tests.bench.figure import Figure, pss_kb
from tests.service_stack import ServiceStack

ROWS = 10_000_000
SENSORS = 10_000
LATEST_PER_S = 50
_WEEK_MS = 7 * DAY_MS
_READ_BYTES = 1 << 20
_DATA = ROOT / "deploy" / "sample_city" / "data" / "traffic.csv.gz"


def measure(stack: ServiceStack, rows: int = ROWS) -> Iterator[Figure]:
    """`stack` has its API running, and nothing stored."""
    with stack.connect() as connection:
        first_ms, stored = fill(connection, rows)
    yield from _exports(stack, stored)
    yield from _pages(stack, first_ms, stored)
    yield from _latest(stack)


def fill(connection: "psycopg.Connection[Any]", rows: int) -> tuple[int, int]:
    """Store readings until there are `rows`: the recorded week, and weeks before it; (epoch ms of the first, rows)."""
    with gzip.open(_DATA, "rt", newline="") as file:
        table = csv.reader(file)
        series = [name.split("/") for name in next(table)]
        steps = list(table)
    connection.execute("CREATE TEMP TABLE base (sensor text, metric text, step integer, value float8)")
    with connection.cursor() as cursor, cursor.copy("COPY base FROM STDIN") as copy:
        for i, values in enumerate(steps):
            for (sensor, metric), value in zip(series, values, strict=True):
                if value:
                    copy.write_row((sensor, metric, i, float(value)))
    connection.execute(
        "INSERT INTO series (dataset, sensor, metric) SELECT DISTINCT 'traffic', sensor, metric FROM base ORDER BY 2, 3"
    )
    connection.execute("CREATE TEMP TABLE one AS SELECT id, step, value FROM base JOIN series USING (sensor, metric)")
    n, last_week_ms = connection.execute(
        "SELECT count(*), (extract(epoch FROM date_trunc('week', now()) - interval '1 week') * 1000)::bigint FROM one"
    ).fetchone() or (1, 0)
    weeks = -(-rows // n)
    for week in range(weeks):
        connection.execute(
            "INSERT INTO readings (series, start, period_s, value, flag, tests, rev, origin, received, part, position)"
            " SELECT id, t.at, 300, value, 1, 0, 1, 0, t.at + interval '301.25 s', id %% 8, 1 FROM one CROSS JOIN"
            " LATERAL (SELECT to_timestamp(%s / 1000.0) + step * interval '5 min' AS at) t LIMIT %s",
            (last_week_ms - week * _WEEK_MS, rows - week * n),
        )
    connection.execute(
        "INSERT INTO positions (part, next_offset, out_seq) SELECT i, 10, 10 FROM generate_series(0, 7) i"
        " ON CONFLICT (part) DO UPDATE SET next_offset = 10, out_seq = 10"
    )
    connection.execute("ANALYZE readings")
    return last_week_ms - (weeks - 1) * _WEEK_MS, min(rows, weeks * n)


def _exports(stack: ServiceStack, stored: int) -> Iterator[Figure]:
    pid = stack.pid("api")
    idle_kb = pss_kb(pid)
    reference = stored / _psql_s(stack)
    target = {"csv": 0.9, "parquet": 1.0}
    for format in ("csv", "parquet", "ndjson", "arrow"):
        seconds, first_ms, most_kb = _export(stack.settings.api_port, f"/v1/traffic/export?format={format}", pid)
        rate = stored / seconds
        wanted = target.get(format)
        yield Figure(
            f"export {format}", rate, "rows/s", reference, "psql \\copy csv",
            f"at least {wanted} x" if wanted else "", rate >= wanted * reference if wanted else None,
        )  # fmt: skip
        more_mb = (most_kb - idle_kb) / 1000
        yield Figure(f"API memory over idle, export {format}", more_mb, "MB", target="under 150", met=more_mb < 150)
        yield Figure(f"first byte, export {format}", first_ms, "ms", target="under 100", met=first_ms < 100)


def _export(port: int, path: str, pid: int) -> tuple[float, float, int]:
    """(seconds, milliseconds to the first byte, most memory in KB); by a client that costs little, as psql does."""
    most_kb, looked, first_s = 0, 0.0, 0.0
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    connection.connect()
    began = time.perf_counter()
    connection.request("GET", path, headers={"accept-encoding": "identity"})
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    while answer.read1(_READ_BYTES):
        now = time.perf_counter()
        first_s = first_s or now - began
        if now - looked > 0.25:
            most_kb, looked = max(most_kb, pss_kb(pid)), now
    seconds = time.perf_counter() - began
    connection.close()
    return seconds, first_s * 1000, most_kb


def _psql_s(stack: ServiceStack) -> float:
    """Seconds that psql takes for the same query, statement by statement."""
    with stack.connect() as connection:
        found = connection.execute("SELECT id, sensor, metric FROM series ORDER BY id").fetchall()
        days = [
            day
            for first, end in connection.execute(
                "SELECT (extract(epoch FROM range_start) / 86400)::bigint,"
                " (extract(epoch FROM range_end) / 86400)::bigint FROM timescaledb_information.chunks"
                " WHERE hypertable_schema = current_schema() AND hypertable_name = 'readings' ORDER BY 1"
            ).fetchall()
            for day in range(first, end)
        ]  # fmt: skip
        known = tuple(pages.Series(key, sensor, metric, "1") for key, sensor, metric in found)
        chosen = pages.Filter("traffic", series=known)
        start = Start(days[0] * DAY_MS, (days[-1] + 1) * DAY_MS)
        positions = Positions(dict.fromkeys(range(8), 9), {})
        outputs = [column.sql for column in columns.READING.values()]
        statements = []
        for some in pages.spans(days, pages.days_per_statement(len(known))):
            parameters = pages.parameters_of(chosen, start, positions) | pages.bounds_of(some)
            query = pages.statement(READINGS, chosen, outputs, "FORMAT csv")
            text = psycopg.ClientCursor(connection).mogrify(query.encode(), parameters | {"limit": None, "offset": 0})
            inner = " ".join(text[text.index("(") : text.rindex("TO STDOUT")].split())
            statements.append(f"\\copy {inner} to stdout csv")
    script = stack.folder / "copy.sql"
    script.write_text("SET TimeZone TO 'UTC'; SET jit TO off;\n" + "\n".join(statements) + "\n")
    command = ["psql", "-q", "-X", str(stack.settings.database_url), "-f", str(script)]
    environment = {"PATH": "/usr/bin:/bin", "PGOPTIONS": f"-c search_path={stack.settings.database_schema},public"}
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    return time.perf_counter() - began


def _pages(stack: ServiceStack, first_ms: int, stored: int) -> Iterator[Figure]:
    cursors = Cursors(load_key(stack.settings))
    with stack.connect() as connection:
        (last_ms,) = connection.execute(
            "SELECT (extract(epoch FROM max(start)) * 1000)::bigint FROM readings"
        ).fetchone() or (0,)
        middle = connection.execute("SELECT id, sensor FROM series ORDER BY id OFFSET 50 LIMIT 1").fetchone() or (0, "")
        connection.execute(
            "INSERT INTO windows (series, width_s, start, n, mean, complete, rev, published, part, out_seq)"
            # out_seq 0: the processor, which runs, says how far it has numbered its own, and that is nothing yet
            " SELECT %s, 3600, to_timestamp(%s / 1000) - i * interval '1 hour', 12, i, true, 1, now(), 0, 0"
            " FROM generate_series(1, 8760) i",
            (middle[0], last_ms // 3_600_000 * 3_600_000),
        )
    to_ms = last_ms + 1
    asked = Asked(from_ms=first_ms, to_ms=to_ms)
    start = Start(first_ms, to_ms)
    positions = Positions(dict.fromkeys(range(8), 9), dict.fromkeys(range(8), 10))
    with closing(http.client.HTTPConnection("127.0.0.1", stack.settings.api_port, timeout=60)) as client:
        for name, after in (
            ("the first", None),
            (f"the {stored // 2000:,}th", Key(int(middle[0]), (first_ms + last_ms) // 2)),
            (f"the {stored // 1000:,}th", Key(int(middle[0]), last_ms - last_ms % DAY_MS + 1)),
        ):
            query = {"from": rfc3339(first_ms), "to": rfc3339(to_ms), "limit": "1000"}
            if after is not None:
                query["cursor"] = cursor_after(cursors, digest("readings", "traffic", asked), start, positions, after)
            p99 = _p99_ms(client, "/v1/traffic/readings", query)
            yield Figure(f"{name} page of 1,000 readings", p99, "ms", target="p99 under 30", met=p99 < 30)
        year = {
            "from": rfc3339(last_ms - 366 * DAY_MS),
            "to": rfc3339(to_ms),
            "sensor": middle[1],
            "width": "1h",
            "limit": "10000",
        }
        p99 = _p99_ms(client, "/v1/traffic/windows", year)
        yield Figure("one sensor, a year of hours", p99, "ms", target="p99 under 50", met=p99 < 50)


def _p99_ms(client: http.client.HTTPConnection, path: str, query: dict[str, str], n: int = 200) -> float:
    taken = []
    for _ in range(n):
        began = time.perf_counter()
        client.request("GET", f"{path}?{urlencode(query)}")
        answer = client.getresponse()
        body = answer.read()
        taken.append((time.perf_counter() - began) * 1000)
        assert answer.status == 200, body
        assert json.loads(body)["data"], path
    return statistics.quantiles(taken, n=100)[98]


def _latest(stack: ServiceStack) -> list[Figure]:
    """Newest values of many sensors, said by MQTT as always, placed by the registry; of a metric that the stored ones
    don't have, which the API knows or not, by when it started.
    """
    names = [f"bench-{i}" for i in range(SENSORS)]
    prefix, now_s = stack.settings.mqtt_topic_prefix, int(time.time())
    meta = [
        (f"{prefix}/v1/traffic/{name}/meta", {"site": {"lon": -118.5 + i % 100 / 100, "lat": 33.5 + i // 100 / 100}})
        for i, name in enumerate(names)
    ]
    said = [
        (stack.mqtt_topic("traffic", name), {"t": (now_s - 310) * 1000, "volume": 50.0 + i % 40})
        for i, name in enumerate(names)
    ]
    stack.publish_all(meta)
    stack.publish_all(said)
    path = f"/v1/traffic/latest?format=geojson&metric=volume&limit={SENSORS}"
    port = stack.settings.api_port
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as client:
        stack.wait_until(lambda: len(json.loads(_get(client, path)[1])["features"]) == SENSORS, "all sensors", 60)
        time.sleep(5)  # until they are stored
        p99 = statistics.quantiles(_at_a_rate(port, path, LATEST_PER_S, 10 * LATEST_PER_S), n=100)[98]
        client.close()  # it was silent for so long that the server closed it
        etag = _get(client, path)[0].getheader("etag", "")
        taken = []
        for _ in range(200):
            began = time.perf_counter()
            answer, _ = _get(client, path, {"if-none-match": etag})
            taken.append((time.perf_counter() - began) * 1000)
            assert answer.status == 304
    median = statistics.median(taken)
    name = f"latest of {SENSORS:,} sensors, GeoJSON, {LATEST_PER_S}/s"
    return [
        Figure(name, p99, "ms", target="p99 under 25", met=p99 < 25),
        Figure("the same, 304", median, "ms", target="under 3", met=median < 3),
    ]


def _at_a_rate(port: int, path: str, per_s: int, n: int) -> list[float]:
    """Milliseconds of n requests, each from when it was due to its last byte, packed as a browser asks for it and not
    unpacked: what that costs is the browser's.
    """
    mine = threading.local()
    first_s = time.perf_counter() + 0.1

    def one(i: int) -> float:
        if not hasattr(mine, "client"):
            mine.client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        due_s = first_s + i / per_s
        time.sleep(max(0.0, due_s - time.perf_counter()))
        answer, _ = _get(mine.client, path, {"accept-encoding": "gzip, deflate, br, zstd"})
        assert answer.status == 200
        return (time.perf_counter() - due_s) * 1000

    with ThreadPoolExecutor(8) as threads:
        return list(threads.map(one, range(n)))


def _get(
    client: http.client.HTTPConnection, path: str, headers: dict[str, str] | None = None
) -> tuple[http.client.HTTPResponse, bytes]:
    client.request("GET", path, headers=headers or {})
    answer = client.getresponse()
    return answer, answer.read()
