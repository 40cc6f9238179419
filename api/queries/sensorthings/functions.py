"""The built-in functions of `$filter` (OGC 18-088, table 23, and those of intervals): `FUNCTIONS` lists them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Function:
    """Kinds of what it takes, the kind it gives, and its SQL with `{0}`, `{1}` for the arguments."""

    takes: tuple[str, ...]
    gives: str
    sql: str


def _part(name: str, sql: str = "") -> tuple[Function, ...]:
    return (Function(("time",), "number", (sql or "extract({name} FROM {0})::float8").replace("{name}", name)),)


FUNCTIONS: dict[str, tuple[Function, ...]] = {
    # texts; strpos, for LIKE would read % and _ in them
    "substringof": (Function(("text", "text"), "bool", "(strpos({1}, {0}) > 0)"),),
    "contains": (Function(("text", "text"), "bool", "(strpos({0}, {1}) > 0)"),),
    "endswith": (Function(("text", "text"), "bool", "(right({0}, length({1})) = {1})"),),
    "startswith": (Function(("text", "text"), "bool", "starts_with({0}, {1})"),),
    "length": (Function(("text",), "number", "length({0})"),),
    "indexof": (Function(("text", "text"), "number", "(strpos({0}, {1}) - 1)"),),
    "substring": (
        Function(("text", "number"), "text", "substr({0}, greatest(0, ({1})::integer) + 1)"),
        Function(
            ("text", "number", "number"), "text",
            "substr({0}, greatest(0, ({1})::integer) + 1, greatest(0, ({2})::integer))",
        ),
    ),
    "tolower": (Function(("text",), "text", "lower({0})"),),
    "toupper": (Function(("text",), "text", "upper({0})"),),
    "trim": (Function(("text",), "text", "btrim({0}, E' \\t\\n\\r')"),),
    "concat": (Function(("text", "text"), "text", "({0} || {1})"),),
    # times, in UTC; of an interval its start
    "year": _part("year"),
    "month": _part("month"),
    "day": _part("day"),
    "hour": _part("hour"),
    "minute": _part("minute"),
    "second": _part("second", "floor(extract(second FROM {0}))::float8"),
    "fractionalseconds": _part("", "mod(extract(second FROM {0}), 1)::float8"),
    "date": (Function(("time",), "date", "(({0}) AT TIME ZONE 'UTC')::date"),),
    "time": (Function(("time",), "clock", "(({0}) AT TIME ZONE 'UTC')::time"),),
    "totaloffsetminutes": _part("", "(0 * extract(epoch FROM {0}))::float8"),
    "now": (Function((), "time", "%(now)s::timestamptz"),),
    "mindatetime": (Function((), "time", "'-infinity'::timestamptz"),),
    "maxdatetime": (Function((), "time", "'infinity'::timestamptz"),),
    # numbers; numeric, for it rounds halves away from zero
    "round": (Function(("number",), "number", "round(({0})::numeric)::float8"),),
    "floor": (Function(("number",), "number", "floor({0})"),),
    "ceiling": (Function(("number",), "number", "ceiling({0})"),),
}  # fmt: skip
"""name -> its forms, by number of arguments."""

TEMPORAL: dict[str, str] = {
    "before": "({a} < {c} AND {b} <= {c})",
    "after": "({a} >= {d} AND {b} > {d})",
    "meets": "({b} = {c} OR {a} = {d})",
    "during": "({a} >= {c} AND {b} <= {d})",
    "overlaps": "({a} <= {d} AND {c} <= {b} AND ({a} < {d} OR {c} = {d}) AND ({c} < {b} OR {a} = {b}))",
    "starts": "({a} = {c})",
    "finishes": "({b} = {d})",
}
"""Of two intervals [a, b) and [c, d); a moment is [t, t]."""
