"""Who is decoded next: a few bodies at once, taken from all senders in fair turns.

Owns the order and the number; not the decoding. Fair queueing by virtual time (self-clocked: Golestani, "A self-clocked
fair queueing scheme for broadband applications", INFOCOM 1994): a body's tag is where its sender's last one ended, or
now, plus its cost, and the smallest tag goes first. So a sender that floods waits behind its own flood, everybody else
does not, and between two senders that were quiet the small body does not wait for the large one.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """At most ``at_once`` turns at a time. For one event loop."""

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._now = 0.0
        """The tag of the turn that began last."""
        self._ends: dict[str, float] = {}
        """Where the last body of each sender ends that was not idle since."""
        self._queue: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = itertools.count()
        self.waiting = 0

    @asynccontextmanager
    async def turn(self, sender: str, cost: float) -> AsyncIterator[None]:
        """Wait for a turn and hold it for as long as the block lasts; ``cost`` is in bytes, or any unit > 0."""
        tag = max(self._now, self._ends.get(sender, 0.0)) + cost
        self._ends[sender] = tag
        if self._free and not self._queue:
            self._free -= 1
            self._begin(tag)
        else:
            await self._wait(tag)
        try:
            yield
        finally:
            self._free += 1
            self._next()

    async def _wait(self, tag: float) -> None:
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._queue, (tag, next(self._count), mine))
        self.waiting += 1
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():
                self._free += 1  # the turn came as the sender went
                self._next()
            raise
        finally:
            self.waiting -= 1

    def _next(self) -> None:
        while self._queue and self._free:
            tag, _, waiting = heapq.heappop(self._queue)
            if waiting.done():
                continue  # its sender went away
            self._free -= 1
            self._begin(tag)
            waiting.set_result(None)

    def _begin(self, tag: float) -> None:
        self._now = max(self._now, tag)
        if len(self._ends) > 2 * len(self._queue) + 64:
            self._ends = {sender: end for sender, end in self._ends.items() if end > self._now}
