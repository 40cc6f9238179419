"""One connection's protocol without I/O: every message, every error and close code, every limit."""

import json
from typing import Any

import pytest

from api.live.messages import SUBPROTOCOL, Close, Error, Limits, Pong, Welcome
from api.live.protocol import Action, Greet, Join, Leave, Play, Send, Session, Shut

LIMITS = Limits(rate_per_s=5.0, rate_burst=100, message_bytes=4096, subscriptions=3, queue_frames=256)
WELCOME = Welcome(1, "n", 15, LIMITS, "/schema")


def session(greeted: bool = True) -> Session:
    made = Session(WELCOME, ("traffic", "air-quality"), hello_timeout_s=10, max_age_s=1000, now_s=0.0)
    assert made.opened([SUBPROTOCOL], []) == []
    if greeted:
        assert say(made, type="hello") == [Greet(WELCOME)]
    return made


def say(to: Session, /, at_s: float = 0.0, **message: Any) -> list[Action]:
    return to.received(json.dumps(message), at_s)


def subscribe(to: Session, id: Any = 1, topic: str = "readings", **more: Any) -> list[Action]:
    return say(to, type="subscribe", id=id, topic=topic, **more)


def error_of(actions: list[Action]) -> Error:
    (action,) = actions
    assert isinstance(action, Send) and isinstance(action.message, Error)
    return action.message


def closed_with(actions: list[Action]) -> int:
    (action,) = actions
    assert isinstance(action, Shut) and len(action.reason.encode()) <= 123  # what a close frame holds
    return action.code


def test_hello_with_and_without_a_token_and_unknown_fields() -> None:
    for extra in ({}, {"token": "t", "client": "portal/1"}, {"client": "x", "later": {"field": [1]}}):
        assert say(session(greeted=False), type="hello", **extra) == [Greet(WELCOME)]
    assert error_of(say(session(), type="hello")).code == "bad_message"


@pytest.mark.parametrize("offered", [[], ["cityfeed.v2.json"], ["graphql-transport-ws"]])
def test_another_subprotocol_is_refused(offered: list[str]) -> None:
    made = Session(WELCOME, (), 10, 1000, 0.0)
    assert closed_with(made.opened(offered, [])) == Close.VERSION
    assert say(made, type="hello") == [] and made.due(99) == []


@pytest.mark.parametrize("query", [["token"], ["x", "access_token"]])
def test_a_token_in_the_url_is_refused(query: list[str]) -> None:
    assert closed_with(Session(WELCOME, (), 10, 1000, 0.0).opened([SUBPROTOCOL], query)) == Close.BAD_REQUEST


def test_who_never_says_hello_is_closed() -> None:
    made = session(greeted=False)
    assert made.due_s == 10 and made.due(9.9) == []
    assert closed_with(made.due(10.0)) == Close.HELLO_TIMEOUT
    assert made.due(11.0) == [] and say(made, type="hello") == []


def test_a_connection_ends_with_its_age() -> None:
    made = session()
    assert made.due_s == 1000 and made.due(999) == []
    assert closed_with(made.due(1000)) == Close.MAX_AGE


@pytest.mark.parametrize("first", ['{"type":"ping"}', '{"type":"subscribe"}', '{"type":"what"}', "{}"])
def test_hello_comes_first(first: str) -> None:
    assert closed_with(session(greeted=False).received(first, 0)) == Close.BAD_REQUEST


@pytest.mark.parametrize(
    "data",
    [
        "", "{", "nonsense", "[]", "null", "3", '"hello"', '{"type":"ping"', '{"type":"ping"}}', "\ud800", "[" * 3000,
        b"x", b'{"type":"ping"}', '{"type":"ping","n":1' + " " * 5000 + "}",
    ],
)  # fmt: skip
def test_what_is_not_a_json_object_of_our_size_ends_the_connection(data: str | bytes) -> None:
    made = session()
    assert closed_with(made.received(data, 0)) == Close.BAD_REQUEST
    assert say(made, type="ping") == []


def test_the_longest_message_is_taken() -> None:
    body = '{"type":"ping","n":1,"x":"%s"}'
    assert session().received(body % ("y" * (4096 - len(body) + 2)), 0) == [Send(Pong(1))]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"type": "follow", "id": 7}, "unknown_type"),
        ({"type": "replay", "id": 7}, "bad_message"),
        ({"type": "", "id": 7}, "unknown_type"),
        ({"id": 7}, "bad_message"),
        ({"type": 5, "id": 7}, "bad_message"),
        ({"type": "subscribe", "id": 7}, "bad_message"),
        ({"type": "subscribe", "topic": "readings"}, "bad_message"),
        ({"type": "subscribe", "topic": "readings", "id": None}, "bad_message"),
        ({"type": "subscribe", "topic": "readings", "id": "x" * 65}, "bad_message"),
        ({"type": "subscribe", "topic": "readings", "id": 7, "mode": "some"}, "bad_message"),
        ({"type": "subscribe", "topic": "readings", "id": 7, "tick_ms": 1.5}, "bad_message"),
        ({"type": "ping", "n": "x"}, "bad_message"),
    ],
)
def test_messages_that_can_not_be_followed_leave_the_connection_open(message: dict[str, Any], code: str) -> None:
    made = session()
    assert error_of(say(made, **message)).code == code
    assert say(made, type="ping", n=3) == [Send(Pong(3))]


