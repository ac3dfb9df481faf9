"""Messages of many connections made durable in groups.

Owns the grouping: while one group is being made durable, what arrives meanwhile becomes the next. Memory is bounded by
the callers, since each waits for what it added. Does not own durability itself (the ``ingest`` it is given).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

MAX_GROUP_BYTES: Final = 2**20


class Intake:
    """Lines in, durable bodies out, in the order in which they were added."""

    def __init__(self, ingest: Callable[[bytes], Awaitable[None]]) -> None:
        self._ingest = ingest
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None

    def add(self, lines: bytes) -> asyncio.Future[None]:
        """Add whole lines; the future is done once they are durable, or holds what ``ingest`` raised.

        Lines of one call are never split over two bodies.
        """
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((lines, future))
        if self._task is None:
            self._task = asyncio.create_task(self._drain())
        return future

    async def idle(self) -> None:
        """Return once nothing that was added is under way."""
        while self._task is not None:
            await asyncio.wait([self._task])

    async def _drain(self) -> None:
        try:
            while self._waiting:
                group = self._take()
                failure: Exception | None = None
                try:
                    await self._ingest(b"".join(lines for lines, _ in group))
                except Exception as error:  # noqa: BLE001  (not handled here: given to everyone who waits for it)
                    failure = error
                for _, future in group:
                    if future.cancelled():
                        continue
                    if failure is None:
                        future.set_result(None)
                    else:
                        future.set_exception(failure)
        finally:
            self._task = None

    def _take(self) -> list[tuple[bytes, asyncio.Future[None]]]:
        size = 0
        for count, (lines, _) in enumerate(self._waiting):
            size += len(lines)
            if size > MAX_GROUP_BYTES and count:
                group, self._waiting = self._waiting[:count], self._waiting[count:]
                return group
        group, self._waiting = self._waiting, []
        return group
