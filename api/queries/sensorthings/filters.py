"""A tree of `$filter` or `$orderby` to SQL: every value a parameter, every name from `ENTITIES` or `FUNCTIONS`.

Paths become outer joins. Where one goes to many entities (`Datastreams/Observations/result gt 5`), the whole filter
asks whether there is a combination of them for which it holds, as FROST has it: the same Datastream in all its parts.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from psycopg.types.json import Jsonb

from api.params import nearest
from api.problems import bad_parameter
from api.queries.sensorthings import geometry
from api.queries.sensorthings.entities import ENTITIES, Entity, Property, bind
from api.queries.sensorthings.functions import FUNCTIONS, TEMPORAL
from api.sensorthings.syntax import Call, Constant, Node, Operation, Path

COMPARE = {"eq": "=", "ne": "<>", "gt": ">", "ge": ">=", "lt": "<", "le": "<="}
MIRROR = {"eq": "eq", "ne": "ne", "gt": "lt", "ge": "le", "lt": "gt", "le": "ge"}
ARITHMETIC = {"add": "({} + {})", "sub": "({} - {})", "mul": "({} * {})", "div": "({} / nullif({}, 0))"}
TYPES = {
    "text": "text", "number": "float8", "time": "timestamptz", "duration": "interval", "date": "date", "clock": "time",
    "bool": "boolean",
}  # fmt: skip
"""SQL's type of a kind."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOD = "mod(({})::numeric, nullif(({})::numeric, 0))::float8"


@dataclass
class Parameters:
    """The values of a statement, and names that are not taken yet."""

    values: dict[str, Any]
    aliases: int = 0

    def put(self, value: Any, kind: str) -> str:
        """The placeholder of a new value of an SQL type."""
        name = f"p{len(self.values)}"
        self.values[name] = value
        return f"%({name})s::{kind}"

    def alias(self) -> str:
        """A new alias."""
        self.aliases += 1
        return f"e{self.aliases}"


@dataclass(frozen=True)
class Value:
    """SQL of a value; an interval has its `end`, a literal its `constant`, a geometry its `source` and key."""

    sql: str
    kind: str
    end: str = ""
    constant: Constant | None = None
    source: str = ""


