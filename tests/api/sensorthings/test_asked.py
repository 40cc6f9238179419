"""Query options against what the path addresses."""

import pytest

from api.sensorthings import paths
from api.sensorthings.asked import read
from schemas.errors import RequestError


def test_all_options_at_once() -> None:
    asked = read(paths.parse("Observations"), [
        ("$filter", "result gt 1"), ("$orderby", "result"), ("$select", "result"), ("$top", "5"), ("$skip", "6"),
        ("$count", "true"), ("$resultFormat", "dataArray"), ("$skiptoken", "x"), ("access_token", "of a proxy"),
    ])  # fmt: skip
    options = asked.options
    assert (options.top, options.skip, options.count, asked.data_array, asked.token) == (5, 6, True, True, "x")
    assert options.filter and options.orderby and options.select == (("result",),)


@pytest.mark.parametrize(
    ("path", "items", "status", "parameter"),
    [
        ("Things", [("$top", "-1")], 400, "$top"),
        ("Things", [("$top", "1.5")], 400, "$top"),
        ("Things", [("$top", "9" * 20)], 400, "$top"),
        ("Things", [("$skip", "x")], 400, "$skip"),
        ("Things", [("$count", "yes")], 400, "$count"),
        ("Things", [("$top", "1"), ("$top", "2")], 400, "$top"),
        ("Things", [("$tpo", "1")], 400, "$tpo"),
        ("Things", [("top", "1")], 400, "top"),
        ("Things", [("$nonsense", "1")], 400, "$nonsense"),
        ("Things", [("$search", "x")], 501, "$search"),
        ("Things", [("$format", "xml")], 400, "$format"),
        ("Things", [("$resultFormat", "dataArray")], 400, "$resultFormat"),
        ("Observations", [("$resultFormat", "csv")], 400, "$resultFormat"),
        ("Observations", [("$resultFormat", "dataArray"), ("$expand", "Datastream")], 400, "$expand"),
        ("Things(1)", [("$filter", "name eq 'x'")], 400, "$filter"),
        ("Things(1)", [("$count", "true")], 400, "$count"),
    ],
)
def test_refusals(path: str, items: list[tuple[str, str]], status: int, parameter: str) -> None:
    with pytest.raises(RequestError) as refused:
        read(paths.parse(path), items)
    assert (refused.value.status, refused.value.parameter) == (status, parameter)
    assert refused.value.remedy
