"""Coming back to the live feed on the real chain: no gap and no repeat, from the ring, Kafka and the database."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

from api.cursor import Cursors, load_key
from tests.integration.test_live import CHAIN, PROTOCOL, START, Listener, listening, message, metric
from tests.service_stack import ServiceStack

pytestmark = pytest.mark.timeout(180)


def starts(client: Listener) -> list[str]:
    return [row["start"] for row in client.rows()]


def expected(numbers: range) -> list[str]:
    return [(START + timedelta(minutes=5 * n)).strftime("%Y-%m-%dT%H:%M:%S.000Z") for n in numbers]


def send(stack: ServiceStack, numbers: range) -> None:
    stack.publish_all(message(stack, "s1", n) for n in numbers)


def stored(stack: ServiceStack, n: int) -> None:
    stack.wait_until(lambda: stack.query("SELECT count(*) FROM readings") == [(n,)], f"{n} readings are stored")


WANTED: dict[str, Any] = {"filter": {"sensor": ["s1"]}, "snapshot": False}


def test_a_client_comes_back_to_another_process_and_to_one_that_started_again(
    stack: ServiceStack, make_stack: Any
) -> None:
    stack.start(*CHAIN)
    stack.wait_ready()
    other: ServiceStack = make_stack(
        database_schema=stack.settings.database_schema, kafka_topic_prefix=stack.settings.kafka_topic_prefix,
        state_dir=stack.settings.state_dir,
    )  # fmt: skip
    other.start("api")
    other.wait_ready("api")
    with listening(stack, **WANTED) as client:
        send(stack, range(20))
        client.until(lambda: len(client.rows()) == 20)
        cursor = client.of("data")[-1]["cursor"]
    send(stack, range(20, 40))
    for n, (first, at) in enumerate(((stack, "the same"), (other, "another"))):
        with listening(first, cursor=cursor, **WANTED) as client:
            client.until(lambda: len(client.rows()) == 20 + n)  # noqa: B023
            assert client.of("subscribed")[0]["recovered"] is True, at
            assert starts(client) == expected(range(20, 40 + n))
            send(stack, range(40 + n, 41 + n))
            client.until(lambda: len(client.rows()) == 21 + n)  # noqa: B023
            client.assert_no_gap()
            newest = client.of("data")[-1]["cursor"]
    stack.kill("api")
    send(stack, range(42, 60))
    stack.start("api")
    stack.wait_ready("api")
    with listening(stack, cursor=newest, **WANTED) as client:
        client.until(lambda: len(client.rows()) == 18)
        assert client.of("subscribed")[0]["recovered"] is True
        assert starts(client) == expected(range(42, 60))
        client.assert_no_gap()
    with listening(stack, cursor=cursor, mode="latest", tick_ms=250, **WANTED) as client:
        client.until(client.rows)
        assert starts(client) == expected(range(59, 60)) and client.of("subscribed")[0]["recovered"] is True


def test_what_the_ring_does_not_have_comes_from_kafka_and_what_kafka_does_not_have_from_the_database(
    make_stack: Callable[..., ServiceStack],
) -> None:
    stack = make_stack(live_ring_bytes=0)
    stack.start(*CHAIN)
    stack.wait_ready()
    with listening(stack, **WANTED) as client:
        send(stack, range(20))
        client.until(lambda: len(client.rows()) == 20)
        cursor = client.of("data")[9]["cursor"] if len(client.of("data")) > 9 else client.of("data")[0]["cursor"]
        had = [row["start"] for m in client.of("data") for row in m["d"] if m["cursor"] <= cursor]
    assert had
    cursors = Cursors(load_key(stack.settings))
    first = cursors.decode_feed(client.of("subscribed")[0]["cursor"])
    send(stack, range(20, 40))
    stored(stack, 40)
    with listening(stack, cursor=client.of("subscribed")[0]["cursor"], **WANTED) as back:
        back.until(lambda: len(back.rows()) == 40)
        assert starts(back) == expected(range(40)) and back.of("subscribed")[0]["recovered"] is True
        send(stack, range(40, 45))
        back.until(lambda: len(back.rows()) == 45)
        back.assert_no_gap()
        assert back.repeats == 0
    stored(stack, 45)
    forget_the_log(stack, "readings.clean")
    with listening(stack, cursor=cursors.encode_feed(first), **WANTED) as back:
        back.until(lambda: len(back.rows()) == 45)
        assert starts(back) == expected(range(45)) and back.of("subscribed")[0]["recovered"] is True
        send(stack, range(45, 50))
        back.until(lambda: len(back.rows()) == 50)
        back.assert_no_gap()
        assert back.repeats == 0
    move_today(stack)  # what the cursor has not is in the archive alone: never a part of it, as if that were all
    with listening(stack, cursor=cursors.encode_feed(first), **WANTED) as back:
        assert [back.of("subscribed")[0][name] for name in ("recovered", "reason")] == [False, "expired"]
    stack.query("DELETE FROM moved_days RETURNING day")
    stack.query("DELETE FROM positions RETURNING part")  # as if the database were another one
    with listening(stack, cursor=cursors.encode_feed(first), **WANTED) as back:
        (subscribed,) = back.of("subscribed")
        assert subscribed["recovered"] is False and subscribed["reason"] == "expired"
        back.until(lambda: any(m["last"] for m in back.of("snapshot")))
        assert [row["value"] for row in back.rows("snapshot")] == [49.0]
        # The link is good; but that other database has not stored as far as the live feed is, and says so.
        history = httpx.get(f"http://127.0.0.1:{stack.settings.api_port}{subscribed['history'][-1]}", timeout=30)
        assert (history.status_code, history.json()["type"]) == (503, "/problems/not-stored-yet")
    assert metric(stack, "cityfeed_tail_gaps_total") == 0


def told(client: Listener) -> list[tuple[Any, ...]]:
    """Which row in which revision, sorted: the database has them in the order of receipt."""
    return sorted((row["start"], row["rev"], row["flag"]) for row in client.rows())


def test_what_kafka_forgot_of_amendments_comes_from_the_database_too(make_stack: Callable[..., ServiceStack]) -> None:
    stack = make_stack(live_ring_bytes=0, repair_quiet_s=1, repair_max_delay_s=2)
    stack.start(*CHAIN)
    stack.wait_ready()
    # A value that sticks out, until its late neighbour is like it.
    high, late = (300, 301, 610, 611), (301, 611)
    values = {n: 50.0 + n % 3 + (80.0 if n in high else 0.0) for n in range(700)}

    def publish(numbers: Iterable[int]) -> None:
        topic = stack.mqtt_topic("air-quality", "s1")
        stack.publish_all(
            (topic, {"t": (START + timedelta(minutes=5 * n)).isoformat(), "pm25": values[n], "period_s": 300})
            for n in numbers
        )

    def heard_all(client: Listener) -> None:
        rows = "SELECT (SELECT count(*) FROM readings) + (SELECT count(*) FROM readings_history)"
        stack.wait_until(lambda: stack.query("SELECT count(*) FROM dirty WHERE kind = 1") == [(0,)], "all is judged")
        client.until(lambda: stack.query(rows) == [(len(client.rows()),)], timeout_s=60)

    with listening(stack, **WANTED) as client:
        first = client.of("subscribed")[0]["cursor"]
        publish(n for n in range(700) if n not in late)
        stored(stack, 698)
        heard_all(client)
        middle, had = client.of("data")[-1]["cursor"], told(client)
        history = "SELECT count(*) FROM readings_history"
        ((before,),) = stack.query(history)
        publish(late)
        stored(stack, 700)
        stack.wait_until(lambda: stack.query(history)[0][0] > before, "they are judged again", timeout_s=15)
        heard_all(client)
        everything = told(client)
    forget_the_log(stack, "readings.clean", "readings.amended")
    rest = sorted(set(everything) - set(had))
    assert len(rest) == len(everything) - len(had) and any(rev > 1 for _, rev, _ in rest)
    for cursor, missed in ((middle, rest), (first, everything)):
        with listening(stack, cursor=cursor, **WANTED) as back:
            back.until(lambda missed=missed: len(back.rows()) >= len(missed))  # type: ignore[misc]
            assert back.of("subscribed")[0]["recovered"] is True
            assert told(back) == missed
            frames = back.of("data")
    # It broke off in the middle: it goes on there, and hears what comes.
    assert len(frames) > 1
    with listening(stack, cursor=frames[0]["cursor"], **WANTED) as back:
        left = sum(len(frame["d"]) for frame in frames[1:])
        back.until(lambda: len(back.rows()) >= left)
        assert back.of("subscribed")[0]["recovered"] is True
        assert told(back) == sorted((r["start"], r["rev"], r["flag"]) for frame in frames[1:] for r in frame["d"])
        values[700] = 50.0
        publish([700])
        back.until(lambda: len(back.rows()) > left)
        back.assert_no_gap()


def forget_the_log(stack: ServiceStack, *topics: str) -> None:
    """Delete what Kafka has of topics but the last record, as retention would."""
    from aiokafka import AIOKafkaConsumer, TopicPartition
    from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

    async def run() -> None:
        consumer = AIOKafkaConsumer(bootstrap_servers=stack.settings.kafka_bootstrap)
        admin = AIOKafkaAdminClient(bootstrap_servers=stack.settings.kafka_bootstrap)
        await consumer.start()
        await admin.start()
        try:
            found = await admin.describe_topics([stack.settings.kafka_topic_prefix + topic for topic in topics])
            parts = [TopicPartition(topic["topic"], p["partition"]) for topic in found for p in topic["partitions"]]
            ends = await consumer.end_offsets(parts)
            await admin.delete_records({tp: RecordsToDelete(before_offset=max(0, end - 1)) for tp, end in ends.items()})
        finally:
            await admin.close()
            await consumer.stop()

    asyncio.run(run())


def test_a_replay_goes_on_live_without_a_gap_or_a_repeat(stack: ServiceStack) -> None:
    stack.start(*CHAIN)
    stack.wait_ready()
    send(stack, range(60))
    stored(stack, 60)
    sending = threading.Event()

    def keep_sending() -> None:
        for n in range(60, 120):
            if sending.wait(0.02):
                return
            send(stack, range(n, n + 1))

    thread = threading.Thread(target=keep_sending)
    since = (datetime.now(UTC) - timedelta(minutes=10)).isoformat()
    with player(stack, since, speed="max") as client:
        thread.start()
        client.until(lambda: client.of("replayed"), timeout_s=60)
        thread.join()
        client.until(lambda: len(client.rows()) >= 120, timeout_s=60)
        time.sleep(0.5)
        assert starts(client) == expected(range(120))
        client.assert_no_gap()
        assert client.of("subscribed")[0]["recovered"] is None


def test_a_replay_keeps_the_spacing_ends_at_to_and_can_be_taken_up_again(stack: ServiceStack) -> None:
    stack.start(*CHAIN)
    stack.wait_ready()
    begun = datetime.now(UTC)
    for n in range(4):
        send(stack, range(3 * n, 3 * n + 3))
        time.sleep(1.0)
    stored(stack, 12)
    ended = datetime.now(UTC)
    with player(stack, begun.isoformat(), ended.isoformat(), speed=2) as client:
        client.until(lambda: client.of("replayed"), timeout_s=60)
        client.assert_no_gap()
        assert starts(client) == expected(range(12))
        heard = [client.heard_at["s1", start] for start in starts(client)]
        assert heard[9] - heard[0] >= 0.5  # three seconds at twice the speed; the first may be late on a busy machine
        middle = next(m for m in client.of("data") if m["d"][-1]["start"] >= expected(range(5, 6))[0])
        had = sum(len(m["d"]) for m in client.of("data")[: client.of("data").index(middle) + 1])
    with player(stack, begun.isoformat(), ended.isoformat(), speed="max", cursor=middle["cursor"]) as client:
        client.until(lambda: client.of("replayed"), timeout_s=60)
        assert starts(client) == expected(range(had, 12))
        again = {"topic": "readings", "from": begun.isoformat(), "to": ended.isoformat(), "speed": "max"}
        for n in (2, 3):  # what is over leaves its id, and its place among the connection's subscriptions
            client.say(type="replay", id=1, filter={"sensor": ["s1"]}, **again)
            client.until(lambda n=n: len(client.of("replayed") + client.of("error")) == n)  # type: ignore[misc]
        client.say(type="replay", id=1, filter={"sensor": ["s1"]}, **again | {"cursor": "forged"})
        client.until(lambda: client.of("error"))
        client.say(type="subscribe", id=1, topic="readings")
        client.until(lambda: len(client.of("subscribed") + client.of("error")) == 5)
        assert [error["code"] for error in client.of("error")] == ["bad_cursor"]
        assert len(client.rows()) == 12 - had + 24
    move_today(stack)
    with player(stack, begun.isoformat(), ended.isoformat(), speed="max") as client:
        client.until(lambda: client.of("error"))
        assert client.of("error")[0]["code"] == "archived" and not client.of("replayed")
        client.say(type="replay", id=1, filter={"dataset": ["air-quality"]}, **again)
        client.until(lambda: client.of("replayed"), timeout_s=60)  # nothing of it has left; and the id is free


def move_today(stack: ServiceStack) -> None:
    """As if today's readings had left the database for the archive."""
    stack.query(
        "INSERT INTO moved_days (day, dataset, revision, path, log_path, rows, periods)"
        " VALUES (current_date - date '1970-01-01', 'traffic', 1, '', '', 0, '{}') RETURNING day"
    )


