"""Boxes and the places that the public is told."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.places import Bbox, parse_bbox, public_place, stays
from schemas.registry import FOREVER_MS, Registration, Site, fold

LON = st.floats(-180, 180)
LAT = st.floats(-90, 90)


@pytest.mark.parametrize(
    ("box", "lon", "lat", "inside"),
    [
        ("-119,33,-117,35", -118, 34, True),
        ("-119,33,-117,35", -119, 33, True),  # edges are in
        ("-119,33,-117,35", -117, 35, True),
        ("-119,33,-117,35", -116.99, 34, False),
        ("-119,33,-117,35", -118, 35.01, False),
        ("170,-20,-170,-10", 179.5, -17, True),  # across the antimeridian: from 170 E eastward to 170 W
        ("170,-20,-170,-10", -175, -17, True),
        ("170,-20,-170,-10", 180, -17, True),
        ("170,-20,-170,-10", -180, -17, True),
        ("170,-20,-170,-10", 0, -17, False),
        ("170,-20,-170,-10", 169.9, -17, False),
        ("170,-20,-170,-10", 175, -9, False),
        ("-180,-90,180,90", 12.3, 45.6, True),
        ("5,5,5,5", 5, 5, True),
    ],
)
def test_what_is_inside(box: str, lon: float, lat: float, inside: bool) -> None:
    assert parse_bbox(box).contains(lon, lat) is inside


@pytest.mark.parametrize(
    "text",
    ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "-181,0,0,1", "0,0,181,1", "0,-91,0,0", "0,0,0,91", "0,2,1,1",
     "nan,0,1,1", "0,nan,1,1", "0,0,inf,1", "1e400,0,1,1", "0;0;1;1"],
)  # fmt: skip
def test_boxes_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w+"):
        parse_bbox(text)


@given(LON, LAT, LON, LAT, LON, LAT)
def test_a_box_and_its_complement_in_longitude_share_only_edges(
    a: float, b: float, c: float, d: float, lon: float, lat: float
) -> None:
    south, north = min(b, d), max(b, d)
    box, rest = Bbox(a, south, c, north), Bbox(c, south, a, north)
    if south <= lat <= north and a != c:
        assert box.contains(lon, lat) or rest.contains(lon, lat)
        if lon not in (a, c) and abs(lon) != 180:
            assert box.contains(lon, lat) != rest.contains(lon, lat)


def registration(lon: float | None, lat: float | None, precision_m: int = 0) -> Registration:
    return Registration("traffic", "s", site=Site("", lon, lat), public_precision_m=precision_m)


def test_no_place_is_none() -> None:
    assert public_place(None) is None
    assert public_place(registration(None, None)) is None


def test_an_exact_place_is_told_exactly() -> None:
    assert public_place(registration(-118.25397, 34.06664)) == (-118.25397, 34.06664)


@given(LON, st.floats(-80, 80), st.integers(1, 50_000))
def test_a_coarse_place_is_near_and_the_same_for_neighbours(lon: float, lat: float, precision_m: int) -> None:
    place = public_place(registration(lon, lat, precision_m))
    assert place is not None
    east_m = (place[0] - lon) * 111_320 * math.cos(math.radians(place[1]))
    north_m = (place[1] - lat) * 111_320
    assert abs(north_m) <= precision_m / 2 + 1
    assert abs(east_m) <= precision_m / 2 + 1
    assert -180 <= place[0] <= 180
    again = public_place(registration(place[0], place[1], precision_m))
    assert again == pytest.approx(place, abs=2e-6)  # the grid's own points stay where they are


def test_stays_follow_a_sensor_that_moves() -> None:
    #          0          1000                 5000
    #  west    |----------|
    #  east               |--------------------|      then nowhere
    west = Registration("traffic", "s", None, None, Site("", -118.5, 34.0))
    east = Registration("traffic", "s", 1000, 5000, Site("", -117.0, 34.0))
    known = fold({}, [west, east, Registration("traffic", "nowhere")])
    assert stays(known, "traffic", Bbox(-119, 33, -118, 35)) == [("s", 0, 1000)]
    assert stays(known, "traffic", Bbox(-118, 33, -116, 35)) == [("s", 1000, 5000)]
    assert stays(known, "traffic", Bbox(-119, 33, -116, 35)) == [("s", 0, 1000), ("s", 1000, 5000)]
    assert stays(known, "air-quality", Bbox(-180, -90, 180, 90)) == []
    only = fold({}, [west])
    assert stays(only, "traffic", Bbox(-119, 33, -118, 35)) == [("s", 0, FOREVER_MS)]


def test_a_search_with_small_boxes_finds_the_published_place_not_the_true_one() -> None:
    known = fold({}, [registration(-118.4321, 34.0567, 10_000)])
    assert stays(known, "traffic", Bbox(-118.433, 34.056, -118.431, 34.058)) == []
    place = public_place(registration(-118.4321, 34.0567, 10_000))
    assert place is not None
    assert stays(known, "traffic", Bbox(place[0], place[1], place[0], place[1])) == [("s", 0, FOREVER_MS)]
