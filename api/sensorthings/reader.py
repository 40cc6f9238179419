"""A request answered: path and options to statements, rows to the body that the standard describes."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
import psycopg

from api.cursor import Cursors, bad_cursor
from api.problems import bad_parameter
from api.queries.pool import Pool
from api.queries.sensorthings import geometry, run
from api.queries.sensorthings.filters import uses_geometry
from api.queries.sensorthings.statements import Builder, components
from api.sensorthings import asked as asking
from api.sensorthings import paths
from api.sensorthings.about import about
from api.sensorthings.asked import Asked
from api.sensorthings.beginnings import Beginnings
from api.sensorthings.kept import Kept
from api.sensorthings.paths import Resource, no_such
from api.sensorthings.syntax import Options
from api.times import rfc3339
from schemas.datasets import Dataset
from schemas.errors import RequestError

Rows = Sequence[tuple[Any, ...]]
KIND = "sensorthings"
LOOK_AGAIN_AFTER = timedelta(minutes=1)
_json = msgspec.json.Encoder()


class Body(msgspec.Struct, frozen=True):
    """An answer: 204 has no content."""

    content: bytes | None
    media_type: str = "application/json"
    etag: str = ""


class Reader:
    """SensorThings over a pool of connections. `max_top` bounds a page."""

    def __init__(self, pool: Pool, datasets: dict[str, Dataset], cursors: Cursors, max_top: int) -> None:
        self._pool = pool
        self._cursors = cursors
        self._max_top = max_top
        self._beginnings = Beginnings()
        self._kept = Kept[Body]()
        self._newest_days = self._look_again = datetime.min.replace(tzinfo=UTC)
        self._complete_since: datetime | None = None
        self._about = lru_cache(16)(lambda site: _json.encode(about(datasets, site)).decode())

    async def answer(self, path: str, items: Sequence[tuple[str, str]], site: str, root: str, now_ms: int) -> Body:
        """The body of GET `root/path?items`; `site` is the address of the API, `root` that of the service.

        Raises `RequestError`, and `psycopg.OperationalError` where the database does not answer.
        """
        resource = paths.parse(path)
        asked = asking.read(resource, items)
        try:
            async with self._pool.connection() as connection:
                snapshot, same = await run.snapshot(connection), (path, *items, root)
                if (kept := self._kept.find(same, snapshot, now_ms)) is not None:
                    return kept
                body = await self._made(connection, path, resource, asked, items, site, root, now_ms)
                if body.content is not None:
                    body = msgspec.structs.replace(body, etag=etag_of(body.content))
                self._kept.put(same, snapshot, now_ms, body, len(body.content or b""))
                return body
        except psycopg.DataError as e:
            raise bad_parameter(
                "$filter", f"a value is outside of what can be computed ({str(e).partition(chr(10))[0]})",
                "Look for numbers or times that grow too large.",
            ) from e  # fmt: skip

    async def _made(
        self, connection: run.Connection, path: str, resource: Resource, asked: Asked, items: Sequence[tuple[str, str]],
        site: str, root: str, now_ms: int,
    ) -> Body:  # fmt: skip
        now = datetime.fromtimestamp(now_ms / 1000, UTC)
        stored = geometry.Stored()
        if _any_geometry(asked.options):
            stored = await run.stored_geometries(connection)
        mark, recent = self._beginnings.mark, await self._recent(connection, now)

        def builder() -> Builder:
            return Builder(root, self._about(site), mark, now, recent, stored, self._max_top)

        async def rows(statement: str, values: Mapping[str, Any]) -> Rows:
            found = await run.fetch(connection, statement, values)
            return [(await self._beginnings.put_in(connection, row[0], now_ms), *row[1:]) for row in found]

        answer = _Answer(connection, resource, asked, builder, rows)
        if resource.many:
            url = f"{root}/{quote(path.strip('/'), safe=_SAFE)}"
            body = await answer.collection(url, items, self._cursors)
        else:
            body = await answer.entity()
        if self._complete_since is None or not (resource.of_observations or asked.options.of_observations):
            return body
        return _told(body, self._complete_since)

    async def _recent(self, connection: run.Connection, now: datetime) -> datetime:
        """From when on newest readings are looked for first; by what is stored, for a city may have old data alone."""
        if now >= self._look_again:
            newest_days, self._complete_since = await run.stored_days(connection)
            self._newest_days = newest_days or now
            self._look_again = now + LOOK_AGAIN_AFTER
        return self._newest_days


def _told(body: Body, since: datetime) -> Body:
    """The body, with the moment from which on Observations are here; the older ones are in the archive."""
    if body.content is None or not body.content.startswith(b"{"):
        return body
    said = b'{"@cityfeed.observationsSince": "%s", ' % rfc3339(int(since.timestamp() * 1000)).encode()
    return msgspec.structs.replace(body, content=said + body.content[1:])


def etag_of(content: bytes) -> str:
    """The ETag of an answer: weak, for encodings differ."""
    return f'W/"{hashlib.blake2b(content, digest_size=9).hexdigest()}"'


_SAFE = "$()',:;/@*="


class _Answer:
    """`rows` gives what a statement of `builder` finds."""

    def __init__(
        self,
        connection: run.Connection,
        resource: Resource,
        asked: Asked,
        builder: Callable[[], Builder],
        rows: Callable[[str, Mapping[str, Any]], Awaitable[Rows]],
    ) -> None:
        self._connection = connection
        self._resource = resource
        self._asked = asked
        self._new_builder = builder
        self._rows = rows

    # -- one entity ---------------------------------------------------------------------------------------------

    async def entity(self) -> Body:
        """An entity, its address, or a property of it."""
        resource, options = self._resource, self._asked.options
        if resource.ref:
            options = Options(select=(("@iot.selfLink",),))
        elif resource.names:
            options = Options(select=((resource.names[0],),))
        builder = self._new_builder()
        statement = builder.entity(resource.steps, options)
        rows = await self._rows(statement, builder.parameters.values)
        if not rows:
            step = resource.steps[-1]
            name = step.entity.singular if step.key is None else f"{step.entity.singular} with the id {step.key!r}"
            raise no_such(f"There is no {name} here.", "The collection lists those there are.")
        text: str = rows[0][0]
        return _property(resource, text) if resource.names else Body(text.encode())

    # -- a collection ---------------------------------------------------------------------------------------------

    async def collection(self, url: str, items: Sequence[tuple[str, str]], cursors: Cursors) -> Body:
        """A page of a collection."""
        asked, steps = self._asked, self._resource.steps
        options = (
            replace(asked.options, select=(("@iot.selfLink",),), expand=()) if self._resource.ref else asked.options
        )
        digest = _digest(url, items)
        after = _after(cursors, asked.token, digest)
        builder = self._new_builder()
        top = builder.top(options)
        statement = builder.page(steps, options, after, asked.data_array)
        rows = await self._rows(statement, builder.parameters.values)
        found = rows[0][1] if rows else 0
        if not found and len(steps) > 1:
            await self._check_parents()
        count = await self._count() if options.count else None
        head = b"" if count is None else b'"@iot.count": %d, ' % count
        if top and found > top:
            keys = rows[0][4 if asked.data_array else 2 :]
            token = cursors.encode(KIND, {"query": digest, "after": [_pack(value) for value in keys]})
            kept = [(name, value) for name, value in items if name not in ("$skip", "$skiptoken")]
            link = f"{url}?{urlencode([*kept, ('$skiptoken', token)], quote_via=quote, safe=_SAFE)}"
            head += b'"@iot.nextLink": ' + _json.encode(link) + b", "
        if asked.data_array:
            root = url.partition("/v1.1/")[0] + "/v1.1"
            value = _data_arrays(rows, components(steps[-1].entity, options), root)
        else:
            value = rows[0][0].encode()
        return Body(b"{" + head + b'"value": [' + value + b"]}")

    async def _count(self) -> int:
        builder = self._new_builder()
        statement = builder.count(self._resource.steps, self._asked.options)
        rows = await run.fetch(self._connection, statement, builder.parameters.values)
        return int(rows[0][0]) if rows else 0

    async def _check_parents(self) -> None:
        """Nothing was found: is it that the entity is not there to which it would belong?"""
        builder = self._new_builder()
        before = self._resource.steps[:-1]
        if not await run.fetch(self._connection, builder.exists(before), builder.parameters.values):
            raise no_such(f"There is no {before[-1].entity.singular} with the id {before[-1].key!r} here.")


def _property(resource: Resource, text: str) -> Body:
    value = msgspec.json.decode(text)
    first, *rest = resource.names
    name = "@iot.id" if first == "id" else first
    value = value[name]
    for part in rest:
        inside = value if isinstance(value, dict) else dict(enumerate(value)) if isinstance(value, list) else {}
        key = int(part) if isinstance(value, list) and part.isdigit() and len(part) < 9 else part
        if key not in inside:
            raise no_such(f"There is nothing at {'/'.join(resource.names)}.")
        name, value = part, inside[key]
    if value is None:
        return Body(None)
    if not resource.raw:
        return Body(_json.encode({name: value}))
    if isinstance(value, dict | list):
        return Body(_json.encode(value))
    shown = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return Body(shown.encode(), "text/plain; charset=utf-8")


def _data_arrays(rows: Rows, names: list[str], root: str) -> bytes:
    """A Datastream's rows behind each other, with the names of the columns."""
    head = _json.encode(names)
    return b", ".join(
        b'{"Datastream@iot.navigationLink": ' + _json.encode(f"{root}/Datastreams({datastream})")
        + b', "components": ' + head + b', "dataArray@iot.count": %d' % own
        + b', "dataArray": [' + text.encode() + b"]}"
        for text, _, datastream, own, *_ in rows
    )  # fmt: skip


