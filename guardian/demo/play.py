"""Plays the synthetic day to a running service, like any client: over HTTP and the XR socket, at a compressed clock.

Owns pace, order and patience (429 and 503 are waited out). What is sent is ``day``'s, how it looks is ``encode``'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import aiohttp
import structlog
import websockets
from websockets.asyncio.client import ClientConnection, connect

from guardian.demo import encode
from guardian.demo.day import DAY_S, Item, day

DEFAULT_SPEED: Final = 144.0
"""Seconds of event time per second: a day in ten minutes."""

TICK_S: Final = 0.25
CHUNK: Final = 1_000
"""Most records in one request."""

LONGEST_WAIT_S: Final = 30.0

_log = structlog.get_logger(__name__)


async def play(
    base_url: str,
    xr_url: str | None,
    *,
    stop: asyncio.Event,
    speed: float = DEFAULT_SPEED,
    seed: int = 7,
    history: bool = True,
    announce: Callable[[str], None] | None = None,
    now: Callable[[], float] = time.time,
) -> None:
    """Send an ordinary yesterday at once, a day with attacks at ``speed``, then further days in real time.

    Event times end where ``now`` will be when the compressed day is over, so none ever lies in the future. Returns
    soon after ``stop`` is set. ``announce`` hears ``attack_<key>`` as each attack begins, and ``yesterday``, ``today``
    and ``real_time`` as the play comes to them: the keys of the texts ``demo.*``. Without ``xr_url`` XR events are left out.

    Raises:
        aiohttp.ClientResponseError: the service refuses a request for good (any 4xx but 429).
    """
    tell = announce or (lambda _key: None)
    duration = DAY_S / speed
    end = now() + duration
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
        sender = Sender(session, base_url.rstrip("/"), xr_url, stop)
        try:
            if history:
                tell("yesterday")
                await _yesterday(sender, seed, end - 2 * DAY_S)
            start, pace = end - DAY_S, speed
            for number in itertools.count():
                if stop.is_set():
                    return
                tell("real_time" if number else "today")
                # Sending yesterday took time that the day has to make up: its clock is tied to the wall's.
                behind = end - now() if not number else 0.0
                if not number and behind > 0.0:
                    pace = DAY_S / behind
                await _one_day(sender, day(seed, start_s=start), start, pace, now, tell)
                start, pace = start + DAY_S, 1.0
        finally:
            await sender.close()


async def _yesterday(sender: Sender, seed: int, start: float) -> None:
    """An ordinary day as fast as the service takes it: what it must know before anything goes wrong."""
    items = (
        item for item in day(seed, start_s=start, attacks=False) if item.door in {"log", "otlp_log", "span"}
    )
    while chunk := list(itertools.islice(items, CHUNK)):
        if sender.stop.is_set():
            return
        await sender.send(start, chunk)


async def _one_day(
    sender: Sender,
    items: Iterator[Item],
    start: float,
    pace: float,
    now: Callable[[], float],
    tell: Callable[[str], None],
) -> None:
    wall = now()
    told: set[str] = set()
    waiting: list[Item] = []
    upcoming = next(items, None)
    while upcoming is not None and not sender.stop.is_set():
        reached = (now() - wall) * pace
        while upcoming is not None and upcoming.at <= reached:
            waiting.append(upcoming)
            upcoming = next(items, None)
        for key in dict.fromkeys(item.attack for item in waiting):
            if key and key not in told:
                told.add(key)
                tell(f"attack_{key}")
        for first in range(0, len(waiting), CHUNK):
            await sender.send(start, waiting[first : first + CHUNK])
        waiting.clear()
        await sender.rest(TICK_S)


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
                    if answer.status not in {429, 502, 503, 504}:
                        answer.raise_for_status()
                        return
                    asked = answer.headers.get("Retry-After", "")
            except (aiohttp.ClientConnectionError, TimeoutError):
                asked = ""  # not there yet, or restarting: the same patience
            await self.rest(min(float(asked) if asked.isdigit() else wait, LONGEST_WAIT_S))
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
            await asyncio.wait_for(self.stop.wait(), seconds)

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
