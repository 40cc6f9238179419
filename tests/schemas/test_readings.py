import numpy as np
import pytest

from schemas.readings import (
    COLUMNS,
    DATASET_PATTERN,
    EMPTY,
    METRIC_PATTERN,
    PERIOD_FROM_REGISTRY,
    PLACE_COLUMNS,
    RESERVED_DATASETS,
    SENSOR_PATTERN,
    Origin,
    readings,
)

THREE = readings([("d", "a"), ("d", "b")], [("m", "")], sensor=[0, 1, 0], value=[1, 2, 3], start=[7, 8, 9], received=9)


def test_what_is_not_given_has_its_default() -> None:
    assert len(THREE) == 3
    assert THREE.metric.tolist() == [0, 0, 0]
    assert THREE.period_s.tolist() == [PERIOD_FROM_REGISTRY] * 3
    assert THREE.rev.tolist() == [1, 1, 1]
    assert THREE.origin.tolist() == [Origin.LIVE] * 3
    assert THREE.flag.tolist() == [2, 2, 2]
    assert THREE.tests.tolist() == [0, 0, 0]
    assert THREE.received.tolist() == [9, 9, 9]
    assert THREE.lon is None and THREE.lat is None


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_have_their_type_and_length(name: str) -> None:
    column = getattr(THREE, name)
    assert column.dtype == COLUMNS[name]
    assert column.shape == (3,)
    assert column.flags.c_contiguous


@pytest.mark.parametrize("place", [(1.5, 2.5), ([1.5, 1.5, 1.5], 2.5)])
def test_places_are_sequences_or_scalars_like_all_else(place: tuple[object, object]) -> None:
    batch = readings(
        [("d", "a")], [("m", "")], sensor=0, value=[1, 2, 3], start=0, received=0, lon=place[0], lat=place[1]
    )
    assert batch.lon is not None and batch.lat is not None
    assert batch.lon.tolist() == [1.5, 1.5, 1.5]
    assert batch.lat.tolist() == [2.5, 2.5, 2.5]
    assert batch.lon.dtype == PLACE_COLUMNS["lon"]


def test_sequences_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="broadcast"):
        readings([("d", "a")], [("m", "")], sensor=[0, 0], value=[1, 2, 3], start=0, received=0)


@pytest.mark.parametrize("chosen", [[True, False, True], [0, 2]])
def test_take_by_mask_or_by_number(chosen: list[int]) -> None:
    taken = THREE.take(np.array(chosen))
    assert taken.value.tolist() == [1.0, 3.0]
    assert taken.sensor.tolist() == [0, 0]
    assert taken.sensors == THREE.sensors, "the dictionaries stay"
    assert taken.lon is None


def test_take_takes_places_along() -> None:
    batch = readings([("d", "a")], [("m", "")], sensor=0, value=[1, 2], start=0, received=0, lon=[3, 4], lat=[5, 6])
    taken = batch.take(np.array([1]))
    assert taken.lon is not None and taken.lat is not None
    assert (taken.lon.tolist(), taken.lat.tolist()) == ([4.0], [6.0])


def test_empty_is_empty() -> None:
    assert len(EMPTY) == 0
    assert all(getattr(EMPTY, name).dtype == dtype for name, dtype in COLUMNS.items())


@pytest.mark.parametrize("good", ["traffic", "air-quality", "0", "a" * 63])
def test_ids_of_datasets(good: str) -> None:
    assert DATASET_PATTERN.fullmatch(good)


@pytest.mark.parametrize("bad", ["", "-a", "Air", "air_quality", "a/b", "a" * 64, "é", "a\n", "+"])
def test_what_is_no_id_of_a_dataset(bad: str) -> None:
    assert not DATASET_PATTERN.fullmatch(bad)


@pytest.mark.parametrize("good", ["773869", "toco-toucan-rt01", "A.b_c~d-e", "0", "a" * 64])
def test_ids_of_sensors(good: str) -> None:
    assert SENSOR_PATTERN.fullmatch(good)


@pytest.mark.parametrize(
    "bad", ["", "a/b", "a+b", "a#", "a b", "$SYS", ".a", "-a", "a" * 65, "é", "a\n", "a?b", "a%20"]
)
def test_what_is_no_id_of_a_sensor(bad: str) -> None:
    """It would not be safe in a URL or in an MQTT topic."""
    assert not SENSOR_PATTERN.fullmatch(bad)


@pytest.mark.parametrize(
    ("name", "good"), [("pm25", True), ("travel-time", True), ("PM25", False), ("2", False), ("", False)]
)
def test_names_of_metrics(name: str, good: bool) -> None:
    assert bool(METRIC_PATTERN.fullmatch(name)) is good


def test_words_of_the_api_are_no_datasets() -> None:
    assert (
        set(["datasets", "live", "sse", "poll", "archive", "exports", "public", "health", "ready"]) == RESERVED_DATASETS
    )
