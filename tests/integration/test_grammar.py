"""The grammar of queries against polars: the same answers, made straightforwardly from the same rows.

polars reads a table of all readings and filters, aggregates and sorts it; the API asks the database. Random filters,
widths, time zones and groups; pages through cursors.
"""

import random
from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from fastapi import FastAPI

from api.geohash import geohash
from api.times import parse_moment, rfc3339
from schemas.registry import Registration, Site
from tests.api.city import NOW_MS, client_of
from tests.integration.history import DAY_0_MS, DAY_MS, History, Reading, three_days
from tests.integration.test_api import (
    ALL_DAYS,
    app,
    database,
    get,
    history,
    iso,
    read_through,
    window,
)

__all__ = ["app", "database", "history"]

HOUR_MS = 3_600_000
STATISTICS = ("n", "mean", "min", "max", "std", "p50", "p95", "first", "last")


def frame(history: History, dataset: str = "traffic") -> pl.DataFrame:
    rows = [vars(r) for r in history.stored.values() if r.dataset == dataset]
    return pl.DataFrame(rows).with_columns(at=pl.from_epoch("start", "ms").dt.replace_time_zone("UTC"))


def straightforward(readings: pl.DataFrame, width: str, tz: str, by: list[str]) -> list[dict[str, Any]]:
    """Aggregates of what counts, as a user of polars would write them; speed weighted by volume."""
    volume = readings.filter(pl.col("metric") == "volume", pl.col("flag").is_in([1, 2, 3])).select(
        "sensor", "start", weight="value"
    )
    every = {"1mo": "1mo", "1w": "1w", "1d": "1d"}.get(width, width)
    counted = (
        readings.join(volume, ["sensor", "start"], "left")
        .with_columns(
            bucket=pl.col("at").dt.convert_time_zone(tz).dt.truncate(every).dt.epoch("ms"),
            weight=pl.when(pl.col("metric") == "speed").then("weight"),
            counts=pl.col("flag").is_in([1, 2, 3]),
        )
        .sort("start")
    )
    value = pl.col("value").filter(pl.col("counts"))
    weight = pl.col("weight").filter(pl.col("counts"))
    made = counted.group_by(["bucket", *by]).agg(
        n=value.count(),
        mean=pl.when(weight.sum() > 0)
        .then((value * weight).sum() / pl.when(weight.is_not_null()).then(weight).sum())
        .otherwise(value.mean()),
        min=value.min(),
        max=value.max(),
        std=value.std(0),
        p50=value.quantile(0.5, "linear"),
        p95=value.quantile(0.95, "linear"),
        first=value.first(),
        last=value.last(),
        sensors=pl.col("sensor").n_unique(),
    )
    return made.sort(["bucket", *by]).to_dicts()


def assert_same(row: dict[str, Any], expected: dict[str, Any]) -> None:
    assert parse_moment(row["start"]) == expected["bucket"]
    for name in STATISTICS:
        if name in ("first", "last") and row["sensor"] is None:
            assert row[name] is None
            continue
        wanted = expected[name]
        assert row[name] == (wanted if wanted is None else pytest.approx(wanted, rel=1e-9, abs=1e-9)), name
    assert row["sensors"] == expected["sensors"]


@pytest.mark.parametrize("seed", range(4))
async def test_aggregates_equal_those_of_polars(app: FastAPI, history: History, seed: int) -> None:
    dice = random.Random(seed)
    history.store(three_days(seed))
    readings = frame(history)
    for _ in range(4):
        tz = dice.choice(["America/Los_Angeles", "Asia/Kolkata", "Pacific/Apia", "UTC", "Australia/Lord_Howe"])
        width = dice.choice(["1d", "1w", "1mo"])
        by = dice.choice([["sensor", "metric"], ["metric"]])
        metric = dice.choice([[], ["speed"], ["speed", "volume"]])
        sensor = dice.choice([[], ["a"], ["a", "b"]])
        if tz == "UTC" and width == "1d" and "sensor" in by:
            width = "1w"
        chosen = readings
        if metric:
            chosen = chosen.filter(pl.col("metric").is_in(metric))
        if sensor:
            chosen = chosen.filter(pl.col("sensor").is_in(sensor))
        with_volume = pl.concat([chosen, readings.filter(pl.col("metric") == "volume")]).unique(
            ["sensor", "metric", "start"]
        )
        if sensor:
            with_volume = with_volume.filter(pl.col("sensor").is_in(sensor))
        expected = [
            row for row in straightforward(with_volume, width, tz, by) if not metric or row["metric"] in metric
        ]  # fmt: skip
        query = "&".join(
            [f"width={width}", f"tz={tz}", f"group={by[0]}", f"limit={dice.choice([1, 3, 1000])}"]
            + [f"metric={m}" for m in metric]
            + [f"sensor={s}" for s in sensor]
        )
        since, until = rfc3339(DAY_0_MS - 62 * DAY_MS), rfc3339(DAY_0_MS + 40 * DAY_MS)
        rows, _ = await read_through(app, f"/v1/traffic/windows?from={since}&to={until}&{query}")
        assert len(rows) == len(expected) > 0
        for row, wanted in zip(rows, expected, strict=True):
            assert row["metric"] == wanted["metric"]
            assert row["sensor"] == wanted.get("sensor")
            assert (row["tz"], row["width"]) == (tz, width)
            assert_same(row, wanted)


