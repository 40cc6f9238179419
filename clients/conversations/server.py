"""A websocket server that plays recorded conversations with a client, and judges what the client says.

    python clients/conversations/server.py        prints its port; ends when its standard input does

A client connects to `ws://127.0.0.1:PORT/CONVERSATION/WHO/v1/live`, where WHO tells runs apart; afterwards
`GET /CONVERSATION/WHO/verdict` waits until the script is through, and answers `{"problem": null}` or what was wrong.

A conversation is a JSON file: `subscriptions` that the client is to make, `connections` (each a list of steps, one
for every time the client comes), and what it must then tell its user: `events`, `waits` before each new try, and
the `error` that ends it, if one does. README.md beside this file has the steps.
"""

import asyncio
import contextlib
import http
import json
import sys
from pathlib import Path
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

FOLDER = Path(__file__).parent
SUBPROTOCOL = Subprotocol("cityfeed.v1.json")
PATIENCE_S = 30.0


class Mistake(Exception):
    """The client did not say what it should."""


class Play:
    """One client's run through one conversation."""

    def __init__(self, conversation: dict[str, Any]) -> None:
        self._connections: list[list[dict[str, Any]]] = conversation["connections"]
        self._names: dict[str, Any] = {}
        self._next = 0
        self.problem: str | None = None
        self.through = asyncio.Event()

    def refusal(self) -> int | None:
        """The HTTP status that the connection at hand is to be answered with, None for a websocket."""
        if self._next >= len(self._connections):
            self.fail("the client came once more, though its script was through")
            return http.HTTPStatus.GONE
        first = self._connections[self._next][0]
        if "refuse" not in first:
            return None
        self._next += 1
        self._end_if_through()
        return int(first["refuse"])

    async def run(self, socket: ServerConnection) -> None:
        """Play the connection at hand; then the client may only listen until it leaves."""
        steps = self._connections[self._next]
        self._next += 1
        try:
            for number, step in enumerate(steps):
                try:
                    await self._step(socket, step)
                except (Mistake, TimeoutError, ConnectionClosed) as e:
                    where = f"connection {self._next}, step {number + 1} {json.dumps(step)}"
                    self.fail(f"{where}: {e or type(e).__name__}")
                    return
            self._end_if_through()
            with contextlib.suppress(ConnectionClosed):
                self.fail(f"connection {self._next}: the client says more than it should: {await socket.recv()!r}")
        finally:
            self._end_if_through()

    def fail(self, problem: str) -> None:
        self.problem = self.problem or problem
        self.through.set()

    def _end_if_through(self) -> None:
        if self._next >= len(self._connections):
            self.through.set()

    async def _step(self, socket: ServerConnection, step: dict[str, Any]) -> None:
        (kind, value), *_ = step.items()
        match kind:
            case "expect":
                async with asyncio.timeout(PATIENCE_S):
                    said = await socket.recv()
                if problem := self.differs(value, json.loads(said)):
                    raise Mistake(f"{problem} in {said!r}")
            case "send":
                await socket.send(json.dumps(self.filled(value)))
            case "send_text":
                await socket.send(value)
            case "close":
                await socket.close(*value)
            case "drop":
                socket.transport.abort()
            case "leave":  # the client is to go by itself
                async with asyncio.timeout(PATIENCE_S):
                    with contextlib.suppress(ConnectionClosed):
                        raise Mistake(f"the client stays, and says {await socket.recv()!r}")
            case _:
                raise Mistake("there is no such step")

    def filled(self, value: Any) -> Any:
        """The value with every name, such as `$a`, replaced by what `expect` found in its place."""
        if isinstance(value, dict):
            return {str(self.filled(key)): self.filled(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.filled(item) for item in value]
        return self._names[value] if isinstance(value, str) and value.startswith("$") else value

    def differs(self, wanted: Any, found: Any, at: str = "message") -> str | None:
        """Where `found` has not what is wanted; fields that are not named may be there."""
        if isinstance(wanted, str) and wanted.startswith("$"):
            known = self._names.setdefault(wanted, found)
            return None if known == found else f"{at} is {found!r}, and {wanted} was {known!r}"
        if isinstance(wanted, dict) and isinstance(found, dict):
            for key, item in wanted.items():
                if item == "$absent":
                    if key in found:
                        return f"{at}.{key} should not be there"
                elif key not in found:
                    return f"{at}.{key} is missing"
                elif problem := self.differs(item, found[key], f"{at}.{key}"):
                    return problem
            return None
        return None if wanted == found else f"{at} is {found!r} instead of {wanted!r}"


class Stage:
    """All plays, by conversation and client."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder
        self._plays: dict[tuple[str, str], Play] = {}

    def play(self, path: str) -> Play:
        """The play that a path is of: `/CONVERSATION/WHO/...`."""
        _, name, who, *_ = path.split("/")
        if (name, who) not in self._plays:
            text = (self._folder / f"{name}.json").read_text(encoding="utf-8")
            self._plays[name, who] = Play(json.loads(text))
        return self._plays[name, who]

    async def answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """HTTP: verdicts and refusals; None goes on to the websocket."""
        try:
            play = self.play(request.path)
        except (ValueError, OSError):
            return connection.respond(http.HTTPStatus.NOT_FOUND, "no such conversation\n")
        if request.path.endswith("/verdict"):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    await play.through.wait()
            problem = play.problem if play.through.is_set() else "the script is not through: the client did not come"
            return connection.respond(http.HTTPStatus.OK, json.dumps({"problem": problem}))
        status = play.refusal()
        return None if status is None else connection.respond(http.HTTPStatus(status), "refused by the script\n")

    async def meet(self, connection: ServerConnection) -> None:
        """One websocket."""
        assert connection.request is not None
        await self.play(connection.request.path).run(connection)


@contextlib.asynccontextmanager
async def serving(folder: Path = FOLDER) -> Any:
    """The port of a server that runs within the block."""
    stage = Stage(folder)
    async with serve(
        stage.meet,
        "127.0.0.1",
        0,
        process_request=stage.answer,
        subprotocols=[SUBPROTOCOL],
        close_timeout=1,
        open_timeout=60,
    ) as server:
        yield next(iter(server.sockets)).getsockname()[1]


async def main() -> None:
    async with serving() as port:
        print(port, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
