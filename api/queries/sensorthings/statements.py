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
    """Makes one statement, then `parameters.values`."""

    def __init__(
        self, base: str, about: str, mark: str, now: datetime, recent: datetime, stored: geometry.Stored, max_top: int
    ) -> None:
        self.parameters = Parameters({"base": base, "about": about, "mark": mark, "now": now})
        self._stored = stored
        self._max_top = max_top
        self._expanded = 0
        self._recent = f"'{recent:%Y-%m-%dT%H:%M:%S}Z'::timestamptz"  # no parameter: it is for the planner

    # -- statements ---------------------------------------------------------------------------------------------

    def entity(self, steps: Sequence[Step], options: Options) -> str:
        """The JSON of one entity; no row where there is none."""
        source, _, alias, conditions = self._source(steps)
        entity = steps[-1].entity
        chosen = self._choose(entity, alias, options, conditions)
        inner = self._select(entity, alias, chosen, f"{alias}.*", 1, 0)
        shown = self._json(entity, alias, options, 0)
        return self._finish(f"SELECT {shown} FROM {_lateral(source)}{self._from(entity, alias, inner, shown)}")

    def page(self, steps: Sequence[Step], options: Options, after: Sequence[Any] | None, components: bool) -> str:
        """One row for a page: its entities' JSON with commas between them, how many there are (one more than `$top`
        where another page follows), and the last one's values of the keys of the order.

        With `components`: one row a Datastream, in the order in which each comes first, the values as JSON arrays,
        its id, and how many are its own; how many there are and the keys are those of the page.
        """
        source, before, alias, conditions = self._source(steps)
        entity, top = steps[-1].entity, self.top(options)
        fixed = steps[-1].navigation.fixes if steps[-1].navigation else ()
        chosen = self._choose(entity, alias, options, conditions, fixed)
        if after is not None:
            chosen.conditions.append(self._after(chosen.keys, after))
        columns = "".join(f", {key.sql} AS k{i}" for i, key in enumerate(chosen.keys))
        inner = self._newest(steps[-1].navigation, before, alias, chosen, options, top + 1)
        inner = inner or self._select(entity, alias, chosen, f"{alias}.*{columns}", top + 1, options.skip or 0)
        shown = self._array(entity, alias, options) if components else self._json(entity, alias, options, 0)
        keys = [f"k{i}" for i in range(len(chosen.keys))]
        found = (
            f"SELECT CASE WHEN {alias}.n <= {top:d} THEN {shown} END AS j, {alias}.n, {_columns(alias, keys)}"
            f"{f', {alias}.datastream' if components else ''}"
            f" FROM {_lateral(source)}{self._from(entity, alias, _numbered(inner), shown)}"
        )
        if components:
            last = "".join(f", (array_agg({key}) FILTER (WHERE n = {top:d}) OVER w)[1] AS {key}" for key in keys)
            found = f"SELECT j, n, datastream, count(*) OVER w AS many{last} FROM ({found}) AS one WINDOW w AS ()"
            last = ", ".join(f"(array_agg({key}))[1]" for key in keys)
            return self._finish(
                f"SELECT string_agg(j, ', ' ORDER BY n), min(many), datastream, count(*), {last}"
                f" FROM ({found}) AS found WHERE n <= {top:d} GROUP BY datastream ORDER BY min(n)"
            )
        last = "".join(f", (array_agg({key}) FILTER (WHERE n = {top:d}))[1]" for key in keys)
        return self._finish(f"SELECT coalesce(string_agg(j, ', '), ''), count(*){last} FROM ({found}) AS found")

    def count(self, steps: Sequence[Step], options: Options) -> str:
        """How many there are without `$top` and `$skip`."""
        source, _, alias, conditions = self._source(steps)
        chosen = self._choose(steps[-1].entity, alias, replace(options, orderby=()), conditions)
        return f"SELECT {self._count(steps[-1].entity, alias, chosen)}" + (f" FROM {source}" if source else "")

    def exists(self, steps: Sequence[Step]) -> str:
        """Whether the entity is there."""
        source, _, alias, conditions = self._source(steps)
        before = f"{source} CROSS JOIN " if source else ""
        return f"SELECT FROM {before}{steps[-1].entity.relation} AS {alias} WHERE {_all(conditions)} LIMIT 1"

    def _finish(self, statement: str) -> str:
        return statement.replace("{recent}", self._recent)

    def top(self, options: Options) -> int:
        """How many a page holds."""
        return min(DEFAULT_TOP if options.top is None else options.top, self._max_top)

    # -- rows -----------------------------------------------------------------------------------------------------

    def _source(self, steps: Sequence[Step]) -> tuple[str, str, str, list[str]]:
        """The steps before the last as FROM and the alias of the last of them; the last one's alias and conditions."""
        source = before = ""
        for step in steps[:-1]:
            alias, conditions = self._step(step, before)
            if before:
                source += f" JOIN {step.entity.relation} AS {alias} ON {_all(conditions)}"
            else:
                source = f"(SELECT * FROM {step.entity.relation} AS {alias} WHERE {_all(conditions)}) AS {alias}"
            before = alias
        alias, conditions = self._step(steps[-1], before)
        return source, before, alias, conditions

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
            f"SELECT {columns}{_links(entity, alias)} FROM {entity.relation} AS {alias} {' '.join(chosen.joins)} "
            f"WHERE {_all(chosen.conditions)} ORDER BY {order} LIMIT {limit:d} OFFSET {skip:d}"
        )

    def _newest(
        self, navigation: Navigation | None, before: str, alias: str, chosen: Chosen, options: Options, limit: int
    ) -> str:
        """The newest readings of a series, nothing else asked: from the last chunks, the rest only where they have
        too few. Empty for another question. Chunks of years need not even be planned.
        """
        plain = not chosen.joins and len(chosen.conditions) == 1 and not options.skip
        if (
            navigation is None
            or not navigation.series
            or not plain
            or chosen.keys != [Key(f"{alias}.start", True, True)]
        ):
            return ""
        series = bind(navigation.series, before)
        recent = f"SELECT * FROM readings WHERE series = {series} AND start >= {{recent}} ORDER BY start DESC"
        older = f"SELECT * FROM sta_readings_before({series}, {{recent}}, {limit:d})"
        return (
            f"SELECT {alias}.*, {alias}.start AS k0{_links(ENTITIES[navigation.target], alias)} FROM ("
            f"SELECT r.*, {before}.id AS datastream, {before}.thing"
            f" FROM (({recent} LIMIT {limit:d}) UNION ALL ({older})) AS r) AS {alias} LIMIT {limit:d}"
        )

    def _from(self, entity: Entity, alias: str, inner: str, shown: str) -> str:
        beside = f" LEFT JOIN LATERAL ({bind(entity.beside, alias)}) AS {alias}_beside ON true"
        return f"({inner}) AS {alias}" + (beside if f"{alias}_beside." in shown else "")

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
        if options.expand and depth >= MAX_EXPAND_DEPTH:
            raise bad_parameter("$expand", f"it is deeper than {MAX_EXPAND_DEPTH} levels", "Ask for less at once.")
        parts: list[str] = []
        for name, sql in self._fields(entity, alias, options):
            parts += [f"'{', ' if parts else '{'}{_name(name)}'", sql]
        for item in _merged(options.expand):
            parts += ["', '", self._expand(entity, alias, item, depth + 1)]
        return f"concat({', '.join(parts)}, '}}')"

    def _fields(self, entity: Entity, alias: str, options: Options) -> list[tuple[str, str]]:
        """(name, SQL) of what is shown of an entity."""
        names = _selected(entity, options)
        expanded = {item.name for item in options.expand}
        link = f"{alias}.iot_link"
        fields: list[tuple[str, str]] = []
        if names is None or "id" in names:
            fields.append(("@iot.id", f"to_json({alias}.iot_id)" if entity.id_is_text else f"{alias}.iot_id"))
        if names is None or "@iot.selfLink" in names:
            fields.append(("@iot.selfLink", f"to_json({link})"))
        for name, found in entity.properties.items():
            if names is None or name in names:
                fields.append((name, bind(found.shown, alias)))
        for name in entity.navigations:
            if (name not in expanded) if names is None else (name in names):
                fields.append((f"{name}@iot.navigationLink", f"to_json({link} || '/{name}')"))
        return fields

    def _array(self, entity: Entity, alias: str, options: Options) -> str:
        fields = [sql for name, sql in self._fields(entity, alias, options) if not name.endswith("Link")]
        parts = ["'['", *_between(fields), "']'"]
        return f"concat({', '.join(parts)})"

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
            rows = self._from(target, child, inner, json)
            return f"'{_name(item.name)}' || coalesce((SELECT {json} FROM {rows}), 'null')"
        top, skip = self.top(options), options.skip or 0
        inner = self._newest(navigation, alias, child, chosen, options, top + 1) or self._select(
            target, child, chosen, f"{child}.*", top + 1, skip
        )
        rest = unparse.query(replace(options, top=top, skip=skip + top))
        link = f"to_json({alias}.iot_link || {self.parameters.put(f'/{item.name}?{rest}', 'text')})::text"
        more = f"CASE WHEN count(*) > {top:d} THEN ', {_name(item.name + '@iot.nextLink')}' || {link} ELSE '' END"
        value = (
            f"(SELECT '{_name(item.name)}[' || coalesce(string_agg(j, ', ') FILTER (WHERE n <= {top:d}), '') || ']'"
            f" || {more if top else _literal('')}"
            f" FROM (SELECT CASE WHEN n <= {top:d} THEN {json} END AS j, n"
            f" FROM {self._from(target, child, _numbered(inner), json)}) AS found)"
        )
        if options.count:
            value += f" || ', {_name(item.name + '@iot.count')}' || {self._count(target, child, chosen)}"
        return value


def components(entity: Entity, options: Options) -> list[str]:
    """The names of a data array's columns."""
    names = _selected(entity, options)
    return [n for n in ("id", *entity.properties) if names is None or n in names]


def _links(entity: Entity, alias: str) -> str:
    """Columns `iot_id` and `iot_link`: worked out once a row, where LIMIT keeps the planner from repeating them."""
    quote, key = "''" if entity.id_is_text else "", bind(entity.id, alias)
    return f", {key} AS iot_id, %(base)s::text || '/{entity.plural}({quote}' || {key} || '{quote})' AS iot_link"


def _numbered(rows: str) -> str:
    return f"SELECT *, row_number() OVER () AS n FROM ({rows}) AS one"


def _columns(alias: str, names: Sequence[str]) -> str:
    return ", ".join(f"{alias}.{name}" for name in names)


def _lateral(source: str) -> str:
    return f"{source} CROSS JOIN LATERAL " if source else ""


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
    if not options.select or ("*",) in options.select:
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