async def test_local_days_have_23_and_25_hours(app: FastAPI, history: History) -> None:
    """Clocks in Los Angeles go forward on 8 March and back on 1 November 2026; a reading each hour."""
    for day, hours in (("2026-03-08T08:00:00Z", 23), ("2026-11-01T07:00:00Z", 25)):
        begin = parse_moment(day)
        history.store(Reading("traffic", "a", "volume", begin + h * HOUR_MS, 3600, float(h)) for h in range(-3, 40))
        query = f"width=1d&tz=America/Los_Angeles&from={day}&to={iso(begin + 1)}"
        (row,) = (await get(app, f"/v1/traffic/windows?{query}")).json()["data"]
        assert (row["start"], row["end"]) == (iso(begin), iso(begin + hours * HOUR_MS))
        assert (row["n"], row["n_expected"], row["coverage"], row["complete"]) == (hours, hours, 1.0, True)
        assert (row["min"], row["max"], row["first"], row["last"]) == (0.0, hours - 1.0, 0.0, hours - 1.0)


async def test_aggregates_on_demand_equal_stored_days(app: FastAPI, history: History) -> None:
    """Coverage and expectation are those of the function that closes windows: a day of UTC by another name."""
    history.store(
        Reading("traffic", "a", "speed", DAY_0_MS + i * 300_000, 300, float(i), flag=4 if i == 7 else 1)
        for i in range(288)
        if i not in (3, 4)
    )
    path = f"/v1/traffic/windows?width=1d&tz=Etc/UTC&{ALL_DAYS}"
    (row,) = (await get(app, path)).json()["data"]
    assert (row["n"], row["n_expected"], row["coverage"]) == (285, 288, pytest.approx(285 / 288))


async def test_areas(app: FastAPI, history: History) -> None:
    """`moved` changes its area at noon; `near` is in the first one, `far` in neither, `homeless` nowhere."""
    noon = DAY_0_MS + DAY_MS // 2
    places = {"near": (-118.501, 34.001), "far": (10.0, 50.0)}
    history.register([
        Registration("traffic", "moved", None, noon, Site("", -118.5, 34)),
        Registration("traffic", "moved", noon, None, Site("", -117.0, 34)),
        *(Registration("traffic", s, site=Site("", *place)) for s, place in places.items()),
    ])  # fmt: skip
    history.store(
        Reading("traffic", s, "volume", DAY_0_MS + h * HOUR_MS, 3600, 1.0)
        for s in ("moved", "near", "far", "homeless")
        for h in range(24)
    )
    to = rfc3339(DAY_0_MS + DAY_MS)
    path = f"/v1/traffic/windows?width=1d&group=area&from={rfc3339(DAY_0_MS)}&to={to}"
    rows = (await get(app, path)).json()["data"]
    first, second, third = geohash(-118.5, 34, 5), geohash(-117.0, 34, 5), geohash(10, 50, 5)
    assert {row["area"]: (row["n"], row["sensors"]) for row in rows} == {
        None: (24, 1), first: (36, 2), second: (12, 1), third: (24, 1)
    }  # fmt: skip
    rows = (await get(app, f"{path}&bbox=-119,33,-118,35")).json()["data"]
    assert {row["area"]: (row["n"], row["sensors"]) for row in rows} == {first: (36, 2)}
    collection = (await get(app, f"{path}&format=geojson")).json()
    assert sum(feature["geometry"] is None for feature in collection["features"]) == 1


