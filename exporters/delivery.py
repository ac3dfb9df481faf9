"""Draining the outbox: one worker a sink, so that a slow receiver never delays another.

Owns the pace and what an answer means for the rows. At least once, with the same id each time: a row is marked as
delivered only after the receiver has it, so a crash between the two sends it again. Nothing is given up but what a
receiver says it will never take.

A queue is sent in order, and a pause belongs to its head: while the oldest batch waits, nothing behind it is tried,
so a receiver that is down or asks for time is left alone, however much is waiting. The pause is stored with the rows
and survives a restart. One process owns the database and one worker a sink, so a batch needs no lease in the rows.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Final

import structlog

from exporters import outbox as boxes
from exporters.alert import Alert
from exporters.outbox import Outbox
from guardian.errors import HoldError, PoisonError, RetryError
from guardian.ports import Message, Sink
from guardian.sink_settings import Sink as Settings

FIRST_WAIT_S: Final = 0.5
LONGEST_WAIT_S: Final = 60.0
LONGEST_ASKED_S: Final = 3600.0
"""Longest ``Retry-After`` that is followed; a wait beyond it can only be a mistake, or a wall clock that was set back."""
PARKED_WAIT_S: Final = 30.0
DRAIN_S: Final = 5.0
IDLE_S: Final = 1.0
"""How often the outbox is looked at when nobody said that there is something new."""

Span = Callable[..., AbstractContextManager[None]]


def _no_span(_name: str, **_attributes: str | float) -> AbstractContextManager[None]:
    return contextlib.nullcontext()


class Worker:
    """Delivers the alerts of one sink."""

    def __init__(
        self,
        outbox: Outbox,
        settings: Settings,
        sink: Sink,
        *,
        render: Callable[[Alert], bytes],
        span: Span = _no_span,
        drain_s: float = DRAIN_S,
        clock: Callable[[], int] = boxes.now_ns,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Prepare; nothing is sent before ``run``.

        Args:
            outbox: where the alerts wait.
            settings: of the sink: its name and the size of its batches.
            sink: where they go; ``run`` closes it.
            render: from an alert to what the sink takes.
            span: opens a span around one attempt, for our own traces.
            drain_s: seconds that ``run`` may still deliver after ``stop``.
            clock: nanoseconds since 1970.
            jitter: a number from 0 to 1 for each wait.
        """
        self.settings = settings
        self._outbox = outbox
        self._sink = sink
        self._render = render
        self._span = span
        self._drain_s = drain_s
        self._clock = clock
        self._jitter = jitter
        self._failures = 0
        self._trouble = ""
        self._wake = asyncio.Event()
        self._stopping = False
        self._limit: asyncio.Timeout | None = None
        self._log = structlog.get_logger("guardian.delivery").bind(sink=settings.name)

    def wake(self) -> None:
        """There may be something new. Does not cut a pause short."""
        self._wake.set()

    def stop(self) -> None:
        """Let ``run`` come to its end: what is due is still sent, for ``drain_s`` at most; the rest stays owed."""
        self._stopping = True
        if self._limit is not None:
            self._limit.reschedule(asyncio.get_running_loop().time() + self._drain_s)
        self._wake.set()

    async def run(self) -> None:
        """Deliver until ``stop``, and close the sink."""
        try:
            async with asyncio.timeout(self._drain_s if self._stopping else None) as self._limit:
                await self._deliver()
        except TimeoutError:
            self._log.warning("stopped before everything was delivered; it stays in the outbox")
        finally:
            self._limit = None
            await self._sink.close()

    async def step(self) -> float:
        """One batch, if one is due. Returns the seconds to wait before the next; 0 = there may be more now."""
        head = await asyncio.to_thread(self._outbox.head, self.settings.name, limit=self.settings.batch)
        if not head.alerts:
            return IDLE_S
        pause = (head.not_before - self._clock()) / 1e9
        if 0.0 < pause <= LONGEST_ASKED_S:
            return pause
        return await self._attempt(head.alerts)

    async def _deliver(self) -> None:
        while True:
            self._wake.clear()
            try:
                wait = await self.step()
            except Exception:  # noqa: BLE001  (a full disk, most likely; the next attempt may find it gone)
                wait = self._backoff()
                self._log.exception("the outbox cannot be used")
            if wait > 0.0 and self._stopping:
                return
            if wait > 0.0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), wait)

    async def _attempt(self, batch: Sequence[Alert]) -> float:
        """Send a batch and mark its rows; returns as ``step`` does."""
        try:
            with self._span("guardian.delivery", sink=self.settings.name, alerts=len(batch)):
                answers = await self._sink.write([self._message(alert) for alert in batch])
        except PoisonError as error:
            if len(batch) > 1:
                # One of them may be what is refused. Halves until it stands alone: 2·log2(n) requests, not n.
                half = len(batch) // 2
                return await self._attempt(batch[:half]) or await self._attempt(batch[half:])
            self._log.error("an alert was refused for good", alert=batch[0].id, said=str(error))
            await self._mark(batch, boxes.DEAD, 0.0, str(error))
        except HoldError as error:
            return await self._keep(batch, boxes.PARKED, PARKED_WAIT_S, str(error))
        except RetryError as error:
            wait = max(self._backoff(), min(error.wait_s, LONGEST_ASKED_S))
            return await self._keep(batch, boxes.PENDING, wait, str(error))
        except Exception as error:  # noqa: BLE001  (a mistake in a sink must not lose what it was given)
            said = f"{type(error).__name__}: {error}"
            return await self._keep(batch, boxes.PENDING, self._backoff(), said)
        else:
            await self._mark(batch, boxes.DELIVERED, 0.0, "")
            if self._trouble:
                self._log.info("delivers again")
        self._failures, self._trouble = 0, ""
        return 0.0

    def _message(self, alert: Alert) -> Message:
        return Message(alert.id, alert.identity, alert.created_at, alert.level_to, self._render(alert))

    async def _keep(self, batch: Sequence[Alert], state: str, wait_s: float, said: str) -> float:
        if self._trouble != state:
            self._log.warning("does not deliver", state=state, said=said)
            self._trouble = state
        await self._mark(batch, state, wait_s, said)
        return wait_s

    async def _mark(self, batch: Sequence[Alert], state: str, wait_s: float, said: str) -> None:
        ids = [alert.id for alert in batch]
        later = self._clock() + int(wait_s * 1e9) if wait_s else 0
        await asyncio.to_thread(
            self._outbox.mark, self.settings.name, ids, state, next_attempt_at=later, error=said
        )

    def _backoff(self) -> float:
        """Exponential with full jitter (Brooker 2015): anything from nearly nothing to twice the last ceiling."""
        ceiling = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0**self._failures)
        self._failures = min(self._failures + 1, 16)
        return max(0.01, self._jitter() * ceiling)
