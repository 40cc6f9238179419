"""Headless Chromium over its DevTools protocol: the little of it that the page's tests need."""

import asyncio
import base64
import contextlib
import itertools
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import websockets

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--hide-scrollbars", "--remote-debugging-port=0", "--disable-dev-shm-usage",
)  # fmt: skip


def executable() -> str | None:
    """Where Chromium is; None where it is not installed."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Page:
    """One tab. `events` collects what it reported: requests, console messages, exceptions, refused resources."""

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self.events: list[dict[str, Any]] = []
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            async for text in self._socket:
                message = json.loads(text)
                if (waiting := self._answers.pop(message.get("id", 0), None)) is not None:
                    waiting.set_result(message)
                elif "method" in message:
                    self.events.append(message)

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One DevTools command."""
        number = next(self._numbers)
        self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        async with asyncio.timeout(20):
            answer = await self._answers[number] if number in self._answers else {}
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer.get("result", {})
        return result

    async def size(self, width: int, height: int, *, phone: bool = False, dark: bool = False) -> None:
        """The window, what kind of device it is, and light or dark."""
        scale = 2 if phone else 1
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=phone
        )
        await self.call("Emulation.setTouchEmulationEnabled", enabled=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])

    async def open(self, url: str) -> None:
        """Go there; what the page reports from now on is in `events`."""
        for domain in ("Page", "Network", "Runtime", "Log"):
            await self.call(f"{domain}.enable")
        await self.call("Page.navigate", url=url)

    async def run(self, script: str) -> Any:
        """The value of a JavaScript expression (a promise is awaited)."""
        answer = await self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"])[:2000])
        return answer["result"].get("value")

    async def until(self, script: str, timeout_s: float = 15.0) -> Any:
        """Wait until the expression is true; gives its value."""
        async with asyncio.timeout(timeout_s):
            while not (value := await self.run(script)):
                await asyncio.sleep(0.05)
        return value

    async def key(self, key: str) -> None:
        """Press a key, as a keyboard does."""
        text = {"Enter": "\r", "Space": " "}.get(key, "")
        code = {"Tab": 9, "Enter": 13, "Escape": 27}.get(key, 0)
        for kind in ("keyDown", "keyUp"):
            await self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code,
                **({"text": text} if text and kind == "keyDown" else {}),
            )  # fmt: skip

    async def click(self, x: float, y: float) -> None:
        """Press the left button there (CSS pixels)."""
        for kind in ("mousePressed", "mouseReleased"):
            await self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    async def screenshot(self, path: Path) -> None:
        """Save what is seen, PNG."""
        path.write_bytes(base64.b64decode((await self.call("Page.captureScreenshot", format="png"))["data"]))

    def requested(self) -> list[str]:
        """Addresses that the page asked for, websockets too."""
        return [
            event["params"]["request"]["url"] if "request" in event["params"] else event["params"]["url"]
            for event in self.events
            if event["method"] in ("Network.requestWillBeSent", "Network.webSocketCreated")
        ]

    def complaints(self) -> list[str]:
        """Exceptions, errors on the console, what the Content-Security-Policy refused."""
        found = []
        for event in self.events:
            method, params = event["method"], event["params"]
            logged = method == "Log.entryAdded" and params["entry"]["level"] == "error"
            if logged or method == "Runtime.exceptionThrown":
                found.append(json.dumps(params))
            if method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
                found.append(json.dumps(params["args"]))
        return found


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Page]:
    """A fresh browser with one tab."""
    path = executable()
    assert path is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            path, *FLAGS, f"--user-data-dir={profile}", "about:blank",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            port_file = Path(profile) / "DevToolsActivePort"
            async with asyncio.timeout(30):
                while not (port_file.exists() and port_file.read_text().count("\n")):
                    await asyncio.sleep(0.05)
            port, browser = port_file.read_text().split()
            address = f"ws://127.0.0.1:{port}"
            async with websockets.connect(address + browser, max_size=None) as control:
                await control.send('{"id":1,"method":"Target.createTarget","params":{"url":"about:blank"}}')
                while (message := json.loads(await control.recv())).get("id") != 1:
                    pass
                target = message["result"]["targetId"]
                async with websockets.connect(f"{address}/devtools/page/{target}", max_size=None) as socket:
                    page = Page(socket)
                    yield page
                    page._reader.cancel()
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()
