"""The grammar of query options, and how lark makes the tree of `syntax` from it."""

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from lark import Lark, Transformer, v_args
from lark.exceptions import UnexpectedInput, UnexpectedToken, VisitError

from api.sensorthings.syntax import Call, Constant, Expand, Node, Operation, Options, Order, Path, Wrong, whole

GRAMMAR = r"""
?filter: or_
?or_: and_ | or_ _OR and_                    -> or_
?and_: not_ | and_ _AND not_                 -> and_
?not_: comparison | _NOT not_                -> not_
?comparison: sum | sum COMPARE sum           -> compare
?sum: product | sum ADD product              -> arithmetic
?product: factor | product MULTIPLY factor   -> arithmetic
?factor: atom | "-" factor                   -> negative
?atom: "(" or_ ")" | literal | call | path
call: NAME "(" [or_ ("," or_)*] ")"
path: NAME ("/" (NAME | INTEGER))*

?literal: STRING       -> string
        | GEOMETRY     -> geometry
        | DURATION     -> duration
        | INTERVAL     -> interval
        | DATETIME     -> moment
        | DATE         -> date
        | TIME         -> time
        | NUMBER       -> number
        | INTEGER      -> integer
        | TRUE         -> true
        | FALSE        -> false
        | NULL         -> null

orderby: order ("," order)*
order: sum [ASC | DESC]
select: (path | all) ("," (path | all))*
all: "*"
expand: item ("," item)*
item: path ["(" [option (";" option)*] ")"]
option: "$filter" "=" or_        -> filter_option
      | "$orderby" "=" orderby   -> orderby_option
      | "$select" "=" select     -> select_option
      | "$expand" "=" expand     -> expand_option
      | "$top" "=" INTEGER       -> top_option
      | "$skip" "=" INTEGER      -> skip_option
      | "$count" "=" (TRUE | FALSE) -> count_option

_OR.2: /or(?=[\s(])/
_AND.2: /and(?=[\s(])/
_NOT.2: /not(?=[\s(])/
COMPARE.2: /(eq|ne|gt|ge|lt|le)(?=[\s('])/
ADD.2: /(add|sub)(?=[\s('])/
MULTIPLY.2: /(mul|div|mod)(?=[\s('])/
ASC.2: /asc(?![\w\/])/
DESC.2: /desc(?![\w\/])/
TRUE.2: /true(?![\w\/])/
FALSE.2: /false(?![\w\/])/
NULL.2: /null(?![\w\/])/

STRING: /'(?:[^']|'')*'/
GEOMETRY.3: /(geography|geometry)'[^']*'/
DURATION.3: /duration'[^']*'/
INTERVAL.6: /\d{4}-\d\d-\d\dT[^\s\/,;)]+\/\d{4}-\d\d-\d\dT[^\s\/,;)]+/
DATETIME.5: /\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+\- ]\d\d:?\d\d)?/i
DATE.4: /\d{4}-\d\d-\d\d/
TIME.4: /\d\d:\d\d(:\d\d(\.\d+)?)?/
NUMBER.2: /(\d+\.\d*|\.\d+)([eE][+\-]?\d+)?|\d+[eE][+\-]?\d+/
INTEGER.1: /\d+/
NAME: /@?[A-Za-z_][\w.\-]*/
%ignore /\s+/
"""

_DURATION = re.compile(r"(-)?P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?")


@dataclass(frozen=True)
class _Given:
    name: str
    value: Any = field(hash=False)


def _moment(text: str) -> datetime:
    if text[-6:-5] == " ":  # a plus sign that nobody escaped
        text = f"{text[:-6]}+{text[-5:]}"
    try:
        found = datetime.fromisoformat(text.upper())
    except ValueError as e:
        raise Wrong(f"{text} is not a time ({e})") from None
    if found.tzinfo is None:
        raise Wrong(f"{text} has no offset; write {text}Z for UTC")
    try:
        return found.astimezone(UTC)
    except OverflowError:
        raise Wrong(f"{text} is before the year 1 or after 9999 in UTC") from None


def _chain(operator: str, left: Node, right: Node) -> Node:
    """`a or b or c` is one operation: a long filter is not a deep one."""
    before = left.operands if isinstance(left, Operation) and left.operator == operator else (left,)
    return Operation(operator, (*before, right))


