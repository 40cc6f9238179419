"""A request as ONE statement, whatever is expanded: each row is an entity as JSON text, made by PostgreSQL.

The rows of a collection are chosen, ordered and cut in an inner query; the outer one makes their JSON, and what is
expanded is the same again in a subquery for each row: an index step each, where FROST asks a query each.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from api.params import nearest
from api.problems import bad_parameter
from api.queries.sensorthings import geometry
from api.queries.sensorthings.entities import ENTITIES, Entity, Navigation, bind
from api.queries.sensorthings.filters import Parameters, Scope, observation_key
from api.sensorthings import unparse
from api.sensorthings.paths import Step
from api.sensorthings.syntax import Expand, Options

DEFAULT_TOP = 100
MAX_EXPAND_DEPTH = 8
MAX_EXPANDED = 64


@dataclass(frozen=True)
class Key:
    """One key of an order. `sure`: it is never null."""

    sql: str
    descending: bool
    sure: bool


@dataclass(frozen=True)
class Chosen:
    """Which rows of an entity, and in what order."""

    joins: list[str]
    conditions: list[str]
    keys: list[Key]


class Builder:
    """Makes one statement: `rows` or `count`, then `parameters.values`."""

    def __init__(self, base: str, about: Any, now: Any, stored: geometry.Stored, max_top: int) -> None:
        self.parameters = Parameters({"base": base, "about": about, "now": now})
        self._stored = stored
        self._max_top = max_top
        self._expanded = 0

    # -- statements ---------------------------------------------------------------------------------------------

    def rows(self, steps: Sequence[Step], options: Options, after: Sequence[Any] | None, components: bool) -> str:
        """One row an entity: its JSON, then the order's keys. One more than `$top` are asked for.

        With `components`: the values as a JSON array and, before the keys, the Datastream's link.
        """
        source, alias, conditions, fixed = self._source(steps)
        entity = steps[-1].entity
        chosen = self._choose(entity, alias, options, conditions, fixed)
        if after is not None:
            chosen.conditions.append(self._after(chosen.keys, after))
        columns = "".join(f", {key.sql} AS k{i}" for i, key in enumerate(chosen.keys))
        inner = self._select(entity, alias, chosen, f"{alias}.*{columns}", self.top(options) + 1, options.skip or 0)
        shown = self._array(entity, alias, options) if components else self._json(entity, alias, options, 0)
        keys = "".join(f", {alias}.k{i}" for i in range(len(chosen.keys)))
        return f"SELECT {shown}{keys} FROM {source}{' CROSS JOIN LATERAL ' if source else ''}({inner}) AS {alias}"

    def count(self, steps: Sequence[Step], options: Options) -> str:
        """How many there are without `$top` and `$skip`."""
        source, alias, conditions, fixed = self._source(steps)
        chosen = self._choose(steps[-1].entity, alias, replace(options, orderby=()), conditions, fixed)
        return f"SELECT {self._count(steps[-1].entity, alias, chosen)}" + (f" FROM {source}" if source else "")

    def exists(self, steps: Sequence[Step]) -> str:
        """Whether the entity is there."""
        source, alias, conditions, _ = self._source(steps)
        before = f"{source} CROSS JOIN " if source else ""
        return f"SELECT FROM {before}{steps[-1].entity.relation} AS {alias} WHERE {_all(conditions)} LIMIT 1"

    def top(self, options: Options) -> int:
        """How many a page holds."""
        return min(DEFAULT_TOP if options.top is None else options.top, self._max_top)

    # -- rows -----------------------------------------------------------------------------------------------------

    def _source(self, steps: Sequence[Step]) -> tuple[str, str, list[str], tuple[str, ...]]:
        """The steps before the last as FROM, the last one's alias and conditions, and what of it they fix."""
        source = before = ""
        for step in steps[:-1]:
            alias, conditions = self._step(step, before)
            if before:
                source += f" JOIN {step.entity.relation} AS {alias} ON {_all(conditions)}"
            else:
                source = f"(SELECT * FROM {step.entity.relation} AS {alias} WHERE {_all(conditions)}) AS {alias}"
            before = alias
        alias, conditions = self._step(steps[-1], before)
        navigation = steps[-1].navigation
        return source, alias, conditions, navigation.fixes if navigation else ()

    def _step(self, step: Step, before: str) -> tuple[str, list[str]]:
        alias = self.parameters.alias()
        conditions = [bind(step.navigation.join, before, alias)] if step.navigation else []
        if step.key is not None:
            conditions.append(self._is(step.entity, alias, step.key))
        return alias, conditions

    def _is(self, entity: Entity, alias: str, key: int | str) -> str:
        if isinstance(key, str):
            return observation_key(self.parameters, alias, key)
        return f"{bind(entity.id, alias)} = {self.parameters.put(key, 'bigint')}"

    def _choose(
        self, entity: Entity, alias: str, options: Options, conditions: list[str], fixed: tuple[str, ...] = ()
    ) -> Chosen:
        joins: list[str] = []
        conditions = list(conditions)
        if options.filter is not None:
            scope = Scope(entity, alias, self.parameters, self._stored)
            condition = scope.condition(options.filter)
            if scope.many:
                condition = f"EXISTS (SELECT FROM (SELECT) AS one {' '.join(scope.joins)} WHERE {condition})"
            else:
                joins += scope.joins
            conditions.append(condition)
        keys = self._keys(entity, alias, options, joins)
        sure = [Key(bind(sql, alias), False, True) for sql in entity.order if sql not in fixed]
        keys += [key for key in sure if all(key.sql != other.sql for other in keys)]
        return Chosen(joins, conditions, keys)

    def _keys(self, entity: Entity, alias: str, options: Options, joins: list[str]) -> list[Key]:
        scope = Scope(entity, alias, self.parameters, self._stored, "$orderby")
        sure = {bind(sql, alias) for sql in entity.order}
        keys: list[Key] = []
        for order in options.orderby:
            value = scope.value(order.by)
            if scope.many:
                raise scope.refuse("an order goes by values of which there is one", "$orderby=Thing/name")
            if value.kind in ("geometry", "null"):
                raise scope.refuse(f"there is no order of a value of kind {value.kind}")
            sql = scope.as_kind(value, "text") if value.kind == "json" else value.sql
            keys.append(Key(sql, order.descending, sql in sure))
        joins += scope.joins
        return keys

    def _select(self, entity: Entity, alias: str, chosen: Chosen, columns: str, limit: int, skip: int) -> str:
        order = ", ".join(f"{key.sql}{' DESC' if key.descending else ''}" for key in chosen.keys)
        return (
            f"SELECT {columns} FROM {entity.relation} AS {alias} {' '.join(chosen.joins)} "
            f"WHERE {_all(chosen.conditions)} ORDER BY {order} LIMIT {limit:d} OFFSET {skip:d}"
        )

    def _count(self, entity: Entity, alias: str, chosen: Chosen) -> str:
        return (
            f"(SELECT count(*) FROM {entity.relation} AS {alias} {' '.join(chosen.joins)}"
            f" WHERE {_all(chosen.conditions)})"
        )

    def _after(self, keys: list[Key], values: Sequence[Any]) -> str:
        """The rows that come after the one with these keys. Nulls are last, of a descending key first."""
        puts = [None if value is None else self.parameters.put(value, TYPES[type(value)]) for value in values]
        if len({key.descending for key in keys}) == 1 and all(key.sure for key in keys):
            sign = "<" if keys[0].descending else ">"
            return f"({', '.join(key.sql for key in keys)}) {sign} ({', '.join(map(str, puts))})"
        cases: list[str] = []
        same: list[str] = []
        for key, put in zip(keys, puts, strict=True):
            if put is None:
                later = f"{key.sql} IS NOT NULL" if key.descending else "false"
            elif key.descending:
                later = f"{key.sql} < {put}"
            else:
                later = f"{key.sql} > {put}" if key.sure else f"({key.sql} > {put} OR {key.sql} IS NULL)"
            cases.append(_all([*same, later]))
            same.append(f"{key.sql} IS NULL" if put is None else f"{key.sql} = {put}")
        after = f"({' OR '.join(f'({case})' for case in cases)})"
        if keys[0].sure:  # says to the index where to begin
            return f"({keys[0].sql} {'<=' if keys[0].descending else '>='} {puts[0]} AND {after})"
        return after

    # -- JSON -----------------------------------------------------------------------------------------------------

    def _json(self, entity: Entity, alias: str, options: Options, depth: int) -> str:
        fields = self._fields(entity, alias, options)
        text = f"json_build_object({', '.join(f'{_literal(name)}, {sql}' for name, sql in fields)})::text"
        if not options.expand:
            return text
        if depth >= MAX_EXPAND_DEPTH:
            raise bad_parameter("$expand", f"it is deeper than {MAX_EXPAND_DEPTH} levels", "Ask for less at once.")
        parts = [self._expand(entity, alias, item, depth + 1) for item in _merged(options.expand)]
        return f"left({text}, -1) || ', ' || {' || '.join(_between(parts))} || '}}'"

    def _fields(self, entity: Entity, alias: str, options: Options) -> list[tuple[str, str]]:
        """(name, SQL) of what is shown of an entity."""
        names = _selected(entity, options)
        expanded = {item.name for item in options.expand}
        link = _link(entity, alias)
        fields: list[tuple[str, str]] = []
        if names is None or "id" in names:
            fields.append(("@iot.id", bind(entity.id, alias)))
        if names is None or "@iot.selfLink" in names:
            fields.append(("@iot.selfLink", link))
        for name, found in entity.properties.items():
            if names is None or name in names:
                fields.append((name, bind(found.shown, alias)))
        for name in entity.navigations:
            if (name not in expanded) if names is None else (name in names):
                fields.append((f"{name}@iot.navigationLink", f"{link} || '/{name}'"))
        return fields

    def _array(self, entity: Entity, alias: str, options: Options) -> str:
        fields = [sql for name, sql in self._fields(entity, alias, options) if not name.endswith("Link")]
        return f"json_build_array({', '.join(fields)})::text, {alias}.datastream"

    def _expand(self, entity: Entity, alias: str, item: Expand, depth: int) -> str:
        """SQL of `"name": value`, of a collection with its count and the link to the rest."""
        self._expanded += 1
        if self._expanded > MAX_EXPANDED:
            raise bad_parameter("$expand", f"it has more than {MAX_EXPANDED} parts", "Ask for less at once.")
        navigation = _navigation(entity, item.name)
        target, child, options = ENTITIES[navigation.target], self.parameters.alias(), item.options
        chosen = self._choose(target, child, options, [bind(navigation.join, alias, child)], navigation.fixes)
        json = self._json(target, child, options, depth)
        if not navigation.many:
            inner = self._select(target, child, chosen, f"{child}.*", 1, 0)
            return f"'{_name(item.name)}' || coalesce((SELECT {json} FROM ({inner}) AS {child}), 'null')"
        top, skip = self.top(options), options.skip or 0
        inner = self._select(target, child, chosen, f"{child}.*", top + 1, skip)
        rest = unparse.query(replace(options, top=top, skip=skip + top))
        link = f"to_json({_link(entity, alias)} || {self.parameters.put(f'/{item.name}?{rest}', 'text')})::text"
        more = f"CASE WHEN count(*) > {top:d} THEN ', {_name(item.name + '@iot.nextLink')}' || {link} ELSE '' END"
        value = (
            f"(SELECT '{_name(item.name)}[' || coalesce(string_agg(j, ', ') FILTER (WHERE n <= {top:d}), '') || ']'"
            f" || {more if top else _literal('')}"
            f" FROM (SELECT {json} AS j, row_number() OVER () AS n FROM ({inner}) AS {child}) AS numbered)"
        )
        if options.count:
            value += f" || ', {_name(item.name + '@iot.count')}' || {self._count(target, child, chosen)}"
        return value


