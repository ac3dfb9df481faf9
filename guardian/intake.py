"""What comes in, from any edge: decoded in fair turns, made durable, handed to the engine, and counted.

Owns the path that requests, headsets and sources share, and the tasks of the sources. Does not own how each edge
reads its bytes (``guardian.gateway``, ``xr_telemetry``, ``guardian.sources``) nor what becomes of events afterwards.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Final

import structlog

from exporters.metrics import Counters
from guardian.decode import Decoded
from guardian.errors import BodyError, JournalFullError
from guardian.gateway.turns import Turns
from guardian.journal import Record
from guardian.ports import Source

_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 60.0
_BASE_COST: Final = 1024
"""What a body costs in a fair turn beside its bytes."""

Keep = Callable[[Record, Decoded, str], Awaitable[int]]
"""Makes a decoded body of a sender durable and queues it for the engine."""


class Intake:
    """The one way in. For one event loop."""

    def __init__(
        self, decode: Callable[[Record], Decoded], keep: Keep, counters: Counters, *, workers: int
    ) -> None:
        self._decode = decode
        self._keep = keep
        self._counters = counters
        self._turns = Turns(workers)
        self._log = structlog.get_logger("guardian.intake")
        self._sources: dict[str, asyncio.Task[None]] = {}
        self._up: set[str] = set()

    @property
    def waiting(self) -> int:
        """Bodies that wait for their turn to be decoded."""
        return self._turns.waiting

    @property
    def sources(self) -> dict[str, bool]:
        """Whether each configured source delivers, or waits to be tried again."""
        return {name: name in self._up for name in self._sources}

    async def take(self, record: Record, sender: str) -> Decoded:
        """Decode a body in its sender's turn and return once its events survive a power cut.

        A body without any event is not kept: nothing would come of it.

        Raises:
            BodyError: the body is refused as a whole.
            JournalFullError: the sender must come back later.
            JournalError: nothing can be made durable.
        """
        async with self._turns.turn(sender, _BASE_COST + len(record.body)):
            started = time.perf_counter()
            try:
                decoded = await asyncio.to_thread(self._decode, record)
            except BodyError as error:
                self._counters.add("tamv_guardian_rejected_total", reason=error.reason)
                raise
        self._counters.observe("tamv_guardian_batch_seconds", time.perf_counter() - started, stage="decode")
        for reason, count in decoded.reasons.items():
            self._counters.add("tamv_guardian_rejected_total", count, reason=reason)
        if len(decoded.batch):
            await self.keep(record, decoded, sender)
        return decoded

    async def keep(self, record: Record, decoded: Decoded, sender: str = "") -> None:
        """Return once the events survive a power cut. Our own have no sender, and no share of the room."""
        started = time.perf_counter()
        # A sender that goes away must not take its record out of the queue: the engine counts on every number.
        await asyncio.shield(self._keep(record, decoded, sender))
        self._counters.observe("tamv_guardian_batch_seconds", time.perf_counter() - started, stage="journal")

    # -- sources -----------------------------------------------------------------------------------------------------

    def start_source(self, name: str, source: Source, resume: bytes | None) -> None:
        """Take what a source delivers, from behind ``resume``, until ``stop``."""
        self._sources[name] = asyncio.create_task(self._follow(name, source, resume))

    async def stop(self) -> None:
        """Let go of the sources. What they have delivered is durable; what they have not comes again."""
        for task in self._sources.values():
            task.cancel()
        await asyncio.gather(*self._sources.values(), return_exceptions=True)

    async def _follow(self, name: str, source: Source, resume: bytes | None) -> None:
        pause = _FIRST_PAUSE_S
        while True:
            try:
                async with aclosing(source.deliveries(resume)) as deliveries:
                    self._up.add(name)
                    async for record in deliveries:
                        await self._take_all(record)
                        resume = record.position or resume
                        pause = _FIRST_PAUSE_S
                self._log.error("source ended", source=name)
            except Exception as error:  # noqa: BLE001  (a source is a guest: whatever it does, the service goes on)
                self._log.error("source failed", source=name, reason=str(error) or type(error).__name__)
            self._up.discard(name)
            self._counters.add("tamv_guardian_source_failures_total", source=name)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    async def _take_all(self, record: Record) -> None:
        """Take one delivery; while there is no room, the source waits, and with it whoever feeds it."""
        while True:
            try:
                await self.take(record, record.source)
            except JournalFullError as full:
                await asyncio.sleep(full.retry_after_s)
            except BodyError as error:
                self._log.warning(
                    "delivery refused", source=record.source, reason=error.reason, detail=str(error)
                )
                return
            else:
                return
