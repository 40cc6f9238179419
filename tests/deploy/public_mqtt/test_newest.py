"""One value a series, never an older one after a newer one, whatever the order they come in."""

import json

from cityfeed_client import Row
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.public_mqtt.newest import Newest
from schemas.public_mqtt import datastream_id, observations_topic

ROOT = "http://city.example/sensorthings/v1.1"


def row(sensor: str, minute: int, value: float | None = 1.0, rev: int = 1, flag: int = 1) -> Row:
    return Row(
        dataset="air-quality", sensor=sensor, metric="pm25", unit="ug/m3", period_s=60, value=value, flag=flag, rev=rev,
        tests=0, origin="live", received=f"2026-01-01T00:{minute:02d}:01.000Z",
        start=f"2026-01-01T00:{minute:02d}:00.000Z",
    )  # fmt: skip


def given_values(newest: Newest, most: int = 100) -> dict[str, tuple[str, float | None, int]]:
    found = {topic.decode().split("/")[-2]: json.loads(payload) for topic, payload in newest.give(most)}
    return {sensor: (value["start"][14:16], value["value"], value["rev"]) for sensor, value in found.items()}


def test_what_waits_is_replaced_by_what_is_newer() -> None:
    newest = Newest("cityfeed", ROOT)
    newest.take([row("a", 1, 1.0), row("b", 1, 5.0), row("a", 2, 2.0)])
    assert newest.waiting == 2
    assert given_values(newest) == {"a": ("02", 2.0, 1), "b": ("01", 5.0, 1)}
    assert newest.give(10) == [] and len(newest) == 2


def test_older_and_equal_ones_are_passed_over_and_a_revision_is_not() -> None:
    newest = Newest("cityfeed", ROOT)
    newest.take([row("a", 5, 1.0)])
    newest.give(10)
    newest.take([row("a", 4, 9.0), row("a", 5, 9.0)])
    assert newest.waiting == 0
    newest.take([row("a", 5, 3.0, rev=2, flag=4)])
    assert given_values(newest) == {"a": ("05", 3.0, 2)}


def test_the_topic_is_the_series() -> None:
    newest = Newest("town", ROOT)
    newest.take([row("a", 5, None, flag=9)])
    ((topic, payload),) = newest.give(1)
    assert topic == b"town/public/v1/air-quality/a/pm25"
    assert json.loads(payload) == {
        "start": "2026-01-01T00:05:00.000Z", "period_s": 60, "value": None, "unit": "ug/m3", "flag": 9, "rev": 1
    }  # fmt: skip


def test_observations_are_given_once_the_newest_of_each_series() -> None:
    newest = Newest("cityfeed", ROOT)
    newest.take([row("a", 1), row("b", 1), row("a", 2), row("a", 1)])
    starts = {topic.decode(): json.loads(payload)["phenomenonTime"][14:16] for topic, payload in newest.observations()}
    of = {sensor: observations_topic(datastream_id("air-quality", sensor, "pm25")) for sensor in "ab"}
    assert starts == {of["a"]: "02", of["b"]: "01"}
    newest.again()  # that is of the retained values: what happened does not happen again
    assert newest.observations() == []


def test_a_broker_that_lost_all_gets_all_again() -> None:
    newest = Newest("cityfeed", ROOT)
    newest.take([row("a", 1), row("b", 2)])
    newest.give(10)
    newest.again()
    assert set(given_values(newest)) == {"a", "b"}


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("take"), st.sampled_from("abc"), st.integers(0, 9), st.integers(1, 3)),
            st.tuples(st.just("give"), st.integers(1, 3)),
            st.tuples(st.just("again")),
        )
    )
)
def test_readers_never_see_an_older_value_and_always_the_last(
    steps: list[tuple[object, ...]],
) -> None:
    newest, seen, best = Newest("cityfeed", ROOT), dict[bytes, tuple[str, int]](), dict[bytes, tuple[str, int]]()

    def hear(most: int) -> None:
        for topic, payload in newest.give(most):
            value = json.loads(payload)
            age = value["start"], value["rev"]
            assert age >= seen.get(topic, ("", 0))
            seen[topic] = age

    for kind, *words in steps:
        if kind == "take":
            sensor, minute, rev = words
            one = row(str(sensor), int(str(minute)), rev=int(str(rev)))
            newest.take([one])
            topic = f"cityfeed/public/v1/air-quality/{sensor}/pm25".encode()
            best[topic] = max(best.get(topic, ("", 0)), (one["start"], one["rev"]))
        elif kind == "give":
            hear(int(str(words[0])))
        else:
            newest.again()
        assert newest.waiting <= 3
    hear(100)
    assert seen == best