def components(entity: Entity, options: Options) -> list[str]:
    """The names of a data array's columns."""
    names = _selected(entity, options)
    return [n for n in ("id", *entity.properties) if names is None or n in names]


def _link(entity: Entity, alias: str) -> str:
    quote = "''" if entity.id_is_text else ""
    return f"%(base)s::text || '/{entity.plural}({quote}' || {bind(entity.id, alias)} || '{quote})'"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _name(name: str) -> str:
    """A member's name in JSON inside an SQL literal; names are those of `ENTITIES`."""
    return f'"{name}": '


def _all(conditions: Sequence[str]) -> str:
    return " AND ".join(conditions) or "true"


def _between(parts: list[str]) -> list[str]:
    """The parts with a comma between each two."""
    return [piece for part in parts for piece in ("', '", part)][1:]


def _merged(items: Sequence[Expand]) -> list[Expand]:
    """`Datastreams/Sensor,Datastreams/Thing` is one expansion of Datastreams."""
    merged: dict[str, Options] = {}
    for item in items:
        if (known := merged.get(item.name)) is None:
            merged[item.name] = item.options
            continue
        given = {name: value for name, value in vars(item.options).items() if value not in (None, ())}
        merged[item.name] = replace(known, **(given | {"expand": known.expand + item.options.expand}))
    return [Expand(name, options) for name, options in merged.items()]


