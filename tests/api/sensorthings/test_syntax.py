"""Query options read: precedence, literals, nesting; and what can't be read says where."""

import subprocess
import sys
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest

from api.sensorthings.syntax import Call, Constant, Expand, Operation, Options, Order, Path, filter_of, parse
from schemas.errors import RequestError


def number(value: float) -> Constant:
    return Constant(value, "number")


A, B, C = Path(("a",)), Path(("b",)), Path(("c",))
ONE, TWO, THREE = number(1), number(2), number(3)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a eq 1", Operation("eq", (A, ONE))),
        (
            "a eq 1 or b eq 1 and c eq 1",
            Operation(
                "or",
                (Operation("eq", (A, ONE)), Operation("and", (Operation("eq", (B, ONE)), Operation("eq", (C, ONE))))),
            ),
        ),
        (
            "not a eq 1 and b eq 1",
            Operation("and", (Operation("not", (Operation("eq", (A, ONE)),)), Operation("eq", (B, ONE)))),
        ),
        ("not(a eq 1)", Operation("not", (Operation("eq", (A, ONE)),))),
        ("(a eq 1)and(b eq 1)", Operation("and", (Operation("eq", (A, ONE)), Operation("eq", (B, ONE))))),
        ("a add 1 mul 2 eq 3", Operation("eq", (Operation("add", (A, Operation("mul", (ONE, TWO)))), THREE))),
        ("a sub 1 sub 2 eq 3", Operation("eq", (Operation("sub", (Operation("sub", (A, ONE)), TWO)), THREE))),
        ("-a lt -1", Operation("lt", (Operation("negative", (A,)), number(-1)))),
        ("a/b/c eq 1", Operation("eq", (Path(("a", "b", "c")), ONE))),
        ("properties/list/0 eq 1", Operation("eq", (Path(("properties", "list", "0")), ONE))),
        ("@iot.id eq 1", Operation("eq", (Path(("@iot.id",)), ONE))),
        ("android eq 1", Operation("eq", (Path(("android",)), ONE))),
        ("nothing eq 1", Operation("eq", (Path(("nothing",)), ONE))),
        ("truest eq true", Operation("eq", (Path(("truest",)), Constant(True, "bool")))),
        ("startswith(a,'x')", Call("startswith", (A, Constant("x", "text")))),
        ("now() gt a", Operation("gt", (Call("now", ()), A))),
    ],
)
def test_trees(text: str, tree: Any) -> None:
    assert filter_of(text) == tree


@pytest.mark.parametrize(
    ("text", "value", "kind"),
    [
        ("'it''s'", "it's", "text"),
        ("'a eq ;,)('", "a eq ;,)(", "text"),
        ("''", "", "text"),
        ("12", 12, "number"),
        ("1.5e-3", 0.0015, "number"),
        (".5", 0.5, "number"),
        ("4503599627370495", 2**52 - 1, "number"),
        ("2026-11-16T08:00:00Z", datetime(2026, 11, 16, 8, tzinfo=UTC), "time"),
        ("2026-11-16T08:00:00.250+02:00", datetime(2026, 11, 16, 6, 0, 0, 250_000, tzinfo=UTC), "time"),
        ("2026-11-16T08:00:00 02:00", datetime(2026, 11, 16, 6, tzinfo=UTC), "time"),
        (
            "2026-11-16T08:00:00Z/2026-11-16T09:00:00Z",
            (datetime(2026, 11, 16, 8, tzinfo=UTC), datetime(2026, 11, 16, 9, tzinfo=UTC)),
            "interval",
        ),
        ("2026-11-16", date(2026, 11, 16), "date"),
        ("08:15:30", time(8, 15, 30), "clock"),
        ("duration'P1DT2H'", timedelta(days=1, hours=2), "duration"),
        ("duration'-PT0.5S'", timedelta(seconds=-0.5), "duration"),
        ("true", True, "bool"),
        ("false", False, "bool"),
        ("null", None, "null"),
        ("geography'POINT (1 2)'", "POINT (1 2)", "geometry"),
        ("geometry'POINT (1 2)'", "POINT (1 2)", "geometry"),
    ],
)
def test_literals(text: str, value: Any, kind: str) -> None:
    assert filter_of(f"a eq {text}") == Operation("eq", (A, Constant(value, kind)))  # type: ignore[arg-type]


