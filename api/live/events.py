"""The live feed without websockets: server-sent events, `GET /v1/sse`, and long polling, `GET /v1/poll`.

Both are members of the same groups as websockets are, and get the same frames in another dialect. What is asked is a
query: the filters of history, and `topic`, `mode`, `tick_ms`, `snapshot`, and the cursor to go on from.
"""

import asyncio
import random
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response
from starlette.types import Receive, Scope, Send

from api import state
from api.live.filters import wish_of
from api.live.groups import Member
from api.live.hub import Hub
from api.live.messages import TICKS_MS, TOPICS, Close, Filter, Subscribe
from api.live.seats import seats
from api.params import PARAMETERS
from api.problems import bad_parameter
from api.state import AppState
from schemas.errors import RequestError, SubscriptionError

router = APIRouter(tags=["live"])

REMEDY = "/docs lists what each parameter takes; docs/live.md has examples."

HIGH_WATER_BYTES = 64 * 1024
"""A link takes no more while so much waits for its client; then its channels hold what comes."""
COMMENT_S = 15.0
RETRY_MS = (3_000, 6_000)
POLL_BYTES = 1_000_000
POLL_WAIT_S = (0.0, 25.0, 60.0)
FILTERS = tuple(
    name for name in Filter.__struct_fields__ if name in PARAMETERS or name in ("dataset", "index", "category")
)


class HttpLink:
    """`api.live.groups.Link` of an HTTP answer: what is written waits until the answer takes it."""

    def __init__(self, dialect: str, most_bytes: int) -> None:
        self.dialect = dialect
        self.writable = True
        self.closed: tuple[int, str] | None = None
        self.member: Member | None = None
        self._most_bytes = most_bytes
        self._parts: list[bytes] = []
        self._bytes = 0
        self._wake = asyncio.Event()

    def write(self, data: bytes) -> None:
        """Keep it for the client."""
        self._parts.append(data)
        self._bytes += len(data)
        self._wake.set()
        if self._bytes >= self._most_bytes and self.writable:
            self.writable = False
            if self.member is not None:
                self.member.pause()

    def close(self, code: int, reason: str) -> None:
        """The answer ends behind what waits."""
        self.closed = code, reason
        self.writable = False
        self._wake.set()

    def abort(self) -> None:
        """The answer ends."""
        self._parts.clear()
        self.close(Close.SLOW, "read nothing for too long")

    async def wait(self, timeout_s: float) -> None:
        """Until something was written, or the link closed, or the time is over."""
        if not self._parts and self.closed is None:
            self._wake.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._wake.wait()
            except TimeoutError:
                return

    def take(self) -> bytes:
        """What was written."""
        data = b"".join(self._parts)
        self._parts.clear()
        self._bytes = 0
        return data

    def drained(self) -> None:
        """The client has it: more may come."""
        if not self.writable and self.closed is None and not self._parts:
            self.writable = True
            if self.member is not None:
                self.member.flush()


class EventStream(Response):
    """An answer of server-sent events, for as long as the client stays."""

    media_type = "text/event-stream"

    def __init__(self, here: AppState, subscription: Subscribe, ended: Callable[[], None]) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._here = here
        self._subscription = subscription
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        link = HttpLink("sse", HIGH_WATER_BYTES)
        hub = self._here.hub
        member = link.member = hub.connect(link)
        listening = asyncio.create_task(_until_gone(receive, link))
        streams.add(link)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            link.write(b"retry: %d\n\n" % random.randint(*RETRY_MS))
            hub.subscribe(member, self._subscription, wish_of(self._subscription, self._here.registry.datasets))
            while True:
                await link.wait(COMMENT_S)
                data = link.take()
                if data or link.closed is None:
                    body = {"type": "http.response.body", "body": data or b":\n\n", "more_body": True}
                    async with asyncio.timeout(self._here.settings.live_drain_timeout_s):
                        await send(body)
                    link.drained()
                else:
                    break
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            return  # it reads nothing: the server cuts it off
        finally:
            streams.discard(link)
            listening.cancel()
            hub.disconnect(member)
            self._ended()


streams: set[HttpLink] = set()
"""The streams of events of this process that are open."""


def end_streams(hub: Hub) -> None:
    """This process ends: every stream is told when to come back."""
    for link in list(streams):
        if link.member is not None:
            hub.say_goodbye(link.member, random.randint(*RETRY_MS))


async def _until_gone(receive: Receive, link: HttpLink) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    link.abort()