def player(stack: ServiceStack, since: str, to: str | None = None, **wanted: Any) -> "closing[Listener]":
    asked = {"type": "replay", "from": since, "filter": {"sensor": ["s1"]}} | ({"to": to} if to else {}) | wanted
    return closing(Listener(stack.settings, **asked))


def test_windows_are_heard_and_come_back_to(stack: ServiceStack) -> None:
    stack.start(*CHAIN)
    stack.wait_ready()
    wanted: dict[str, Any] = {"topic": "windows", "filter": {"sensor": ["s1"], "width": ["15m"]}}
    with listening(stack, **wanted) as client:
        send(stack, range(30))
        client.until(lambda: len(client.rows()) >= 5, timeout_s=60)
        client.assert_no_gap()
        heard = {row["start"]: row for row in client.rows()}
        first = client.of("data")[0]
    assert all(row["n"] == 3 and row["width"] == "15m" for row in heard.values())
    stack.kill("api")
    stack.start("api")
    stack.wait_ready("api")
    with listening(stack, cursor=first["cursor"], snapshot=False, **wanted) as client:
        client.until(lambda: len(client.rows()) >= len(heard) - len(first["d"]))
        assert client.of("subscribed")[0]["recovered"] is True
        missed = [start for start in heard if start not in {row["start"] for row in first["d"]}]
        assert [row["start"] for row in client.rows()][: len(missed)] == missed
    with listening(stack, mode="latest", tick_ms=250, **wanted) as client:
        client.until(lambda: any(m["last"] for m in client.of("snapshot")))
        assert [row["start"] for row in client.rows("snapshot")] == [max(heard)]