def _navigation(entity: Entity, name: str) -> Navigation:
    if (found := entity.navigations.get(name)) is not None:
        return found
    meant = nearest(name, entity.navigations)
    raise bad_parameter(
        "$expand", f"{entity.singular} has no {name!r}" + (f"; did you mean {meant!r}?" if meant else ""),
        f"{entity.singular} has {', '.join(entity.navigations)}.",
    )  # fmt: skip


def _selected(entity: Entity, options: Options) -> set[str] | None:
    """The names of `$select`; None: all."""
    if not options.select:
        return None
    known = {"id", "@iot.selfLink", *entity.properties, *entity.navigations}
    names = {{"@iot.id": "id", "selfLink": "@iot.selfLink"}.get(first, first) for first, *_ in options.select}
    if unknown := sorted(names - known):
        meant = nearest(unknown[0], known)
        raise bad_parameter(
            "$select", f"{entity.singular} has no {unknown[0]!r}" + (f"; did you mean {meant!r}?" if meant else ""),
            f"{entity.singular} has {', '.join(sorted(known))}.",
        )  # fmt: skip
    return names


TYPES: dict[type, str] = {
    bool: "boolean", int: "bigint", float: "float8", str: "text", datetime: "timestamptz", timedelta: "interval",
    date: "date", time: "time", Decimal: "numeric",
}  # fmt: skip
"""SQL's type of a key's value."""
