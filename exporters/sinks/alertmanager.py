"""Alerts in Prometheus Alertmanager, API v2, which keeps them in memory alone.

Owns sending what is open again while it is open, so that what a kill took from Alertmanager after it answered 200 is
back within ``resend_s``; it also ends what is not sent again for its ``resolve_timeout``. What is over is sent again
for a while too, as Prometheus does (``resolvedRetention``): Alertmanager may be killed before it told anybody.

After a restart of ours nobody remembers what is open: the caller hands it in by ``remember``.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Iterable, Sequence
from typing import Final

import structlog

from exporters.sinks import credentials
from exporters.sinks.requests import Client, at, refusal
from guardian.errors import DeliveryError, PoisonError
from guardian.levels import Level
from guardian.ports import Answers, Message
from guardian.sink_settings import Alertmanager

RESOLVED_KEPT_S: Final = 900.0
MOST_KEPT: Final = 100_000
"""Findings that are sent again; past them the oldest is left to Alertmanager alone, and the log says so."""


class AlertmanagerSink:
    """One Alertmanager."""

    def __init__(self, settings: Alertmanager, *, most_kept: int = MOST_KEPT) -> None:
        """Prepare; nothing is connected yet.

        Raises:
            MachineError: a certificate cannot be used.
        """
        self._settings = settings
        self._client = Client(settings)
        self._url = at(settings.url, "/api/v2/alerts")
        self._most_kept = most_kept
        self._kept: dict[str, tuple[Message, float]] = {}
        """By finding: the newest message about it, and until when it is sent again."""
        self._left = 0
        """Findings that were too many."""
        self._one_at_a_time = asyncio.Lock()
        """Without it, an old state that is being sent again could arrive behind a new one."""
        self._soon = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._trouble = ""
        self._log = structlog.get_logger("guardian.delivery").bind(sink=settings.name)

    async def write(self, messages: Sequence[Message]) -> Answers:
        """Post all messages; from then on the newest about each finding is sent again.

        Raises:
            RetryError: no connection, no answer in time, 429, 5xx.
            HoldError: 401, 403, 404 and the like, or a token that cannot be read.
            PoisonError: one of them is no alert for Alertmanager; it has taken the others, and may be sent them again.
        """
        async with self._one_at_a_time:
            await self._post(messages)
            self._keep(messages)
        return Answers()

    def remember(self, messages: Iterable[Message]) -> None:
        """Take over what is open already, oldest first; it is sent at once, and then as often as the rest.

        Call it in the event loop, before the first ``write``.
        """
        self._keep(messages)
        self._soon.set()

    async def close(self) -> None:
        """Stop sending again, and close the connections. What is open ends in Alertmanager by itself."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._client.close()

    async def _post(self, messages: Sequence[Message]) -> None:
        headers = {"Content-Type": "application/json"}
        token = credentials.token(self._settings)
        if token:
            headers["Authorization"] = f"Bearer {token}"
        body = b"[" + b",".join(message.body for message in messages) + b"]"
        reply = await self._client.post(self._url, body, headers)
        if not reply.taken:
            raise refusal(reply)

    def _keep(self, messages: Iterable[Message]) -> None:
        now = asyncio.get_running_loop().time()
        for message in messages:
            until = now + RESOLVED_KEPT_S if message.level == Level.NONE else math.inf
            self._kept[message.finding] = (message, until)
        while len(self._kept) > self._most_kept:
            del self._kept[next(iter(self._kept))]
            if not self._left:
                self._log.warning("more is open than is sent again", most=self._most_kept)
            self._left += 1
        if self._task is None:
            self._task = asyncio.create_task(self._send_again())

    async def _send_again(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.resend_s):
                    await self._soon.wait()
            self._soon.clear()
            try:
                await self._send_all()
            except DeliveryError as error:
                self._say(str(error))
            except Exception:  # noqa: BLE001  (were this task to end, nothing would tell)
                self._log.exception("what is open could not be sent again")
            else:
                self._say("")

    async def _send_all(self) -> None:
        now = asyncio.get_running_loop().time()
        for finding in [finding for finding, (_, until) in self._kept.items() if until <= now]:
            del self._kept[finding]
        findings = list(self._kept)
        refused: PoisonError | None = None
        for start in range(0, len(findings), self._settings.batch):
            async with self._one_at_a_time:
                # Read here and not before: while this waited, one of them may have changed.
                some = findings[start : start + self._settings.batch]
                newest = [self._kept[finding][0] for finding in some if finding in self._kept]
                try:
                    await self._post(newest)
                except PoisonError as error:
                    refused = error  # the others of them were taken
        if refused is not None:
            raise refused

    def _say(self, trouble: str) -> None:
        if trouble and not self._trouble:
            self._log.warning("what is open is not sent again", said=trouble)
        elif self._trouble and not trouble:
            self._log.info("what is open is sent again")
        self._trouble = trouble
