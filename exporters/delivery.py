"""Draining the outbox: one worker a sink, so that a slow receiver never delays another.

Owns the pace and what an answer means for the rows. At least once, with the same id each time: a row is marked as
delivered only after the receiver has it, and nothing further is sent before that mark is durable, so a crash between
the two sends at most one batch again. Nothing is given up but what a receiver says it will never take, and what waited
longer than the sink's retention: those are dead letters, kept for a person.

A queue is sent in order, and a pause belongs to all of it: while the receiver is down or asks for time, nothing is
tried, however much is waiting. Only an item that is refused again and again while others are taken is set aside. One
process owns the database and one worker a sink, so a batch needs no lease in the rows.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Final, NamedTuple

import structlog

from exporters import outbox as boxes
from exporters import own_alerts
from exporters.alert import Alert
from exporters.breaker import LEAST_WAIT_S, LONGEST_ASKED_S, PARKED_WAIT_S, Standing, backoff_s
from exporters.handover import expire, hand_over
from exporters.metrics import Counters
from exporters.outbox import Item, Mark, Outbox
from guardian.errors import DeliveryError, HoldError, PoisonError, RetryError
from guardian.ports import Answers, Message, Sink
from guardian.sink_settings import Sink as Settings

DRAIN_S: Final = 5.0
IDLE_S: Final = 1.0
"""How often the outbox is looked at when nobody said that there is something new."""
READ_AHEAD: Final = 500
"""Alerts that are read and rendered at once, at least; a batch is cut from them."""
SET_ASIDE_AFTER: Final = 5
"""Refusals of one alert by itself after which others no longer wait for it."""
TELL_AGAIN_NS: Final = 3600 * 10**9
"""A sink that is held, works, and is held again is told of once in this time."""
MOST_BODY: Final = 2**18
"""Bytes of a refused message that are kept beside its dead letter."""

Span = Callable[..., AbstractContextManager[None]]


def _no_span(_name: str, **_attributes: str | float) -> AbstractContextManager[None]:
    return contextlib.nullcontext()


class Rendered(NamedTuple):
    """An item and the message that tells it."""

    item: Item
    message: Message


class Worker:
    """Delivers the alerts of one sink."""

    def __init__(
        self,
        outbox: Outbox,
        settings: Settings,
        sink: Sink,
        *,
        render: Callable[[Alert], bytes],
        counters: Counters | None = None,
        span: Span = _no_span,
        drain_s: float = DRAIN_S,
        clock: Callable[[], int] = time.time_ns,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Prepare; nothing is sent before ``run``.

        Args:
            outbox: where the alerts wait.
            settings: of the sink: its name, the size of its batches, its retention, fallback and heartbeat.
            sink: where they go; ``run`` closes it.
            render: from an alert to what the sink takes.
            counters: where attempts, duplicates and the time to the receiver are counted.
            span: opens a span around one attempt, for our own traces.
            drain_s: seconds that ``run`` may still deliver after ``stop``.
            clock: nanoseconds since 1970.
            jitter: a number from 0 to 1 for each wait.
        """
        self.settings = settings
        self.standing = Standing()
        self.heartbeat_s: float | None = None
        """Seconds that the newest heartbeat took to the receiver …"""
        self.heartbeat_at = clock()
        """… and when it got there, nanoseconds since 1970; before the first one, when this was made."""
        self._loaded = False
        self._outbox = outbox
        self._sink = sink
        self._render = render
        self._counters = counters or Counters()
        self._span = span
        self._drain_s = drain_s
        self._clock = clock
        self._jitter = jitter
        self._ready: deque[Rendered] = deque()
        self._allowance = settings.batch
        """Alerts in the next batch, at most: one after an outage, then doubling."""
        self._alone: Counter[int] = Counter()
        """How often rows at the head were refused while others were taken."""
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
        if not self._loaded:
            self.standing = await asyncio.to_thread(self._outbox.standing, self.settings.name)
            self._allowance = 1 if self.standing.probing() else self.settings.batch
            self._loaded = True
        now = self._clock()
        await self._beat(now)
        pause = self.standing.pause_s(now)
        if pause:
            until = self._until_hand_over(now)
            if until > 0.0:
                return min(pause, until)
            await self._hand_over(now)
            return min(pause, IDLE_S)
        if not self._ready:
            later = await asyncio.to_thread(self._read, now)
            if not self._ready:
                return min(IDLE_S, max(LEAST_WAIT_S, (later - now) / 1e9)) if later else IDLE_S
        wait = await self._attempt(self._cut())
        return min(wait, max(LEAST_WAIT_S, self._until_hand_over(self._clock()))) if wait else 0.0

    async def _deliver(self) -> None:
        failures = 0
        while True:
            self._wake.clear()
            try:
                wait = await self.step()
                failures = 0
            except Exception:  # noqa: BLE001  (a full disk, most likely; the next attempt may find it gone)
                self._ready.clear()
                wait = backoff_s(failures, self._jitter())
                failures += 1
                self._log.exception("the outbox cannot be used")
            if wait > 0.0 and self._stopping:
                return
            if wait > 0.0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._wake.wait()

    # -- what is sent ------------------------------------------------------------------------------------------------

    def _read(self, now: int) -> int:
        """Read and render what is due; returns when more is, if nothing is due now."""
        name = self.settings.name
        limit = 1 if self._allowance == 1 else max(READ_AHEAD, self.settings.batch)
        head = self._outbox.head(name, limit=limit, now=now)
        for item in head.items:
            alert = item.alert
            try:
                body = self._render(alert) if item.body is None else item.body
            except Exception as error:  # noqa: BLE001  (a mistake in a form must not hold up all the others for ever)
                said = f"{type(error).__name__}: {error}"
                self._log.error("an alert cannot be rendered", alert=alert.id, said=said)
                mark = Mark([item.seq], boxes.DEAD, said=said, reason=boxes.UNRENDERED)
                self._outbox.mark(name, [mark], at=now)
                continue
            message = message_of(alert, body)
            self._ready.append(Rendered(item, message))
        return head.later

    def _cut(self) -> list[Rendered]:
        """The next batch: by count, and by bytes unless a single message is larger."""
        batch: list[Rendered] = []
        room = self.settings.batch_bytes
        while self._ready and len(batch) < self._allowance:
            room -= len(self._ready[0].message.body)
            if batch and room < 0:
                break
            batch.append(self._ready.popleft())
        return batch

    async def _attempt(self, batch: Sequence[Rendered]) -> float:
        """Send a batch and mark its rows; returns as ``step`` does."""
        name = self.settings.name
        try:
            with self._span("guardian.delivery", sink=name, alerts=len(batch)):
                answers = await self._send([each.message for each in batch])
        except PoisonError as error:
            if len(batch) > 1:
                # One of them may be what is refused. Halves until it stands alone: 2·log2(n) requests, not n.
                self._counters.add("tamv_guardian_delivery_attempts_total", sink=name, outcome="refused")
                half = len(batch) // 2
                return await self._attempt(batch[:half]) or await self._attempt(batch[half:])
            answers = Answers({batch[0].message.id: error})
        except DeliveryError as error:
            answers = Answers({each.message.id: error for each in batch})
        except Exception as error:  # noqa: BLE001  (a mistake in a sink must not lose what it was given)
            mistake = RetryError(f"{type(error).__name__}: {error}")
            answers = Answers({each.message.id: mistake for each in batch})
        return await self._settle(batch, answers)

    async def _send(self, messages: Sequence[Message]) -> Answers:
        """Write; while that takes longer than the fallback waits for, what is owed is handed over meanwhile."""
        if not self.settings.fallback:
            return await self._sink.write(messages)
        started = self._clock()
        writing = asyncio.ensure_future(self._sink.write(messages))
        try:
            await asyncio.wait({writing}, timeout=max(0.0, self._until_hand_over(started, since=started)))
            if not writing.done():
                await self._hand_over(self._clock())
            return await writing
        finally:
            if not writing.done():
                writing.cancel()
                await asyncio.wait({writing})

    # -- what became of it -------------------------------------------------------------------------------------------

    async def _settle(self, batch: Sequence[Rendered], answers: Answers) -> float:
        """Mark the rows of a batch by what the receiver said of each; returns as ``step`` does."""
        now = self._clock()
        refused = answers.refused
        taken = [each for each in batch if each.message.id not in refused]
        poison, again = [], []
        for each in batch:
            error = refused.get(each.message.id)
            if isinstance(error, PoisonError):
                poison.append((each, error))
            elif error is not None:
                again.append((each, error))
        marks = [Mark([each.item.seq for each in taken], boxes.DELIVERED)] if taken else []
        for each, error in poison:
            self._log.error("an alert was refused for good", alert=each.message.id, said=str(error))
            body = each.message.body if len(each.message.body) <= MOST_BODY else None
            marks.append(Mark([each.item.seq], boxes.DEAD, str(error), boxes.REFUSED, body=body))
        reached = bool(taken or poison)
        wait_s, kept = self._wait(again, now, reached=reached)
        held = any(isinstance(error, HoldError) for _each, error in again)
        said = str(again[0][1]) if again else ""
        if reached:
            after = self.standing.taken(now, wait_s=wait_s, held=held, said=said)
        else:
            after = self.standing.refused(now, said, wait_s=wait_s, held=held)
        after, tell = self._told(after, now)
        changed = after if after != self.standing else None
        await asyncio.to_thread(
            self._outbox.mark, self.settings.name, marks + kept, at=now, standing=changed, tell=tell
        )
        self._count(taken, poison, again, answers.duplicates, now)
        self._turn(after)
        if again:
            self._ready.clear()  # they come first again, and in order
            if not reached:
                await self._expire(now, batch[0].item.accepted_at)
        return wait_s

    def _wait(
        self, again: Sequence[tuple[Rendered, DeliveryError]], now: int, *, reached: bool
    ) -> tuple[float, list[Mark]]:
        """Seconds that the queue pauses for the sake of what is to be sent again, and the marks of that."""
        asked, holding, paused = 0.0, False, False
        groups: dict[tuple[str, str, bool], list[int]] = {}
        for each, error in again:
            held = isinstance(error, HoldError)
            if reached:
                self._alone[each.item.seq] += 1
            aside = self._alone[each.item.seq] > SET_ASIDE_AFTER
            if not aside:
                paused, holding = True, holding or held
                asked = max(asked, min(getattr(error, "wait_s", 0.0), LONGEST_ASKED_S))
            state = boxes.PARKED if held else boxes.PENDING
            groups.setdefault((state, str(error), aside), []).append(each.item.seq)
        if len(self._alone) > self.settings.batch:
            self._alone.clear()
        wait_s = 0.0
        if holding:
            wait_s = max(asked, PARKED_WAIT_S)
        elif paused:
            failures = 0 if reached else self.standing.failures
            wait_s = max(asked, backoff_s(failures, self._jitter()))
        later = now + int(1e9 * max(PARKED_WAIT_S, asked))
        marks = [
            Mark(seqs, state, said, not_before=later if aside else 0)
            for (state, said, aside), seqs in groups.items()
        ]
        return wait_s, marks

    def _told(self, after: Standing, now: int) -> tuple[Standing, Alert | None]:
        """What others are to be told of a credential that stopped working, or works again."""
        name = self.settings.name
        if after.held and not after.told and now - after.told_at > TELL_AGAIN_NS:
            tell = own_alerts.held(name, now)
            return replace(after, told=tell.id, told_at=now), tell
        if not after.held and after.told:
            return replace(after, told=""), own_alerts.works_again(name, now, after.told)
        return after, None

    def _turn(self, after: Standing) -> None:
        """Note how the sink stands now, and how much it may be sent next."""
        before, self.standing = self.standing, after
        if after.probing():
            self._allowance = 1
        elif not after.failures:
            self._allowance = min(self.settings.batch, 2 * self._allowance)
        if (after.failures > 0, after.held) != (before.failures > 0, before.held):
            if after.failures or after.held:
                self._log.warning("does not deliver", held=after.held, said=after.said)
            else:
                self._log.info("delivers again")

    def _count(
        self,
        taken: Sequence[Rendered],
        poison: Sequence[object],
        again: Sequence[tuple[Rendered, DeliveryError]],
        duplicates: int,
        now: int,
    ) -> None:
        name, counters = self.settings.name, self._counters
        if taken:
            outcome = "partly" if poison or again else "taken"
        elif poison:
            outcome = "refused"
        else:
            outcome = "hold" if isinstance(again[0][1], HoldError) else "retry"
        counters.add("tamv_guardian_delivery_attempts_total", sink=name, outcome=outcome)
        if duplicates:
            counters.add("tamv_guardian_delivery_duplicates_total", duplicates, sink=name)
        for each in taken:
            seconds = max(0.0, (now - each.item.accepted_at) / 1e9)
            counters.observe("tamv_guardian_delivery_seconds", seconds, sink=name)
            if each.item.heartbeat:
                self.heartbeat_s, self.heartbeat_at = seconds, now

    # -- what is not sent --------------------------------------------------------------------------------------------

    async def _beat(self, now: int) -> None:
        """Owe the sink a heartbeat when its time has come."""
        every = int(self.settings.heartbeat_s * 1e9)
        if every and not 0 <= now - self.standing.beat_at < every:
            after = replace(self.standing, beat_at=now)
            await asyncio.to_thread(self._outbox.beat, self.settings.name, now, after)
            self.standing = after

    def _until_hand_over(self, now: int, *, since: int = 0) -> float:
        """Seconds until the fallback is to take over; infinite without one."""
        since = self.standing.refusing_since or since
        if not self.settings.fallback or not since:
            return float("inf")
        return (since - now) / 1e9 + self.settings.fallback_after_s

    async def _hand_over(self, now: int) -> None:
        settings = self.settings
        moved = await asyncio.to_thread(hand_over, self._outbox, settings.name, settings.fallback, now=now)
        self._ready.clear()
        if moved:
            self._log.warning("handed over", to=settings.fallback, alerts=moved)

    async def _expire(self, now: int, oldest: int) -> None:
        """Give up what waited too long; only while the receiver takes nothing, never because we were not running."""
        before = now - int(self.settings.retention_s * 1e9)
        if oldest >= before:
            return
        gone = await asyncio.to_thread(
            expire, self._outbox, self.settings.name, before=before, said=self.standing.said, now=now
        )
        if gone:
            self._log.error("waited longer than the retention", alerts=gone)