async def test_fields_and_agg_choose_what_is_shown(app: FastAPI, history: History) -> None:
    history.store([Reading("traffic", "a", "speed", DAY_0_MS, value=7.5)])
    history.publish([window("a", DAY_0_MS)])
    path = f"/v1/traffic/readings?{ALL_DAYS}&fields=value,sensor"
    assert (await get(app, path)).json()["data"] == [{"value": 7.5, "sensor": "a"}]
    assert (await get(app, f"{path}&format=csv")).text == "value,sensor\n7.5,a\n"
    assert list((await get(app, f"{path}&fields=flag")).json()["data"][0]) == ["value", "sensor", "flag"]
    (row,) = (await get(app, f"/v1/traffic/windows?{ALL_DAYS}&agg=max,n")).json()["data"]
    assert list(row) == ["dataset", "sensor", "metric", "unit", "width", "start", "end", "max", "n"]
    assert (row["max"], row["n"]) == (99.0, 11)


@pytest.mark.parametrize("format", ["csv", "ndjson", "parquet", "arrow", "geojson"])
async def test_every_format_has_the_rows(app: FastAPI, history: History, format: str) -> None:
    history.store(three_days(4))
    expected = (await get(app, f"/v1/traffic/readings?{ALL_DAYS}&limit=50")).json()["data"]
    got = await get(app, f"/v1/traffic/readings?{ALL_DAYS}&limit=50&format={format}")
    assert "next" in got.headers["link"]
    values = {
        "csv": lambda: pl.read_csv(got.content)["value"].to_list(),
        "ndjson": lambda: pl.read_ndjson(got.content)["value"].to_list(),
        "parquet": lambda: pl.read_parquet(got.content)["value"].to_list(),
        "arrow": lambda: pl.read_ipc_stream(got.content)["value"].to_list(),
        "geojson": lambda: [feature["properties"]["value"] for feature in got.json()["features"]],
    }[format]()
    assert values == [row["value"] for row in expected]


# -- gaps -----------------------------------------------------------------------------------------------


