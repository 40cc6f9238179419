import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import registry
from schemas.datasets import Dataset, parse_datasets, shipped_files
from schemas.errors import WireError
from schemas.readings import MAX_PERIOD_S
from schemas.registry import FOREVER_MS, Device, Registration, Registry, Series, SeriesRule, Site, fold

T = 1_769_860_800_000  # 2026-01-31T12:00:00Z
DATASETS: dict[str, Dataset] = parse_datasets(shipped_files())

# A sensor that stood at 5th Street, moved to the park at T, was away from T + 200, and came to the bridge at T + 300:
#
#     always ... 5th Street ... T [ park ] T+200   nowhere   T+300 [ bridge ... until further notice
STREET = Registration("air-quality", "a", site=Site("5th Street", -118.24, 34.05))
PARK = Registration("air-quality", "a", valid_from=T, valid_to=T + 200, site=Site("Park", -118.26, 34.07))
BRIDGE = Registration("air-quality", "a", valid_from=T + 300, site=Site("Bridge", -118.30, 34.10))
MOVED = (STREET, PARK, BRIDGE)


def names(known: Registry, at_ms: int) -> str | None:
    found = known.at("air-quality", "a", at_ms)
    return found.site.name if found else None


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (1, 0, 2)])
def test_a_sensor_that_moved_whatever_the_order_it_was_told_in(order: tuple[int, ...]) -> None:
    known = fold(DATASETS, [MOVED[i] for i in order])
    assert known.registrations("air-quality", "a") == list(MOVED)
    assert known.validities("air-quality", "a") == [
        (0, T, STREET),
        (T, T + 200, PARK),
        (T + 300, FOREVER_MS, BRIDGE),
    ]


@pytest.mark.parametrize(
    ("at_ms", "name"),
    [
        (0, "5th Street"), (T - 1, "5th Street"), (T, "Park"), (T + 199, "Park"), (T + 200, None), (T + 299, None),
        (T + 300, "Bridge"), (FOREVER_MS - 1, "Bridge"),
    ],
)  # fmt: skip
def test_where_it_was_at_a_moment(at_ms: int, name: str | None) -> None:
    assert names(fold(DATASETS, MOVED), at_ms) == name


@given(st.lists(st.tuples(st.none() | st.integers(0, 20), st.none() | st.integers(0, 30)), max_size=5),
       st.integers(0, 30))  # fmt: skip
def test_at_and_validities_say_the_same(spans: list[tuple[int | None, int | None]], at_ms: int) -> None:
    known = fold(DATASETS, [Registration("d", "s", since, until) for since, until in spans])
    found = known.at("d", "s", at_ms)
    validities = known.validities("d", "s")
    assert [v[2] for v in validities if v[0] <= at_ms < v[1]] == ([found] if found else [])
    for (_, until, _), (since, _, _) in itertools.pairwise(validities):
        assert until <= since


def test_before_it_was_there_it_was_nowhere() -> None:
    known = fold(DATASETS, [PARK])
    assert names(known, T - 1) is None
    assert names(known, T) == "Park"


def test_an_end_at_the_epoch_is_an_end() -> None:
    known = fold(DATASETS, [Registration("d", "s", valid_to=0)])
    assert known.at("d", "s", 0) is None
    assert known.validities("d", "s")[0][:2] == (0, 0)


def test_a_later_registration_of_the_same_validity_replaces() -> None:
    better = msgspec.structs.replace(PARK, site=Site("City Park", -118.26, 34.07))
    known = fold(DATASETS, [*MOVED, better])
    assert PARK.key == better.key
    assert known.registrations("air-quality", "a") == [STREET, better, BRIDGE]
    assert names(known, T) == "City Park"


@pytest.mark.parametrize(
    ("registration", "key"),
    [(STREET, "air-quality/a@"), (PARK, f"air-quality/a@{T}"), (Registration("d", "s", valid_from=0), "d/s@0")],
)
def test_keys_of_the_compacted_topic(registration: Registration, key: str) -> None:
    assert registration.key == key


def test_the_sensors_of_a_dataset() -> None:
    known = fold(DATASETS, [*MOVED, Registration("air-quality", "b"), Registration("traffic", "a")])
    assert list(known.sensors("air-quality")) == ["a", "b"]
    assert list(known.sensors("traffic")) == ["a"]
    assert list(known.sensors("noise")) == []


