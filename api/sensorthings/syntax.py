"""The query options' language, OData's as SensorThings 1.1 has it (OGC 18-088, 9.3.3): text in, a tree out.

One grammar for `$filter`, `$orderby`, `$select` and `$expand` with options in parentheses, for the latter holds the
others. Nothing here knows entities or SQL.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, cast

from api.problems import bad_parameter

MAX_CHARACTERS = 16_384
MAX_DEPTH = 100  # of a tree, so that no text can exhaust the stack

Kind = Literal["text", "number", "time", "interval", "duration", "date", "clock", "bool", "null", "geometry"]


@dataclass(frozen=True)
class Constant:
    """A value: str, float, datetime (UTC), (datetime, datetime), timedelta, date, time, bool, None, or WKT."""

    value: Any
    kind: Kind


@dataclass(frozen=True)
class Path:
    """`Datastream/Thing/name`."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class Call:
    """A function; operators are `Operation`s."""

    name: str
    arguments: tuple["Node", ...]


@dataclass(frozen=True)
class Operation:
    """`operator`: and, or, not, negative; eq ne gt ge lt le; add sub mul div mod."""

    operator: str
    operands: tuple["Node", ...]


Node = Constant | Path | Call | Operation


@dataclass(frozen=True)
class Order:
    """One key of `$orderby`."""

    by: Node
    descending: bool


@dataclass(frozen=True)
class Expand:
    """One item of `$expand`; `Datastreams/Thing` is an item inside an item."""

    name: str
    options: "Options"


@dataclass(frozen=True)
class Options:
    """What is asked of an entity or a collection; None: not said."""

    filter: Node | None = None
    orderby: tuple[Order, ...] = ()
    select: tuple[tuple[str, ...], ...] = ()
    expand: tuple[Expand, ...] = ()
    top: int | None = None
    skip: int | None = None
    count: bool | None = None

    @property
    def of_observations(self) -> bool:
        """Whether anything in it looks at Observations."""
        by = [self.filter, *(order.by for order in self.orderby)]
        return any(map(_names_observations, by)) or any(
            item.name == "Observations" or item.options.of_observations for item in self.expand
        )


def _names_observations(tree: Any) -> bool:
    return "Observations" in tree.names if isinstance(tree, Path) else any(map(_names_observations, _children(tree)))


class Wrong(ValueError):
    """A value that looks right and is not: the sentence to tell."""


def _check_depth(tree: Any) -> None:
    level = [tree]
    for _ in range(MAX_DEPTH):
        level = [child for one in level for child in _children(one)]
        if not level:
            return
    raise Wrong(f"it is nested more than {MAX_DEPTH} levels deep")


def _children(tree: Any) -> tuple[Any, ...]:
    match tree:
        case tuple():
            return tree
        case Call(_, arguments):
            return arguments
        case Operation(_, operands):
            return operands
        case Order(by):
            return (by,)
        case Expand(_, options):
            return (options.filter, *options.orderby, *options.expand)
    return ()


@lru_cache(1024)
def parse(option: str, text: str) -> Any:
    """The tree of an option's text: a `Node` of `filter`, a tuple of `Order`, of names, or of `Expand`.

    Raises `RequestError` (400), which says where the text can't be understood.
    """
    name = f"${option}"
    if len(text) > MAX_CHARACTERS:
        raise bad_parameter(name, f"it is longer than {MAX_CHARACTERS} characters", "Ask for less at once.")
    from api.sensorthings import grammar  # here, for it takes 8 MB, and few ask

    try:
        tree = grammar.read(option, text)
        _check_depth(tree)
        return tree
    except Wrong as e:
        raise bad_parameter(name, str(e), REMEDIES[option]) from None


def whole(name: str, text: str) -> int:
    """A whole number from 0 up. Raises `RequestError` (400)."""
    if not (text.isascii() and text.isdigit()) or len(text) > 15:
        raise bad_parameter(name, f"{text[:40]!r} is not a whole number from 0 up", f"{name}=100")
    return int(text)


def filter_of(text: str) -> Node:
    """The tree of a `$filter`."""
    return cast(Node, parse("filter", text))


REMEDIES = {
    "filter": "Such as $filter=result gt 5 and phenomenonTime ge 2026-11-16T00:00:00Z; times have an offset, texts "
    "stand in 'single quotes'.",
    "orderby": "Such as $orderby=phenomenonTime desc,result",
    "select": "Such as $select=id,name",
    "expand": "Such as $expand=Observations($top=1;$orderby=phenomenonTime desc),Thing",
}