def test_errors_name_the_subscription_where_there_is_one() -> None:
    assert error_of(subscribe(session(), id="mine", topic="events")).id == "mine"
    assert error_of(say(session(), type="replay", id=7)).id == 7


@pytest.mark.parametrize("topic", ["windows", "index"])
def test_only_readings_are_played_again(topic: str) -> None:
    error = error_of(say(session(), type="replay", id=7, topic=topic, **{"from": "2026-01-01T00:00:00Z"}, speed=60))
    assert (error.code, error.id) == ("unknown_topic", 7)


@pytest.mark.parametrize("topic", ["events", "", "Readings", "x" * 500])
def test_a_topic_that_there_is_not(topic: str) -> None:
    error = error_of(subscribe(session(), topic=topic))
    assert error.code == "unknown_topic" and "topics are readings" in error.msg


@pytest.mark.parametrize(
    "filter",
    [
        {"dataset": ["weather"]}, {"dataset": "traffic"}, {"metric": ["PM 2.5"]}, {"sensor": ["a/b"]}, {"sensor": [1]},
        {"flag": [7]}, {"flag": ["1"]}, {"origin": ["both"]}, {"width": ["5m"]}, {"bbox": [0, 0, 1]},
        {"bbox": [0, 1, 1, 0]}, {"bbox": [0, 0, 181, 1]}, {"bbox": [0, -91, 1, 1]}, {"bbox": [0, 0, 1, 1e300]},
        {"bbox": ["a", 0, 1, 1]}, {"bbox": [0, 0, 1, 1, 5]}, "traffic", [], {"unknown": 1},
    ],
)  # fmt: skip
def test_nonsense_in_a_filter(filter: Any) -> None:
    made = session()
    assert error_of(subscribe(made, filter=filter)).code == "bad_filter"
    (action,) = subscribe(made, filter={"dataset": ["traffic"]})
    assert isinstance(action, Join)


def test_a_tick_that_there_is_not() -> None:
    assert error_of(subscribe(session(), tick_ms=10)).code == "bad_tick"
    assert isinstance(subscribe(session(), mode="all", tick_ms=10)[0], Join)  # it has no meaning there


def test_equal_wishes_are_equal_however_they_are_written() -> None:
    made = session()
    a = {"dataset": ["traffic", "air-quality"], "bbox": [0, 0, 1, 1], "flag": [1, 2, 3], "later": 1}
    b = {"bbox": [0.0, 0.0, 1.0, 1.0], "dataset": ["air-quality", "traffic", "traffic"], "origin": ["live"]}
    del a["later"]
    (first,) = subscribe(made, id=1, filter=a)
    assert isinstance(first, Join)
    error = error_of(subscribe(made, id=2, filter=b))
    assert error.code == "duplicate" and "1" in error.msg
    assert isinstance(subscribe(made, id=2, filter=b, mode="all")[0], Join)


def test_ids_are_the_clients_own() -> None:
    made = session()
    (join,) = subscribe(made, id="a")
    assert isinstance(join, Join) and join.message.id == "a"
    assert error_of(subscribe(made, id="a", mode="all")).code == "duplicate_id"
    assert say(made, type="unsubscribe", id="a") == [Leave("a")]
    assert error_of(say(made, type="unsubscribe", id="a")).code == "unknown_id"
    assert isinstance(subscribe(made, id="a", mode="all")[0], Join)


def test_subscriptions_have_a_limit() -> None:
    made = session()
    for n in range(3):
        assert isinstance(subscribe(made, id=n, filter={"sensor": [f"s{n}"]})[0], Join)
    assert error_of(subscribe(made, id=3)).code == "too_many_subscriptions"
    say(made, type="unsubscribe", id=0)
    assert isinstance(subscribe(made, id=3)[0], Join)


def test_a_replay_that_is_over_leaves_its_id_and_its_place() -> None:
    made = session()
    past = {"type": "replay", "topic": "readings", "from": "2026-01-01T00:00:00Z", "speed": "max"}
    plays = [say(made, **past, id=n, to="2026-01-02T00:00:00Z")[0] for n in range(3)]
    assert error_of(subscribe(made, id=3)).code == "too_many_subscriptions"
    assert isinstance(plays[0], Play)
    plays[0].ended()
    (again,) = say(made, **past, id=0)  # it was to go on live, but its cursor was a forged one
    assert isinstance(again, Play)
    again.ended()
    assert isinstance(subscribe(made, id=0, mode="all")[0], Join)


def test_a_burst_is_free_and_then_the_average_holds() -> None:
    made = session(greeted=False)
    say(made, type="hello")
    for n in range(99):
        assert say(made, type="ping", n=n) == [Send(Pong(n))]
    for n in range(1, 50):
        assert say(made, at_s=n * 0.201, type="ping", n=n) == [Send(Pong(n))]
    assert closed_with(say(made, at_s=49 * 0.201 + 0.1, type="ping")) == Close.RATE