def _parameter(name: str) -> dict[str, Any]:
    plain: dict[str, tuple[str, dict[str, Any]]] = {
        "topic": ("What to hear.", {"type": "string", "enum": list(TOPICS), "default": "readings"}),
        "mode": (
            "`latest`: the newest of each series, once a tick; `all`: every row.",
            {"type": "string", "enum": ["latest", "all"], "default": "latest"},
        ),
        "tick_ms": ("Of mode `latest`.", {"type": "integer", "enum": list(TICKS_MS), "default": 1000}),
        "snapshot": (
            "Whether to begin with the state; a cursor goes on where it stands instead.",
            {"type": "boolean", "default": True},
        ),
        "dataset": ("Only these datasets; repeat it for several.", _texts()),
        "index": ("Only these indices (topic `index`); repeat it for several.", _texts()),
        "category": ("Only these categories of indices; repeat it for several.", _texts()),
        "cursor": (
            "Where to go on: of an answer, an event, a frame, or a page of history. Opaque.",
            {"type": "string"},
        ),
        "last_event_id": ("The same as the header Last-Event-ID, for clients that can't set it.", {"type": "string"}),
        "wait": (
            "With a cursor: seconds to wait for something new.",
            {"type": "number", "minimum": POLL_WAIT_S[0], "default": POLL_WAIT_S[1], "maximum": POLL_WAIT_S[2]},
        ),
    }
    if name in plain:
        description, schema = plain[name]
    else:
        description, schema = PARAMETERS[name].description, dict(PARAMETERS[name].schema)
    made: dict[str, Any] = {
        "name": name, "in": "query", "required": False, "description": description, "schema": schema,
    }  # fmt: skip
    return made | ({"style": "form", "explode": True} if schema["type"] == "array" else {})


def _texts() -> dict[str, Any]:
    return {"type": "array", "items": {"type": "string"}}


COMMON = ("topic", "mode", "tick_ms", "snapshot", *FILTERS)
SSE_PARAMETERS = (*COMMON, "last_event_id")
POLL_PARAMETERS = (*COMMON, "cursor", "wait")


def _route(names: Iterable[str], media_type: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "response_class": Response,
        "response_model": None,
        "openapi_extra": {
            "parameters": [_parameter(name) for name in names],
            "responses": {"200": {"description": description, "content": {media_type: {"schema": schema}}}},
        },
        "responses": {"default": {"description": "A problem (RFC 9457)."}},
    }


_SSE = "Events snapshot, data, reset, hb, status, going_away; `id` is the cursor, `data` a message of the websocket."


@router.get(
    "/v1/sse", operation_id="sse", summary="The live feed as server-sent events",
    **_route(SSE_PARAMETERS, "text/event-stream", _SSE, {"type": "string"}),
)  # fmt: skip
async def sse(request: Request) -> Response:
    """The live feed for `EventSource`, which reconnects with the last id and misses nothing.

    `reset` says that what was missed can't be given: a snapshot follows.
    """
    here = state.of(request)
    query = _Query(request, SSE_PARAMETERS)
    last = request.headers.get("last-event-id") or query.one("last_event_id")
    subscription = query.subscription(last)
    _checked(subscription, here)
    return EventStream(here, subscription, _entered(request, here))


_POLL = "The frames, messages of the websocket, and the cursor to ask with next."


@router.get(
    "/v1/poll", operation_id="poll", summary="The live feed by long polling",
    **_route(
        POLL_PARAMETERS, "application/json", _POLL,
        {
            "type": "object", "required": ["frames", "cursor"],
            "properties": {"frames": {"type": "array", "items": {"type": "object"}}, "cursor": {"type": "string"}},
        },
    ),
)  # fmt: skip
async def poll(request: Request) -> Response:
    """First without a cursor: the state. Then with the last answer's: what came since, or what comes within `wait`."""
    here = state.of(request)
    query = _Query(request, POLL_PARAMETERS)
    subscription = query.subscription(query.one("cursor"))
    wish = _checked(subscription, here)
    wait_s = query.seconds("wait") if subscription.cursor else 0.0
    ended = _entered(request, here)
    link = HttpLink("json", POLL_BYTES)
    member = link.member = here.hub.connect(link)
    link.take()  # what the hub says to everyone
    try:
        here.hub.subscribe(member, subscription, wish)
        frames = await _frames(link, member, wait_s)
        (ch,) = member.ids.values()
        channel = member.channels.get(ch)
        told = [frame.cursor for frame in msgspec.json.decode(frames, type=list[_Told]) if frame.cursor]
        whole = channel is not None and not channel.behind and link.closed is None
        cursor = channel.group.covered(here.hub.cursor(wish.topic)) if whole and channel else (told or [""])[-1]
    finally:
        here.hub.disconnect(member)
        ended()
    body = b'{"frames":%b,"cursor":"%b"}' % (frames, cursor.encode())
    return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})


class _Told(msgspec.Struct):
    type: str
    cursor: str = ""
    recovered: bool | None = None


