"""Resource paths in steps, and what is no resource."""

import pytest

from api.sensorthings.paths import parse
from schemas.errors import RequestError


@pytest.mark.parametrize(
    ("path", "steps", "many", "names", "ref", "raw"),
    [
        ("Things", [("Things", None)], True, (), False, False),
        ("Things/", [("Things", None)], True, (), False, False),
        ("Things(1)", [("Things", 1)], False, (), False, False),
        ("Things('1')", [("Things", 1)], False, (), False, False),
        ("Observations('12-3')", [("Observations", "12-3")], False, (), False, False),
        ("Observations(12-3)", [("Observations", "12-3")], False, (), False, False),
        ("Things(1)/Datastreams", [("Things", 1), ("Datastreams", None)], True, (), False, False),
        (
            "Things(1)/Datastreams(2)/Observations(2-3)/FeatureOfInterest",
            [("Things", 1), ("Datastreams", 2), ("Observations", "2-3"), ("FeaturesOfInterest", None)],
            False,
            (),
            False,
            False,
        ),
        ("Things/$ref", [("Things", None)], True, (), True, False),
        ("Things(1)/Locations/$ref", [("Things", 1), ("Locations", None)], True, (), True, False),
        ("Things(1)/name", [("Things", 1)], False, ("name",), False, False),
        ("Things(1)/id", [("Things", 1)], False, ("id",), False, False),
        (
            "Things(1)/properties/device/make/$value",
            [("Things", 1)],
            False,
            ("properties", "device", "make"),
            False,
            True,
        ),
        ("Datastreams(1)/Thing/name", [("Datastreams", 1), ("Things", None)], False, ("name",), False, False),
    ],
)
def test_paths(path: str, steps: list[object], many: bool, names: tuple[str, ...], ref: bool, raw: bool) -> None:
    found = parse(path)
    assert [(step.entity.plural, step.key) for step in found.steps] == steps
    assert (found.many, found.names, found.ref, found.raw) == (many, names, ref, raw)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("Thing", "Did you mean 'Things'?"),
        ("Nothing", "There is no 'Nothing'"),
        ("Things(", "There is no"),
        ("Things(abc)", "its ids are whole numbers"),
        ("Things(99999999999999999999)", "whole numbers"),
        ("Things()", "whole numbers"),
        ("Things(1)/nme", "Did you mean 'name'?"),
        ("Things(1)/Observations", "no 'Observations'"),
        ("Things/name", "Things has no 'name'"),
        ("Things/Datastreams", "is a collection"),
        ("Things(1)/Datastreams/Observations", "is a collection"),
        ("Things(1)/$value", "no '$value'"),
        ("Things(1)/name/$ref", "nothing at"),
        ("Things(1)/name//x", "nothing at"),
        ("Things(1)/" + "Datastreams(1)/Thing/" * 12 + "name", "more than 12 steps"),
        ("Things(1' OR 1=1--)", "whole numbers"),
    ],
)
def test_what_is_no_resource(path: str, says: str) -> None:
    with pytest.raises(RequestError) as refused:
        parse(path)
    assert refused.value.status == 404
    assert says in refused.value.detail