def test_a_sensor_that_is_not_registered_has_no_place_and_the_rules_of_its_dataset() -> None:
    known = Registry(DATASETS)
    assert known.registrations("traffic", "x") == []
    assert known.at("traffic", "x", T) is None
    assert known.validities("traffic", "x") == []
    speed = DATASETS["traffic"].metrics["speed"]
    assert known.rule("traffic", "x", "speed") == SeriesRule("km/h", 300, 300, speed)


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        (Series(), ("km/h", 300, 300)),
        (Series("mph"), ("mph", 300, 300)),
        (Series(period_s=60), ("km/h", 60, 300)),
        (Series(cadence_s=20), ("km/h", 300, 20)),
        (Series("mph", 0, 60), ("mph", 0, 60)),
        (Series(""), ("", 300, 300)),
    ],
)
def test_a_series_own_word_comes_before_the_datasets(series: Series, expected: tuple[str, int, int]) -> None:
    known = fold(DATASETS, [Registration("traffic", "a", series={"speed": series})])
    rule = known.rule("traffic", "a", "speed")
    assert (rule.unit, rule.period_s, rule.cadence_s) == expected
    assert rule.metric is DATASETS["traffic"].metrics["speed"], "the quality rules stay the dataset's"
    assert known.rule("traffic", "b", "speed").unit == "km/h", "and others stay as they were"


def test_a_metric_that_the_dataset_does_not_have() -> None:
    known = fold(DATASETS, [Registration("traffic", "a", series={"noise": Series("dB", 60)})])
    rule = known.rule("traffic", "a", "noise")
    assert (rule.unit, rule.period_s, rule.cadence_s) == ("dB", 60, 0)
    assert rule.metric.fail is None
    assert known.rule("no-such", "a", "noise").unit == ""


def test_the_newest_registrations_word_holds_and_holds_at_once() -> None:
    known = fold(DATASETS, [Registration("traffic", "a", valid_from=T, series={"speed": Series("mph")})])
    assert known.rule("traffic", "a", "speed").unit == "mph"
    known.apply(Registration("traffic", "a", valid_from=T + 1, series={"speed": Series("m/s")}))
    assert known.rule("traffic", "a", "speed").unit == "m/s"
    known.apply(Registration("traffic", "a", series={"speed": Series("K")}))  # an older validity, told later
    assert known.rule("traffic", "a", "speed").unit == "m/s"


FULL = Registration(
    "air-quality", "a-1", T, T + 1, Site("Ü", -118.2, 34.1, 2.5, "roadside"), Device("m", "n", "s", "f", "o"),
    {"pm25": Series("ug/m3", 60, 120)}, 100, True,
)  # fmt: skip


@pytest.mark.parametrize("registration", [FULL, STREET, Registration("d", "s", 0, 5)])
def test_round_trip(registration: Registration) -> None:
    assert registry.decode(registry.encode(registration)) == registration


def test_as_json_it_is_what_is_not_the_default() -> None:
    assert msgspec.json.decode(registry.encode(STREET)) == {
        "dataset": "air-quality", "sensor": "a", "site": {"name": "5th Street", "lon": -118.24, "lat": 34.05},
    }  # fmt: skip
    assert msgspec.json.decode(registry.encode(FULL))["series"] == {
        "pm25": {"unit": "ug/m3", "period_s": 60, "cadence_s": 120}
    }


def test_a_newer_field_is_ignored() -> None:
    assert registry.decode(b'{"dataset":"d","sensor":"s","mood":["good"]}') == Registration("d", "s")


@pytest.mark.parametrize(
    "data",
    [
        b"", b"null", b"[]", b"{}", b'{"dataset":"d"}', b'{"dataset":"d","sensor":5}', b'{"dataset":"d","sensor":"s"',
        b'{"dataset":"\xff","sensor":"s"}', b'{"dataset":"d","sensor":"s","valid_from":"2026-01-01"}',
        b'{"dataset":"d","sensor":"s","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"dataset":"d","sensor":"s","series":{"pm25":{"period_s":-1}}}',
        b'{"dataset":"d","sensor":"s","series":{"pm25":{"cadence_s":%d}}}' % (MAX_PERIOD_S + 1),
    ],
)  # fmt: skip
def test_what_is_no_registration_is_refused(data: bytes) -> None:
    with pytest.raises(WireError, match="not a registration"):
        registry.decode(data)


@given(st.binary(max_size=100))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        registry.decode(data)