def test_a_process_is_killed_while_500_listen_and_all_of_them_come_back(
    make_stack: Callable[..., ServiceStack],
) -> None:
    stack = make_stack(live_connections_per_address=0)
    stack.start(*CHAIN)
    stack.wait_ready()
    send(stack, range(3))
    stored(stack, 3)
    crowd = Crowd(stack, 500)
    send(stack, range(3, 6))
    crowd.until(lambda rows: len(rows) == 3)
    stack.kill("api")
    send(stack, range(6, 9))
    stack.start("api")
    stack.wait_ready("api")
    crowd.come_back()
    send(stack, range(9, 12))
    crowd.until(lambda rows: len(rows) == 9)
    crowd.close()
    assert all(rows == expected(range(3, 12)) for rows in crowd.rows)


class Crowd:
    """Many clients, each with its own cursor; one file descriptor each, for paho takes none above 1,024."""

    def __init__(self, stack: ServiceStack, n: int) -> None:
        self.rows: list[list[str]] = [[] for _ in range(n)]
        self._address = f"ws://127.0.0.1:{stack.settings.api_port}/v1/live"
        self._cursors: list[str | None] = [None] * n
        self._sockets: list[ClientConnection] = []
        self._loop = asyncio.new_event_loop()
        self.come_back()

    def come_back(self) -> None:
        """All connect, and say where they were."""
        self._loop.run_until_complete(self._come_back())

    def until(self, is_so: Callable[[list[str]], bool]) -> None:
        """All hear until it is so of each one's rows."""
        self._loop.run_until_complete(self._until(is_so))

    async def _come_back(self) -> None:
        for i, cursor in enumerate(self._cursors):
            made = await connect(self._address, subprotocols=[PROTOCOL], max_size=None, ping_interval=None)
            await made.send(json.dumps({"type": "hello"}))
            wanted = {"type": "subscribe", "id": 1, "topic": "readings", "mode": "all"} | WANTED
            await made.send(json.dumps(wanted | ({"cursor": cursor} if cursor else {})))
            self._sockets[i : i + 1] = [made]
        for i in range(len(self._sockets)):
            while (message := await self._hear(i))["type"] != "subscribed":
                pass
            assert message["recovered"] is (True if self._cursors[i] else None)
            self._cursors[i] = message["cursor"]

    async def _until(self, is_so: Callable[[list[str]], bool]) -> None:
        for i, rows in enumerate(self.rows):
            while not is_so(rows):
                message = await self._hear(i)
                if message["type"] == "data":
                    rows += [row["start"] for row in message["d"]]
                    self._cursors[i] = message["cursor"]

    async def _hear(self, i: int) -> dict[str, Any]:
        async with asyncio.timeout(60):
            message: dict[str, Any] = json.loads(await self._sockets[i].recv())
        return message

    async def _close(self) -> None:
        for made in self._sockets:
            await made.close()

    def close(self) -> None:
        """All leave."""
        self._loop.run_until_complete(self._close())
        self._loop.close()
