"""Draining the outbox: one worker a sink, so that a slow receiver never delays another.

At least once, with the same id each time: a row is marked as delivered only after the receiver has it, so a crash
between the two sends it again. Nothing is ever given up but what a receiver says it will never take.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from typing import Any, Final

from exporters import outbox as boxes
from exporters.outbox import Alert, Outbox
from guardian.config import Sink as Settings
from guardian.ports import Sink

FIRST_WAIT_S: Final = 0.5
LONGEST_WAIT_S: Final = 60.0
PARKED_WAIT_S: Final = 30.0
IDLE_S: Final = 1.0
"""How often the outbox is looked at when nobody said that there is something new."""


class RetryError(Exception):
    """The receiver did not take it now; it may later."""

    def __init__(self, said: str, wait_s: float | None = None) -> None:
        super().__init__(said)
        self.wait_s = wait_s


class AuthorisationError(Exception):
    """The receiver does not accept our credential; nothing is dropped, and it is tried again slowly."""


class PoisonError(Exception):
    """The receiver will never take this."""


class Worker:
    """Delivers the alerts of one sink."""

    def __init__(
        self,
        outbox: Outbox,
        settings: Settings,
        sink: Sink[dict[str, Any]],
        *,
        render: Callable[[Alert], dict[str, Any]],
        clock: Callable[[], int] = boxes.now_ns,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.settings = settings
        self._outbox = outbox
        self._sink = sink
        self._render = render
        self._clock = clock
        self._jitter = jitter
        self._failures = 0
        self._wake = asyncio.Event()
        self._stopping = False

    def wake(self) -> None:
        """There may be something new."""
        self._wake.set()

    async def run(self) -> None:
        """Deliver until ``stop``, then what is due at that moment, and close the sink; the rest stays in the outbox."""
        while not self._stopping:
            self._wake.clear()
            wait = await self.step()
            if wait > 0.0 and not self._stopping:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), min(wait, IDLE_S))
        while await self.step() == 0.0:
            pass
        await self._sink.close()

    def stop(self) -> None:
        """Let ``run`` come to its end."""
        self._stopping = True
        self._wake.set()

    async def step(self) -> float:
        """One batch, if one is due. Returns the seconds to wait before the next; 0 = there may be more now."""
        due = await asyncio.to_thread(
            self._outbox.due, self.settings.name, limit=self.settings.batch, now_ns=self._clock()
        )
        if not due:
            return IDLE_S
        return await self._attempt(due)

    async def _attempt(self, due: Sequence[Alert]) -> float:
        try:
            await self._sink.write([self._render(alert) for alert in due])
        except RetryError as error:
            wait = error.wait_s if error.wait_s is not None else self._backoff()
            await self._mark(due, boxes.PENDING, wait, str(error))
            return wait
        except AuthorisationError as error:
            await self._mark(due, boxes.PARKED, PARKED_WAIT_S, str(error))
            return PARKED_WAIT_S
        except PoisonError as error:
            if len(due) > 1:
                # One of them may be what the receiver refuses; alone, each shows whether it is the one.
                for alert in due:
                    await self._attempt([alert])
                return 0.0
            await self._mark(due, boxes.DEAD, 0.0, str(error))
            return 0.0
        except OSError as error:
            wait = self._backoff()
            await self._mark(due, boxes.PENDING, wait, str(error))
            return wait
        self._failures = 0
        await self._mark(due, boxes.DELIVERED, 0.0, "")
        return 0.0

    async def _mark(self, due: Sequence[Alert], state: str, wait_s: float, error: str) -> None:
        ids = [alert.id for alert in due]
        later = self._clock() + int(wait_s * 1e9) if wait_s else 0
        await asyncio.to_thread(
            self._outbox.mark, self.settings.name, ids, state, next_attempt_at=later, error=error
        )

    def _backoff(self) -> float:
        """Exponential with full jitter (Brooker 2015): anything from nothing to twice the last ceiling."""
        ceiling = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0**self._failures)
        self._failures = min(self._failures + 1, 16)
        return max(0.01, self._jitter() * ceiling)