def message_of(alert: Alert, body: bytes) -> Message:
    """What a sink is given of an alert."""
    return Message(alert.id, alert.identity, alert.created_at, alert.level_to, body)


def gauges(
    workers: Sequence[Worker], outbox: Outbox, *, now: int
) -> Mapping[str, Mapping[tuple[str, ...], float]]:
    """What the metrics show of delivery at a moment: metric name → labels → value."""
    breakers = {"closed": 0.0, "half-open": 1.0, "open": 2.0}
    oldest = outbox.oldest()
    return {
        "tamv_guardian_sink_breaker": {
            (each.settings.name,): breakers[each.standing.breaker(now)] for each in workers
        },
        "tamv_guardian_sink_held": {(each.settings.name,): float(each.standing.held) for each in workers},
        "tamv_guardian_sink_heartbeat_seconds": {
            (each.settings.name,): each.heartbeat_s for each in workers if each.heartbeat_s is not None
        },
        "tamv_guardian_sink_heartbeat_age_seconds": {
            (each.settings.name,): max(0.0, (now - each.heartbeat_at) / 1e9)
            for each in workers
            if each.settings.heartbeat_s
        },
        "tamv_guardian_outbox_oldest_seconds": {
            (each.settings.name,): max(0.0, (now - oldest.get(each.settings.name, now)) / 1e9)
            for each in workers
        },
    }
