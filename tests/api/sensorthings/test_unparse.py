"""What was read, written and read again is the same."""

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl

from hypothesis import example, given
from hypothesis import strategies as st

from api.sensorthings import unparse
from api.sensorthings.syntax import Call, Constant, Expand, Node, Operation, Options, Order, Path, parse

moments = st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
names = st.sampled_from(["a", "name", "Thing", "orders", "@iot.id", "x-y", "not_so"])
constants = st.one_of(
    st.text(max_size=8).map(lambda v: Constant(v, "text")),
    st.integers(0, 10**15 - 1).map(lambda v: Constant(v, "number")),
    st.floats(0, allow_nan=False, allow_infinity=False).map(lambda v: Constant(v, "number")),
    moments.map(lambda v: Constant(v, "time")),
    st.tuples(moments, moments).map(lambda v: Constant(v, "interval")),
    st.dates().map(lambda v: Constant(v, "date")),
    st.times().map(lambda v: Constant(v, "clock")),
    st.timedeltas(timedelta(0), timedelta(9999)).map(lambda v: Constant(v, "duration")),
    st.sampled_from([Constant(True, "bool"), Constant(False, "bool"), Constant(None, "null")]),
    st.just(Constant("POINT (1 2)", "geometry")),
)
paths = st.lists(names, min_size=1, max_size=3).map(lambda n: Path(tuple(n)))


def _chained(made: tuple[str, tuple[Node, Node]]) -> Node:
    """`(a or b) or c` is `a or b or c`."""
    operator, (left, right) = made
    before = left.operands if isinstance(left, Operation) and left.operator == operator else (left,)
    return Operation(operator, (*before, right))


def _more(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    pair = st.tuples(inner, inner)
    return st.one_of(
        st.tuples(st.sampled_from(["and", "or"]), pair).map(_chained),
        st.tuples(st.sampled_from(("eq", "ne", "gt", "ge", "lt", "le", "add", "sub", "mul", "div", "mod")), pair).map(
            lambda o: Operation(*o)
        ),
        inner.map(lambda i: Operation("not", (i,))),
        st.tuples(names, st.lists(inner, max_size=3)).map(lambda c: Call(c[0], tuple(c[1]))),
    )


trees: st.SearchStrategy[Node] = st.recursive(st.one_of(constants, paths), _more, max_leaves=12)


def _options(inner: st.SearchStrategy[Options]) -> st.SearchStrategy[Options]:
    return st.builds(
        Options, st.none() | trees, st.lists(st.builds(Order, paths, st.booleans()), max_size=2).map(tuple),
        st.lists(st.lists(names, min_size=1, max_size=2).map(tuple), max_size=2).map(tuple),
        st.lists(st.builds(Expand, names, inner), max_size=2).map(tuple),
        st.none() | st.integers(0, 99), st.none() | st.integers(1, 99), st.none() | st.booleans(),
    )  # fmt: skip


@given(trees)
def test_expressions(tree: Node) -> None:
    assert parse.__wrapped__("filter", unparse.node(tree)) == tree


AN_HOUR = Constant((datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 1, tzinfo=UTC)), "interval")


@given(_options(_options(st.just(Options()))))
@example(Options(expand=(Expand("Thing", Options(filter=AN_HOUR, top=1)),)))
def test_options_as_a_query(options: Options) -> None:
    given = dict(parse_qsl(unparse.query(options), keep_blank_values=True, strict_parsing=bool(unparse.query(options))))
    assert given.get("$filter") == (options.filter and unparse.node(options.filter))
    for name in ("orderby", "select", "expand"):
        assert (parse.__wrapped__(name, given[f"${name}"]) if f"${name}" in given else ()) == getattr(options, name)
    assert given.get("$top") == (None if options.top is None else str(options.top))
    assert given.get("$skip") == (None if options.skip is None else str(options.skip))