@dataclass
class Scope:
    """Where names are looked up: an entity, its alias, and the joins that paths from it have made."""

    entity: Entity
    alias: str
    parameters: Parameters
    stored: geometry.Stored
    option: str = "$filter"
    joins: list[str] = field(default_factory=list)
    many: bool = False
    _joined: dict[tuple[str, ...], tuple[Entity, str]] = field(default_factory=dict)

    def refuse(self, detail: str, remedy: str | None = None) -> Exception:
        """The refusal of this option."""
        return bad_parameter(self.option, detail, remedy)

    def condition(self, node: Node) -> str:
        """SQL of a filter."""
        return self.as_kind(self.value(node), "bool")

    def value(self, node: Node) -> Value:
        """SQL of a tree."""
        match node:
            case Constant():
                return self._constant(node)
            case Path(names):
                return self._path(names)
            case Call(name, arguments):
                return self._call(name, arguments)
            case Operation(operator, operands):
                return self._operation(operator, operands)

    # -- names ----------------------------------------------------------------------------------------------

    def _path(self, names: tuple[str, ...]) -> Value:
        entity, alias, taken = self.entity, self.alias, 0
        while taken < len(names) and names[taken] in entity.navigations:
            taken += 1
            entity, alias = self._join(names[:taken], entity, alias)
        rest = names[taken:]
        if not rest:
            raise self.refuse(f"{'/'.join(names)} is an entity, not a value", f"{'/'.join(names)}/id")
        if rest[0] in ("id", "@iot.id") and len(rest) == 1:
            return Value(bind(entity.id, alias), "text" if entity.id_is_text else "number")
        if rest[0] not in entity.properties:
            known = ["id", *entity.properties, *entity.navigations]
            meant = nearest(rest[0], known)
            raise self.refuse(
                f"{entity.singular} has no {rest[0]!r}" + (f"; did you mean {meant!r}?" if meant else ""),
                f"{entity.singular} has {', '.join(known)}.",
            )
        return self._property(entity.properties[rest[0]], alias, rest)

    def _property(self, found: Property, alias: str, names: tuple[str, ...]) -> Value:
        sql, end = bind(found.sql, alias), bind(found.end, alias)
        if len(names) == 1:
            source = found.geometry and f"{found.geometry}:{alias}.{'id' if found.geometry == 'places' else 'thing'}"
            return Value(sql, found.kind, end, source=source)
        if found.kind not in ("json", "geometry"):
            raise self.refuse(f"{names[0]} has no parts, so there is no {'/'.join(names)}")
        if len(names) == 2 and names[1] in found.fields:
            part, kind = found.fields[names[1]]
            return Value(bind(part, alias), kind)
        return Value(f"({sql} #> {self.parameters.put(list(names[1:]), 'text[]')})", "json")

    def _join(self, names: tuple[str, ...], entity: Entity, alias: str) -> tuple[Entity, str]:
        navigation = entity.navigations[names[-1]]
        if names not in self._joined:
            target, joined = ENTITIES[navigation.target], self.parameters.alias()
            on = bind(navigation.join, alias, joined)
            self.joins.append(f"LEFT JOIN {target.relation} AS {joined} ON {on}")
            self.many |= navigation.many
            self._joined[names] = (target, joined)
        return self._joined[names]

    # -- literals and kinds -----------------------------------------------------------------------------------

    def _constant(self, node: Constant) -> Value:
        if node.kind == "number":
            sql = self.parameters.put(node.value, "bigint" if isinstance(node.value, int) else "float8")
        elif node.kind == "bool":
            sql = f"{'true' if node.value else 'false'}::boolean"  # a bare constant is no order
        elif node.kind == "interval":
            start, end = (self.parameters.put(t, "timestamptz") for t in node.value)
            return Value(start, "interval", end, node)
        elif node.kind in ("text", "time", "duration", "date", "clock"):
            sql = self.parameters.put(node.value, TYPES[node.kind])
        else:
            sql = "NULL"
        return Value(sql, node.kind, constant=node)

    def as_kind(self, value: Value, kind: str) -> str:
        """SQL of the value as a kind, where that is possible without guessing."""
        if value.kind == kind:
            return value.sql
        if value.kind == "null":
            return f"NULL::{TYPES[kind]}" if kind in TYPES else "NULL"
        if value.kind == "interval" and kind == "time":
            return value.sql
        if value.kind == "json":
            text = f"({value.sql} #>> '{{}}')"
            if kind == "number":
                return f"CASE jsonb_typeof({value.sql}) WHEN 'number' THEN {text}::float8 END"
            if kind == "bool":
                return f"CASE jsonb_typeof({value.sql}) WHEN 'boolean' THEN {text}::boolean END"
            if kind == "text":
                return text
        if value.constant and value.kind == "text" and kind in ("number", "time"):
            return self._read(str(value.constant.value), kind)
        raise self.refuse(f"a value of kind {value.kind} stands where one of kind {kind} is needed")

    def _read(self, text: str, kind: str) -> str:
        """A text in quotes that is compared with a number or a time."""
        try:
            if kind == "number":
                return self.parameters.put(float(text), "float8")
            moment = datetime.fromisoformat(text)
            if moment.tzinfo is None:
                raise ValueError
            return self.parameters.put(moment, "timestamptz")
        except (ValueError, OverflowError):
            raise self.refuse(f"{text[:60]!r} is compared with a {kind}, and is none") from None

    # -- operators ----------------------------------------------------------------------------------------------

    def _operation(self, operator: str, operands: tuple[Node, ...]) -> Value:
        if operator in ("and", "or"):
            parts = [self.condition(operand) for operand in operands]
            return Value(f"({f' {operator.upper()} '.join(parts)})", "bool")
        if operator == "not":
            return Value(f"(NOT coalesce({self.condition(operands[0])}, false))", "bool")
        if operator == "negative":
            return Value(f"(- {self.as_kind(self.value(operands[0]), 'number')})", "number")
        left, right = map(self.value, operands)
        if operator in COMPARE:
            return Value(self._compare(operator, left, right), "bool")
        return self._arithmetic(operator, left, right)

    def _compare(self, operator: str, left: Value, right: Value) -> str:
        if "null" in (left.kind, right.kind):
            other = right if left.kind == "null" else left
            if operator not in ("eq", "ne"):
                return "false"
            sql = f"nullif({other.sql}, 'null'::jsonb)" if other.kind == "json" else other.sql
            return f"({sql} IS {'' if operator == 'eq' else 'NOT '}NULL)"
        if (key := self._key(operator, left, right)) is not None:
            return key
        if "interval" in (left.kind, right.kind):
            return self._compare_intervals(operator, left, right)
        if left.kind == "geometry" or right.kind == "geometry":
            raise self.refuse("geometries are compared by functions", "st_equals(location, geography'POINT (1 2)')")
        kind = self._common(left, right)
        return f"({self.as_kind(left, kind)} {COMPARE[operator]} {self.as_kind(right, kind)})"

    def _common(self, left: Value, right: Value) -> str:
        """The kind in which two values are compared: JSON takes the other's, a text in quotes too."""
        kinds = (left.kind, right.kind)
        if "json" in kinds:
            kind = kinds[1] if kinds[0] == "json" else kinds[0]
            return "text" if kind == "json" else kind
        for one, other in ((left, right), (right, left)):
            if one.constant and one.kind == "text" and other.kind in ("number", "time"):
                return other.kind
        return left.kind

    def _key(self, operator: str, left: Value, right: Value) -> str | None:
        """The id of Observations is a text put together; its parts have an index."""
        from_text = ENTITIES["Observations"].id
        for value, other in ((left, right), (right, left)):
            alias = value.sql.removeprefix("(").partition(".")[0]
            if operator == "eq" and other.constant and other.kind == "text" and value.sql == bind(from_text, alias):
                return observation_key(self.parameters, alias, str(other.constant.value))
        return None

    def _compare_intervals(self, operator: str, left: Value, right: Value) -> str:
        """An interval is before a moment when it ends no later; `eq` is the same interval (an instant is [t, t])."""
        if left.kind != "interval":
            return self._compare_intervals(MIRROR[operator], right, left)
        a, b = left.sql, left.end
        c = right.sql if right.kind == "interval" else self.as_kind(right, "time")
        d = right.end if right.kind == "interval" else c
        return {
            "eq": f"({a} = {c} AND {b} = {d})",
            "ne": f"NOT ({a} = {c} AND {b} = {d})",
            "gt": f"({a} >= {c} AND {a} >= {d} AND {b} > {c})" if right.kind == "interval" else f"({a} > {c})",
            "ge": f"({a} >= {c})",
            "lt": f"({a} < {d} AND {b} <= {c})",
            "le": f"({a} <= {d} AND {b} <= {d})",
        }[operator]

    def _arithmetic(self, operator: str, left: Value, right: Value) -> Value:
        kinds = (left.kind, right.kind)
        if operator in ("add", "sub") and kinds[0] in ("time", "interval", "date") and kinds[1] == "duration":
            return Value(ARITHMETIC[operator].format(left.sql, right.sql), "time")
        if operator == "add" and kinds in (("duration", "time"), ("duration", "interval")):
            return Value(ARITHMETIC["add"].format(right.sql, left.sql), "time")
        if operator in ("add", "sub") and kinds == ("duration", "duration"):
            return Value(ARITHMETIC[operator].format(left.sql, right.sql), "duration")
        if operator == "sub" and set(kinds) <= {"time", "interval"}:
            return Value(ARITHMETIC["sub"].format(left.sql, right.sql), "duration")
        a, b = (f"({self.as_kind(v, 'number')})::float8" for v in (left, right))
        return Value((_MOD if operator == "mod" else ARITHMETIC[operator]).format(a, b), "number")

    # -- functions ------------------------------------------------------------------------------------------------

    def _call(self, name: str, arguments: tuple[Node, ...]) -> Value:
        if name in geometry.FUNCTIONS:
            return self._geometry(name, [self.value(a) for a in arguments])
        if name in TEMPORAL:
            if len(arguments) != 2:
                raise self.refuse(f"{name} takes two times or intervals")
            left, right = (self._span(self.value(a)) for a in arguments)
            return Value(TEMPORAL[name].format(a=left[0], b=left[1], c=right[0], d=right[1]), "bool")
        if name not in FUNCTIONS:
            known = [*FUNCTIONS, *TEMPORAL, *geometry.FUNCTIONS]
            meant = nearest(name, known)
            raise self.refuse(
                f"there is no function {name!r}" + (f"; did you mean {meant!r}?" if meant else ""),
                f"Functions: {', '.join(known)}.",
            )
        for function in FUNCTIONS[name]:
            if len(function.takes) == len(arguments):
                values = [self.as_kind(self.value(a), k) for a, k in zip(arguments, function.takes, strict=True)]
                return Value(function.sql.format(*values), function.gives)
        wanted = " or ".join(str(len(f.takes)) for f in FUNCTIONS[name])
        raise self.refuse(f"{name} takes {wanted} arguments, not {len(arguments)}")

    def _span(self, value: Value) -> tuple[str, str]:
        if value.kind == "interval":
            return value.sql, value.end
        moment = self.as_kind(value, "time")
        return moment, moment

    def _geometry(self, name: str, values: list[Value]) -> Value:
        function = geometry.FUNCTIONS[name]
        shapes, rest = values[: function.takes], values[function.takes :]
        sources = {v.source for v in shapes if v.source}
        if (
            len(values) != function.takes + function.pattern
            or any(v.kind != "geometry" for v in shapes)
            or any(v.constant is None or v.kind != "text" for v in rest)
            or len(sources) > 1
        ):
            wanted = "a geometry" if function.takes == 1 else "two geometries, at most one of them a property"
            raise self.refuse(
                f"{name} takes {wanted}" + (", and a pattern such as 'T*F**F***'" if function.pattern else ""),
                f"{name}(location, geography'POLYGON ((-119 33, -117 33, -117 35, -119 35, -119 33))')",
            )
        source, _, key = "".join(sources).partition(":")
        try:
            operands = [
                self.stored.shapes[source] if v.constant is None else geometry.read_wkt(v.constant.value)
                for v in shapes
            ]
            found = geometry.apply(name, operands, cast(Constant, rest[0].constant).value if rest else None)
        except ValueError as e:
            raise self.refuse(str(e)) from None
        return self._of_each(found, function.gives, source, key)

    def _of_each(self, found: geometry.Array, gives: str, source: str, key: str) -> Value:
        """The values as parameters, by the id of the stored geometry."""
        if not source:
            return Value(self.parameters.put(found[0].item(), "float8" if gives == "number" else "boolean"), gives)
        ids = self.stored.ids[source]
        if gives == "bool":
            chosen = [id_ for id_, holds in zip(ids, found, strict=True) if holds]
            return Value(f"({key} = ANY({self.parameters.put(chosen, 'bigint[]')}))", "bool")
        numbers = Jsonb({str(id_): float(number) for id_, number in zip(ids, found, strict=True)})
        return Value(f"({self.parameters.put(numbers, 'jsonb')} ->> {key}::text)::float8", "number")


def observation_key(parameters: Parameters, alias: str, text: str) -> str:
    """The condition of an Observation's id, `<datastream>-<epoch ms of its start>`; false for what is no id."""
    datastream, _, start = text.partition("-")
    digits = start.removeprefix("-")  # before 1970
    if not all(part.isascii() and part.isdigit() and len(part) < 17 for part in (datastream, digits)):
        return "false"
    try:
        moment = _EPOCH + timedelta(milliseconds=int(start))
    except OverflowError:
        return "false"
    at = parameters.put(moment, "timestamptz")
    return f"({alias}.datastream = {parameters.put(int(datastream), 'bigint')} AND {alias}.start = {at})"


def uses_geometry(node: Node | None) -> bool:
    """Whether a tree has a function of geometries."""
    match node:
        case Call(name, arguments):
            return name in geometry.FUNCTIONS or any(map(uses_geometry, arguments))
        case Operation(_, operands):
            return any(map(uses_geometry, operands))
    return False