async def _frames(link: HttpLink, member: Member, wait_s: float) -> bytes:
    """The frames as a JSON array; `subscribed` only where it says that something is missing."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + wait_s
    raw: list[msgspec.Raw] = []
    while True:
        data = link.take()
        found = msgspec.json.decode(b"[" + data[:-1] + b"]", type=list[msgspec.Raw])
        raw += [frame for frame in found if _is_wanted(msgspec.json.decode(frame, type=_Told))]
        left_s = end_s - loop.time()
        if raw or link.closed is not None or left_s <= 0:
            return msgspec.json.encode(raw)
        await link.wait(left_s)


def _is_wanted(frame: _Told) -> bool:
    return frame.type in ("snapshot", "data") or (frame.type == "subscribed" and frame.recovered is False)


class _Query:
    """The parameters of a request, read. Raises `RequestError` like every other address."""

    def __init__(self, request: Request, names: Iterable[str]) -> None:
        self._values: dict[str, list[str]] = {}
        known = tuple(names)
        for name, text in request.query_params.multi_items():
            if name in ("token", "access_token"):
                raise bad_parameter(name, "a token is never in the URL", "Anonymous readers need none.")
            if name not in known:
                raise RequestError(
                    400, "unknown-parameter", "Unknown parameter", f"There is no parameter {name!r} here.", name,
                    "Parameters of this address: " + ", ".join(sorted(known)) + ".",
                )  # fmt: skip
            self._values.setdefault(name, []).append(text)

    def one(self, name: str) -> str | None:
        """A parameter that takes one value."""
        values = self._values.get(name, [])
        if len(values) > 1:
            raise RequestError(
                400, "repeated-parameter", "A parameter is given twice", f"{name} takes one value.", name,
                f"Give {name} once.",
            )  # fmt: skip
        return values[0] if values else None

    def seconds(self, name: str) -> float:
        """A time to wait."""
        low, usual, high = POLL_WAIT_S
        text = self.one(name)
        try:
            value = usual if text is None else float(text)
        except ValueError:
            value = -1.0
        if not low <= value <= high:
            raise bad_parameter(name, f"{text!r} is no time to wait", f"Seconds from {low:g} to {high:g}.")
        return value

    def subscription(self, cursor: str | None) -> Subscribe:
        """The message that a websocket would have sent."""
        wanted: dict[str, Any] = {name: tuple(self._values.get(name, ())) for name in FILTERS if name != "bbox"}
        wanted["flag"] = [int(text) if text.isascii() and text.isdigit() else text for text in wanted["flag"]]
        if (box := self.one("bbox")) is not None:
            try:
                found = PARAMETERS["bbox"].read(box)
            except ValueError as e:
                raise bad_parameter("bbox", str(e), PARAMETERS["bbox"].remedy) from None
            wanted["bbox"] = (found.west, found.south, found.east, found.north)
        asked: dict[str, Any] = {
            "type": "subscribe",
            "id": 1,
            "topic": self.one("topic") or "readings",
            "filter": wanted,
        }
        if (mode := self.one("mode")) is not None:
            asked["mode"] = mode
        if (tick := self.one("tick_ms")) is not None:
            asked["tick_ms"] = int(tick) if tick.isdigit() else tick
        shown = self.one("snapshot")
        if shown not in (None, "true", "false"):
            raise bad_parameter("snapshot", f"{shown!r} is neither true nor false", "snapshot=false")
        asked |= {"snapshot": cursor is None and shown != "false", "cursor": cursor}
        try:
            return msgspec.convert(asked, Subscribe)
        except msgspec.ValidationError as e:
            name = str(e).rpartition("$.")[2].strip("`").removeprefix("filter.").partition("[")[0]
            raise bad_parameter(name or "query", str(e).partition(" - at")[0], REMEDY) from None


def _checked(subscription: Subscribe, here: AppState) -> Any:
    try:
        return wish_of(subscription, here.registry.datasets)
    except SubscriptionError as e:
        name = {"unknown_topic": "topic", "bad_tick": "tick_ms"}.get(e.code) or _at_fault(subscription, here)
        raise bad_parameter(name, str(e), REMEDY) from None


def _at_fault(subscription: Subscribe, here: AppState) -> str:
    """The first parameter of the filter that is refused also where it stands alone."""
    for name in FILTERS:
        if not (values := getattr(subscription.filter, name)):
            continue
        alone = msgspec.structs.replace(subscription, filter=Filter(**{name: values}))
        try:
            wish_of(alone, here.registry.datasets)
        except SubscriptionError:
            return name
    return "filter"


def _entered(request: Request, here: AppState) -> Callable[[], None]:
    address = request.client.host if request.client else ""
    if (refused := seats.refusal(address, here.settings)) is not None:
        status = 503 if refused[0] == Close.CAPACITY else 429
        raise RequestError(
            status, "too-many-connections", "Too many connections", refused[1] + ".", None,
            "Close others of yours, or come back later, with jitter.",
        )  # fmt: skip
    return seats.opened(address).leave
