"""A headless Chromium, driven over its DevTools socket: just what the tests of the page need."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import aiohttp
from websockets.asyncio.client import ClientConnection, connect

CHROMIUM: Final = shutil.which("chromium") or shutil.which("chromium-browser")


class Browser:
    """One tab. ``complaints`` collects console errors, uncaught exceptions and violations of the page's policy."""

    def __init__(self, socket: ClientConnection) -> None:
        self.complaints: list[str] = []
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reader = asyncio.create_task(self._read())

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One DevTools command."""
        number = next(self._numbers)
        self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        return await asyncio.wait_for(self._answers[number], 20)

    async def _read(self) -> None:
        async for text in self._socket:
            message = json.loads(text)
            if "id" in message:
                self._answers.pop(message["id"]).set_result(message.get("result", message))
            elif message["method"] == "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(message["params"]["exceptionDetails"]))
            elif message["method"] == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
                self.complaints.append(message["params"]["entry"]["text"])
            elif message["method"] == "Runtime.consoleAPICalled" and message["params"]["type"] == "error":
                self.complaints.append(json.dumps(message["params"]["args"]))

    async def open(self, url: str, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Load a page at a size and in a theme, and wait until the service has answered once, or not."""
        await self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        motion = {"name": "prefers-reduced-motion", "value": "reduce"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme, motion])
        await self.call("Page.navigate", url="about:blank")
        self.complaints.clear()  # so that nothing of the page before is taken for the new one
        await self.call("Page.navigate", url=url)
        await self.until("['live', 'lost'].includes(document.getElementById('connection')?.dataset.state)")

    async def value(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        answer = await self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def text(self, selector: str) -> str:
        """What a reader sees in the first element of a selector."""
        return str(await self.value(f"document.querySelector({json.dumps(selector)}).innerText"))

    async def until(self, expression: str) -> None:
        """Wait until an expression is true; fail after ten seconds."""
        async with asyncio.timeout(10):
            while not await self.value(f"Boolean({expression})"):
                await asyncio.sleep(0.05)

    async def press(self, key: str, code: int) -> None:
        """One key, as a person presses it."""
        text = {"text": "\r"} if key == "Enter" else {}  # without one, a button takes no notice
        for kind in ("keyDown", "keyUp"):
            await self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text
            )

    async def picture(self) -> bytes:
        """The whole page as a PNG: for looking at it, which no test replaces."""
        answer = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(answer["data"])

    async def close(self) -> None:
        """End the reading; whoever started the browser ends it."""
        await self._socket.close()
        await self._reader


@contextlib.asynccontextmanager
async def browser(profile: Path) -> AsyncIterator[Browser]:
    """Chromium with a fresh profile in ``profile``."""
    assert CHROMIUM is not None
    process = await asyncio.create_subprocess_exec(
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        "--no-first-run",
        "--remote-debugging-port=0",
        f"--user-data-dir={profile}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        port_file = profile / "DevToolsActivePort"
        async with asyncio.timeout(30):
            while not port_file.exists() or "\n" not in port_file.read_text():
                await asyncio.sleep(0.05)
            port = port_file.read_text().split("\n", 1)[0]
            async with aiohttp.ClientSession() as session:
                tabs: list[dict[str, Any]] = []
                while not tabs:
                    async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                        tabs = [tab for tab in await answer.json() if tab["type"] == "page"]
        socket = await connect(tabs[0]["webSocketDebuggerUrl"], max_size=2**26, compression=None)
        tab = Browser(socket)
        try:
            for domain in ("Page", "Runtime", "Log"):
                await tab.call(f"{domain}.enable")
            yield tab
        finally:
            await tab.close()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
