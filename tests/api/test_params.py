"""Queries: what is read, what is refused and what the refusal says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.openapi import OPERATIONS
from api.params import PARAMETERS, Asked, nearest, read
from api.places import Bbox
from schemas.errors import RequestError

READINGS = OPERATIONS["readings"].parameters
WINDOWS = OPERATIONS["windows"].parameters


def refusal(names: tuple[str, ...], *items: tuple[str, str]) -> RequestError:
    with pytest.raises(RequestError) as refused:
        read(names, items)
    assert refused.value.status == 400
    assert refused.value.remedy
    return refused.value


def test_nothing_asked() -> None:
    assert read(READINGS, []) == Asked()


def test_everything_asked() -> None:
    asked = read(
        READINGS,
        [
            ("from", "1970-01-01T00:00:01Z"), ("to", "1970-01-01T01:00:02+01:00"), ("sensor", "b"), ("sensor", "a"),
            ("metric", "speed"), ("bbox", "1,2,3,4"), ("flag", "1"), ("flag", "3"), ("origin", "import"),
            ("limit", "7"), ("cursor", "xyz"), ("format", "csv"), ("sensor", "b"),
        ],
    )  # fmt: skip
    assert asked == Asked(
        1000, 2000, ("b", "a"), ("speed",), Bbox(1, 2, 3, 4), (1, 3), (1,), "1h", 7, "xyz", format="csv"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "meant"),
    [("form", "from"), ("sensors", "sensor"), ("Sensor", "sensor"), ("metrics", "metric"), ("box", "bbox"),
     ("limits", "limit"), ("formats", "format"), ("curser", "cursor"), ("offset", None), ("q", None), ("", None)],
)  # fmt: skip
def test_an_unknown_parameter_names_the_nearest(name: str, meant: str | None) -> None:
    refused = refusal(READINGS, (name, "1"))
    assert (refused.kind, refused.parameter) == ("unknown-parameter", name)
    assert (f"Did you mean {meant!r}?" in refused.detail) is (meant is not None)
    assert "from, gaps, limit, metric" in str(refused.remedy)


def test_a_parameter_of_another_address_is_unknown() -> None:
    assert refusal(READINGS, ("width", "1h")).kind == "unknown-parameter"
    assert refusal(WINDOWS, ("flag", "1")).kind == "unknown-parameter"


@pytest.mark.parametrize("name", [n for n in READINGS if not PARAMETERS[n].repeats])
def test_what_takes_one_value_is_given_once(name: str) -> None:
    moments = dict.fromkeys(("from", "to", "as_of"), "2026-01-31T00:00:00Z")
    good = moments | {"bbox": "1,2,3,4", "limit": "1", "gaps": "show"}
    value = good.get(name, "x")
    refused = refusal(READINGS, (name, value), (name, value))
    assert (refused.kind, refused.parameter) == ("repeated-parameter", name)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("from", "2026-01-31T00:00:00 01:00", "%2B"),
        ("from", "1794816300", "RFC 3339"),
        ("to", "yesterday", "RFC 3339"),
        ("sensor", "a,b", "sensor=716328&sensor=716331"),
        ("sensor", "", "repeated"),
        ("sensor", "a/b", "repeated"),
        ("metric", "PM2.5", "metric=speed"),
        ("bbox", "1,2,3", "minLon,minLat,maxLon,maxLat"),
        ("flag", "5", "1, 2, 3, 4, 9"),
        ("flag", "01", "1, 2, 3, 4, 9"),
        ("flag", "good", "1, 2, 3, 4, 9"),
        ("origin", "imported", "live, import"),
        ("width", "2h", "1m, 5m, 15m, 1h, 1d"),
        ("width", "60", "1m, 5m, 15m, 1h, 1d"),
        ("limit", "0", "limit=1000"),
        ("limit", "-1", "limit=1000"),
        ("limit", "1e3", "limit=1000"),
        ("limit", "1_000", "limit=1000"),
        ("limit", "٣", "limit=1000"),
    ],
)
def test_a_value_that_can_not_be_read_says_what_can(name: str, value: str, says: str) -> None:
    refused = refusal(WINDOWS if name == "width" else READINGS, (name, value))
    assert (refused.kind, refused.parameter) == ("bad-parameter", name)
    assert says in refused.detail + str(refused.remedy)


@given(st.lists(st.tuples(st.sampled_from(sorted(PARAMETERS)) | st.text(max_size=9), st.text(max_size=30)), max_size=5))
def test_any_query_is_read_or_refused(items: list[tuple[str, str]]) -> None:
    try:
        read(READINGS, items)
    except RequestError as e:
        assert e.status == 400
        assert e.detail
        assert e.remedy


def test_nearest_prefers_swapped_letters() -> None:
    assert nearest("form", ["format", "from"]) == "from"
    assert nearest("zzz", ["format", "from"]) is None


def test_every_parameter_is_taken_somewhere() -> None:
    taken = {name for operation in OPERATIONS.values() for name in operation.parameters}
    # Those two are of /v1/exports/{id}, which answers with any format.
    assert taken | {"after_row", "after_byte"} == set(PARAMETERS)
