"""Windows and indices on the live feed: who comes back later than Kafka remembers, or after the API began anew."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from api.cursor import Cursor, Cursors, load_key
from api.times import rfc3339
from tests.integration.test_chain import count, hasty_city  # noqa: F401  (a fixture)
from tests.integration.test_indices import HOUR_MS, midnight, of_minutes
from tests.integration.test_live import CHAIN, Listener, listening
from tests.integration.test_live_resume import forget_the_log
from tests.service_stack import ServiceStack

pytestmark = pytest.mark.timeout(240)

HOURS = 6
NAMES = ("metric", "index", "width", "start", "rev")
FILTERS: dict[str, dict[str, list[str]]] = {
    "windows": {"width": ["15m", "1h"]},
    "index": {"index": ["nowcast", "eaqi"]},
}


def told(client: Listener) -> list[tuple[Any, ...]]:
    """Which row in which revision, in the order in which they were heard."""
    return [tuple(row.get(name) for name in NAMES) for row in client.rows()]


def newest(rows: list[tuple[Any, ...]]) -> set[tuple[Any, ...]]:
    """The last revision of the last row of each series."""
    last: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for row in rows:
        last[row[:3]] = max(row, last.get(row[:3], row))
    return set(last.values())


def publish(stack: ServiceStack, begin: int, hours: int) -> None:
    stack.publish_all([(stack.mqtt_topic("air-quality", "roof"), of_minutes(begin, hours, "pm25", 20.0))])


def settled(stack: ServiceStack, client: Listener, hours: int) -> None:
    """Until the rows of so many hours have been stored, none is to be made again, and all have been heard."""
    stored = "SELECT count(*) FROM index_series JOIN indices ON id = series WHERE index = 'nowcast' AND metric = 'pm25'"
    stack.wait_until(lambda: stack.query(stored)[0][0] >= hours, f"{hours} hours of the NowCast", timeout_s=60)
    stack.wait_until(lambda: count(stack, "dirty") == 0, "nothing is to be made again", timeout_s=60)
    client.until(lambda: len(told(client)) == rows_stored(stack, client))


def rows_stored(stack: ServiceStack, client: Listener) -> int:
    """All revisions of what the client wants."""
    if any(row.get("index") for row in client.rows()):
        names = "series IN (SELECT id FROM index_series WHERE index IN ('nowcast', 'eaqi'))"
        tables = [f"SELECT FROM {table} WHERE {names}" for table in ("indices", "indices_history")]
    else:
        tables = [f"SELECT FROM {table} WHERE width_s IN (900, 3600)" for table in ("windows", "windows_history")]
    return int(stack.query(f"SELECT count(*) FROM ({' UNION ALL '.join(tables)}) AS r")[0][0])


@pytest.mark.parametrize("topic", ["windows", "index"])
def test_what_kafka_does_not_have_any_more_comes_from_the_database(
    make_stack: Any,
    hasty_city: Path,  # noqa: F811
    topic: str,
) -> None:
    stack: ServiceStack = make_stack(
        city_dir=str(hasty_city), repair_quiet_s=1, repair_max_delay_s=3, live_ring_bytes=0
    )
    stack.start(*CHAIN)
    stack.wait_ready(*CHAIN)
    wanted: dict[str, Any] = {"topic": topic, "filter": FILTERS[topic]}
    begin = midnight(2)
    with listening(stack, snapshot=False, **wanted) as client:
        publish(stack, begin, HOURS)
        settled(stack, client, HOURS)
        # A late correction: windows and hours are made again, with the next rev.
        fix = {"t": begin + HOUR_MS, "pm25": 90.0, "period_s": 300, "rev": 2}
        stack.publish_all([(stack.mqtt_topic("air-quality", "roof"), fix)])
        client.until(lambda: any(row[-1] > 1 for row in told(client)), timeout_s=60)
        settled(stack, client, HOURS)
        heard = told(client)
        old = client.of("subscribed")[0]["cursor"]
    assert any(row[-1] > 1 for row in heard)
    forget_the_log(stack, "windows", "index")

    with listening(stack, cursor=old, snapshot=False, **wanted) as back:
        back.until(lambda: len(told(back)) >= len(heard))
        assert back.of("subscribed")[0]["recovered"] is True
        assert told(back) == heard
        publish(stack, begin + HOURS * HOUR_MS, 2)
        settled(stack, back, HOURS + 2)
        assert len(set(told(back))) == len(told(back)) > len(heard)
        back.assert_no_gap()
        heard = told(back)
    with listening(stack, cursor=old, snapshot=False, mode="latest", tick_ms=250, **wanted) as back:
        back.until(lambda: len(told(back)) >= len(newest(heard)))
        assert back.of("subscribed")[0]["recovered"] is True
        assert set(told(back)) == newest(heard)

    # A process that began anew has the state, though the log has not.
    stack.kill("api")
    forget_the_log(stack, "windows", "index")
    stack.start("api")
    stack.wait_ready("api")
    with listening(stack, **wanted) as client:
        client.until(lambda: any(m["last"] for m in client.of("snapshot")))
        state = {tuple(row.get(name) for name in NAMES) for row in client.rows("snapshot")}
        assert state == newest(heard)

    # Of a cursor without a time nobody can say what it lacks: never in part, and where to find it is told.
    at = Cursors(load_key(stack.settings)).decode_feed(old).at
    lost = Cursors(load_key(stack.settings)).encode_feed(Cursor(at))
    with listening(stack, cursor=lost, snapshot=False, **wanted) as client:
        (subscribed,) = client.of("subscribed")
        assert (subscribed["recovered"], subscribed["reason"]) == (False, "expired")
        client.until(lambda: any(m["last"] for m in client.of("snapshot")))
        had = set()
        for page in (url for url in subscribed["history"] if "/air-quality/" in url):
            since = f"&from={rfc3339(begin)}&limit=10000"
            answer = httpx.get(f"http://127.0.0.1:{stack.settings.api_port}{page}{since}", timeout=30)
            assert answer.status_code == 200, answer.text
            had |= {tuple(row.get(name) for name in NAMES) for row in answer.json()["data"]}
        assert had == {max(row for row in heard if row[:4] == key) for key in {row[:4] for row in heard}}
