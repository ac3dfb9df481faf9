"""A client of the service: every door of it, and the patience that a full or restarting service asks for.

Owns requests, the XR socket and waiting (429 and 503 are waited out). Knows nothing of pace or of what is sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Iterable
from typing import Final

import aiohttp
import structlog
import websockets
from websockets.asyncio.client import ClientConnection, connect

from guardian.demo import encode
from guardian.demo.day import Item

CHUNK: Final = 1_000
"""Most records that a caller should send at once."""

LONGEST_WAIT_S: Final = 30.0
_WAIT_FOR: Final = (429, 502, 503, 504)

_log = structlog.get_logger(__name__)


class Sender:
    """The doors of one service. A request that is told to wait waits; one that is refused for good raises."""

    def __init__(
        self, session: aiohttp.ClientSession, base_url: str, xr_url: str | None, stop: asyncio.Event
    ) -> None:
        self.stop = stop
        self._session = session
        self._base_url = base_url
        self._xr_url = xr_url
        self._xr: ClientConnection | None = None
        self._listener: asyncio.Task[None] | None = None

    async def send(self, start: float, items: Iterable[Item]) -> None:
        """Send items that belong together in time, each through its door."""
        doors: dict[str, list[Item]] = {}
        for item in items:
            doors.setdefault(item.door, []).append(item)
        if logs := doors.pop("log", None):
            await self._post("/api/v1/events?map=tamv", encode.ndjson(start, logs), "application/x-ndjson")
        if logs := doors.pop("otlp_log", None):
            await self._post("/v1/logs", encode.otlp_logs(start, logs), "application/json")
        if spans := doors.pop("span", None):
            await self._post("/v1/traces", encode.otlp_spans(start, spans), "application/json")
        for item in doors.pop("xr", ()):
            await self._whisper(encode.envelope(start, item))
        for item in itertools.chain.from_iterable(doors.values()):
            route, body = encode.request(start, item)
            await self._post(route, body, "application/json")

    async def _post(self, route: str, body: bytes, content_type: str) -> None:
        wait = 0.5
        while not self.stop.is_set():
            try:
                async with self._session.post(
                    self._base_url + route, data=body, headers={"Content-Type": content_type}
                ) as answer:
                    if answer.status not in _WAIT_FOR:
                        answer.raise_for_status()
                        return
                    asked = answer.headers.get("Retry-After", "")
            except (aiohttp.ClientConnectionError, TimeoutError):
                asked = ""  # not there yet, or restarting: the same patience
            await self.rest(min(float(asked) if asked.isdecimal() else wait, LONGEST_WAIT_S))
            wait = min(2 * wait, LONGEST_WAIT_S)

    async def _whisper(self, message: str) -> None:
        """Send one XR message; a lost socket is opened again once, and the play goes on without if that fails."""
        if self._xr_url is None:
            return
        for _ in range(2):
            try:
                if self._xr is None:
                    self._xr = await connect(self._xr_url, compression=None, open_timeout=5)
                    self._listener = asyncio.create_task(_listen(self._xr))
                await self._xr.send(message)
            except (OSError, TimeoutError, websockets.WebSocketException) as error:
                await self._hang_up()
                _log.warning("demo_xr_lost", reason=type(error).__name__)
            else:
                return

    async def rest(self, seconds: float) -> None:
        """Wait, but not past ``stop``."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stop.wait()

    async def _hang_up(self) -> None:
        if self._xr is not None:
            socket, self._xr = self._xr, None
            await socket.close()
        if self._listener is not None:
            listener, self._listener = self._listener, None
            await listener

    async def close(self) -> None:
        """Close the XR socket; the HTTP session belongs to the caller."""
        await self._hang_up()


async def _listen(socket: ClientConnection) -> None:
    """Read what the gateway tells, so that its buffer never fills up on our account."""
    with contextlib.suppress(websockets.ConnectionClosed):
        async for _ in socket:
            pass