def test_orders_and_selections() -> None:
    assert parse("orderby", "a desc, b asc,c/a") == (Order(A, True), Order(B, False), Order(Path(("c", "a")), False))
    assert parse("orderby", "description desc") == (Order(Path(("description",)), True),)
    assert parse("select", "id, name,@iot.id") == (("id",), ("name",), ("@iot.id",))


def test_expansions_hold_options_and_expansions() -> None:
    text = (
        "Observations($top=1;$orderby=a desc;$filter=b eq ';)';$count=true;$select=a;$skip=2),Thing/Locations($top=0)"
    )
    assert parse("expand", text) == (
        Expand("Observations", Options(
            Operation("eq", (B, Constant(";)", "text"))), (Order(A, True),), (("a",),), (), 1, 2, True)),
        Expand("Thing", Options(expand=(Expand("Locations", Options(top=0)),))),
    )  # fmt: skip
    assert parse("expand", "A($expand=B($expand=C))")[0].options.expand[0].options.expand[0].name == "C"


@pytest.mark.parametrize(
    ("option", "text", "says"),
    [
        ("filter", "", "at its end"),
        ("filter", "a eq", "character"),
        ("filter", "a = 1", "'= 1' (character 3)"),
        ("filter", "a eq 1; DROP TABLE readings", "'; DROP TABLE reading' (character 7)"),
        ("filter", "a eq 'x", "(character 6)"),
        ("filter", "a eq 2026-11-16T08:00:00", "has no offset; write 2026-11-16T08:00:00Z"),
        ("filter", "a eq 2026-13-16T08:00:00Z", "is not a time"),
        ("filter", "a eq 0001-01-01T00:00:00+01:00", "before the year 1"),
        ("filter", "a eq 2026-02-30", "is not a date"),
        ("filter", "a eq 25:00", "is not a time of day"),
        ("filter", "a lt duration'P1M'", "is not a duration of days"),
        ("filter", "a lt duration'P999999999999D'", "too long"),
        ("filter", "not " * 300 + "a eq 1", "more than 100 levels"),
        ("filter", "a" + " add 1" * 300 + " eq 1", "more than 100 levels"),
        ("expand", "A($expand=" * 300 + "A" + ")" * 300, "more than 100 levels"),
        ("filter", "a eq 1" + " or a eq 1" * 5000, "longer than 16384"),
        ("orderby", "a down", "character 3"),
        ("select", "a,,b", "character 3"),
        ("expand", "A($top=-1)", "character 8"),
        ("expand", "A($top=1;$top=2)", "$top is given twice"),
        ("expand", "A($nonsense=1)", "character 3"),
        ("expand", "A(", "at its end"),
    ],
)
def test_what_cannot_be_read_says_where(option: str, text: str, says: str) -> None:
    with pytest.raises(RequestError) as refused:
        parse(option, text)
    assert refused.value.status == 400
    assert refused.value.parameter == f"${option}" or "$top" in refused.value.detail
    assert says in refused.value.detail
    assert refused.value.remedy


def test_what_few_need_is_not_there_from_the_start() -> None:
    """The grammar and the geometries take 18 MB of every API process."""
    code = "import sys, api.app; sys.exit(bool({'lark', 'shapely'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_long_filter_is_not_a_deep_one() -> None:
    tree = filter_of(" or ".join(f"a eq {i}" for i in range(1000)))
    assert isinstance(tree, Operation)
    assert len(tree.operands) == 1000
    assert filter_of("(" * 3000 + "a eq 1" + ")" * 3000) == Operation("eq", (A, ONE))