def _any_geometry(options: Options) -> bool:
    return (
        uses_geometry(options.filter)
        or any(uses_geometry(order.by) for order in options.orderby)
        or any(_any_geometry(item.options) for item in options.expand)
    )


# -- tokens of pages --------------------------------------------------------------------------------------------------


def _digest(url: str, items: Sequence[tuple[str, str]]) -> bytes:
    """Of what a token belongs to: the collection, its filter and its order."""
    asked = sorted((name, value) for name, value in items if name in ("$filter", "$orderby"))
    path = url.partition("/v1.1/")[2]
    return hashlib.blake2b(msgspec.msgpack.encode([path, asked]), digest_size=8).digest()


def _pack(value: Any) -> Any:
    """A key's value for a token: texts are marked, for dates and numbers with many digits become texts too."""
    match value:
        case datetime() | date() | time():
            return [type(value).__name__, value.isoformat()]
        case timedelta():
            return ["timedelta", value // timedelta(microseconds=1)]
        case Decimal():
            return ["Decimal", str(value)]
    return value


_UNPACK: dict[str, Any] = {
    "datetime": datetime.fromisoformat, "date": date.fromisoformat, "time": time.fromisoformat,
    "timedelta": lambda n: timedelta(microseconds=n), "Decimal": Decimal,
}  # fmt: skip


def _after(cursors: Cursors, token: str | None, digest: bytes) -> list[Any] | None:
    if token is None:
        return None
    try:
        body = cursors.decode(KIND, token)
        if body["query"] != digest:
            raise bad_cursor("it belongs to a query with another path, filter or order")
    except RequestError as e:
        e.parameter = "$skiptoken"
        raise
    return [_UNPACK[value[0]](value[1]) if isinstance(value, list) else value for value in body["after"]]
