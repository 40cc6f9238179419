import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas import traffic

NAN = np.nan


def one(speed: list[float], volume: list[float], length_km: list[float]) -> tuple[float, float, float]:
    mean, distance, time = traffic.section_speed(np.array([speed]), np.array([volume]), np.array(length_km))
    return float(mean[0]), float(distance[0]), float(time[0])


def test_a_sections_speed_is_vehicle_distance_over_vehicle_time() -> None:
    """100 vehicles at 100 km/h over 2 km, 300 at 50 over 1 km: 500 veh km in 8 veh h."""
    assert one([100, 50], [100, 300], [2, 1]) == (62.5, 500.0, 8.0)


def test_the_arithmetic_mean_would_overstate_it() -> None:
    speed = one([100, 20], [50, 50], [1, 1])[0]
    assert speed == pytest.approx(2 / (1 / 100 + 1 / 20))
    assert speed < 60


def test_without_volumes_each_part_counts_by_its_length() -> None:
    mean, distance, time = one([100, 50], [NAN, NAN], [2, 1])
    assert mean == pytest.approx(3 / (2 / 100 + 1 / 50))
    assert np.isnan([distance, time]).all()


def test_a_part_that_says_nothing_is_left_out() -> None:
    assert one([100, NAN], [10, 10], [1, 1])[0] == 100
    assert one([100, 50], [10, NAN], [1, 1])[0] == 100
    assert one([100, 0], [10, 10], [1, 1])[0] == 100
    assert np.isnan(one([NAN, NAN], [10, 10], [1, 1])[0])


@given(st.lists(st.tuples(st.floats(1, 200), st.integers(0, 500), st.floats(0.1, 5)), min_size=1, max_size=8))
def test_a_sections_speed_is_within_those_of_its_parts(parts: list[tuple[float, float, float]]) -> None:
    speed, volume, length = map(list, zip(*parts, strict=True))
    mean = one(speed, volume, length)[0]
    assert min(speed) - 1e-6 <= mean <= max(speed) + 1e-6
    if sum(volume) > 1e-3:
        arithmetic = np.average(speed, weights=np.array(volume) * np.array(length))
        assert mean <= arithmetic + 1e-6


def test_free_flow_is_learned_where_there_is_enough_and_else_the_limit() -> None:
    assert traffic.free_flow_speed(101.5, 24, 90) == (101.5, "learned")
    assert traffic.free_flow_speed(101.5, 23, 90) == (90, "limit")
    assert traffic.free_flow_speed(NAN, 0, 90) == (90, "limit")
    speed, source = traffic.free_flow_speed(101.5, 23, None)
    assert np.isnan(speed) and source is None


def test_delay_is_never_below_zero() -> None:
    delays = traffic.delay_s(np.array([50.0, 100.0, 120.0, 0.0, NAN]), 100.0, 10.0)
    assert delays[:3].tolist() == [360.0, 0.0, 0.0]
    assert np.isnan(delays[3:]).all()
    index = traffic.travel_time_index(np.array([50.0, 100.0, 125.0, NAN]), 100.0)
    assert index[:3].tolist() == [2.0, 1.0, 0.8]


def test_level_of_service_goes_by_density() -> None:
    levels = traffic.level_of_service(np.array([0, 11, 11.01, 18, 26, 35, 45, 45.01, NAN]))
    assert levels == ["A", "A", "B", "B", "C", "D", "E", "F", None]


def test_density_is_flow_over_speed_per_mile_and_lane() -> None:
    """1,800 vehicles an hour on two lanes at 90 km/h are 10 a km and lane, 16.1 a mile."""
    distance = np.array([1800 * 0.25 * 2.0])  # a quarter of an hour over 2 km
    assert traffic.density(distance, np.array([90.0]), 900, 2.0 * 2)[0] == pytest.approx(16.09344)


#   share      0.96  0.90  0.84  0.90  0.94  0.95  0.90   ?    0.90
#   congested   no    no   yes   yes   yes    no    no   none  none
def test_congestion_does_not_flicker() -> None:
    share = np.array([0.96, 0.90, 0.84, 0.90, 0.94, 0.95, 0.90, NAN, 0.90])
    assert traffic.congested(share) == [False, False, True, True, True, False, False, None, None]
    assert traffic.congested(np.array([0.9]), True) == [True]


@given(
    st.lists(st.tuples(st.floats(0.1, 250), st.floats(0, 1e300)), min_size=1, max_size=4),
    st.floats(1e-3, 100),
)
@example([(80.0, 5e-324)], 1.0)  # the time came to 0, and the speed to NaN
def test_a_section_is_as_fast_as_its_parts_however_few_or_many_vehicles(
    parts: list[tuple[float, float]], length_km: float
) -> None:
    speed, volume = np.array(parts).T
    (mean,), _, _ = traffic.section_speed(speed[None], volume[None], np.full(len(parts), length_km))
    assert speed.min() * (1 - 1e-9) <= mean <= speed.max() * (1 + 1e-9)


_odd = st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324, 1e308, 1.7976931348623157e308, -5.0]) | st.floats()


@settings(deadline=None)
@given(st.lists(st.tuples(_odd, _odd), max_size=12), st.integers(1, 3), st.floats(0.1, 200))
def test_what_comes_of_odd_values_is_a_number_or_not_known(
    values: list[tuple[float, float]], k: int, km: float
) -> None:
    n = len(values) // k
    speed, volume = np.array(values, float).reshape(-1, 2)[: n * k].T
    found = traffic.section_speed(speed.reshape(n, k), volume.reshape(n, k), np.full(k, km))
    assert (found[0][np.isfinite(found[0])] > 0).all()
    of_free_flow = traffic.travel_time_index(speed, km), traffic.delay_s(speed, km, km)
    for column in (*found, *of_free_flow, traffic.density(volume, speed, 300, km)):
        assert not np.isinf(column).any()


def test_a_road_that_stood_still_for_weeks_has_the_limit_as_free_flow() -> None:
    assert traffic.free_flow_speed(0.0, 500, 90.0) == (90.0, "limit")
    assert traffic.free_flow_speed(0.0, 500, None)[1] is None
    assert np.isnan(traffic.delay_s(np.array([50.0]), 0.0, 1.0)).all(), "and divides nothing"