@v_args(inline=True)
class _Tree(Transformer[Any, Any]):
    """Makes the nodes while lark parses."""

    def or_(self, left: Node, right: Node) -> Node:
        return _chain("or", left, right)

    def and_(self, left: Node, right: Node) -> Node:
        return _chain("and", left, right)

    def not_(self, operand: Node) -> Node:
        return Operation("not", (operand,))

    def compare(self, left: Node, operator: str, right: Node) -> Node:
        return Operation(str(operator), (left, right))

    arithmetic = compare

    def negative(self, operand: Node) -> Node:
        if isinstance(operand, Constant) and operand.kind == "number":
            return Constant(-operand.value, "number")
        return Operation("negative", (operand,))

    def call(self, name: str, *arguments: Node | None) -> Node:
        return Call(str(name), tuple(a for a in arguments if a is not None))

    def path(self, *names: str) -> Path:
        return Path(tuple(map(str, names)))

    def string(self, text: str) -> Constant:
        return Constant(text[1:-1].replace("''", "'"), "text")

    def geometry(self, text: str) -> Constant:
        return Constant(text[text.index("'") + 1 : -1], "geometry")

    def duration(self, text: str) -> Constant:
        found = _DURATION.fullmatch(text[len("duration'") : -1].upper())
        if found is None or not any(found.groups()[1:]):
            raise Wrong(f"{text} is not a duration of days, hours, minutes and seconds such as duration'P1DT12H'")
        sign, *parts = found.groups(default="0")
        weeks, days, hours, minutes, seconds = map(float, parts)
        try:
            length = timedelta(days, seconds, 0, 0, minutes, hours, weeks)
        except OverflowError:
            raise Wrong(f"{text} is too long") from None
        return Constant(-length if sign == "-" else length, "duration")

    def interval(self, text: str) -> Constant:
        start, end = map(_moment, text.split("/"))
        return Constant((start, end), "interval")

    def moment(self, text: str) -> Constant:
        return Constant(_moment(text), "time")

    def date(self, text: str) -> Constant:
        try:
            return Constant(date.fromisoformat(text), "date")
        except ValueError as e:
            raise Wrong(f"{text} is not a date ({e})") from None

    def time(self, text: str) -> Constant:
        try:
            return Constant(time.fromisoformat(text), "clock")
        except ValueError as e:
            raise Wrong(f"{text} is not a time of day ({e})") from None

    def number(self, text: str) -> Constant:
        return Constant(float(text), "number")

    def integer(self, text: str) -> Constant:
        # What a double holds exactly stays whole; the rest is one.
        return Constant(int(text) if len(text) < 16 else float(text), "number")

    def true(self, _: str) -> Constant:
        return Constant(True, "bool")

    def false(self, _: str) -> Constant:
        return Constant(False, "bool")

    def null(self, _: str) -> Constant:
        return Constant(None, "null")

    def orderby(self, *orders: Order) -> tuple[Order, ...]:
        return orders

    def order(self, by: Node, direction: str | None = None) -> Order:
        return Order(by, direction == "desc")

    def all(self) -> Path:
        return Path(("*",))

    def select(self, *paths: Path) -> tuple[tuple[str, ...], ...]:
        return tuple(path.names for path in paths)

    def expand(self, *items: Expand) -> tuple[Expand, ...]:
        return items

    def item(self, path: Path, *given: _Given | None) -> Expand:
        options = Options()
        for one in filter(None, given):
            if getattr(options, one.name) not in (None, ()):
                raise Wrong(f"${one.name} is given twice for {'/'.join(path.names)}")
            options = Options(**(vars(options) | {one.name: one.value}))
        for name in reversed(path.names[1:]):
            options = Options(expand=(Expand(name, options),))
        return Expand(path.names[0], options)

    def filter_option(self, node: Node) -> _Given:
        return _Given("filter", node)

    def orderby_option(self, orders: tuple[Order, ...]) -> _Given:
        return _Given("orderby", orders)

    def select_option(self, paths: tuple[tuple[str, ...], ...]) -> _Given:
        return _Given("select", paths)

    def expand_option(self, items: tuple[Expand, ...]) -> _Given:
        return _Given("expand", items)

    def top_option(self, number: str) -> _Given:
        return _Given("top", whole("$top", str(number)))

    def skip_option(self, number: str) -> _Given:
        return _Given("skip", whole("$skip", str(number)))

    def count_option(self, word: str) -> _Given:
        return _Given("count", word == "true")


_PARSER = Lark(GRAMMAR, parser="lalr", start=["filter", "orderby", "select", "expand"], transformer=_Tree())


def read(option: str, text: str) -> Any:
    """The tree of an option's text. Raises `Wrong`, and `RequestError` of what is inside."""
    try:
        return _PARSER.parse(text, start=option)
    except UnexpectedInput as e:
        ended = isinstance(e, UnexpectedToken) and e.token.type == "$END"
        at = len(text) if ended or e.pos_in_stream is None else e.pos_in_stream
        place = f"at {text[at : at + 20]!r} (character {at + 1})" if at < len(text) else "at its end"
        raise Wrong(f"it can't be understood {place}") from None
    except VisitError as e:
        raise e.orig_exc from None
