"""How messages that come one by one become bodies: when a body is taken, and how large it gets.

Owns the pace. A body is taken at once when the last one is GATHER_S past, so a lone message does not wait; under load
it gathers what comes, because each body costs the journal a sync and the engine a batch.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Final

from guardian.decode.syslog import FRAMES_TYPE, SYSLOG_ROUTE, typed
from guardian.errors import MachineError
from guardian.journal.records import Record

BODY_BYTES: Final = 256 * 1024
"""A body is taken no later than at this size."""
GATHER_S: Final = 0.05


class Gathering:
    """Says when to take the next body."""

    def __init__(self) -> None:
        self._some = asyncio.Event()
        self._enough = asyncio.Event()
        self._taken_at = -GATHER_S

    def holds(self, size: int, *, enough: bool) -> None:
        """Tell it how many bytes wait, and whether it is enough not to wait for more."""
        for event, reached in ((self._some, size > 0), (self._enough, enough)):
            if reached:
                event.set()
            else:
                event.clear()

    async def ready(self) -> None:
        """Return when a body should be taken."""
        await self._some.wait()
        loop = asyncio.get_running_loop()
        rest = self._taken_at + GATHER_S - loop.time()
        if rest > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(rest):  # not wait_for, which may drop a cancellation (Python 3.11)
                    await self._enough.wait()
        self._taken_at = loop.time()


def gathered(body: bytes, source: str, timezone: str) -> Record:
    """The record of a body of frames. Senders of syslog do not repeat, so there is no position to resume from."""
    kind = typed(FRAMES_TYPE, timezone=timezone)
    return Record(SYSLOG_ROUTE, kind, "", "", time.time_ns(), body, source)


def refused(name: str, host: str, port: int, error: OSError) -> MachineError:
    """Why a listener cannot listen, as a sentence."""
    return MachineError(f"source {name}: cannot listen on {host} port {port}: {error.strerror or error}")
