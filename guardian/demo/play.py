"""Plays the synthetic day to a running service, like any client: over HTTP and the XR socket, at a compressed clock.

Owns the pace and the announcements. What happens is ``day``'s, how it gets to the service is ``send``'s.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

import aiohttp

from guardian.demo.day import DAY_S, Item, day
from guardian.demo.send import CHUNK, Sender

DEFAULT_SPEED: Final = 144.0
"""Seconds of event time per second: a day in ten minutes."""

TICK_S: Final = 0.25
_HISTORY: Final = ("log", "otlp_log", "span")
"""Doors that take thousands of records at once; decisions and XR messages go one by one and are not sent for yesterday."""


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

    Event times reach ``now`` when the compressed day is over, and never lie in the future. Returns soon after ``stop``
    is set. ``announce`` hears the keys of the texts ``demo.*``: ``yesterday``, ``today`` and ``real_time`` as the play
    comes to them, ``attack_<key>`` as each attack begins. Without ``xr_url`` XR events are left out.

    Raises:
        aiohttp.ClientResponseError: the service refuses a request for good (any 4xx but 429).
    """
    tell = announce or (lambda _key: None)
    end = now() + DAY_S / speed
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
        sender = Sender(session, base_url.rstrip("/"), xr_url, stop)
        player = _Player(sender, seed, tell, now)
        try:
            if history:
                tell("yesterday")
                await player.yesterday(end - 2 * DAY_S)
            if stop.is_set():
                return
            tell("today")
            # Sending yesterday took time, which today makes up for: its end is fixed.
            begins = now()
            await player.day(end - DAY_S, begins=begins, pace=DAY_S / max(end - begins, 1.0))
            if not stop.is_set():
                tell("real_time")
            while not stop.is_set():
                await player.day(end, begins=end, pace=1.0)
                end += DAY_S
        finally:
            await sender.close()


class _Player:
    """Days of one seed, sent at their pace."""

    def __init__(
        self, sender: Sender, seed: int, tell: Callable[[str], None], now: Callable[[], float]
    ) -> None:
        self._sender = sender
        self._seed = seed
        self._tell = tell
        self._now = now

    async def yesterday(self, start: float) -> None:
        """An ordinary day as fast as the service takes it: what it must know before anything goes wrong."""
        items = await self._items(start, attacks=False)
        known = [item for item in items if item.door in _HISTORY]
        for first in range(0, len(known), CHUNK):
            await self._sender.send(start, known[first : first + CHUNK])

    async def day(self, start: float, *, begins: float, pace: float) -> None:
        """A day that starts at event time ``start``, from ``begins`` on, ``pace`` seconds of it a second."""
        upcoming = deque(await self._items(start, attacks=True))
        told: set[str] = set()
        while upcoming and not self._sender.stop.is_set():
            reached = (self._now() - begins) * pace
            due: list[Item] = []
            while upcoming and len(due) < CHUNK and upcoming[0].at <= reached:
                due.append(upcoming.popleft())
            for key in dict.fromkeys(item.attack for item in due if item.attack):
                if key not in told:
                    told.add(key)
                    self._tell(f"attack_{key}")
            await self._sender.send(start, due)
            if len(due) < CHUNK:
                await self._sender.rest(TICK_S)

    async def _items(self, start: float, *, attacks: bool) -> list[Item]:
        """A whole day, made beside the loop: it takes a third of a second."""
        return await asyncio.to_thread(lambda: list(day(self._seed, start_s=start, attacks=attacks)))
