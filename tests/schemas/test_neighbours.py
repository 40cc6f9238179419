"""Hours against the neighbours' hours."""

import numpy as np

from schemas.neighbours import judge, within
from schemas.quality import Neighbours

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