async def test_gaps_are_shown_where_readings_were_expected(app: FastAPI, history: History) -> None:
    """
    a  . R . R R . | R        expected from its first reading on, every five minutes, up to the end of the range
    b  F . R                  a failed reading is no gap
    """
    step = 300_000
    history.store(Reading("traffic", "a", "speed", DAY_0_MS + i * step) for i in (1, 3, 4, 6))
    history.store(
        [Reading("traffic", "b", "speed", DAY_0_MS, flag=4), Reading("traffic", "b", "speed", DAY_0_MS + 2 * step)]
    )
    for limit in (1, 3, 100):
        path = f"/v1/traffic/readings?from={iso(DAY_0_MS)}&to={iso(DAY_0_MS + 6 * step)}&gaps=show&limit={limit}"
        rows, _ = await read_through(app, path)
        gaps = [(r["sensor"], (parse_moment(r["start"]) - DAY_0_MS) // step) for r in rows if r["flag"] == 9]
        assert gaps == [("a", 2), ("a", 5), ("b", 1), ("b", 3), ("b", 4), ("b", 5)]
        assert len(rows) == 3 + 2 + len(gaps)
        starts = [(r["sensor"], r["start"]) for r in rows]
        assert starts == sorted(starts)
        gap = next(r for r in rows if r["flag"] == 9)
        assert (gap["value"], gap["rev"], gap["origin"], gap["received"]) == (None, 0, "none", None)
    rows, _ = await read_through(app, f"{path}&flag=9")
    assert len(rows) == 6


async def test_what_is_not_due_is_no_gap(app: FastAPI, history: History) -> None:
    """Up to the dataset's lateness (300 s) before now, and not after the sensor's registration ended."""
    history.store(Reading("traffic", s, "speed", NOW_MS - 3_600_000) for s in ("a", "ended"))
    history.register([Registration("traffic", "ended", None, NOW_MS - 1_800_000)])
    rows, _ = await read_through(app, f"/v1/traffic/readings?gaps=show&from={iso(NOW_MS - DAY_MS)}")
    last = {r["sensor"]: parse_moment(r["end"]) for r in rows}
    assert last == {"a": NOW_MS - 300_000, "ended": NOW_MS - 1_800_000}


async def test_gaps_of_windows(app: FastAPI, history: History) -> None:
    history.store(
        [Reading("traffic", "a", "speed", DAY_0_MS), Reading("traffic", "a", "speed", DAY_0_MS + 3 * HOUR_MS)]
    )
    history.publish([window("a", DAY_0_MS), window("a", DAY_0_MS + 3 * HOUR_MS)])
    to = iso(DAY_0_MS + 5 * HOUR_MS)
    path = f"/v1/traffic/windows?width=1h&from={iso(DAY_0_MS)}&to={to}&gaps=show"
    rows = (await get(app, path)).json()["data"]
    assert [(r["n"], r["rev"]) for r in rows] == [(11, 1), (0, 0), (0, 0), (11, 1), (0, 0)]
    assert (rows[1]["n_expected"], rows[1]["coverage"], rows[1]["mean"], rows[1]["complete"]) == (12, 0.0, None, False)
    assert rows[1]["published"] is None


# -- as of ----------------------------------------------------------------------------------------------


async def test_as_of_is_what_was_known_then(app: FastAPI, history: History) -> None:
    """Revision 1 known from minute 10, 2 from 20, 3 from 30; another reading came at minute 25."""
    minute = 60_000

    def at(n: int) -> int:
        return DAY_0_MS + n * minute

    first = Reading("traffic", "a", "speed", DAY_0_MS, value=1.0, received=at(10))
    history.store([first])
    for rev in (2, 3):
        history.store([replace(first, rev=rev, value=float(rev), received=at(10 * rev))])
        history.connection.execute(
            "UPDATE readings_history SET known_to = %s WHERE rev = %s", (iso(at(10 * rev)), rev - 1)
        )
    history.store([Reading("traffic", "a", "speed", DAY_0_MS + 300_000, value=9.0, received=at(25))])

    async def known(n: int) -> list[float]:
        path = f"/v1/traffic/readings?{ALL_DAYS}&as_of={iso(at(n))}&limit=1"
        return [row["value"] for row in (await read_through(app, path))[0]]

    assert [await known(n) for n in (9, 10, 19, 20, 26, 30, 99)] == [
        [], [1.0], [1.0], [2.0], [2.0, 9.0], [3.0, 9.0], [3.0, 9.0]
    ]  # fmt: skip
    # An amendment by our rules keeps the time of receipt: what was amended says until when it held.
    history.store([replace(first, rev=4, value=4.0, received=at(30))])
    history.connection.execute("UPDATE readings_history SET known_to = %s WHERE rev = 3", (iso(at(40)),))
    assert [await known(n) for n in (35, 40)] == [[3.0, 9.0], [4.0, 9.0]]
    row = (
        await get(app, f"/v1/traffic/windows?width=1d&tz=Etc/UTC&{ALL_DAYS}&as_of={iso(at(26))}")
    ).json()["data"][0]  # fmt: skip
    assert (row["n"], row["mean"]) == (2, 5.5)


async def test_as_of_of_windows(app: FastAPI, history: History) -> None:
    def rev(n: int) -> dict[str, Any]:
        from api.times import as_datetime

        return window("a", DAY_0_MS, rev=n, mean=float(n), published=as_datetime(DAY_0_MS + n * DAY_MS))

    history.publish([rev(1)])
    history.publish([rev(2)])
    history.connection.execute("UPDATE windows_history SET known_to = %s", (iso(DAY_0_MS + 2 * DAY_MS),))
    for n, means in ((0, []), (1, [1.0]), (2, [2.0]), (3, [2.0])):
        path = f"/v1/traffic/windows?{ALL_DAYS}&as_of={iso(DAY_0_MS + n * DAY_MS)}"
        assert [row["mean"] for row in (await get(app, path)).json()["data"]] == means


# -- what can't be meant --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "kind", "parameter"),
    [
        ("readings?fields=valeu", "bad-parameter", "fields"),
        ("readings?fields=", "bad-parameter", "fields"),
        ("readings?fields=value;drop table", "bad-parameter", "fields"),
        ("readings?as_of=2100-01-01T00:00:00Z", "bad-parameter", "as_of"),
        ("readings?gaps=yes", "bad-parameter", "gaps"),
        ("readings?gaps=show&flag=1", "contradictory-parameters", "gaps"),
        ("readings?gaps=show&origin=live", "contradictory-parameters", "gaps"),
        ("readings?width=1h", "unknown-parameter", "width"),
        ("windows?tz=Mars/Olympus", "bad-parameter", "tz"),
        ("windows?tz=../../etc/passwd", "bad-parameter", "tz"),
        ("windows?tz=Asia/Tokyo&width=1h", "contradictory-parameters", "tz"),
        ("windows?width=1mo&gaps=show", "contradictory-parameters", "gaps"),
        ("windows?agg=median", "bad-parameter", "agg"),
        ("windows?agg=max&fields=max", "contradictory-parameters", "agg"),
        ("windows?group=city", "bad-parameter", "group"),
        ("windows?from=0000-01-01T00:00:00Z", "bad-parameter", "from"),
        ("windows?width=1d&tz=Asia/Tokyo&from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "bad-range", "from"),
        ("readings?limit=99999999999999999999", "bad-parameter", "limit"),
        ("readings?limit=-1", "bad-parameter", "limit"),
        ("readings?sensor=a';DROP TABLE readings;--", "bad-parameter", "sensor"),
    ],
)
async def test_what_makes_no_sense_is_refused_with_its_parameter(
    app: FastAPI, path: str, kind: str, parameter: str
) -> None:
    async with client_of(app) as client:
        got = await client.get(f"/v1/traffic/{path}")
    assert (got.status_code, got.json()["type"], got.json()["parameter"]) == (400, f"/problems/{kind}", parameter)
    assert got.json()["remedy"]


@pytest.mark.parametrize("extra", ["", "&gaps=show", "&as_of=0001-01-01T00:00:00Z"])
@pytest.mark.parametrize(
    "path", ["readings?", "windows?width=1d&", "windows?width=1d&tz=Asia/Tokyo&", "windows?width=1mo&"]
)
async def test_all_of_time_has_an_answer(app: FastAPI, history: History, path: str, extra: str) -> None:
    history.store([Reading("traffic", "a", "speed", DAY_0_MS)])
    if extra == "&gaps=show" and ("tz" in path or "mo" in path):
        return
    url = f"/v1/traffic/{path}from=0001-01-01T00:00:00Z&to=9999-12-31T23:59:59.999Z{extra}&limit=10000"
    rows, _ = await read_through(app, url)
    assert rows or "as_of" in extra or path == "windows?width=1d&"


@pytest.mark.parametrize(
    "ends", ["to=9999-12-31T23:59:59.999Z", "to=0001-01-01T00:00:00.001Z", "from=0001-01-01T00:00:00Z"]
)
@pytest.mark.parametrize(
    "path", ["readings", "windows?width=1mo", "index", "gaps", "quality", "measures", "export?of=index"]
)
async def test_the_ends_of_time_have_an_answer(app: FastAPI, history: History, path: str, ends: str) -> None:
    """Also where the other end is left to us."""
    history.store([Reading("traffic", "a", "speed", DAY_0_MS)])
    await app.state.cityfeed.exports.open(wait=True)
    try:
        async with client_of(app) as client:
            got = await client.get(f"/v1/traffic/{path}{'&' if '?' in path else '?'}{ends}")
        too_long = path == "measures" and ends.startswith("from")
        assert got.status_code == (400 if too_long else 200), got.text
    finally:
        await app.state.cityfeed.exports.close()


# -- what the live feed goes on from --------------------------------------------------------------------


@pytest.mark.parametrize("path", ["readings?", "windows?width=1d&tz=Asia/Tokyo&"])
async def test_every_page_names_the_state_it_shows(app: FastAPI, history: History, path: str) -> None:
    """However long somebody pages: positions and moment are those of the first page."""
    history.store(three_days(6))
    now = NOW_MS
    app.state.cityfeed.now_ms = lambda: now
    url, found = f"/v1/traffic/{path}{ALL_DAYS}&limit=2", []
    while url and len(found) < 3:
        body = (await get(app, url)).json()
        found.append(app.state.cityfeed.cursors.decode_feed(body["meta"]["cursor"]))
        url = body["next"]
        now += 3_600_000
        history.store([Reading("traffic", "late", "speed", DAY_0_MS + len(found))])
    assert len(found) == 3
    assert {cursor.made_ms for cursor in found} == {NOW_MS - 60_000}
    assert found[0].at["readings"] == found[1].at["readings"] == found[2].at["readings"]
    assert found[0].page is None
    rows, _ = await read_through(app, f"/v1/traffic/readings?{ALL_DAYS}&cursor={body['meta']['cursor']}")
    assert rows and all(row["sensor"] != "late" for row in rows)


async def test_what_is_rare_is_not_looked_for_among_all(app: FastAPI, history: History) -> None:
    """A page by a flag that few readings have reads those alone: the index of what is not good."""
    many = [
        Reading("traffic", "a", "speed", DAY_0_MS + 10_000 * i, 10, 1.0, 4 if i % 2_000 == 7 else 1)
        for i in range(8_000)
    ]
    history.store(many)
    history.connection.execute("ANALYZE readings")
    got = await get(app, f"/v1/traffic/readings?flag=4&from={rfc3339(DAY_0_MS)}&to={rfc3339(DAY_0_MS + DAY_MS)}")
    assert len(got.json()["data"]) == 4
    (plan,) = history.connection.execute(
        "EXPLAIN (ANALYZE, FORMAT JSON) SELECT * FROM readings WHERE series = %s AND start < '2026-11-16Z'"
        " AND flag = ANY('{3,4}'::smallint[]) ORDER BY start",
        (history.series("traffic", "a", "speed"),),
    ).fetchone() or ([],)
    assert plan[0]["Plan"]["Actual Rows"] == 4 and "'Rows Removed by Filter': 0" in str(plan)
