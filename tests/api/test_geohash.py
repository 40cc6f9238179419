"""Geohash, against the published example and itself."""

from hypothesis import given
from hypothesis import strategies as st

from api.geohash import geohash, middle


def test_the_example_of_its_inventor() -> None:
    assert geohash(10.40744, 57.64911, 11) == "u4pruydqqvj"  # geohash.org's own example


@given(st.floats(-180, 180), st.floats(-90, 90), st.integers(1, 9))
def test_a_cell_holds_its_middle_and_longer_texts_are_within(lon: float, lat: float, characters: int) -> None:
    cell = geohash(lon, lat, characters)
    assert geohash(lon, lat, characters + 1).startswith(cell)
    if characters <= 6:  # six digits are finer than these cells
        assert geohash(*middle(cell), characters) == cell
