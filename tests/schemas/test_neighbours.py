"""Hours against the neighbours' hours."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from schemas.neighbours import Places, judge, judge_one, within
from schemas.quality import Neighbours
from schemas.registry import Registration, Registry, Site

NAN = float("nan")


def test_neighbours_are_within_the_radius_and_have_a_place() -> None:
    lon, lat = np.array([13.0, 13.0, 13.0, NAN]), np.array([52.0, 52.008, 52.1, NAN])  # 0.008 degrees are 890 m
    assert within(lon, lat, 1000).tolist() == [
        [False, True, False, False], [True, False, False, False], [False] * 4, [False] * 4,
    ]  # fmt: skip


def test_an_hour_far_from_the_median_of_enough_neighbours_is_suspect() -> None:
    mean = np.array([
        [10.0, 10.0, 30.0, NAN, 90.0],
        [11.0, 12.0, 11.0, 10.0, 200.0],
        [12.0, NAN, 12.0, 10.0, 110.0],
    ])  # fmt: skip
    near = ~np.eye(3, dtype=bool)
    judged, suspect = judge(mean, near, Neighbours(1000, suspect=15, min_sensors=2, share=0.5))
    assert judged.tolist() == [
        [True, False, True, False, True], [True, False, True, False, True], [True, False, True, False, True],
    ]  # fmt: skip
    assert np.argwhere(suspect).tolist() == [[0, 2], [1, 4]], "60 apart is less than half of 155, 100 is not of 100"


def test_a_sensor_without_neighbours_is_not_judged() -> None:
    judged, suspect = judge(np.ones((2, 3)), np.zeros((2, 2), bool), Neighbours(10, suspect=1))
    assert not judged.any() and not suspect.any()


MEANS = st.lists(st.one_of(st.just(NAN), st.integers(-20, 150).map(float)), min_size=1, max_size=9)


@given(MEANS, st.integers(2, 5), st.sampled_from((0.0, 0.5)), st.sampled_from((0.0, 2.0, 8.0)))
def test_one_hour_is_judged_as_all_are(means: list[float], min_sensors: int, share: float, spread: float) -> None:
    limits = Neighbours(1000, suspect=15, min_sensors=min_sensors, share=share, spread=spread)
    near = np.zeros((len(means), len(means)), bool)
    near[0, 1:] = True
    judged, suspect = judge(np.array(means)[:, None], near, limits)
    assert judge_one(means[0], means[1:], limits) == (bool(suspect[0, 0]) if judged[0, 0] else None)


def test_one_hour_has_no_verdict_without_enough_neighbours() -> None:
    limits = Neighbours(1000, suspect=15, min_sensors=2)
    assert judge_one(30.0, [10.0, 12.0, NAN], limits) is True
    assert judge_one(20.0, [10.0, 12.0], limits) is False
    assert judge_one(30.0, [10.0, NAN], limits) is None and judge_one(NAN, [10.0, 12.0], limits) is None


def test_where_neighbours_differ_among_themselves_nobody_is_suspect() -> None:
    """Both directions of a road: at rush hour the median is of neither."""
    limits = Neighbours(1000, suspect=50, min_sensors=3, spread=8)
    assert judge_one(100.0, [98.0, 30.0, 95.0, 28.0], limits) is False
    assert judge_one(28.0, [98.0, 96.0, 95.0, 99.0], limits) is True
    assert judge_one(28.0, [98.0, 80.0, 75.0, 99.0], limits) is False, "61 is less than 8 times 9.5"


def test_neighbours_are_those_of_the_time() -> None:
    """b moves away at 1000; its second place is not beside its first one's neighbours."""
    registry = Registry({})
    for sensor, lat, since in (("a", 52.0, None), ("b", 52.001, None), ("b", 53.0, 1000), ("c", 53.001, None)):
        registry.apply(Registration("d", sensor, since, site=Site(lon=13.0, lat=lat)))
    registry.apply(Registration("d", "nowhere"))
    places = Places(registry, "d")
    assert (places.near("a", 999, 1000), places.near("a", 1000, 1000)) == (["b"], [])
    assert (places.near("b", 999, 1000), places.near("b", 1000, 1000)) == (["a"], ["c"])
    assert places.near("nowhere", 0, 1000) == places.near("unknown", 0, 1000) == []
